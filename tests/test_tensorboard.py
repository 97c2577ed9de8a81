"""`TensorBoard`: what stands in the event file, read back with the library's own messages."""

import math
import struct
import sys
import time
import types
from pathlib import Path

import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event

import fastmlp as fm
from fastmlp.training import tensorboard
from fastmlp.training.tensorboard import SCALARS


def clusters(rows: int = 120) -> fm.Dataset:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, rows)
    features = rng.normal(size=(rows, 8)) + 3 * np.eye(8)[labels]
    return fm.Dataset(features.astype(np.float32), labels)


def records(folder: Path) -> list[Event]:
    """Each record is its length in 8 bytes, 4 bytes of checksum, the message, 4 bytes of checksum."""
    (file,) = folder.iterdir()
    content, found = file.read_bytes(), []
    while len(content) >= 12:
        (length,) = struct.unpack("<Q", content[:8])
        if len(content) < 16 + length:
            break  # it is being written
        found.append(Event.FromString(content[12 : 12 + length]))
        content = content[16 + length :]
    return found


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    found: dict[str, list[tuple[int, float]]] = {}
    for event in records(folder):
        for value in event.summary.value:
            if value.WhichOneof("value") == "simple_value":
                found.setdefault(value.tag, []).append((event.step, value.simple_value))
    return found


def run(*callbacks, **options) -> fm.History:
    fm.manual_seed(0)
    return fm.fit(fm.nn.MLP(8, (5,), 3), clusters(), progress=False, **{"epochs": 3, "callbacks": callbacks, **options})


def test_the_scalars_are_those_of_the_history(tmp_path):
    history = run(fm.TensorBoard(tmp_path), validation=0.2)
    found = scalars(tmp_path)
    assert found.keys() == SCALARS.keys()
    for tag, column in SCALARS.items():
        assert [step for step, _ in found[tag]] == [1, 2, 3]
        assert [value for _, value in found[tag]] == [np.float32(value) for value in history.column(column)]


def test_without_validation_its_scalars_are_left_out(tmp_path):
    run(fm.TensorBoard(tmp_path))
    assert scalars(tmp_path).keys() == {tag for tag in SCALARS if "validation" not in tag}


def test_a_refused_training_leaves_no_file(tmp_path):
    with pytest.raises(ValueError, match="epochs"):
        run(fm.TensorBoard(tmp_path / "a"), epochs=-1)
    assert not list((tmp_path / "a").iterdir())


def test_an_epoch_is_on_the_disk_soon_after_it_is_over(tmp_path, monkeypatch):
    monkeypatch.setattr(tensorboard, "FLUSH_SECONDS", 0.02)

    def wait(_, history):
        limit = time.monotonic() + 10
        while len(scalars(tmp_path).get("loss/train", [])) < len(history):
            assert time.monotonic() < limit
            time.sleep(0.01)

    run(fm.TensorBoard(tmp_path), wait)


class MadeWatch(fm.Watch):
    """Two epochs of one layer: what a watch holds, with numbers that are known."""

    epochs: list[int] = []  # in place of the properties
    layers: list[types.SimpleNamespace] = []

    def __init__(self) -> None:
        self.epochs = [0]
        self.histogram = types.SimpleNamespace(
            edges=np.array([-1.0, 0.0, 1.0, 2.0]), counts=np.array([[0, 0, 0], [0, 3, 5]])
        )
        self.layers = [
            types.SimpleNamespace(
                name="0", ratios=[math.nan, 0.25], activations=self.histogram, gradients=self.histogram
            )
        ]

    def use_loss(self, loss) -> None:
        pass

    def start(self, model, optimizer=None) -> None:
        pass

    def __call__(self, model, history) -> None:
        self.epochs.append(history[-1].epoch)


def test_a_watch_gives_histograms_and_the_ratio(tmp_path):
    watch = MadeWatch()
    run(watch, fm.TensorBoard(tmp_path, watch), epochs=1)
    assert scalars(tmp_path)["update_to_weight_ratio/0"] == [(1, 0.25)]
    histograms = {
        value.tag: value.histo
        for event in records(tmp_path)
        for value in event.summary.value
        if value.WhichOneof("value") == "histo"
    }
    assert histograms.keys() == {"activations/0", "log10_gradients/0"}
    for made in histograms.values():
        assert (made.min, made.max, made.num) == (0, 2, 8)
        assert (made.sum, made.sum_squares) == (3 * 0.5 + 5 * 1.5, 3 * 0.25 + 5 * 2.25)
        filled = {limit: count for limit, count in zip(made.bucket_limit, made.bucket, strict=True) if count}
        assert filled == {1.0: 3, 2.0: 5}


def test_a_watch_behind_is_refused(tmp_path):
    watch = MadeWatch()
    with pytest.raises(ValueError, match="must stand before"):
        run(fm.TensorBoard(tmp_path, watch), watch)


def test_without_the_library_it_is_refused_in_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(ImportError, match="tensorboardX is not installed") as caught:
        fm.TensorBoard(tmp_path / "a")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "a").exists()
