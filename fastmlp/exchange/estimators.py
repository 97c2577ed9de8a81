"""A fitted MLP of scikit-learn, or of `fastmlp.sklearn`, as a Sequential that means what the estimator says."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import check, nn
from ..graph import Array
from ..nn.module import undrawn


def from_sklearn(estimator: Any) -> nn.Sequential:
    """The net of a fitted MLPClassifier or MLPRegressor, scikit-learn's or ours: a copy in evaluation mode.

    `predict` says what the estimator says, `evaluate` scores it, `fit` trains it on, in the estimator's type of floats.

    several classes  logits, and `classes_`: integers as int64, booleans, strings
    two classes      two logits, 0 and z for the estimator's one output z, with `classes_`: the softmax of (0, z) is
                     (1 - σ(z), σ(z)), as exact where z is far from 0
    labels           logits, and BCEWithLogitsLoss as `loss_`
    numbers          outputs, and the estimator's loss as `loss_`, which makes e^z of a Poisson loss

    An estimator takes bytes as the numbers that they are: where rows are uint8, give scale=1 to `predict`, `Predictor`
    and `Dataset`. A Pipeline's last step is its net; the steps before it stay where they are.
    Errors: NotInstalledError without scikit-learn; TypeError for another estimator; ValueError for one that is not
    fitted, knows a single class, or has classes of another type.
    """
    try:
        from sklearn.neural_network import MLPClassifier, MLPRegressor
        from sklearn.utils.validation import check_is_fitted

        from ..sklearn.base import BaseMLP
        from ..sklearn.losses import plain_loss
        from ..sklearn.net import build, put, with_two_outputs
    except ImportError as error:
        raise check.NotInstalledError(
            f"from_sklearn needs scikit-learn, pip install scikit-learn: {check.reason(error)}"
        ) from error
    name = type(estimator).__name__
    if not isinstance(estimator, MLPClassifier | MLPRegressor | BaseMLP):
        inner = {"Pipeline": "pipeline[-1]", "GridSearchCV": "search.best_estimator_"}.get(name)
        what = f"; its net may be {inner}" if inner else ""
        raise TypeError(f"from_sklearn: estimator is {name}; it must be a fitted MLPClassifier or MLPRegressor{what}")
    try:
        check_is_fitted(estimator)
    except ValueError as error:
        raise ValueError(f"from_sklearn: this {name} is not fitted; call fit first") from error
    if isinstance(estimator, BaseMLP):
        net = estimator.to_module()
    else:
        coefs, intercepts = estimator.coefs_, estimator.intercepts_
        units = [len(coefs[0]), *(weight.shape[1] for weight in coefs)]
        with undrawn():
            net = build(units, estimator.activation, 0.0, None, coefs[0].dtype)
        put(net, coefs, intercepts)
    if not hasattr(estimator, "classes_"):
        if not isinstance(estimator, BaseMLP):
            net.keep_loss(plain_loss(getattr(estimator, "loss", "squared_error")))
    elif estimator.out_activation_ == "logistic" and estimator.n_outputs_ > 1:
        net.keep_loss(nn.BCEWithLogitsLoss())
    else:
        classes = _classes(estimator.classes_, name)
        outputs: Any = list(net)[-1]
        net = with_two_outputs(net) if outputs.out_features == 1 else net
        net.classes_ = classes
    return net.eval()


def _classes(values: Any, name: str) -> Array:
    """int64, booleans or strings."""
    if len(values) < 2:
        raise ValueError(f"from_sklearn: this {name} knows the class {check.shown(values[0])} alone; there must be two")
    kind = values.dtype.kind
    if kind in "bU":
        return np.array(values)
    if kind in "OT" and all(isinstance(value, str) for value in values):
        return np.array([str(value) for value in values])
    found = [int(value) for value in values] if kind in "iuf" else []
    if not found or found != list(values) or not -(2**63) <= min(found) <= max(found) < 2**63:
        given = f"{check.shown(list(values))} of {values.dtype}"
        raise ValueError(f"from_sklearn: classes_ are {given}; they must be whole numbers, booleans or strings")
    return np.array(found, np.int64)
