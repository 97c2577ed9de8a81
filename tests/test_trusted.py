"""What kernels read by address is checked before they do: each change that would lead them astray is one sentence.

Each of these once ended the interpreter, trained on what is not there, or failed in the words of NumPy or Numba.
"""

import numpy as np
import pytest

import fastmlp as fm
from fastmlp import nn, optim
from fastmlp.running.engine import Engine
from fastmlp.running.trust import batch_bounds


class Own(nn.Sequential):
    """On the graph."""

    def forward(self, x: fm.Tensor) -> fm.Tensor:
        return super().forward(x)


def data(rows: int = 100, kind=np.float32) -> fm.Dataset:
    rng = np.random.default_rng(0)
    return fm.Dataset((rng.random((rows, 12)) * 200).astype(kind), rng.integers(0, 3, rows), scale=0.01)


def net(graph: bool = False) -> nn.Sequential:
    fm.manual_seed(0)
    model = nn.MLP(12, (16, 8), 3, dropout=0.2, norm="batch")
    return Own(*model) if graph else model


def force(thing, name, value):
    """Set an attribute past whatever guards it, as code that goes around a setter does."""
    object.__setattr__(thing, name, value)


def labels(value):
    return lambda m, d, o: d.labels.__setitem__(5, value)


def state(name, value):
    return lambda m, d, o: o.state[0].__setitem__(name, value)


CHANGES = {  # name -> (what a callback does after the first epoch, words of the sentence)
    "a label of -1": (labels(-1), "the label -1; a label is at least 0"),
    "a label of -100": (labels(-100), "the label -100"),
    "a label too large": (labels(3), "the label 3"),
    "a label of a billion": (labels(10**9), "the label 1000000000"),
    "other labels": (lambda m, d, o: setattr(d, "targets", np.zeros(100, np.int32)), "data.targets is int32"),
    "fewer labels": (lambda m, d, o: setattr(d, "targets", d.targets[:50]), "100 rows of features and 50 targets"),
    "numbers as labels": (lambda m, d, o: setattr(d, "targets", np.zeros(100)), "numbers as targets"),
    "labels in a column": (lambda m, d, o: setattr(d, "targets", d.targets[:, None]), r"data.labels is \(100, 1\)"),
    "a list as labels": (lambda m, d, o: setattr(d, "targets", [0] * 100), "100 rows of features and no targets"),
    "features of another type": (
        lambda m, d, o: setattr(d, "features", d.features.astype(np.int64)), "data.features is .* int64"),
    "narrower features": (lambda m, d, o: setattr(d, "features", d.features[:, :9].copy()), "data has 9 features"),
    "fewer rows": (lambda m, d, o: setattr(d, "features", d.features[:9]), "9 rows of features and 100 targets"),
    "a view": (lambda m, d, o: setattr(d, "features", d.features[::-1]), "not contiguous"),
    "no array": (lambda m, d, o: setattr(d, "features", [[1.0] * 12] * 100), "data.features is list"),
    "a scale of NaN": (lambda m, d, o: setattr(d, "scale", np.nan), "data.scale is nan"),
    "a weight of another shape": (
        lambda m, d, o: force(m[0].weight, "data", np.zeros((9, 9), np.float32)), r"\(9, 9\)"),
    "a bias of another shape": (lambda m, d, o: force(m[0].bias, "data", np.zeros(3, np.float32)), r"\(3,\)"),
    "a gamma of another shape": (lambda m, d, o: force(m[1].weight, "data", np.zeros(2, np.float32)), r"\(2,\)"),
    "running statistics of another shape": (
        lambda m, d, o: setattr(m[1], "running_mean", np.zeros(2, np.float32)), r"\(2,\)"),
    "a model in float64": (lambda m, d, o: m.double(), "exp_avg of parameter 0 is float32; it must be float64"),
    "a width by hand": (lambda m, d, o: setattr(m[4], "in_features", 5), r"weight is \(8, 16\); it must be .*5"),
    "state of another shape": (state("exp_avg", np.zeros((2, 2), np.float32)), r"exp_avg of parameter 0 is \(2, 2\)"),
    "state of another type": (state("exp_avg", np.zeros((16, 12))), "exp_avg of parameter 0 is float64"),
    "state that is no array": (state("exp_avg", "moments"), "exp_avg of parameter 0 is str"),
    "a step below 0": (state("step", -3), "step of parameter 0 is -3"),
    "a step that is no whole number": (state("step", 1.5), "step of parameter 0 is 1.5"),
    "a step beyond numbers": (state("step", 10**30), "step of parameter 0 is 1000000000000000000000000000000"),
    "another rule's state": (state("momentum_buffer", np.zeros(3)), "it must hold exp_avg, exp_avg_sq, step"),
    "a rate below 0": (lambda m, d, o: o.param_groups[0].update(lr=-1), "lr is -1"),
    "a rate of NaN": (lambda m, d, o: o.param_groups[0].update(lr=float("nan")), "lr is nan"),
    "betas of 1": (lambda m, d, o: o.param_groups[0].update(betas=(1.0, 1.0)), "betas"),
    "no rate": (lambda m, d, o: o.param_groups[0].pop("lr"), "a group has no lr"),
    "a probability of 7": (lambda m, d, o: setattr(m[3], "p", 7.0), "Dropout: p is 7"),
    "a probability that is none": (lambda m, d, o: setattr(m[3], "p", "half"), "Dropout: p is 'half'"),
    "eps of 0": (lambda m, d, o: setattr(m[1], "eps", 0.0), "eps is 0"),
    "eps of NaN": (lambda m, d, o: setattr(m[1], "eps", float("nan")), "eps is nan"),
    "a momentum of 2": (lambda m, d, o: setattr(m[1], "momentum", 2.0), "momentum is 2"),
}  # fmt: skip


