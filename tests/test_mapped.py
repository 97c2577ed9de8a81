"""Large memory maps: their rows are read from the file, to the same bits, and few of their pages stay resident."""

import os
import re
import subprocess
import sys
from pathlib import Path

import contract
import numpy as np
import pytest
from trainings import bits

import fastmlp as fm
from fastmlp.data import mapped
from fastmlp.running.engine import Engine

ROOT = Path(__file__).resolve().parent.parent
linux = pytest.mark.skipif(not mapped.MAPS.exists(), reason="which file is mapped is read from Linux's /proc")
ROWS, COLUMNS = 203, 21


@pytest.fixture
def large(monkeypatch):
    """Every map is large; pieces are small."""
    monkeypatch.setattr(mapped, "RESIDENT", 100)
    monkeypatch.setattr(mapped, "SPAN", 1000)
    monkeypatch.setattr(mapped, "PIECE", 100)


def written(path: Path, kind=np.float32, shape=(ROWS, COLUMNS)) -> np.ndarray:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, shape) if kind == np.uint8 else rng.standard_normal(shape)
    np.save(path, x.astype(kind))
    return np.load(path)


def classes(rows: int) -> np.ndarray:
    return np.arange(rows) % 3


def net(seed: int = 0) -> fm.nn.Sequential:
    fm.manual_seed(seed)
    return fm.nn.MLP(COLUMNS, (20,), 3)


# --- the same bits ---------------------------------------------------------------------------------------------------


