"""`MLPRegressor`: scikit-learn's regressor on the engine."""

from __future__ import annotations

import os
from numbers import Real
from typing import Any, ClassVar

import numpy as np
from sklearn.base import RegressorMixin, _fit_context
from sklearn.utils import column_or_1d
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.metaestimators import available_if

from .. import nn
from ..check import shown
from ..data import Dataset
from ..graph import Array
from .base import BaseMLP
from .losses import LOSSES, plain_loss, regression_loss, regression_score


class MLPRegressor(RegressorMixin, BaseMLP):
    """A multi-layer perceptron for numbers, with the parameters and attributes of sklearn.neural_network.MLPRegressor.

    y: (N,) or (N, T) numbers
    Beyond scikit-learn's, by name alone:

    activation   all names of `nn.ACTIVATIONS` too
    dropout      p of the dropout after each hidden layer        norm  "batch", "layer" or None
    weight_decay λ: λ w is added to the gradient of each weight, as alpha / rows of the batch is; neither to intercepts
    schedule     of the learning rate, one of `optim`, over max_iter epochs, whose end is then no ConvergenceWarning;
                 clip_norm, average, callbacks, n_threads as `fastmlp.fit` has them
    monitor      what early_stopping watches on the held-out rows: "score", R² of squared errors and of another loss its
                 own D² = 1 - loss / loss of the best number that is the same for all rows; or "loss"
    checkpoint   a folder for `fit`, as `fastmlp.fit` has it: a call that was ended, by the time limit too, goes on
                 where it was when it is made again with the same rows and parameters, to the same bits; where it came
                 to its end, a new one begins
    time_limit   seconds after which fit ends, within an epoch too, which then counts as one
    loss         "huber", "absolute_error" and "quantile" too; delta of the first, quantile of the last
    Errors: scikit-learn's, of the same kinds; ValueError where the loss is no longer finite.
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **BaseMLP._parameter_constraints,
        "loss": [StrOptions(set(LOSSES))],
        "delta": [Interval(Real, 0, None, closed="neither")],
        "quantile": [Interval(Real, 0, 1, closed="neither")],
    }

    def __init__(
        self,
        loss: str = "squared_error",
        hidden_layer_sizes: Any = (100,),
        activation: str = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool | int = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        dropout: float = 0.0,
        norm: str | None = None,
        weight_decay: float = 0.0,
        schedule: Any = None,
        clip_norm: float | None = None,
        average: Any = None,
        monitor: str = "score",
        callbacks: Any = None,
        checkpoint: str | os.PathLike[str] | None = None,
        n_threads: int | str = "auto",
        time_limit: float | None = None,
        delta: float = 1.0,
        quantile: float = 0.5,
    ) -> None:
        self._take(locals())

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self, X: Any, y: Any, sample_weight: Any = None, *, X_val: Any = None, y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> Any:  # fmt: skip
        """Train on X and y. X_val, y_val: rows that are scored after each epoch, in place of a part of X."""
        validation = None if X_val is None and y_val is None else (X_val, y_val, sample_weight_val)
        return self._fit(X, y, sample_weight, False, validation)

    @available_if(lambda estimator: estimator._check_solver())
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """One epoch."""
        return self._fit(X, y, sample_weight, True)

    def predict(self, X: Any) -> Array:
        """(N,) or (N, T) numbers; of a Poisson loss the expected counts."""
        said = self._loss().predicted(self._outputs(X))
        return said[:, 0] if said.shape[1] == 1 else said

    _numeric = True

    def _targets(self, y: Any, incremental: bool, held: bool = False) -> tuple[Array, str]:
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        try:
            y = y.reshape(len(y), -1).astype(np.float64)
        except ValueError:
            raise ValueError(f"y holds {shown(y.ravel().tolist()[0])}; it must hold numbers") from None
        self.n_outputs_, self.out_activation_ = y.shape[1], "exp" if self.loss == "poisson" else "identity"
        if self.loss == "poisson" and y.min() < 0:
            raise ValueError(f"loss='poisson' takes counts; y has {y.min()}, it must be at least 0")
        return y, "numbers"

    def _loss(self) -> nn.Loss:
        return regression_loss(self.loss, float(self.delta), float(self.quantile))

    def _module(self) -> nn.Sequential:
        model = super()._module()
        model.keep_loss(plain_loss(self.loss, float(self.delta), float(self.quantile)))
        return model

    def _dataset(self, X: Any, y: Any, sample_weight: Array | None) -> Dataset:
        return Dataset(X, np.asarray(y, np.float64), kind="numbers", sample_weight=sample_weight)

    def _times(self) -> float:
        """Squared errors are a mean over the outputs, in scikit-learn's `loss_` alone; a deviance is a sum."""
        return 1.0 if self.loss == "poisson" else 1 / self.n_outputs_

    def _offset(self, y: Array, weights: Array | None) -> float:
        """The deviance has t log t - t, too."""
        if self.loss != "poisson":
            return 0.0
        each = y * np.log(np.where(y > 0, y, 1)) - y
        return float(np.average(each, axis=0, weights=weights).sum())

    def _scored(self, z: Array, y: Array, sample_weight: Array | None) -> float:
        said = self._loss().predicted(z)
        return regression_score(self.loss, float(self.delta), float(self.quantile), y, said, sample_weight)
