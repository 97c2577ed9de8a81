"""The live view: the bar on a terminal, and plain lines where there is none. The table is tested with `fit`."""

import io
import math
import sys

import pytest

from fastmlp import Epoch
from fastmlp.training.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(monkeypatch, stream: io.StringIO) -> str:
    """What half an epoch, its end and the start of the next write to the standard error."""
    monkeypatch.setattr(sys, "stderr", stream)
    progress = Progress(True, 2, 2000)
    if not progress.bar.disable:
        progress.bar.delay, progress.bar.ncols, progress.bar.dynamic_ncols = 0, 100, None
        progress.bar.start_t -= 1
    progress.batch(1000, 0.5, 0.8125)
    progress.bar.refresh()
    progress.row(Epoch(1, 0.4, 0.9, math.nan, math.nan, 1.0, 2000.0))
    progress.bar.refresh()
    progress.close()
    return stream.getvalue()


def test_the_bar_tells_epoch_share_speed_loss_and_accuracy(monkeypatch, capsys):
    text = shown(monkeypatch, Terminal())
    half = next(part for part in text.split("\r") if "50%" in part)
    assert half.startswith("epoch 1/2   50% |")
    assert half.rstrip().endswith("left")
    for word in ("k samples/s, loss 0.5000, accuracy 81.25%,",):
        assert word in half
    assert "epoch 2/2    0% |" in text  # the next epoch begins anew, without the numbers of the last
    assert capsys.readouterr().out.splitlines()[-1].split() == ["1", "0.4000", "90.00%", "2,000"]


def test_without_a_terminal_there_are_lines_alone(monkeypatch, capsys):
    assert shown(monkeypatch, io.StringIO()) == ""
    assert len(capsys.readouterr().out.splitlines()) == 2


@pytest.mark.parametrize("progress", ["bar", None, 2])
def test_another_progress_is_refused(progress):
    with pytest.raises(ValueError, match="progress"):
        Progress(progress, 1, 1)
