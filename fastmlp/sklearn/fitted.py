"""What a trained estimator is asked: the outputs of its net, the net itself, an evaluation, and its pickle."""

from __future__ import annotations

import copy
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from .. import nn
from ..data import Dataset
from ..graph import Array
from ..running.predict import Predictor
from ..training.train import evaluate
from .net import build, others, put, put_others, views
from .solver import Solver

FLOATS = (np.float64, np.float32)


class Fitted(BaseEstimator):
    """What needs no training. A subclass says how its net becomes a model, and rows a Dataset."""

    _net: Any
    _made: dict[str, Any]
    coefs_: list[Array]
    intercepts_: list[Array]
    n_threads: int | str
    _numeric: ClassVar[bool] = False
    _optimizer: Solver | None = None

    def _as_given(self, y: Any) -> Any:
        return y

    def _rows(self, X: Any, y: Any, sample_weight: Any, reset: bool = False) -> tuple[Any, Any, Array | None]:
        """All three as arrays, or X sparse; where reset is False X has the columns of the training."""
        X, y = validate_data(
            self, X, self._as_given(y), accept_sparse=["csr", "csc"], multi_output=True, dtype=FLOATS, reset=reset,
            y_numeric=self._numeric,
        )  # fmt: skip
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        return X, y, sample_weight

    def _outputs(self, X: Any) -> Array:
        """(N, outputs): what the net makes of X, before the last activation."""
        check_is_fitted(self)
        X = validate_data(self, X, accept_sparse=["csr", "csc"], dtype=FLOATS, reset=False)
        put(self._net, self.coefs_, self.intercepts_)
        z: Array = Predictor(self._net, self.n_threads)(X)
        return z

    def to_module(self) -> nn.Sequential:
        """A copy of the net as a model of the library, for `fastmlp.save`, `export`, `evaluate`, plots and the report.

        Its outputs are a logit for each class, of two classes too; a logit for each label; a number for each target, of
        `loss="poisson"` the logarithm of the expected count. It knows classes_ and temperature_.
        """
        check_is_fitted(self)
        put(self._net, self.coefs_, self.intercepts_)
        return self._module()

    def _module(self) -> nn.Sequential:
        return copy.deepcopy(self._net)

    def evaluation(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """All that `fastmlp.evaluate` measures on these rows: `print` shows a table, `to_dict()` goes into JSON.

        -> `fastmlp.Evaluation` for classes (accuracy, confusion, calibration, ...), `MultilabelEvaluation` for labels,
        `RegressionEvaluation` for numbers. The loss is that of the training, without alpha, the mean over the outputs.
        Errors: scikit-learn's for X and y; ValueError for a class that the training had not.
        """
        model = self.to_module()
        X, y, sample_weight = self._rows(X, y, sample_weight)
        return evaluate(model, self._dataset(X, y, sample_weight), n_threads=self.n_threads)

    def _dataset(self, X: Any, y: Any, sample_weight: Array | None) -> Dataset:
        """Rows as the model of `to_module` has them."""
        raise NotImplementedError

    def __getstate__(self) -> dict[str, Any]:
        """Arrays and numbers in place of the net and the rule."""
        state = dict(super().__getstate__())
        net, solver = state.pop("_net", None), state.pop("_optimizer", None)
        if net is not None:
            state["coefs_"], state["intercepts_"] = (
                [c.copy() for c in self.coefs_],
                [i.copy() for i in self.intercepts_],
            )
            state["_others"] = others(net)
        if solver is not None:
            state["_solver"] = solver.state_dict()
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Build the net again."""
        state = dict(state)
        kept, solver = state.pop("_others", None), state.pop("_solver", None)
        super().__setstate__(state)
        if kept is not None:
            self._net = build(**self._made)
            put(self._net, self.coefs_, self.intercepts_)
            put_others(self._net, kept)
            self._net.eval()
            self.coefs_, self.intercepts_ = views(self._net)
        if solver is not None:
            self._optimizer = Solver(self._net, solver["options"])
            self._optimizer.load_state_dict(solver)
