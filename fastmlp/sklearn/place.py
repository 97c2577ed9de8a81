"""The folder `checkpoint` of an estimator: a `fit` that was ended goes on from there, to the same bits."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from .. import check
from ..data import Dataset
from ..graph import Array
from ..training.checkpoint import Checkpoints, files_of, maker, read_newest
from ..training.digest import difference, digest_of
from ..training.loop import Loop, name_of
from .net import views

MAY_CHANGE = ("checkpoint", "n_threads", "verbose", "time_limit", "warm_start", "callbacks")


class Place:
    """What `fit` finds in the folder, and leaves there; without a folder all of it does nothing.

    saved   the state of a training there that has not come to its end, which goes on; None for a new one
    Error: ValueError for one of other parameters, data or release: it names the first difference.
    """

    def __init__(self, estimator: Any, folder: Any) -> None:
        self.est, self.saved, self.checkpoints = estimator, None, None  # type: Any, Any, Checkpoints | None
        self.said: dict[str, Any] = {}
        if folder is None:
            return
        self.folder, own = Path(folder), []  # type: Path, list[Path]
        if self.folder.is_dir() and files_of(self.folder):
            path, saved = read_newest(self.folder, "fit", check.warn)
            if saved["ended"] in ("", "time limit"):
                self.saved, own = saved, [other for other in files_of(self.folder) if other <= path][1::-1]
        self.checkpoints = Checkpoints(self.folder, replace=True)
        self.checkpoints.own = own
        self.said = {"parameters": self._parameters(), "random": estimator._random_state.get_state(legacy=False)}
        if self.saved is not None:
            then = self.saved.get("estimator", {"parameters": {}})
            for name, value in self.said["parameters"].items():
                if then["parameters"].get(name) != value:
                    self._refuse(f"has {name} {value}, it had {then['parameters'].get(name, 'none')}")
            self.said = then
            estimator._random_state = np.random.RandomState()
            estimator._random_state.set_state(then["random"])

    def _refuse(self, found: str) -> None:
        raise ValueError(
            f"fit: checkpoint is {self.folder}, where a training has not come to its end, and this one {found}; it "
            "must be the same to go on, or have another folder"
        )

    def _parameters(self) -> dict[str, str]:
        """What the bits of a training hang on, in words."""
        est = self.est
        words = {"fastmlp": maker()["fastmlp"], "class": type(est).__name__}
        for name, value in est.get_params(deep=False).items():
            if name not in MAY_CHANGE:
                text = str(np.asarray(value).tolist()) if name == "hidden_layer_sizes" else repr(value)
                words[name] = re.sub(r" at 0x[0-9A-Fa-f]+", "", text)
        calls = [est.callbacks] if callable(est.callbacks) else list(est.callbacks or ())
        return words | {"callbacks": ", ".join(map(name_of, calls)) or "none"}

    @property
    def done(self) -> int | None:
        """How many epochs there were before the `fit` that goes on."""
        return None if self.saved is None else int(self.saved["done"])

    def load(self, data: Dataset, held: Dataset | None) -> None:
        """Let net and rule be what they were. held: the rows that were given to be held out."""
        if self.checkpoints is None:
            return
        digest = None if held is None else digest_of(held)
        if self.saved is None:
            self.said["held"] = digest
            return
        if found := difference(digest_of(data), self.saved["data"]):
            self._refuse(found)
        if digest != self.said["held"]:
            self._refuse("has other held-out rows")
        est = self.est
        est._net.load_state_dict(self.saved["weights"])
        est.coefs_, est.intercepts_ = views(est._net)
        est._optimizer.rule.load_state_dict(self.saved["optimizer"])

    def note(self, loop: Loop) -> None:
        """Have the parameters in each checkpoint of this training."""
        if self.checkpoints is not None:
            loop.arguments["estimator"] = self.said


class Orders:
    """The rows of each epoch: those of the last one shuffled by random_state, as scikit-learn does it."""

    def __init__(self, estimator: Any, rates: Any) -> None:
        self.est, self.rates, self.epoch = estimator, rates, 0
        self.before: dict[str, Any] = {}

    def now(self) -> dict[str, Any]:
        """What the next one hangs on."""
        return {"random": self.est._random_state.get_state(legacy=False), "order": self.rates.order}

    def __call__(self, epoch: int) -> Array:
        """Draw that of an epoch."""
        self.epoch, self.before = epoch, self.now()
        if self.est.shuffle:
            drawn = np.arange(len(self.rates.order))
            self.est._random_state.shuffle(drawn)
            self.rates.order = self.rates.order[drawn]
        order: Array = self.rates.order
        return order

    def state_dict(self, epoch: int) -> dict[str, Any]:
        """What that of the open epoch is drawn by, once more where it is drawn."""
        return self.before if self.epoch == epoch else self.now()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Draw what comes as it would have come."""
        self.est._random_state.set_state(state["random"])
        self.rates.order = state["order"]