@pytest.mark.parametrize("graph", [False, True], ids=["engine", "graph"])
@pytest.mark.parametrize("name", CHANGES)
def test_what_a_callback_breaks_is_refused_before_the_next_epoch(name, graph):
    change, words = CHANGES[name]
    model, rows, seen = net(graph), data(), []
    optimizer = optim.Adam(model.parameters())

    def callback(model, history):
        seen.append(history.column("ran_on")[-1])
        if len(history) == 1:
            change(model, rows, optimizer)

    with pytest.raises((ValueError, TypeError), match=words) as raised:
        fm.fit(model, rows, optimizer=optimizer, epochs=3, batch_size=20, progress=False, callbacks=[callback])
    assert seen == ["graph" if graph else "engine"]
    assert "\n" not in str(raised.value)


def test_without_a_change_nothing_is_refused():
    for graph in (False, True):
        model = net(graph)
        assert len(fm.fit(model, data(), epochs=3, batch_size=20, progress=False)) == 3


@pytest.mark.parametrize("caller", ["evaluate", "logits", "fit"])
def test_a_file_that_has_shrunk_under_its_map_is_refused(tmp_path, caller):
    path = tmp_path / "features"
    np.arange(100 * 12, dtype=np.float32).tofile(path)
    rows = fm.Dataset(np.memmap(path, np.float32, "r+", shape=(100, 12)), np.arange(100) % 3)
    model = net()
    predictor = fm.Predictor(model)
    calls = {
        "evaluate": lambda: fm.evaluate(model, rows),
        "logits": lambda: predictor.logits(rows, np.arange(4)),
        "fit": lambda: fm.fit(model, rows, epochs=1, batch_size=20, progress=False),
    }
    calls[caller]()
    with path.open("r+b") as file:
        file.truncate(4000)
    with pytest.raises(ValueError, match=r"the file of data\.features has 4000 of 4800 bytes left; it has shrunk"):
        calls[caller]()


def test_a_part_of_a_map_needs_its_part_of_the_file(tmp_path):
    path = tmp_path / "features"
    np.ones(100 * 12, np.float32).tofile(path)
    whole = np.memmap(path, np.float32, "r+", shape=(100, 12))
    first = fm.Dataset(whole[:50], np.arange(50) % 3)
    last = fm.Dataset(whole[50:], np.arange(50) % 3)
    with path.open("r+b") as file:
        file.truncate(2400)
    assert fm.Predictor(net()).logits(first, np.arange(50)).shape == (50, 3)
    with pytest.raises(ValueError, match="has 0 of 2400 bytes left"):
        fm.Predictor(net()).logits(last, np.arange(50))


def test_a_map_of_no_file_is_read():
    import mmap

    memory = mmap.mmap(-1, 100 * 12 * 4)
    rows = fm.Dataset(np.frombuffer(memory, np.float32).reshape(100, 12), np.arange(100) % 3)
    assert fm.Predictor(net()).logits(rows, np.arange(100)).shape == (100, 3)


@pytest.mark.parametrize("order", [[-101], [100], [2**40], [1.0], ["a"]])
@pytest.mark.parametrize("door", ["logits", "epoch"])
def test_row_numbers_that_are_not_there_are_refused(door, order):
    model, rows = net(), data()
    with Engine(model, optim.Adam(model.parameters()), 12, 20, 2) as engine:
        predictor = fm.Predictor(model)
        calls = {
            "logits": lambda: predictor.logits(rows, np.array(order)),
            "epoch": lambda: engine.epoch(rows, np.array(order), [1]),
        }
        with pytest.raises((IndexError, TypeError), match="row"):
            calls[door]()


