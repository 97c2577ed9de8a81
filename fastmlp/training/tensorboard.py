"""TensorBoard: a run's numbers in event files, written by the library tensorboardX."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Any

from ..check import NotInstalledError
from ..files import probe
from ..nn import Module
from ..words import line
from .history import History
from .watch import Histogram, Watch

SCALARS = {
    "loss/train": "train_loss",
    "loss/validation": "validation_loss",
    "accuracy/train": "train_score",  # under the name of the score, where it is another
    "accuracy/validation": "validation_score",
    "speed/samples_per_second": "samples_per_second",
}
FLUSH_SECONDS = 5


class TensorBoard:
    """A callback for `fit`: writes an event file that TensorBoard shows, `tensorboard --logdir folder`.

    folder  where the event files go; made where it is not there. A run adds a file and changes none
    watch   a `Watch` that stands before this callback in `fit`'s list, or None. Of each layer it gives a histogram of
            the activations, one of log10 |gradient|, and the update-to-weight ratio

    Scalars, one an epoch: loss and score of training and validation, such as accuracy, and samples per second. What is
    not finite is left out. Errors: ImportError in one sentence where tensorboardX is not installed; OSError where
    folder cannot be made or written to; ValueError before the first epoch for a watch that does not stand before.
    """

    def __init__(self, folder: str | os.PathLike[str], watch: Watch | None = None) -> None:
        try:
            from tensorboardX import SummaryWriter
        except ImportError:
            raise NotInstalledError(
                "TensorBoard: tensorboardX is not installed; it must be: pip install 'fastmlp[tensorboard]'"
            ) from None
        if watch is not None and not isinstance(watch, Watch):
            raise TypeError(f"TensorBoard: watch is {type(watch).__name__}; it must be a Watch, or None")
        probe("TensorBoard: folder", folder)
        self.folder, self.watch = os.fspath(folder), watch
        self._open: Any = SummaryWriter
        self._writer: Any = None
        self._next = 1  # what is there of this epoch and later ones is of a training that was ended, and is not shown

    def start(self, model: Module, optimizer: Any = None) -> None:
        """Refuse a watch that has not just been started; called by `fit` before the first epoch."""
        if self.watch is not None and len(self.watch.epochs) != 1:
            raise ValueError("TensorBoard: the watch was not started; it must stand before in fit's callbacks")

    def __call__(self, model: Module, history: History) -> None:
        """Write the epoch that has ended; on the disk after FLUSH_SECONDS, or when the training ends."""
        if self._writer is None:  # at the first epoch: a refused training leaves no file
            purge = self._next if self._next > 1 else None
            self._writer = self._open(self.folder, flush_secs=FLUSH_SECONDS, purge_step=purge)
        epoch = history[-1]
        for tag, column in SCALARS.items():
            if math.isfinite(value := getattr(epoch, column)):
                self._writer.add_scalar(tag.replace("accuracy", line(history.score_name)), value, epoch.epoch)
        if self.watch is not None:
            self._write_watch(self.watch, epoch.epoch)
        self._next = epoch.epoch + 1

    def _write_watch(self, watch: Watch, epoch: int) -> None:
        if not watch.epochs or watch.epochs[-1] != epoch:
            raise ValueError("TensorBoard: the watch has not seen this epoch; it must stand before in fit's callbacks")
        for layer in watch.layers:
            if math.isfinite(ratio := layer.ratios[-1]):
                self._writer.add_scalar(f"update_to_weight_ratio/{layer.name}", ratio, epoch)
            self._write_histogram(f"activations/{layer.name}", layer.activations, epoch)
            self._write_histogram(f"log10_gradients/{layer.name}", layer.gradients, epoch)

    def _write_histogram(self, tag: str, histogram: Histogram, epoch: int) -> None:
        """A histogram's last row. The sums that TensorBoard wants beside it are those of the bins' middles."""
        edges, counts = histogram.edges, histogram.counts[-1]
        if not counts.any():
            return
        middles, full = (edges[1:] + edges[:-1]) / 2, counts.nonzero()[0]
        self._writer.add_histogram_raw(
            tag,
            min=float(edges[full[0]]),
            max=float(edges[full[-1] + 1]),
            num=int(counts.sum()),
            sum=float(counts @ middles),
            sum_squares=float(counts @ middles**2),
            bucket_limits=edges[1:].tolist(),
            bucket_counts=counts.tolist(),
            global_step=epoch,
        )

    def state_dict(self) -> dict[str, Any]:
        """The epoch that comes next."""
        return {"next": self._next}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        self._next = int(state["next"])

    def finish(self, model: Module, history: History) -> None:
        """Close the file; called by `fit` when the training ends."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