@linux
@pytest.mark.parametrize("kind", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("how", ["graph", 1, 3])
def test_a_training_from_the_file_is_that_of_the_array(how, kind, large, tmp_path):
    x, states = written(tmp_path / "x.npy", kind), []
    there = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert mapped.file_of(there) is not None
    for features in (x, there):
        model = net()
        rule, data = fm.optim.Adam(model.parameters()), fm.Dataset(features, classes(ROWS))
        states.append(contract.train(how, model, rule, fm.nn.CrossEntropyLoss(), data))
    assert contract.differing(*states) == []


@linux
def test_predictions_evaluations_and_held_out_rows_are_those_of_the_array(large, tmp_path):
    x = written(tmp_path / "x.npy", shape=(ROWS, 3, 7))
    there, found = np.load(tmp_path / "x.npy", mmap_mode="r"), []
    for features in (x, there):
        model, data = net(), fm.Dataset(features, classes(ROWS))
        fm.fit(model, data, 0.3, epochs=2, progress=False)
        mask = np.arange(ROWS) % 5 == 0
        parts = [data[np.array([5, -1, 200, 5])].features, data[mask].features, data[20:50].features]
        answers = fm.Predictor(model)(features), fm.evaluate(model, data[10:]).probabilities
        found.append([*(a.tobytes() for a in (*parts, *answers)), bits(model)])
    assert found[0] == found[1]


@linux
def test_what_is_written_into_a_map_counts(large, tmp_path):
    """Into a shared one, which changes the file, and into a private one, which does not: that is read from memory."""
    x = written(tmp_path / "x.npy")
    for mode, in_file in (("r+", True), ("c", False)):
        there = np.load(tmp_path / "x.npy", mmap_mode=mode)
        there[:, 0] = x[:, 0] = 3 if in_file else 4
        assert (mapped.file_of(there) is not None) == in_file
        mapped.give_back(there)
        assert (there[:, 0] == x[:, 0]).all()
        models = net(), net()
        for model, features in zip(models, (x, there), strict=True):
            fm.fit(model, fm.Dataset(features, classes(ROWS)), epochs=1, progress=False)
        assert bits(models[0]) == bits(models[1])


# --- which file ------------------------------------------------------------------------------------------------------


@linux
@pytest.mark.parametrize("name", ["x.npy", "with space.npy", "Übung.npy", "two\nlines.npy", "back\\012slash.npy"])
def test_the_place_in_the_file_is_that_of_the_array(name, large, tmp_path):
    written(tmp_path / name)
    there = np.load(tmp_path / name, mmap_mode="r")
    if (found := mapped.file_of(there[50:])) is None:
        assert "\\012" in name  # which Linux does not tell from a line's end
        return
    descriptor, place = found
    assert os.pread(descriptor, 4 * COLUMNS, place) == there[50].tobytes()


@linux
def test_another_file_of_that_name_is_not_read(large, tmp_path):
    path = tmp_path / "x.npy"
    written(path)
    replaced = np.load(path, mmap_mode="r")
    np.save(tmp_path / "other.npy", np.zeros((ROWS, COLUMNS), np.float32))
    (tmp_path / "other.npy").replace(path)
    gone = np.load(path, mmap_mode="r")
    path.unlink()
    for there in (replaced, gone):
        assert mapped.file_of(there) is None
        fm.fit(net(), fm.Dataset(there, classes(ROWS)), epochs=1, progress=False)  # as before, through the map


def test_other_arrays_have_no_file(large, monkeypatch, tmp_path):
    x = written(tmp_path / "x.npy")
    assert mapped.file_of(x) is None
    assert mapped.file_of(np.load(tmp_path / "x.npy", mmap_mode="r")[:, ::2]) is None
    monkeypatch.setattr(mapped, "MAPS", tmp_path / "none")  # not Linux
    there = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert mapped.file_of(there) is None
    mapped.give_back(there)
    assert [first for first, _ in mapped.pieces(there)] == list(range(0, x.size, 100))


def test_a_small_map_stays_mapped(tmp_path):
    written(tmp_path / "x.npy")
    assert mapped.file_of(np.load(tmp_path / "x.npy", mmap_mode="r")) is None


@linux
def test_the_descriptor_is_closed_with_the_map(large, tmp_path):
    before = len(os.listdir("/proc/self/fd"))
    for number in range(5):
        written(tmp_path / f"{number}.npy")
        there = np.load(tmp_path / f"{number}.npy", mmap_mode="r")
        assert mapped.file_of(there) == mapped.file_of(there[:])
        del there
    assert len(os.listdir("/proc/self/fd")) == before


# --- a file that shrinks ---------------------------------------------------------------------------------------------


@linux
@pytest.mark.parametrize("threads", [1, 3])
def test_a_file_that_shrinks_within_an_epoch_is_an_error(threads, large, tmp_path):
    """It would end the process where the rows are read through the map."""
    written(tmp_path / "x.npy")
    data = fm.Dataset(np.load(tmp_path / "x.npy", mmap_mode="r"), classes(ROWS))
    model = net()
    before = bits(model)
    rule = fm.optim.SGD(model.parameters(), lr=0.1)

    def shrink(*_) -> None:
        os.truncate(tmp_path / "x.npy", 4096)

    with Engine(model, rule, COLUMNS, 16, threads, contract.Fixed(threads), 1) as engine:
        sentence = r"^the file of data.features cannot be read to its end; has it shrunk\?$"
        with pytest.raises(OSError, match=sentence):
            engine.epoch(data, np.arange(192), [16] * 12, shrink)
    assert before.keys() == bits(model).keys()
    assert all(np.isfinite(array).all() for array in model.state_dict().values())


# --- how much is resident --------------------------------------------------------------------------------------------

TRAIN = """
import sys
import numpy as np
import fastmlp as fm
from fastmlp.data import mapped

def resident():
    status = dict(line.split(":") for line in open("/proc/self/status"))
    return int(status["RssFile"].split()[0]) / 1024

mapped.RESIDENT = int(sys.argv[2])
mapped.SPAN = 1 << 24
rows = 1 << 15
x = np.memmap(sys.argv[1], np.float32, "r", shape=(rows, 1536))
fm.manual_seed(0)
model, peak = fm.nn.MLP(1536, (16,), 3), [0.0]
fm.fit(model, fm.Dataset(np.ones((100, 1536), np.float32), np.arange(100) % 3), epochs=1, progress=False)
start = resident()
see = lambda *_: peak.append(resident() - start)
data = fm.Dataset(x, np.arange(rows) % 3)
see()
fm.fit(model, data, 0.05, epochs=1, batch_size=256, progress=False, callbacks=[see], n_threads=1)  # few columns
see()
fm.evaluate(model, data)
see()
print(max(peak))
"""


def growth(path: Path, resident: int) -> float:
    """MB of the file's pages that came to be resident while a process trained on a map of it."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", TRAIN, str(path), str(resident)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert re.fullmatch(r"[\d.]+\n", done.stdout), done.stderr
    return float(done.stdout)


@linux
def test_few_pages_of_a_large_map_stay_resident(tmp_path):
    """192 MB of rows; what else is read meanwhile, of libraries, is some 10 MB."""
    piece = np.random.default_rng(0).standard_normal(1 << 22).astype(np.float32)
    with open(tmp_path / "x.bin", "wb") as file:
        for _ in range(12):
            file.write(piece.data)
    assert growth(tmp_path / "x.bin", 1 << 40) > 150  # all of them through the map
    assert growth(tmp_path / "x.bin", 1 << 24) < 40  # SPAN is 16 MB
