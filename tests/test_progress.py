"""The live view: the bar on a terminal, and plain lines where there is none. The table is tested with `fit`."""

import io
import math
import sys
import types

import pytest

from fastmlp import Epoch
from fastmlp.training import notebook
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


class Publisher:
    """A kernel's display: what each output of a cell was, one text after the other."""

    def __init__(self) -> None:
        self.outputs: list[list[str]] = []

    def display(self, what, raw):
        assert raw
        self.outputs.append([what["text/plain"]])

    def update(self, what, raw):
        assert raw
        self.outputs[-1].append(what["text/plain"])


@pytest.fixture
def cell(monkeypatch):
    """This process is a kernel."""
    publisher = Publisher()
    shell = types.SimpleNamespace(kernel=object())
    module = types.SimpleNamespace(get_ipython=lambda: shell)
    monkeypatch.setitem(sys.modules, "IPython", module)
    monkeypatch.setitem(sys.modules, "IPython.display", types.SimpleNamespace(DisplayHandle=lambda: publisher))
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    publisher.shell = shell
    return publisher


def half(clock) -> None:
    progress = Progress(True, 2, 2000)
    progress.batch(200, 0.7, 0.5)
    progress.bar.refresh()  # too early to be shown
    clock[0] += 1
    for n in range(8):
        progress.batch(100, 0.5, 0.8 + n / 100)
        progress.bar.refresh()
        clock[0] += 0.11 if n != 3 else 0.0  # a fifth text comes too soon after the fourth
    progress.row(Epoch(1, 0.4, 0.9, math.nan, math.nan, 1.0, 2000.0))
    progress.close()


def test_in_a_notebook_the_bar_is_one_output_that_is_replaced_and_then_empty(monkeypatch, capsys, cell):
    clock = [0.0]
    monkeypatch.setattr(notebook, "monotonic", lambda: clock[0])
    half(clock)
    (texts,) = cell.outputs
    assert texts[0].startswith("epoch 1/2   15% |")
    assert texts[0].rstrip().endswith("left")
    assert [text.partition("accuracy ")[2][:6] for text in texts[:-2]] == [
        f"{80 + n}.00%" for n in range(8) if n != 4
    ]  # fmt: skip
    assert texts[-2].startswith("epoch 2/2    0% |")
    assert texts[-1] == ""
    assert all(len(text) <= 100 for text in texts)
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert sys.stderr.getvalue() == ""


def test_a_short_training_in_a_notebook_and_ipython_without_one_show_rows_alone(monkeypatch, capsys, cell):
    monkeypatch.setattr(notebook, "monotonic", lambda: 0.0)
    half([0.0])
    monkeypatch.undo()
    assert cell.outputs == []
    cell.shell.kernel = None
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: cell.shell))
    assert not notebook.in_notebook()
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: None))
    assert not notebook.in_notebook()


def test_a_bar_that_a_line_has_drawn_is_taken_away(monkeypatch):
    """Before the bar itself was due: the last thing on the terminal is blanks."""
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    progress = Progress(True, 2, 2000)
    progress.say("a line")
    progress.close()
    assert "epoch 1/2" in stream.getvalue()
    assert stream.getvalue().split("\r")[-2].strip() == ""
