"""Data sets in many files: the same bits from files of any lengths, a shuffle that is exact within a window, and one
sentence for each file that is not as the others."""

import json
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
from fastmlp.data import streamed
from fastmlp.kernels.shuffle import BLOCKS, permutation, windowed
from fastmlp.training import loop as loops

ROOT = Path(__file__).resolve().parent.parent
ROWS, COLUMNS, WINDOW = 203, 21, 64
posix = pytest.mark.skipif(not hasattr(os, "preadv"), reason="rows are read by POSIX's pread")
pytestmark = posix


def rows(kind=np.float32, shape=(ROWS, COLUMNS)) -> np.ndarray:
    rng = np.random.default_rng(0)
    return (rng.integers(0, 256, shape) if kind == np.uint8 else rng.standard_normal(shape)).astype(kind)


def classes(count: int = ROWS) -> np.ndarray:
    return np.arange(count) * 7 % 3


def written(folder: Path, x: np.ndarray, y: np.ndarray, count: int) -> Path:
    """A folder of `count` pairs of random lengths, none empty."""
    folder.mkdir(exist_ok=True)
    cuts = np.sort(np.random.default_rng(count).choice(np.arange(1, len(x)), count - 1, replace=False))
    for number, (a, b) in enumerate(zip(np.split(x, cuts), np.split(y, cuts), strict=True), 1):
        np.save(folder / f"features-{number}.npy", a)  # no zeros before: 10 stands after 9
        np.save(folder / f"targets-{number}.npy", b)
    return folder


def net(seed: int = 0, columns: int = COLUMNS) -> fm.nn.Sequential:
    fm.manual_seed(seed)
    return fm.nn.MLP(columns, (20,), 3)


def trained(data: fm.Dataset, **options) -> dict[str, bytes]:
    model = net()
    fm.fit(model, data, options.pop("validation", None), epochs=2, batch_size=16, progress=False, **options)
    return bits(model)


def in_windows(monkeypatch, window: int) -> None:
    """A data set in memory is shuffled as shards are."""
    monkeypatch.setattr(loops, "epoch_order", lambda x, rows, seed, epoch: windowed(rows, window, seed, epoch))


# --- the order -------------------------------------------------------------------------------------------------------


def faults(order: np.ndarray, n: int, window: int) -> list[str]:
    """What is wrong with the order of rows 0 .. n - 1, by the definition alone."""
    found = [] if np.array_equal(np.sort(order), np.arange(n)) else ["no permutation"]
    block = max(window // BLOCKS, 1)
    parts = [order[first : first + window] for first in range(0, n, window)]
    whole = [set(part // block) for part in parts]
    if any(len(blocks) > -(-len(part) // block) + 2 for blocks, part in zip(whole, parts, strict=True)):
        found.append("blocks are torn")
    if len(order) > 500 and not 0.4 < np.mean(np.diff(order) > 0) < 0.6:
        found.append("not shuffled")
    return found


@pytest.mark.parametrize(("n", "window"), [(1, 1), (203, 64), (1000, 64), (1001, 16), (5000, 999), (777, 1), (50, 50)])
def test_the_order_is_a_permutation_of_blocks_and_windows(n, window):
    orders = [windowed(np.arange(n), window, seed, epoch) for seed, epoch in [(0, 1), (0, 2), (1, 1)]]
    assert [faults(order, n, window) for order in orders] == [[]] * 3
    assert np.array_equal(orders[0], windowed(np.arange(n), window, 0, 1))
    if n > 1:
        assert not any(np.array_equal(a, b) for a, b in [orders[:2], orders[::2]])
    assert np.array_equal(windowed(np.arange(n) * 3, window, 0, 1), orders[0] * 3)  # of any rows, by their places


def test_the_order_is_written_down():
    """A training that goes on after an upgrade needs the old order."""
    assert windowed(np.arange(40), 32, 3, 1).tolist()[:12] == [8, 10, 3, 29, 19, 13, 24, 21, 20, 9, 26, 6]


def test_a_window_of_all_rows_is_the_shuffle_in_memory():
    assert np.array_equal(windowed(np.arange(99), 99, 5, 2), permutation(np.arange(99), 5, 2))


def test_all_orders_of_a_window_are_equally_likely():
    """4 rows of one block: 24 orders, 2,400 draws; χ² of 23 degrees is above 52.6 once in 2,500."""
    counts: dict[tuple[int, ...], int] = {}
    for seed in range(2400):
        order = windowed(np.arange(8), 4, seed, 1)[:4]
        ranks = tuple(np.argsort(np.argsort(order)).tolist())
        counts[ranks] = counts.get(ranks, 0) + 1
    assert len(counts) == 24
    assert sum((count - 100) ** 2 / 100 for count in counts.values()) < 52.6


def test_the_look_at_an_order_sees_faults():
    good = windowed(np.arange(1000), 64, 0, 1)
    assert faults(good, 1000, 64) == []
    twice = np.where(good == 5, 6, good)
    assert faults(twice, 1000, 64) == ["no permutation"]
    assert "blocks are torn" in faults(permutation(np.arange(1000), 0, 1), 1000, 64)
    assert faults(np.arange(1000), 1000, 64) == ["not shuffled"]


# --- the same bits ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [np.uint8, np.float32, np.float64])
def test_files_of_any_lengths_train_to_the_same_bits(kind, tmp_path, monkeypatch):
    x, y, states = rows(kind), classes(), []
    for count in (1, 2, 7, 64):
        data = fm.data.shards(written(tmp_path / str(count), x, y, count), window=WINDOW, scale=1 / 255)
        states.append(trained(data, n_threads=1 + count % 2))
    other = trained(data, seed=1)
    in_windows(monkeypatch, WINDOW)
    states.append(trained(fm.Dataset(x, y, scale=1 / 255)))
    assert all(state == states[0] for state in states)
    assert other != states[0]


def test_another_window_is_another_training_and_one_of_all_rows_that_of_memory(tmp_path):
    x, y = rows(), classes()
    folder = written(tmp_path / "f", x, y, 5)
    small, all_rows = (trained(fm.data.shards(folder, window=window)) for window in (16, ROWS))
    assert all_rows == trained(fm.Dataset(x, y)) != small


@pytest.mark.parametrize("how", ["graph", 3])
def test_the_graph_and_threads_read_the_same_rows(how, tmp_path):
    x, y = rows(shape=(ROWS, 3, 7)), classes()
    states = []
    for data in (fm.Dataset(x, y), fm.data.shards(written(tmp_path / "f", x, y, 7))):
        model = net()
        states.append(contract.train(how, model, fm.optim.Adam(model.parameters()), fm.nn.CrossEntropyLoss(), data))
    assert contract.differing(*states) == []


def test_slices_rows_predictions_and_evaluations_are_those_of_the_array(tmp_path):
    x, y = rows(shape=(ROWS, 3, 7)), classes()
    found = []
    for data in (fm.Dataset(x, y), fm.data.shards(written(tmp_path / "f", x, y, 7), window=ROWS)):
        model = net()
        fm.fit(model, data[:150], data[150:], epochs=1, progress=False)
        fm.fit(model, data, 0.3, epochs=1, progress=False)
        mask = np.arange(ROWS) % 5 == 0
        parts = [data[np.array([5, -1, 200, 5])], data[mask], data[3:100:7], data[20:120][np.array([0, -1])]]
        logits = fm.Predictor(model).logits(data[20:190], np.array([0, 169, 60]))
        found.append(
            [
                *((part.features.tobytes(), part.targets.tobytes()) for part in parts),
                (data[7][0].tobytes(), data[-1][1]), logits.tobytes(), bits(model), data.advice(),
                fm.evaluate(model, data[10:]).probabilities.tobytes(),
            ]
        )  # fmt: skip
    assert found[0] == found[1]


def test_lr_find_and_numbers_as_targets(tmp_path):
    x = rows()
    data = fm.data.shards(written(tmp_path / "f", x, x[:, :2].astype(np.float64), 4), window=WINDOW)
    assert (data.kind, data.n_outputs) == ("numbers", 2)
    fm.manual_seed(0)
    model = fm.nn.MLP(COLUMNS, (8,), 2)
    fm.lr_find(model, data, steps=20)
    fm.fit(model, data, epochs=1, progress=False)
    assert repr(data) == "Dataset(203 rows, features (21,) float32 in 4 files, window 64, targets (2,) numbers)"


def test_what_is_read_ahead_covers_the_rows_and_little_else(tmp_path, monkeypatch):
    data, asked = fm.data.shards(written(tmp_path / "f", rows(), classes(), 7), window=WINDOW)[5:], set()
    place = {part.path: part.place for part in data.features.parts}
    table, a_row = data.features.table, data.features.a_row

    def note(descriptor, start, length, advice):
        assert advice == os.POSIX_FADV_WILLNEED
        part = next(at for at in range(7) if table[at, 1] == descriptor)
        first = table[part, 0] + (start - place[data.features.parts[part].path]) // a_row
        asked.update(range(first - 5, first - 5 + length // a_row))
        assert first - 5 + length // a_row <= table[part + 1, 0] - 5

    monkeypatch.setattr(os, "posix_fadvise", note, raising=False)
    for gap, order in ((0, [3, 190, 4, 60]), (1 << 20, [9, 70])):
        monkeypatch.setattr(streamed, "GAP", gap)
        asked.clear()
        data.features.read_ahead(np.array(order))
        assert set(order) <= asked <= set(range(min(order), max(order) + 1))
        assert gap or asked == set(order)


# --- goes on ---------------------------------------------------------------------------------------------------------


def test_a_training_goes_on_to_the_same_bits_from_other_files_too(tmp_path):
    x, y = rows(), classes()
    folders = [written(tmp_path / str(count), x, y, count) for count in (3, 9)]
    whole = net()
    fm.fit(whole, fm.data.shards(folders[0], window=WINDOW), epochs=4, progress=False, batch_size=16)
    for data in (None, fm.data.shards(folders[1], window=WINDOW)):
        model, out = net(), tmp_path / f"run{data is None}"

        def end(model, history):
            return "pause" if len(history) == 2 else None

        fm.fit(
            model, fm.data.shards(folders[0], window=WINDOW), epochs=4, progress=False, batch_size=16, checkpoint=out,
            callbacks=[end],
        )  # fmt: skip
        found = fm.resume(out, data, progress=False, callbacks=[end])
        assert bits(found.model) == bits(whole)
    for other, words in (
        (fm.data.shards(folders[0], window=16), "has a shuffle within 16 rows, it had a shuffle within 64 rows"),
        (fm.data.shards(written(tmp_path / "o", x + 1, y, 3), window=WINDOW), "has other features"),
    ):
        with pytest.raises(ValueError, match=words):
            fm.resume(out, other, progress=False, callbacks=[end])


def test_a_training_that_is_killed_goes_on_to_the_same_bits(tmp_path):
    folder = written(tmp_path / "f", rows(), classes(), 7)
    code = (
        "import os, signal, sys, fastmlp as fm; fm.manual_seed(0); model = fm.nn.MLP(21, (20,), 3);"
        "data = fm.data.shards(sys.argv[1], window=64);"
        "kill = lambda model, history: len(history) == 2 and os.kill(os.getpid(), signal.SIGKILL);"
        "kill.__name__ = 'kill'; fm.fit(model, data, epochs=4, batch_size=16, progress=False, checkpoint=sys.argv[2],"
        "checkpoint_every=5, callbacks=[kill])"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code, str(folder), str(tmp_path / "run")], env=environment)
    assert done.returncode == -9
    kill = lambda model, history: None  # noqa: E731
    kill.__name__ = "kill"
    whole = net()
    fm.fit(whole, fm.data.shards(folder, window=64), epochs=4, batch_size=16, progress=False)
    assert bits(fm.resume(tmp_path / "run", progress=False, callbacks=[kill]).model) == bits(whole)


# --- one sentence ----------------------------------------------------------------------------------------------------

BAD = {
    "columns": (
        lambda x, y: (x[:, 1:], y),
        r"features-2.npy has rows of \(20,\) float32; they must be \(21,\) float32",
    ),
    "type": (lambda x, y: (x.astype(float), y), r"features-2.npy has rows of \(21,\) float64; they must be"),
    "half": (lambda x, y: (x.astype(np.float16), y), "features-2.npy has the type float16; it must be uint8, float32"),
    "order": (lambda x, y: (np.asfortranarray(x), y), r"features-2.npy has the shape .* in Fortran's order"),
    "nan": (lambda x, y: (np.where(x == x[4, 2], np.nan, x), y), "features-2.npy has nan in row 4, column 2"),
    "few": (lambda x, y: (x, y[1:]), r"targets-2.npy has the shape \(\d+,\); features-2.npy has \d+ rows"),
    "kind": (lambda x, y: (x, y.astype(float)), r"targets-2.npy has targets of \(\) float64; they must be \(\) int64"),
    "words": (lambda x, y: (x, y.astype(object)), "targets-2.npy is no .npy file of targets"),
}


@pytest.mark.parametrize("fault", BAD)
def test_a_file_that_is_not_as_the_others_is_named(fault, tmp_path):
    change, words = BAD[fault]
    folder = written(tmp_path / "f", rows(), classes(), 3)
    pair = folder / "features-2.npy", folder / "targets-2.npy"
    for file, array in zip(pair, change(*map(np.load, pair)), strict=True):
        np.save(file, array, allow_pickle=True)
    with pytest.raises(ValueError, match=f"^shards: .*{words}") as caught:
        fm.data.shards(folder)
    assert "\n" not in str(caught.value)


def test_files_that_are_not_there_cut_off_or_others_are_named(tmp_path):
    folder = written(tmp_path / "f", rows(), classes(), 3)
    numbers = folder / "targets-1.npy"
    y = np.load(numbers).astype(float)
    y[3] = np.nan
    np.save(numbers, y)
    with pytest.raises(ValueError, match=r"targets-1.npy has .*nan.* in row 3; it must be finite$"):
        fm.data.shards([folder / "features-1.npy"])
    numbers.unlink()
    with pytest.raises(FileNotFoundError, match=r"targets-1.npy is not there; it must hold the targets of features-1"):
        fm.data.shards(folder)
    np.save(numbers, np.nan_to_num(y).astype(int))
    (folder / "features-3.npy").unlink()
    with pytest.raises(FileNotFoundError, match=r"features-3.npy is not there, and its targets are"):
        fm.data.shards(folder)
    os.truncate(folder / "features-2.npy", 1000)
    with pytest.raises(ValueError, match=r"features-2.npy has 872 of \d+ bytes of its numbers; it is cut off$"):
        fm.data.shards([folder / "features-1.npy", folder / "features-2.npy"])
    (folder / "features-2.npy").write_text("no array")
    with pytest.raises(ValueError, match=r"features-2.npy is no .npy file: "):
        fm.data.shards([folder / "features-2.npy"])
    for wrong, error, words in (
        (tmp_path / "none", FileNotFoundError, "none is not there"),
        (tmp_path, FileNotFoundError, "has no shards; it must hold features"),
        (numbers, ValueError, "is a file; path must be a folder"),
        ([numbers], ValueError, "has another name"),
        (3, TypeError, "it must be a folder, or paths"),
    ):
        with pytest.raises(error, match=words):
            fm.data.shards(wrong)
    with pytest.raises(ValueError, match="window is 0; it must be a whole number of at least 1"):
        fm.data.shards(folder, window=0)
    with pytest.raises(ValueError, match="target is given; it is for Parquet"):
        fm.data.shards([folder / "features-1.npy"], target="y")


def test_what_cannot_be_had_of_shards_is_told(tmp_path, monkeypatch):
    import pickle

    from fastmlp import machine

    data = fm.data.shards(written(tmp_path / "f", rows(), classes(), 3))
    with pytest.raises(TypeError, match="is in its files; where an array is wanted"):
        np.asarray(data.features)
    with pytest.raises(TypeError, match="holds open files"):
        pickle.dumps(data)
    monkeypatch.setattr(streamed, "WORTH_ASKING", 100)
    monkeypatch.setattr(machine, "available_memory", lambda: 1000)
    with pytest.raises(MemoryError, match=r"a copy of 162 rows take .* data\[a:b\], copies none of them$"):
        data.split(0.2)


def test_a_file_that_shrinks_is_an_error_and_files_are_closed(tmp_path):
    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else None
    data = fm.data.shards(written(tmp_path / "f", rows(), classes(), 3))
    part = data[10:20]
    os.truncate(tmp_path / "f" / "features-2.npy", 200)
    model = net()
    with pytest.raises(OSError, match=r"^the file of data.features cannot be read to its end; has it shrunk\?$"):
        fm.evaluate(model, data)
    assert np.float64(5e-324) * 1.0 > 0  # this thread computes with denormal numbers, as before
    with pytest.raises(OSError, match=r"features-2.npy cannot be read to its end; has it shrunk"):
        data[np.arange(ROWS)]
    del data
    assert part[0][0].shape == (COLUMNS,)  # its files are open as long as a part of them is
    del part
    assert before in (None, len(os.listdir("/proc/self/fd")))


def test_more_files_than_may_be_opened_are_told(tmp_path):
    folder = written(tmp_path / "f", rows(), classes(), 100)
    code = (
        "import resource, sys, fastmlp as fm; resource.setrlimit(resource.RLIMIT_NOFILE, (60, 60));"
        "fm.data.shards(sys.argv[1])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True,
        text=True,
    )  # fmt: skip
    words = r"OSError: shards: .*features-\d+.npy, file \d+ of 100, cannot be opened: .*ulimit -n. help"
    assert re.search(words, done.stderr), done.stderr


# --- Parquet ---------------------------------------------------------------------------------------------------------


def arrows():
    """pyarrow, and what writes Parquet."""
    reason = "Parquet is read with pyarrow"
    return pytest.importorskip("pyarrow", reason=reason), pytest.importorskip("pyarrow.parquet", reason=reason)


def parquet(path: Path, x: np.ndarray, y, group: int) -> Path:
    arrow, pq = arrows()
    table = arrow.table({**{f"c{at}": x[:, at] for at in range(x.shape[1])}, "y": y})
    pq.write_table(table, path, row_group_size=group)
    return path


def test_parquet_becomes_a_folder_once_and_trains_to_the_same_bits(tmp_path, monkeypatch):
    x, y = rows(), classes()
    states = []
    for group in (17, 1000):
        path, cache = parquet(tmp_path / f"{group}.parquet", x, y, group), tmp_path / f"cache{group}"
        data = fm.data.shards(path, target="y", cache=cache, window=WINDOW)
        assert len(data.features.parts) == -(-ROWS // group)
        times = [file.stat().st_mtime_ns for file in sorted(cache.iterdir())]
        states.append(trained(fm.data.shards(path, target="y", cache=cache, window=WINDOW)))
        assert times == [file.stat().st_mtime_ns for file in sorted(cache.iterdir())]
    in_windows(monkeypatch, WINDOW)
    assert states[0] == states[1] == trained(fm.Dataset(x, y))
    (cache / "made_of.json").unlink()  # as after a kill: it is made anew
    assert len(fm.data.shards(path, target="y", cache=cache)) == ROWS
    with pytest.raises(ValueError, match="was made of other files; it must be another folder"):
        fm.data.shards(tmp_path / "17.parquet", target="y", cache=cache)


def test_strings_as_targets_and_columns_of_several_types(tmp_path):
    arrow, pq = arrows()
    table = arrow.table({"a": np.arange(6), "b": [True, False] * 3, "y": ["no", "yes", "perhaps"] * 2})
    (tmp_path / "p").mkdir()
    for name in ("1", "2"):
        pq.write_table(table, tmp_path / "p" / f"{name}.parquet", row_group_size=2)
    data = fm.data.shards(tmp_path / "p", target="y", cache=tmp_path / "c")
    assert (len(data), data.features.dtype, data.classes_.tolist()) == (12, np.float64, ["no", "perhaps", "yes"])
    assert data.features[:][np.arange(3)].tolist() == [[0, 1], [1, 0], [2, 1]]


def test_parquet_that_is_not_as_it_must_be_is_told(tmp_path):
    arrow, pq = arrows()
    path, cache = parquet(tmp_path / "a.parquet", rows(), classes(), 50), tmp_path / "cache"
    with pytest.raises(TypeError, match="target is not given; Parquet needs it, the column that is the target"):
        fm.data.shards(path)
    with pytest.raises(TypeError, match="cache is not given; Parquet needs it, a folder"):
        fm.data.shards(path, target="y")
    with pytest.raises(ValueError, match=r"a.parquet has the columns c0, .*; z must be one"):
        fm.data.shards(path, target="z", cache=cache)
    with pytest.raises(ValueError, match=r"cache .* holds other files; it must be a folder of its own"):
        fm.data.shards(path, target="y", cache=tmp_path)
    with pytest.raises(ValueError, match=r"cache .*a.parquet is a file; it must be a folder, new or of"):
        fm.data.shards(path, target="y", cache=path)
    with pytest.raises(TypeError, match=r"shards: cache is int; it must be a path"):
        fm.data.shards(path, target="y", cache=3)
    for columns, words in (
        ({"a": [1.0, None], "y": [0, 1]}, "w.parquet has 1 missing in the column 'a', row group 0; none may be"),
        ({"a": ["x", "z"], "y": [0, 1]}, "w.parquet has the column 'a' of the type string; it must be numbers"),
    ):
        pq.write_table(arrow.table(columns), tmp_path / "w.parquet")
        with pytest.raises(ValueError, match=words):
            fm.data.shards(tmp_path / "w.parquet", target="y", cache=cache)
    (tmp_path / "w.parquet").write_text("no table")
    with pytest.raises(ValueError, match=r"w.parquet is no Parquet file"):
        fm.data.shards(tmp_path / "w.parquet", target="y", cache=cache)


# --- how much is resident --------------------------------------------------------------------------------------------

TRAIN = """
import json, sys
import numpy as np
import fastmlp as fm

def status(name):
    lines = dict(line.split(":") for line in open("/proc/self/status"))
    return int(lines[name].split()[0]) / 1024

columns = 1536
small = fm.Dataset(np.ones((100, columns), np.float32), np.arange(100) % 3)
fm.fit(fm.nn.MLP(columns, (16,), 3), small, epochs=1, progress=False)
start = status("VmHWM")
if sys.argv[2] == "shards":
    data = fm.data.shards(sys.argv[1], window=2048)
else:  # the control: all rows in memory
    pieces = [np.load(f"{sys.argv[1]}/features-{number}.npy") for number in range(8)]
    data = fm.Dataset(np.concatenate(pieces), np.zeros(16384, int), 3)
fm.fit(fm.nn.MLP(columns, (16,), 3), data, epochs=1, batch_size=256, progress=False)
print(status("VmHWM") - start)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="what is resident is read from Linux's /proc")
def test_the_rows_do_not_become_resident(tmp_path):
    """100 MB of rows in 8 files; buffers, compiled code and the pieces that are looked at are some 30 MB."""
    piece = np.random.default_rng(0).standard_normal((2048, 1536), np.float32)
    for number in range(8):
        np.save(tmp_path / f"features-{number}.npy", piece)
        np.save(tmp_path / f"targets-{number}.npy", np.arange(2048) % 3)
    grown = {}
    for how in ("shards", "memory"):
        command = [sys.executable, "-c", TRAIN, str(tmp_path), how]
        done = subprocess.run(
            command, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
        )
        grown[how] = json.loads(done.stdout or "null")
        assert grown[how] is not None, done.stderr
    assert grown["shards"] < 50
    assert grown["memory"] > 95
