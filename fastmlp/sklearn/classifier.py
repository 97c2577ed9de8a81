"""`MLPClassifier`: scikit-learn's classifier on the engine."""

from __future__ import annotations

import os
from numbers import Real
from typing import Any, ClassVar

import numpy as np
from sklearn.base import ClassifierMixin, _fit_context
from sklearn.utils import column_or_1d, compute_class_weight
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import _check_partial_fit_first_call, type_of_target, unique_labels

from .. import nn
from ..data import Dataset
from ..data.targets import in_words
from ..graph import Array
from ..running.predict import Predictor
from ..training.calibration import best_temperature
from .base import BaseMLP
from .labels import as_array, checked, numbered
from .losses import Labels, SmoothedLabels
from .net import with_two_outputs


class MLPClassifier(ClassifierMixin, BaseMLP):
    """A multi-layer perceptron for classes, with the parameters and attributes of sklearn.neural_network.MLPClassifier.

    y: (N,) classes of any kind; (N, K) labels 0 and 1, any number of them in a row
    Beyond scikit-learn's, by name alone:

    activation   all names of `nn.ACTIVATIONS` too
    dropout      p of the dropout after each hidden layer        norm  "batch", "layer" or None
    weight_decay λ: λ w is added to the gradient of each weight, as alpha / rows of the batch is; neither to intercepts
    schedule     of the learning rate, one of `optim`, over max_iter epochs, whose end is then no ConvergenceWarning;
                 clip_norm, average, callbacks, n_threads as `fastmlp.fit` has them
    monitor      what early_stopping watches on the held-out rows: "score", or "loss"
    checkpoint   a folder for `fit`, as `fastmlp.fit` has it: a call that was ended, by the time limit too, goes on
                 where it was when it is made again with the same rows and parameters, to the same bits; where it came
                 to its end, a new one begins
    time_limit   seconds after which fit ends, within an epoch too, which then counts as one
    class_weight "balanced", the same sum of sample_weight for each class, or a dict of weights by class; multiplies
                 sample_weight. Not for labels
    label_smoothing  ε of the loss: (1 - ε) of a row counts for its class, ε / C for each
    calibrate    True: probabilities are those of outputs / temperature_, which is found on the held-out rows, those of
                 early_stopping or X_val; see `fastmlp.calibrate`
    Errors: scikit-learn's, of the same kinds; ValueError where the loss is no longer finite.
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **BaseMLP._parameter_constraints,
        "class_weight": [dict, StrOptions({"balanced"}), None],
        "label_smoothing": [Interval(Real, 0, 1, closed="left")],
        "calibrate": ["boolean"],
    }

    def __init__(
        self,
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
        class_weight: Any = None,
        label_smoothing: float = 0.0,
        calibrate: bool = False,
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
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> Any:
        """One epoch. classes: all that will ever come, in the first call; labels need none."""
        if _check_partial_fit_first_call(self, as_array(classes)):
            self._several = type_of_target(y).startswith("multilabel")
            if self._several:
                self.classes_ = np.arange(np.shape(y)[1])
        return self._fit(X, y, sample_weight, True)

    def predict(self, X: Any) -> Array:
        """(N,) classes, or (N, K) labels, the most likely of each row."""
        return self._said(self._outputs(X))

    def _said(self, z: Array) -> Array:
        if self._several:
            return (z > 0).astype(np.int64)
        largest = z.argmax(axis=1) if z.shape[1] > 1 else np.minimum(z[:, 0] > 0, len(self.classes_) - 1).astype(int)
        said: Array = self.classes_[largest]
        return said

    def predict_proba(self, X: Any) -> Array:
        """(N, C) the probability of each class, in the order of classes_; of labels (N, K), of each to be 1."""
        return np.exp(self._logarithms(self._outputs(X)))

    def predict_log_proba(self, X: Any) -> Array:
        """Its logarithm; finite also where the probability itself is too small for a float."""
        logarithms = self._logarithms(self._outputs(X))
        p = np.exp(logarithms)  # what is 1 to a float has 0, so that both name the same class
        return np.where(p < np.finfo(p.dtype).tiny, logarithms, np.log(np.maximum(p, np.finfo(p.dtype).tiny)))

    def _logarithms(self, z: Array) -> Array:
        """log p of the outputs z."""
        z = z / z.dtype.type(self.temperature_)
        if self._several:
            return -np.logaddexp(0, -z)
        if z.shape[1] == 1:
            return -np.logaddexp(0, np.concatenate([z, -z], axis=1))
        z = z - z.max(axis=1, keepdims=True)
        return z - np.log(np.exp(z).sum(axis=1, keepdims=True))

    def _module(self) -> nn.Sequential:
        model = super()._module() if self._several or self.n_outputs_ > 1 else with_two_outputs(self._net)
        model.keep_loss(nn.BCEWithLogitsLoss() if self._several else None)  # one that a file can name
        model.temperature_ = self.temperature_
        model.classes_ = None if self._several else self._values(self.classes_)
        return model

    def _dataset(self, X: Any, y: Any, sample_weight: Array | None) -> Dataset:
        if self._several:
            return Dataset(X, y, kind="labels", sample_weight=sample_weight)
        y = column_or_1d(y, warn=True)
        if strange := sorted(set(y.tolist()) - set(self.classes_.tolist())):
            raise ValueError(f"evaluation: y has the class {strange[0]!r}; it must be one of {in_words(self.classes_)}")
        return Dataset(X, self._values(y), self._values(self.classes_), kind="classes", sample_weight=sample_weight)

    def _values(self, y: Array) -> Array:
        """Classes of the types that the library has: whole floats are integers, words in an array of objects text."""
        return y.astype({"f": np.int64, "O": np.str_}.get(y.dtype.kind, y.dtype))

    def _as_given(self, y: Any) -> Any:
        return as_array(y)

    def _targets(self, y: Any, incremental: bool, held: bool = False) -> tuple[Array, str]:
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        if not hasattr(self, "classes_") or (not self.warm_start and not incremental):
            self._several = checked(y, type(self).__name__).startswith("multilabel")
            self.classes_ = np.arange(y.shape[1]) if self._several else unique_labels(y)
        else:
            self._check_classes(y, self.warm_start and not held)
        if self._several:
            self.n_outputs_, self.out_activation_ = len(self.classes_), "logistic"
            return self._smoothed(y.astype(np.float64)), self._kind
        found = numbered(y, self.classes_)
        if len(self.classes_) > 2:
            self.n_outputs_, self.out_activation_ = len(self.classes_), "softmax"
            return found, "classes"
        self.n_outputs_, self.out_activation_ = 1, "logistic"
        return self._smoothed(found[:, None].astype(np.float64)), self._kind

    def _check_classes(self, y: Array, all_of_them: bool) -> None:
        """Refuse other classes than those that are known, or fewer."""
        classes = np.arange(y.shape[1]) if y.ndim == 2 else unique_labels(y)
        if all_of_them and set(classes.tolist()) != set(self.classes_.tolist()):
            raise ValueError(
                "warm_start can only be used where `y` has the same classes as in the previous call to fit. Previously "
                f"got {self.classes_}, `y` has {classes}"
            )
        if set(classes.tolist()) - set(self.classes_.tolist()):
            raise ValueError(
                f"`y` has classes not in `self.classes_`. `self.classes_` has {self.classes_}. 'y' has {classes}."
            )

    @property
    def _kind(self) -> str:
        return "numbers" if self.label_smoothing else "labels"

    def _smoothed(self, y: Array) -> Array:
        """(1 - ε) y + ε / 2: of one label there are two classes."""
        return y + self.label_smoothing * (0.5 - y)

    def _loss(self) -> nn.Loss:
        if self.out_activation_ == "softmax":
            return nn.CrossEntropyLoss(label_smoothing=float(self.label_smoothing))
        return SmoothedLabels() if self.label_smoothing else Labels()

    def _weights(self, y: Array, sample_weight: Array | None) -> Array | None:
        if self.class_weight is None:
            return sample_weight
        if self._several:
            raise ValueError("class_weight is for classes; y has several labels a row")
        rows = y.reshape(-1).astype(int)
        given = self.class_weight
        if isinstance(given, str):
            mass = np.bincount(rows, sample_weight, len(self.classes_))  # of a row, what it counts
            there = mass > 0
            table = np.divide(mass.sum(), there.sum() * mass, out=np.ones(len(mass)), where=there)
        else:
            table = compute_class_weight(given, classes=self.classes_, y=self.classes_[rows])
        counts: Array = table[rows]
        return counts if sample_weight is None else counts * sample_weight

    temperature_: float = 1.0

    def _check_together(self) -> None:
        super()._check_together()
        if self.calibrate and self.solver == "lbfgs":
            raise ValueError("calibrate=True needs held-out rows, and solver='lbfgs' holds none out")

    def _check_held(self, held: Any) -> None:
        self.__dict__.pop("temperature_", None)
        if self.calibrate and held is None:
            raise ValueError(
                "calibrate=True needs held-out rows; give X_val and y_val to fit, or set early_stopping=True"
            )

    def _use_held(self, held: Any) -> None:
        if self.calibrate:
            X, y, weights = held
            z = Predictor(self._net, self.n_threads)(X)
            self.temperature_ = best_temperature(z, y if self.out_activation_ == "softmax" else y > 0.5, weights)
        self._net.temperature_ = self.temperature_

    def _stratum(self, y: Array) -> Array | None:
        return None if self._several else y.reshape(-1)

    def _scored(self, z: Array, y: Array, sample_weight: Array | None) -> float:
        right = (z.argmax(axis=1) == y) if self.out_activation_ == "softmax" else ((z > 0) == (y > 0.5)).all(axis=1)
        return float(np.average(right, weights=sample_weight))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