def test_negative_row_numbers_count_from_the_end():
    rows, predictor = data(), fm.Predictor(net())
    got = predictor.logits(rows, np.array([-1, 0, -100]))
    assert np.array_equal(got, predictor.logits(rows, np.array([99, 0, 0])))


@pytest.mark.parametrize("sizes", [[], [0, 4], [-1, 5], [21], [3], [5], [2.0, 2.0], [[2, 2]]])
def test_sizes_of_batches_that_do_not_fit_are_refused(sizes):
    model, rows = net(), data()
    with (
        Engine(model, optim.Adam(model.parameters()), 12, 20, 1) as engine,
        pytest.raises(ValueError, match="Engine: sizes"),
    ):
        engine.epoch(rows, np.arange(4), sizes)
    assert batch_bounds([3, 1], 4, 3).tolist() == [0, 3, 4]


def test_rates_of_another_shape_are_refused():
    model = net()
    with (
        Engine(model, optim.Adam(model.parameters()), 12, 20, 1) as engine,
        pytest.raises(ValueError, match=r"rates is \(1, 1\); it must be a row a step and a column a parameter group"),
    ):
        engine.epoch(data(), np.arange(4), [2, 2], rates=np.ones((1, 1)))


def test_an_engine_refuses_another_model_than_it_was_made_from():
    model = net()
    with Engine(model, optim.Adam(model.parameters()), 12, 20, 1) as engine:
        assert engine.fits()
        setattr(model, "2", nn.Tanh())
        assert not engine.fits()
        with pytest.raises(ValueError, match="not what the engine was made from; make another"):
            engine.refresh()


@pytest.mark.parametrize("change", ["weight", "bias", "running_mean"])
def test_a_predictor_of_wrong_shapes_is_refused(change):
    model = net()
    if change == "running_mean":
        model[1].running_mean = np.zeros(2, np.float32)
    else:
        force(getattr(model[0], change), "data", np.zeros((9, 9) if change == "weight" else 9, np.float32))
    with pytest.raises(ValueError, match=f"{change} of layer"):
        fm.Predictor(model)


def test_a_parameter_that_is_swapped_while_the_engine_has_it_is_not_written_over():
    """The kernel that unpacks would write 16 x 12 numbers into an array of 9."""
    model, rows = net(), data()
    with Engine(model, optim.Adam(model.parameters()), 12, 20, 1, chunk_steps=1) as engine:

        def swap(done, loss, score):
            force(model[0].weight, "data", np.zeros((3, 3), np.float32))

        with pytest.raises(ValueError, match=r"an array of a parameter is \(3, 3\); it was \(16, 12\)"):
            engine.epoch(rows, np.arange(40), [20, 20], swap)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s["state"][0].update(step=-1), "step of parameter 0 is -1"),
        (lambda s: s["state"][0].update(step=2.5), "step of parameter 0 is 2.5"),
        (lambda s: s["state"][0].update(step="two"), "step of parameter 0 is 'two'"),
        (lambda s: s["state"][0].update(exp_avg=np.zeros(2)), r"exp_avg of parameter 0 is \(2,\) float64"),
        (lambda s: s["state"][0].update(exp_avg=None), "exp_avg of parameter 0 is NoneType"),
        (lambda s: s["state"][0].update(exp_avg=np.full((16, 12), "x")), "exp_avg of parameter 0 is"),
        (lambda s: s["state"].update({99: s["state"][0]}), "a parameter 99; the optimizer has 0 .. 9"),
        (lambda s: s["state"].update({-1: s["state"][0]}), "a parameter -1"),
        (lambda s: s["state"][0].pop("step"), "it must hold exp_avg, exp_avg_sq, step"),
    ],
)
def test_a_state_that_does_not_fit_is_not_loaded(change, words):
    model = net()
    optimizer = optim.Adam(model.parameters())
    fm.fit(model, data(), optimizer=optimizer, epochs=1, batch_size=20, progress=False)
    given, before = optimizer.state_dict(), optimizer.state_dict()
    change(given)
    with pytest.raises(ValueError, match=words):
        optimizer.load_state_dict(given)
    assert optimizer.state[0]["step"] == before["state"][0]["step"]
    assert np.array_equal(optimizer.state[0]["exp_avg"], before["state"][0]["exp_avg"])


def test_a_rule_of_ones_own_on_the_graph_may_keep_what_it_likes():
    class Counting(optim.SGD):
        def _update(self, state, group, p, g):
            state["seen"] = state.get("seen", 0) + 1
            super()._update(state, group, p, g)

    model = net()
    optimizer = Counting(model.parameters(), lr=0.1)
    history = fm.fit(model, data(), optimizer=optimizer, epochs=2, batch_size=20, progress=False)
    assert history.column("ran_on") == ["graph", "graph"]
    assert optimizer.state[0]["seen"] == 10
