"""What `MLPClassifier` and `MLPRegressor` share: parameters, `fit`, `partial_fit`, and asking the net."""

from __future__ import annotations

import copy
import math
import os
import warnings
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, Options, StrOptions
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from .. import nn
from ..data import Dataset
from ..graph import Array
from ..optim import Average, Schedule
from ..optim.averaging import AVERAGES
from ..running.predict import Predictor
from ..training.assembly import assembled
from . import lbfgs
from .epochs import Epochs, diverged
from .net import ACTIVATIONS, build, draw, others, put, put_others, views
from .place import Orders, Place
from .solver import DecayingRates, Solver

STOCHASTIC = ("sgd", "adam")
FLOATS = (np.float64, np.float32)
FAR = (
    "Solver produced non-finite parameter weights. The input data may contain large values and need to be preprocessed."
)


class BaseMLP(BaseEstimator):
    """Base of the two. A subclass makes targets of y, names the loss, and reads the outputs."""

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions(set(ACTIVATIONS))],
        "solver": [StrOptions({"lbfgs", "sgd", "adam"})],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "learning_rate": [StrOptions({"constant", "invscaling", "adaptive"})],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "power_t": [Interval(Real, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "shuffle": ["boolean"],
        "random_state": ["random_state"],
        "tol": [Interval(Real, 0, None, closed="left")],
        "verbose": ["verbose"],
        "warm_start": ["boolean"],
        "momentum": [Interval(Real, 0, 1, closed="both")],
        "nesterovs_momentum": ["boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
        "beta_1": [Interval(Real, 0, 1, closed="left")],
        "beta_2": [Interval(Real, 0, 1, closed="left")],
        "epsilon": [Interval(Real, 0, None, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left"), Options(Real, {np.inf})],
        "max_fun": [Interval(Integral, 1, None, closed="left")],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "norm": [StrOptions(set(nn.NORMS)), None],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "schedule": [Schedule, None],
        "clip_norm": [Interval(Real, 0, None, closed="neither"), None],
        "average": [StrOptions(set(AVERAGES)), Average, None],
        "monitor": [StrOptions({"score", "loss"})],
        "callbacks": [list, tuple, callable, None],
        "checkpoint": [str, os.PathLike, None],
        "n_threads": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "time_limit": [Interval(Real, 0, None, closed="neither"), None],
    }

    def _take(self, given: dict[str, Any]) -> None:
        """Keep what the constructor was given, as it is."""
        for name, value in given.items():
            if name not in ("self", "__class__"):
                setattr(self, name, value)

    # --- what a subclass says ---

    def _targets(self, y: Any, first: bool, incremental: bool) -> tuple[Array, str]:
        """(targets, their kind) of y."""
        raise NotImplementedError

    def _loss(self) -> nn.Loss:
        raise NotImplementedError

    def _weights(self, y: Array, sample_weight: Array | None) -> Array | None:
        """What each row counts."""
        return sample_weight

    def _scored(self, z: Array, y: Array, sample_weight: Array | None) -> float:
        """The score of outputs z for targets y."""
        raise NotImplementedError

    def _offset(self, y: Array, weights: Array | None) -> float:
        """What scikit-learn's loss has beside the library's, which no weight of the net changes."""
        return 0.0

    def _check_held(self, held: Any) -> None:
        """Refuse what cannot be done with these held-out rows, (X, targets, weights), or with None."""

    def _use_held(self, held: Any) -> None:
        """What else is learned on them, after the training."""

    def _stratum(self, y: Array) -> Array | None:
        """What the held-out rows are to have the same shares of."""
        return None

    # --- fitting ---

    def _fit(
        self, X: Any, y: Any, sample_weight: Any, incremental: bool, validation: tuple[Any, Any, Any] | None = None
    ) -> Any:
        hidden = self.hidden_layer_sizes if hasattr(self.hidden_layer_sizes, "__iter__") else [self.hidden_layer_sizes]
        hidden = list(hidden)
        if np.any(np.array(hidden) <= 0):
            raise ValueError(f"hidden_layer_sizes must be > 0, got {hidden}.")
        first = not hasattr(self, "coefs_") or (not self.warm_start and not incremental)
        if incremental and self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True")
        self._check_together()
        X, y = validate_data(
            self, X, self._as_given(y), accept_sparse=["csr", "csc"], multi_output=True, dtype=FLOATS, reset=first,
            y_numeric=self._numeric,
        )  # fmt: skip
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
            if not sample_weight.any():  # not every release of scikit-learn looks
                raise ValueError("Sample weights must contain at least one non-zero number.")
        targets, kind = self._targets(y, first, incremental)
        weights = self._weights(targets, sample_weight)
        self._random_state = check_random_state(self.random_state)
        units = [X.shape[1], *map(int, hidden), self.n_outputs_]
        if first:
            self._begin(units, X.dtype)
        self._built(units)
        if self.solver == "lbfgs":
            self._minimize(X, targets, kind, weights)
        else:
            self._train(X, targets, kind, weights, incremental, validation)
        if diverged(self._net):
            raise ValueError(FAR)
        return self

    def _check_together(self) -> None:
        """Refuse parameters that say two things at once."""
        needs_batches = "dropout", "average", "schedule", "callbacks", "checkpoint", "time_limit"
        given = [name for name in needs_batches if getattr(self, name)]
        if self.solver == "lbfgs" and given:
            raise ValueError(f"solver='lbfgs' makes no steps of batches; {' and '.join(given)} must be left out")
        if self.schedule is not None and self.learning_rate != "constant":
            raise ValueError(
                f"schedule is given and learning_rate is {self.learning_rate!r}; one of them must be left out"
            )

    def _begin(self, units: list[int], dtype: Any) -> None:
        """A net with its first weights, and no past."""
        self.n_iter_, self.t_, self.n_layers_ = 0, 0, len(units)
        self._made = {
            "units": units, "activation": self.activation, "dropout": self.dropout, "norm": self.norm, "dtype": dtype
        }  # fmt: skip
        self._net = build(**self._made)
        put(self._net, *draw(units, self.activation, self._random_state, dtype))
        self.coefs_, self.intercepts_ = views(self._net)
        self._optimizer = None
        if self.solver in STOCHASTIC:
            self.loss_curve_: list[float] = []
            self._no_improvement_count = 0
            self.best_loss_ = None if self.early_stopping else math.inf
            self.validation_scores_: Any = None
            self.best_validation_score_: Any = None

    def _built(self, units: list[int]) -> None:
        """Let the net be what coefs_ and intercepts_ say, which may have been set by hand."""
        if self._made["units"] != units:
            raise ValueError(f"the net has the widths {self._made['units']}; these parameters and rows say {units}")
        put(self._net, self.coefs_, self.intercepts_)
        self.coefs_, self.intercepts_ = views(self._net)

    def _minimize(self, X: Any, targets: Array, kind: str, weights: Array | None) -> None:
        loss = self._loss()
        data = Dataset(X, targets, self._classes(kind), kind=kind, sample_weight=weights)
        options = {"maxfun": self.max_fun, "maxiter": self.max_iter, "gtol": self.tol}
        result, mean, squares = lbfgs.minimize(self._net, loss, data, float(self.alpha), options)
        self._net.keep_loss(loss)
        self.n_iter_ = min(int(result.nit), self.max_iter)
        self.loss_ = mean * self._times() + self._offset(targets, weights) + 0.5 * float(self.alpha) * squares
        if self.verbose:
            print(f"Iteration {self.n_iter_}, loss = {self.loss_:.8f}")
        if result.status != 0:
            warnings.warn(
                f"lbfgs failed to converge after {self.n_iter_} iteration(s): {result.message}. Increase max_iter or "
                "max_fun, or scale the data.",
                ConvergenceWarning,
                stacklevel=4,
            )

    def _times(self) -> float:
        """What scikit-learn's loss counts of a row's sum over the outputs."""
        return 1.0

    def _classes(self, kind: str) -> int | None:
        return self.n_outputs_ if kind == "classes" else None

    def _train(
        self, X: Any, targets: Array, kind: str, weights: Array | None, incremental: bool,
        validation: tuple[Any, Any, Any] | None,
    ) -> None:  # fmt: skip
        place = Place(self, None if incremental else self.checkpoint)
        if self._optimizer is None or self._optimizer.kind != self.solver:
            self._optimizer = Solver(self._net, self.get_params(deep=False))
        elif not incremental:
            self._optimizer.renew(self.get_params(deep=False))
        held = None
        if validation is not None:
            held = self._given(*validation)
        elif self.early_stopping:
            kept, out = self._split(targets)
            held = X[out], targets[out], None if weights is None else weights[out]
            X, targets, weights = X[kept], targets[kept], None if weights is None else weights[kept]
        self._check_held(held)
        if held is not None and self.validation_scores_ is None:
            self.validation_scores_, self.best_validation_score_ = [], -math.inf
        n, loss, classes = X.shape[0], self._loss(), self._classes(kind)
        if self.batch_size == "auto":
            batch_size = min(200, n)
        else:
            batch_size = int(min(self.batch_size, n))
            if batch_size < self.batch_size:
                warnings.warn(
                    "Got `batch_size` less than 1 or larger than sample size. It is going to be clipped", stacklevel=4
                )
        data = Dataset(X, targets, classes, kind=kind, sample_weight=weights)
        outside = None if held is None else Dataset(held[0], held[1], classes, kind=kind, sample_weight=held[2])
        place.load(data, outside)
        seed = int(self._random_state.randint(2**31 - 1)) if self.dropout else 0
        epochs = 1 if incremental else self.max_iter
        schedule = copy.deepcopy(self.schedule)  # one that watches has a state
        look = Epochs(
            self, self._optimizer, self._offset(targets, weights), self._times(),
            None if held is None else self._score_of(held), incremental,
        )  # fmt: skip
        calls = [self.callbacks] if callable(self.callbacks) else list(self.callbacks or ())
        watched = outside if self.monitor == "loss" else None
        loop = assembled(
            self._net, data, watched, self._optimizer.rule, epochs, batch_size, seed, self.n_threads, False,
            [look, *calls], loss, schedule, None, place.done, None, self.clip_norm, None, self.average,
            place.checkpoints, None, self.time_limit, place.saved,
        )  # fmt: skip
        rates = DecayingRates(
            loop.rates, self._optimizer, float(self.alpha), float(self.weight_decay), n, loop.sizes
        )  # fmt: skip
        rates.weights, look.loop = weights, loop
        loop.rates, loop.order = rates, Orders(self, rates)  # type: ignore[assignment]
        place.note(loop)
        self.n_iter_ = 0
        try:
            history = loop.run(place.saved)
        except KeyboardInterrupt:
            warnings.warn("Training interrupted by user.", stacklevel=4)
            return
        finally:
            self._net.eval()
        if loop.ended == "diverged":
            said = f"in epoch {len(history)} the loss is no longer finite"
            if not look.kept:
                raise ValueError(f"{FAR} {said.capitalize()}.")
            warnings.warn(f"{said}; the weights are those of the best epoch", ConvergenceWarning, stacklevel=4)
        self._use_held(held)
        if self.n_iter_ == self.max_iter and not look.converged and not incremental:
            warnings.warn(
                f"Stochastic Optimizer: Maximum iterations ({self.max_iter}) reached and the optimization hasn't "
                "converged yet.",
                ConvergenceWarning,
                stacklevel=4,
            )

    def _split(self, targets: Array) -> tuple[Array, Array]:
        """(rows to train on, rows held out): of each class as many, where each has enough."""
        n, stratum = len(targets), self._stratum(targets)
        options: dict[str, Any] = {"random_state": self._random_state, "test_size": self.validation_fraction}
        if stratum is not None:
            counts = np.unique(stratum, return_counts=True)[1]
            out = math.ceil(self.validation_fraction * n)
            if counts.min() < 2 or min(out, n - out) < len(counts):
                warnings.warn(
                    f"early_stopping: the rarest of {len(counts)} classes has {counts.min()} of {n} rows, and "
                    f"what is held out has {out}, too few for a share of each; its rows are drawn without regard to "
                    "the classes",
                    stacklevel=5,
                )
                stratum = None
        kept, held = train_test_split(np.arange(n), stratify=stratum, **options)
        if len(held) < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' or the size of your dataset."
            )
        return kept, held

    def _given(self, X: Any, y: Any, sample_weight: Any) -> tuple[Any, Array, Array | None]:
        """Rows that were given to be held out."""
        if X is None or y is None:
            raise ValueError("X_val and y_val must be given together")
        X, y = validate_data(
            self, X, self._as_given(y), accept_sparse=["csr", "csc"], multi_output=True, dtype=FLOATS, reset=False,
            y_numeric=self._numeric,
        )  # fmt: skip
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        return X, self._targets(y, False, True)[0], sample_weight

    def _score_of(self, held: tuple[Any, Array, Array | None]) -> Any:
        """What gives the score of held-out rows after an epoch; with monitor="loss" minus their loss."""
        X, y, weights = held

        def score(model: nn.Module, loss: float) -> float:
            if self.monitor == "loss":
                return -float(loss)
            z = Predictor(model, self.n_threads)(X)
            return self._scored(z, y, weights) if np.isfinite(z).all() else math.nan

        return score

    # --- asking ---

    def _outputs(self, X: Any) -> Array:
        """(N, outputs): what the net makes of X, before the last activation."""
        check_is_fitted(self)
        X = validate_data(self, X, accept_sparse=["csr", "csc"], dtype=FLOATS, reset=False)
        put(self._net, self.coefs_, self.intercepts_)
        z: Array = Predictor(self._net, self.n_threads)(X)
        return z

    @property
    def module_(self) -> nn.Sequential:
        """A copy of the net as a model, for `fastmlp.export` and `save`; of two classes its outputs are 0 and z."""
        check_is_fitted(self)
        put(self._net, self.coefs_, self.intercepts_)
        return self._explained(copy.deepcopy(self._net).eval())

    def _explained(self, net: nn.Sequential) -> nn.Sequential:
        """The net, which knows now what its outputs mean."""
        net.keep_loss(self._loss())
        return net

    _numeric: ClassVar[bool] = False
    _optimizer: Solver | None = None

    def _as_given(self, y: Any) -> Any:
        return y

    def _check_solver(self) -> bool:
        if self.solver not in STOCHASTIC:
            raise AttributeError(
                f"partial_fit is only available for stochastic optimizers. {self.solver} is not stochastic."
            )
        return True

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

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags
