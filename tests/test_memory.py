"""Memory that grows with a product: what is as large as it must be, and the one sentence where that cannot be had."""

import mmap
import subprocess
import sys

import numpy as np
import pytest
from idx_files import idx_bytes, images, peak_memory
from safetensors.numpy import save_file

import fastmlp as fm
from fastmlp import machine, metrics, plots
from fastmlp.running.engine import Engine

CLASSES = 20_000  # a vocabulary: a dense confusion matrix has 3.2 GB


def refused(call) -> str:
    """The one sentence in which memory is refused."""
    with pytest.raises(MemoryError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def little(monkeypatch):
    """Sets how much memory there is."""
    return lambda size: monkeypatch.setattr(machine, "available_memory", lambda: size)


# --- the sentence ----------------------------------------------------------------------------------------------------


def test_the_sentence_has_the_sum_the_limit_and_the_way_on(little):
    little(2_000_000_000)
    machine.check_memory("f: the arrays of x", 2_000_000_000)
    assert refused(lambda: machine.check_memory("f: the arrays of x", 2_000_000_001, "take less")) == (
        "f: the arrays of x take 2.0 GB of memory; this process may have 2.0 GB; take less"
    )
    little(0)  # unknown: only what the system refuses is refused
    machine.check_memory("f: x", 1000)
    assert refused(lambda: machine.check_memory("f: x", 1 << 70)).endswith("GB of memory")


def test_what_the_system_does_not_give_is_refused_as_a_sum(monkeypatch, little):
    little(1 << 50)
    asked = []

    def no_map(*arguments):
        asked.append(arguments)
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(mmap, "mmap", no_map)
    machine.check_memory("f: x", machine.WORTH_ASKING - 1)  # small: not asked
    assert "f: x take 1.1 TB" not in refused(lambda: machine.check_memory("f: x", 1 << 40))
    assert asked == [(-1, 1 << 40)]


def test_the_question_takes_no_memory():
    assert peak_memory(machine.check_memory, "f: x", min(machine.available_memory(), 1 << 33)) < 1e5


@pytest.mark.parametrize(
    ("size", "text"), [(5, "5 bytes"), (5_100, "5.1 kB"), (72e6, "72.0 MB"), (3.25e12, "3,250.0 GB")]
)
def test_sizes_are_written_as_people_read_them(size, text):
    assert machine.size_text(int(size)) == text


def test_a_limit_of_the_process_counts():
    resource = pytest.importorskip("resource", reason="limits of a process are POSIX's")
    code = (
        "import resource; from fastmlp.machine import available_memory; "
        "resource.setrlimit(resource.RLIMIT_AS, (3 << 30, resource.getrlimit(resource.RLIMIT_AS)[1])); "
        "print(available_memory() <= 3 << 30)"
    )
    assert resource.RLIM_INFINITY < 0
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "True\n", done.stderr


# --- many classes ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def many() -> fm.Evaluation:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, 64)
    probabilities = rng.random((64, CLASSES), np.float32)
    probabilities[:20] = 0
    probabilities[np.arange(20), labels[:20]] = 1
    return fm.Evaluation(1.0, 0.3, 64, labels, probabilities)


def test_an_evaluation_of_many_classes_is_printed_by_its_rows(many):
    texts = []
    assert peak_memory(lambda: texts.append(str(many))) < 6e7  # columns of 20,000 numbers, pieces of 4 million bytes
    assert "64 rows, 20,000 classes, 44 wrong" in texts[0]
    assert "most frequent mistakes (44 kinds in all)" in texts[0]
    columns = metrics.precision_recall_fscore_support, many.labels, many.predicted, CLASSES
    assert peak_memory(*columns) < 100 * CLASSES


def test_an_evaluation_of_many_classes_goes_into_json_by_its_rows(many):
    numbers = many.to_dict()
    assert numbers["confusion"] is None
    assert np.array(numbers["confusion_counts"])[:, 2].sum() == 64
    assert len(numbers["f1"]) == CLASSES


def test_the_counts_are_the_entries_of_the_matrix_in_its_order():
    rng = np.random.default_rng(1)
    labels, predicted = rng.integers(0, 9, 200), rng.integers(0, 7, 200)
    dense = metrics.confusion_matrix(labels, predicted)
    places = np.argwhere(dense)
    expected = np.column_stack([places, dense[tuple(places.T)]])
    np.testing.assert_array_equal(metrics.confusion_counts(labels, predicted), expected)


def test_a_matrix_that_does_not_fit_is_refused_with_the_way_on(many, little):
    little(10**9)
    words = refused(lambda: many.confusion)
    assert words.startswith("confusion_matrix: the counts of 20,000 by 20,000 classes take 3.2 GB of memory")
    assert words.endswith("confusion_counts has those that are not 0")


def test_a_picture_of_many_classes_is_refused_and_a_run_leaves_it_out(many):
    with pytest.raises(
        ValueError, match="confusion_matrix: evaluation has 20,000 classes; a picture has room for 1,000"
    ):
        plots.confusion_matrix(many)
    from fastmlp.store.run import draw_pictures

    history = fm.History()
    history.add(1, (1.0, 0.5), (np.nan, np.nan), 1.0, 64, "engine")
    assert "confusion_matrix" not in draw_pictures(fm.nn.MLP(4, (), 3), history, many)


def test_the_report_of_many_classes_shows_the_weakest(many):
    from fastmlp.show.report.numbers import classes

    html = classes(many)
    assert html.count("<tr") == 1001
    assert "Of 20,000 classes the 1,000 with the lowest F1 are shown." in html


def test_probabilities_that_do_not_fit_are_refused_with_the_way_on(little):
    model, data = fm.nn.MLP(2, (), 1000), fm.Dataset(np.zeros((500, 2), np.float32), np.zeros(500, int))
    little(10**6)
    words = refused(lambda: fm.evaluate(model, data))
    assert words.startswith("evaluate: the probabilities of 500 rows and 1,000 classes take 2.0 MB")
    assert words.endswith("data[:n]")


def test_outputs_of_many_classes_are_made_for_fewer_rows_at_a_time(monkeypatch):
    from fastmlp.running import door

    model, data = fm.nn.MLP(2, (), 50), fm.Dataset(np.ones((100, 2), np.float32), np.zeros(100, int))
    whole = list(door.outputs(model, data, 1000))
    monkeypatch.setattr(door, "MOST_OUTPUTS", 50 * 30)
    parts = list(door.outputs(model, data, 1000))
    assert [first for first, _ in parts] == [0, 30, 60, 90]
    np.testing.assert_array_equal(np.concatenate([z for _, z in parts]), whole[0][1])


# --- the engine ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", [fm.optim.SGD, fm.optim.Adam])
@pytest.mark.parametrize("norm", [None, "batch", "layer"])
def test_the_sum_of_the_engines_buffers_is_what_it_takes(rule, norm):
    model = fm.nn.MLP(300, (500, 400), 10, norm=norm)
    with Engine(model, rule(model.parameters()), 300, 256, 2) as engine:
        arrays = [value for value in vars(engine).values() if isinstance(value, np.ndarray)]
        weights = [value for value in vars(engine.weights).values() if isinstance(value, np.ndarray)]
        copies = 2 * sum(array.nbytes for array in engine.snapshot())  # which a training keeps, to go back to
        real = copies + sum(a.nbytes for a in (*arrays, *engine.arrays, *weights))
        fixed = engine.scratch.nbytes + engine.pieces.nbytes + 100_000  # of one size for all nets
        assert real - fixed <= engine.sum_of_buffers() <= real


def test_a_training_that_does_not_fit_is_refused_before_a_buffer_is_made(little, monkeypatch):
    model = fm.nn.MLP(4, (3000,), 2)
    data = fm.Dataset(np.zeros((9000, 4), np.float32), np.arange(9000) % 2)
    little(10**8)
    made = []
    monkeypatch.setattr(fm.kernels, "zeros", lambda *arguments: made.append(arguments))
    words = refused(lambda: fm.fit(model, data, batch_size=9000, progress=False))
    assert words.startswith("fit: the engine's buffers take ")
    assert words.endswith("this process may have 100.0 MB; a batch has up to 9,000 rows")
    assert not made


# --- files -----------------------------------------------------------------------------------------------------------


def test_arrays_of_a_file_are_held_to_memory_as_a_sum(tmp_path, little):
    np.savez_compressed(tmp_path / "a.npz", x=np.zeros((1000, 300), np.float32), y=np.zeros(1000, np.int64))
    np.savez_compressed(tmp_path / "b.npz", x=np.zeros((1000, 300), np.int64), y=np.zeros(1000, np.int64))
    for name, array in (("images-idx3", images(30)), ("labels-idx1", np.zeros(30, np.uint8))):
        (tmp_path / f"{name}-ubyte").write_bytes(idx_bytes(array))
    little(1_216_000)
    fm.data.load(tmp_path / "a.npz")  # 1.2 MB, and labels with their copy
    assert "load: the arrays of" in refused(lambda: fm.data.load(tmp_path / "b.npz"))  # they become float64
    little(1_207_999)
    assert "a.npz take 1.2 MB" in refused(lambda: fm.data.load(tmp_path / "a.npz"))
    little(30 * 7 - 1)
    assert "take 210 bytes" in refused(lambda: fm.data.load(tmp_path))
    little(30 * 6 - 1)
    assert "read_idx: the numbers of" in refused(lambda: fm.data.read_idx(tmp_path / "images-idx3-ubyte"))


@pytest.mark.parametrize("kind", [np.float32, np.int8, np.float64])
def test_a_model_is_loaded_without_drawing_it(tmp_path, kind):
    """The file's arrays and the model's, and no float64 of initial weights beside them."""
    rng = np.random.default_rng(0)
    state = {"0.weight": rng.integers(-9, 9, (500, 4000)).astype(kind), "0.bias": np.ones(500, kind)}
    save_file(state, tmp_path / "m")
    models = []
    peak = peak_memory(lambda: models.append(fm.load_model(tmp_path / "m")))
    model = sum(p.data.nbytes for p in models[0].parameters())
    single = 4 * 2_000_500 if kind == np.float64 else 0  # zeros that are not touched, before model.double()
    assert peak < state["0.weight"].nbytes + model + single + 1e6
    assert models[0][0].weight.dtype == (np.float64 if kind == np.float64 else np.float32)
    np.testing.assert_array_equal(models[0][0].weight.data, state["0.weight"])


def test_initial_weights_are_drawn_in_pieces_and_are_what_they_were():
    fm.manual_seed(3)
    rng, layers = np.random.default_rng(3), []
    assert peak_memory(lambda: layers.append(fm.nn.Linear(2000, 1500))) < 4 * 3e6 + 1.1 * 8 * (1 << 20)
    expected = rng.uniform(-1 / np.sqrt(2000), 1 / np.sqrt(2000), (1500, 2000)).astype(np.float32)
    np.testing.assert_array_equal(layers[0].weight.data, expected)


def test_weights_that_do_not_fit_are_refused(tmp_path, little):
    fm.save(fm.nn.MLP(4, (5,), 3), tmp_path / "m")
    little(10)
    assert f"load: the arrays of {tmp_path / 'm'} take 172 bytes" in refused(
        lambda: fm.load(fm.nn.MLP(4, (5,), 3), tmp_path / "m")
    )
