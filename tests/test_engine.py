"""The engine against the graph, to the last bit, and what it does with threads, cores and interruptions."""

import math
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fastmlp as fm
from fastmlp.kernels import steps
from fastmlp.running import nodes
from fastmlp.running.engine import CHUNK_SECONDS, Engine
from fastmlp.running.pace import Fixed, Pace
from fastmlp.running.plan import obstacle
from fastmlp.running.rows import batches as batches_of
from fastmlp.training.checks import batch_sizes
from fastmlp.training.loop import seed_dropout

CASES = settings(deadline=None, max_examples=12, derandomize=True, suppress_health_check=list(HealthCheck))
LAYERS = {"relu": fm.nn.ReLU, "tanh": fm.nn.Tanh, "sigmoid": fm.nn.Sigmoid}


class Changing(Pace):
    """Another number of threads for each chunk, drawn from a seed."""

    def __init__(self, ceiling, seed):
        super().__init__(ceiling)
        self.generator = np.random.default_rng(seed)

    def threads(self, now):
        return int(self.generator.integers(1, self.counts[0] + 1))


@st.composite
def architectures(draw):
    """A list of (name, number) for layers in any order, with widths that fit; (features, layers)."""
    features = draw(st.integers(1, 40))
    layers, width = [], features
    for _ in range(draw(st.integers(0, 2))):  # dropout or batch norm on the input too
        layers.append(draw(st.sampled_from(["norm", "dropout", "relu"])))
    for _ in range(draw(st.integers(1, 3))):
        width = draw(st.integers(1, 70))
        layers.append(width)
        for _ in range(draw(st.integers(0, 3))):
            layers.append(draw(st.sampled_from(["norm", "dropout", "relu", "tanh", "sigmoid"])))
    classes = draw(st.integers(2, 20))
    layers.append(classes)
    if draw(st.booleans()):
        layers.append(draw(st.sampled_from(["norm", "tanh", "dropout"])))
    return features, layers


def build(features, layers, dtype, p=0.3):
    made, width = [], features
    for layer in layers:
        if isinstance(layer, int):
            made.append(fm.nn.Linear(width, layer, bias=layer % 5 != 0))
            width = layer
        elif layer == "norm":
            made.append(fm.nn.BatchNorm1d(width))
        elif layer == "dropout":
            made.append(fm.nn.Dropout(p))
        else:
            made.append(LAYERS[layer]())
    model = fm.nn.Sequential(*made)
    return model.double() if dtype == np.float64 else model


def make_optimizer(name, model):
    parameters = list(model.parameters())
    half = len(parameters) // 2
    groups = [{"params": parameters[:half], "lr": 0.02}, {"params": parameters[half:]}] if half else parameters
    if name == "sgd":
        return fm.optim.SGD(groups, lr=0.05)
    if name == "nesterov":
        return fm.optim.SGD(groups, lr=0.05, momentum=0.9, nesterov=True, weight_decay=1e-3)
    return {"adam": fm.optim.Adam, "adamw": fm.optim.AdamW}[name](groups, lr=0.01, weight_decay=0.1)


def data_set(features, classes, rows, kind=np.float32, seed=0):
    generator = np.random.default_rng(seed)
    values = (
        generator.integers(0, 256, (rows, features)) if kind == np.uint8 else generator.normal(size=(rows, features))
    )
    return fm.data.Dataset(values.astype(kind), generator.integers(0, classes, rows), classes)


def state_of(model, optimizer):
    """Every number that training changes, by name."""
    state = {name: np.copy(array) for name, array in model.state_dict().items()}
    for i, values in optimizer.state.items():
        state |= {f"{i}.{name}": np.copy(value) for name, value in values.items()}
    return state


def silent(rows, loss, score):
    pass


def train_on_graph(model, optimizer, data, epochs, batch):
    sizes = batch_sizes(len(data), batch, any(isinstance(m, fm.nn.BatchNorm1d) for m in model.modules()))
    orders = [np.random.default_rng(e).permutation(len(data)) for e in range(epochs)]
    return [nodes.epoch(model, optimizer, fm.nn.CrossEntropyLoss(), data, order, sizes, silent) for order in orders]


def train_on_engine(model, optimizer, data, epochs, batch, threads, pace=None, chunk=None):
    sizes = batch_sizes(len(data), batch, any(isinstance(m, fm.nn.BatchNorm1d) for m in model.modules()))
    with Engine(model, optimizer, data.n_features, max(sizes), threads, pace or Fixed(threads), chunk) as engine:
        return [engine.epoch(data, np.random.default_rng(e).permutation(len(data)), sizes) for e in range(epochs)]


def same_bits(a, b):
    assert a.keys() == b.keys()
    for name in a:
        assert np.array_equal(a[name], b[name], equal_nan=True), name


@CASES
@given(
    architectures(),
    st.sampled_from(["sgd", "nesterov", "adam", "adamw"]),
    st.sampled_from([np.uint8, np.float32, np.float64]),
    st.integers(4, 33),
    st.integers(1, 7),
    st.integers(0, 99),
)
def test_engine_equals_graph_to_the_last_bit(architecture, rule, kind, batch, chunk, seed):
    features, layers = architecture
    widths = [layer for layer in layers if isinstance(layer, int)]
    data = data_set(features, widths[-1], 50, kind, seed)
    results = []
    for how in ("graph", 1, 2, 3, 4, "changing"):
        fm.manual_seed(seed)
        model = build(features, layers, np.float32)
        optimizer = make_optimizer(rule, model)
        seed_dropout(model, seed, 0)
        if how == "graph":
            scores = train_on_graph(model, optimizer, data, 2, batch)
        elif how == "changing":
            scores = train_on_engine(model, optimizer, data, 2, batch, 3, Changing(3, seed), chunk)
        else:
            scores = train_on_engine(model, optimizer, data, 2, batch, how, None, None if how == 1 else chunk)
        results.append((state_of(model, optimizer), scores))
    for state, scores in results[1:]:
        same_bits(state, results[0][0])
        assert np.array_equal(scores, results[0][1], equal_nan=True)


def test_wide_last_layer():
    results = []
    for how in (1, 2, 3):
        fm.manual_seed(0)
        model = fm.nn.MLP(30, (200,), 300)
        optimizer = fm.optim.Adam(model.parameters())
        train_on_engine(model, optimizer, data_set(30, 300, 100), 2, 16, how)
        results.append(state_of(model, optimizer))
    fm.manual_seed(0)
    model = fm.nn.MLP(30, (200,), 300)
    optimizer = fm.optim.Adam(model.parameters())
    train_on_graph(model, optimizer, data_set(30, 300, 100), 2, 16)
    for state in results:
        same_bits(state, state_of(model, optimizer))


def test_float64_model_equals_graph():
    data, states = data_set(12, 4, 90, np.float64), []
    for how in ("graph", 2):
        fm.manual_seed(3)
        model = build(12, [20, "norm", "relu", 4], np.float64)
        optimizer = make_optimizer("adam", model)
        if how == "graph":
            train_on_graph(model, optimizer, data, 1, 16)
        else:
            train_on_engine(model, optimizer, data, 1, 16, how)
        states.append(state_of(model, optimizer))
    same_bits(*states)


def test_large_layers_cross_every_block_edge():
    """More inputs than K_BLOCK, more rows of dw than a piece, more columns than a piece of db."""
    states = []
    for how in ("graph", 2):
        fm.manual_seed(1)
        model = fm.nn.MLP(1100, (3200, 40), 3)
        optimizer = fm.optim.SGD(model.parameters(), lr=0.01)
        if how == "graph":
            train_on_graph(model, optimizer, data_set(1100, 3, 24), 1, 12)
        else:
            train_on_engine(model, optimizer, data_set(1100, 3, 24), 1, 12, how)
        states.append(state_of(model, optimizer))
    same_bits(*states)


class Alternating(Pace):
    """Two threads, then one, then two again."""

    turns = 0

    def threads(self, now):
        self.turns += 1
        return 2 - self.turns % 2


class LeftBehind(Engine):
    """The fault: the other threads' copies are brought up to date before the first step of an epoch, never again."""

    def level_copies(self, threads):
        if self.step == 0:
            super().level_copies(threads)


def test_stale_numbers_of_a_rule_are_noticed():
    """NAdam carries a product on, and each thread has its own: a number of threads that changes leaves some behind."""
    data, order, sizes, states = data_set(12, 4, 400), np.arange(400), [8] * 50, {}
    for kind, pace in (
        (Engine, Fixed(1)),
        (Engine, Alternating(2)),
        (LeftBehind, Fixed(2)),
        (LeftBehind, Alternating(2)),
    ):
        fm.manual_seed(0)
        model = fm.nn.MLP(12, (32,), 4)
        optimizer = fm.optim.NAdam(model.parameters(), lr=0.01)
        with kind(model, optimizer, 12, 8, 2, pace, 10) as engine:
            engine.patience = 10**9  # a thread that is late must not end a chunk before its tenth step
            engine.epoch(data, order, sizes)
        states[kind, type(pace)] = state_of(model, optimizer)
    expected = states[Engine, Fixed]
    same_bits(states[Engine, Alternating], expected)
    same_bits(states[LeftBehind, Fixed], expected)  # where the number stays, no copy is left behind
    with pytest.raises(AssertionError):
        same_bits(states[LeftBehind, Alternating], expected)


def test_training_goes_on_where_an_optimizer_state_left_off():
    data, states = data_set(10, 3, 60), []
    for split in (False, True):
        fm.manual_seed(0)
        model = fm.nn.MLP(10, (20,), 3, dropout=0.2, batch_norm=True)
        optimizer = fm.optim.Adam(model.parameters())
        seed_dropout(model, 0, 0)
        for epochs in ((0,), (1,)) if split else ((0, 1),):
            with Engine(model, optimizer, 10, 20, 2, Fixed(2)) as engine:
                for e in epochs:
                    engine.epoch(data, np.random.default_rng(e).permutation(60), [20] * 3)
        states.append(state_of(model, optimizer))
    same_bits(*states)


def test_graph_and_engine_can_take_turns():
    data, states = data_set(10, 3, 60), []
    for engine_first in (False, True):
        fm.manual_seed(0)
        model = fm.nn.MLP(10, (20,), 3)
        optimizer = fm.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        run = (train_on_engine, train_on_graph) if engine_first else (train_on_graph, train_on_graph)
        for train in run:
            train(model, optimizer, data, 1, 20, *((2,) if train is train_on_engine else ()))
        states.append(state_of(model, optimizer))
    same_bits(*states)


def test_arrays_of_model_and_optimizer_stay_the_same_objects():
    model = fm.nn.MLP(10, (20,), 3)
    optimizer = fm.optim.Adam(model.parameters())
    data = data_set(10, 3, 40)
    train_on_engine(model, optimizer, data, 1, 20, 2)
    before = [id(p.data) for p in model.parameters()] + [id(s["exp_avg"]) for s in optimizer.state.values()]
    train_on_engine(model, optimizer, data, 1, 20, 2)
    after = [id(p.data) for p in model.parameters()] + [id(s["exp_avg"]) for s in optimizer.state.values()]
    assert before == after


def test_a_new_architecture_and_another_feature_dtype_compile_nothing():
    train_on_engine(model := fm.nn.MLP(10, (20,), 3), fm.optim.Adam(model.parameters()), data_set(10, 3, 40), 1, 20, 1)
    before = len(steps.train_steps.signatures)
    for kind, layers in ((np.uint8, [5, "norm", "tanh", 3]), (np.float64, ["dropout", 9, "sigmoid", 4, 3])):
        model = build(17, layers, np.float32)
        train_on_engine(model, make_optimizer("nesterov", model), data_set(17, 3, 40, kind), 1, 7, 2)
    assert len(steps.train_steps.signatures) == before


def test_read_only_memory_map_compiles_nothing_and_is_not_copied(tmp_path):
    values = np.random.default_rng(0).normal(size=(50, 10)).astype(np.float32)
    np.save(tmp_path / "x.npy", values)
    mapped = fm.data.Dataset(np.load(tmp_path / "x.npy", mmap_mode="r"), np.arange(50) % 3)
    states = []
    for data in (fm.data.Dataset(values, np.arange(50) % 3), mapped):
        fm.manual_seed(0)
        model = fm.nn.MLP(10, (8,), 3)
        train_on_engine(model, fm.optim.Adam(model.parameters()), data, 1, 10, 2)
        states.append(model.state_dict())
    same_bits(*states)
    assert isinstance(mapped.features, np.memmap)


class Doubling(fm.nn.Module):
    """A layer of the user's own."""

    def forward(self, x):
        return x * 2


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (fm.nn.Sequential(Doubling(), fm.nn.Linear(3, 2)), "Doubling declares no kernels for its forward"),
        (fm.nn.Sequential(fm.nn.ReLU()), "there is no Linear layer"),
        (Doubling(), "Doubling is not a Sequential of declared layers"),
    ],
)
def test_obstacle_says_why(model, why):
    assert why in obstacle(model)


def test_obstacle_of_optimizers_and_parameters():
    model = fm.nn.MLP(3, (4,), 2)
    assert obstacle(model, fm.optim.Adam(model.parameters())) is None
    assert obstacle(model, fm.optim.Adam([model[0].weight])) is None
    none = "the optimizer holds no parameter of the model that requires grad"
    assert obstacle(model, fm.optim.Adam(fm.nn.Linear(3, 2).parameters())) == none

    class Own(fm.optim.SGD):
        def step(self):
            super().step()

    assert obstacle(model, Own(model.parameters())) == "Own declares no kernels for its step"
    patched = fm.optim.SGD(model.parameters())
    patched.step = lambda: None
    assert obstacle(model, patched) == "SGD declares no kernels for its step"
    assert obstacle(model, fm.optim.Optimizer(model.parameters(), {"lr": 0.1, "weight_decay": 0.0})) is not None
    model[0].bias.requires_grad = False
    assert obstacle(model, fm.optim.Adam(model.parameters())) is None
    assert obstacle(model, fm.optim.Adam([model[0].bias])) == none


def test_fit_says_in_one_line_that_it_runs_on_the_graph(capsys):
    model = fm.nn.Sequential(fm.nn.Linear(6, 5), Doubling(), fm.nn.Linear(5, 2))
    fm.fit(model, data_set(6, 2, 30), epochs=1, progress="table")
    lines = [line for line in capsys.readouterr().out.splitlines() if "graph" in line]
    assert lines == ["training on the graph, node by node: Doubling declares no kernels for its forward"]


def test_labels_beyond_the_model_are_refused_before_a_step():
    model = fm.nn.MLP(6, (5,), 2)
    before = model[0].weight.data.copy()
    with pytest.raises(ValueError, match=r"label 3; the model's labels are 0 \.\. 1"):
        fm.fit(model, data_set(6, 4, 30), epochs=1, progress=False)
    assert np.array_equal(model[0].weight.data, before)


@pytest.mark.parametrize(("row", "order"), [(30, [0, 30]), (-31, [2, -31]), (2**40, [2**40, 31]), (-99, [-99])])
def test_row_numbers_outside_the_data_are_refused(row, order):
    """A kernel would read whatever lies there."""
    model, data = fm.nn.MLP(6, (5,), 2), data_set(6, 2, 30)
    before = model[0].weight.data.copy()
    with Engine(model, fm.optim.Adam(model.parameters()), 6, 2, 1) as engine:
        with pytest.raises(IndexError, match=rf"Engine: row {row} is asked for; data has the rows 0\.\.29"):
            engine.epoch(data, np.array(order), [len(order)])
        engine.epoch(data, np.array([0, 29]), [2])
    assert not np.array_equal(model[0].weight.data, before)
    predictor = fm.Predictor(model)
    with pytest.raises(IndexError, match=rf"evaluate: row {row} is asked for; data has the rows 0\.\.29"):
        predictor.logits(data, np.array(order))
    assert np.array_equal(predictor.logits(data, np.array([29, 0])), predictor(data.rows[[29, 0]]))


class Scaled(fm.nn.ReLU):
    """A declared layer with another forward: the kernels that it inherits say nothing of it."""

    def forward(self, x):
        return super().forward(x) * 3


class Renamed(fm.nn.ReLU):
    """A declared layer under another name."""


def test_a_subclass_with_another_forward_runs_on_the_graph(capsys):
    results = {}
    for kind in (fm.nn.ReLU, Renamed, Scaled):
        fm.manual_seed(0)
        model = fm.nn.Sequential(fm.nn.Linear(6, 5), kind(), fm.nn.Linear(5, 2))
        fm.fit(model, data_set(6, 2, 30), epochs=1, progress="table")
        results[kind] = model.state_dict(), fm.evaluate(model, data_set(6, 2, 30)).loss, capsys.readouterr().out
    same_bits(results[Renamed][0], results[fm.nn.ReLU][0])
    assert "graph" not in results[fm.nn.ReLU][2] + results[Renamed][2]
    line = "training on the graph, node by node: Scaled declares no kernels for its forward"
    assert line in results[Scaled][2].splitlines()
    model = fm.nn.Sequential(fm.nn.Linear(6, 5), Scaled(), fm.nn.Linear(5, 2)).eval()
    model.load_state_dict(results[Scaled][0])
    data = data_set(6, 2, 30)
    assert fm.ops.cross_entropy(model(fm.Tensor(data.features)), data.labels).item() == pytest.approx(
        results[Scaled][1], rel=1e-6  # the mean in float32
    )  # fmt: skip
    model[1].forward = fm.nn.Tanh().forward
    assert obstacle(model) == "Scaled declares no kernels for its forward"


def test_widths_that_do_not_fit_are_refused():
    model = fm.nn.Sequential(fm.nn.Linear(6, 5), fm.nn.ReLU(), fm.nn.Linear(4, 2))
    with pytest.raises(ValueError, match="layer 2 has in_features 4; 5 columns come to it"):
        fm.fit(model, data_set(6, 2, 30), epochs=1, progress=False)
    with pytest.raises(ValueError, match="layer 0 has in_features 6; 7 columns come to it"):
        fm.fit(model, data_set(7, 2, 30), epochs=1, progress=False)


def test_nan_in_the_data_of_a_step_comes_out_as_nan():
    model = fm.nn.MLP(6, (40,), 2)
    model[0].weight.data[3, 2] = math.nan
    loss, _ = train_on_engine(model, fm.optim.Adam(model.parameters()), data_set(6, 2, 30), 1, 10, 2)[0]
    assert math.isnan(loss)


def test_two_trainings_at_once_in_one_process():
    def run(seed):
        generator_safe = fm.nn.MLP(12, (64, 32), 4)
        for p, q in zip(generator_safe.parameters(), reference.parameters(), strict=True):
            p.data[...] = q.data
        fm.fit(generator_safe, data, epochs=3, seed=seed, progress=False)
        return generator_safe.state_dict()

    data, reference = data_set(12, 4, 400), fm.nn.MLP(12, (64, 32), 4)
    alone = run(0)
    with ThreadPoolExecutor(3) as pool:
        for state in pool.map(run, [0, 0, 0]):
            same_bits(state, alone)


def test_training_after_fork():
    if not hasattr(os, "fork"):
        pytest.skip("this system has no fork")
    code = """if True:
        import os, sys, warnings
        import numpy as np, fastmlp as fm
        warnings.simplefilter("ignore", DeprecationWarning)
        data = fm.data.Dataset(np.random.default_rng(0).normal(size=(200, 8)).astype("f"), np.arange(200) % 3)
        def run():
            fm.manual_seed(0)
            model = fm.nn.MLP(8, (32,), 3)
            return fm.fit(model, data, epochs=2, progress=False).column("train_loss")
        before = run()
        child = os.fork()
        if child == 0:
            os._exit(0 if run() == before else 1)
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """
    assert subprocess.run([sys.executable, "-c", code], timeout=120, check=False).returncode == 0


def test_interrupt_leaves_whole_steps_behind():
    """Ctrl-C ends the epoch between chunks; the arrays then hold just the steps that `step` counts."""
    data, order, sizes = data_set(12, 4, 4000), np.arange(4000), [10] * 400
    states, chunks = [], []

    def stop(rows, loss, accuracy):
        chunks.append(rows)
        if len(chunks) == 5:
            raise KeyboardInterrupt

    for interrupted in (True, False):
        fm.manual_seed(0)
        model = fm.nn.MLP(12, (32,), 4)
        optimizer = fm.optim.Adam(model.parameters())
        with Engine(model, optimizer, 12, 10, 2, Fixed(2), 3) as engine:
            if interrupted:
                with pytest.raises(KeyboardInterrupt):
                    engine.epoch(data, order, sizes, stop)
            else:
                engine.epoch(data, order[: sum(chunks)], [10] * (sum(chunks) // 10))
        states.append(state_of(model, optimizer))
    assert 0 < sum(chunks) < 4000
    same_bits(*states)


def test_a_thread_that_waits_in_vain_asks_all_to_leave():
    """With patience for one look, a chunk on two threads ends early, at a whole step, and the epoch is complete."""
    data, order, sizes = data_set(12, 4, 4000), np.arange(4000), [10] * 400
    states = []
    for patience in (None, 1):
        fm.manual_seed(0)
        model = fm.nn.MLP(12, (32, 32), 4)
        optimizer = fm.optim.Adam(model.parameters())
        with Engine(model, optimizer, 12, 10, 2) as engine:
            if patience:
                engine.patience = patience
            engine.epoch(data, order, sizes)
        states.append(state_of(model, optimizer))
    same_bits(*states)


class Known(Pace):
    """The speed is known from the second chunk on: 1000 steps a second."""

    def expected_speed(self, threads):
        return 1000.0 if self.speed else 0.0


def test_progress_is_never_far_from_a_call():
    """The first call makes one step; then one makes as many as take CHUNK_SECONDS at the speed that is known."""
    model, chunks = fm.nn.MLP(50, (64,), 4), []
    with Engine(model, fm.optim.Adam(model.parameters()), 50, 10, 1, Known(1)) as engine:
        engine.epoch(data_set(50, 4, 2000), np.arange(2000), [10] * 200, lambda rows, *_: chunks.append(rows))
    expected = [10] + [round(1000 * CHUNK_SECONDS) * 10] * 200
    assert chunks[:-1] == expected[: len(chunks) - 1]
    assert 0 < chunks[-1] <= expected[1]
    assert sum(chunks) == 2000


def test_no_threads_stay_behind():
    before = threading.active_count()
    fm.fit(fm.nn.MLP(6, (5,), 2), data_set(6, 2, 30), epochs=1, progress=False)
    assert threading.active_count() == before


@CASES
@given(architectures(), st.integers(1, 300), st.sampled_from([np.uint8, np.float32, np.float64]), st.integers(1, 3))
def test_predictor_equals_the_graph_in_evaluation_mode(architecture, rows, kind, threads):
    features, layers = architecture
    model = build(features, layers, np.float32)
    data = data_set(features, 2, rows, kind)
    for module in model.modules():
        if isinstance(module, fm.nn.BatchNorm1d):
            module.running_mean[:], module.running_var[:] = 0.3, 2.0
    x, _ = next(batches_of(data, np.arange(rows), [rows], np.float32))
    model.eval()
    with fm.no_grad():
        expected = model(x).data
    predictor = fm.Predictor(model, threads)
    assert np.array_equal(predictor(data.rows), expected)
    assert np.array_equal(predictor(data.rows[0]), expected[0])
    assert np.array_equal(predictor(data.rows[:1]), expected[:1])


def test_predictor_is_a_snapshot_until_refreshed():
    model = fm.nn.MLP(6, (5,), 2)
    x = np.ones((3, 6), np.float32)
    predictor = fm.Predictor(model)
    before = predictor(x)
    for p in model.parameters():
        p.data *= 2
    assert np.array_equal(predictor(x), before)
    predictor.refresh()
    assert not np.array_equal(predictor(x), before)


def test_predictor_refuses_in_words():
    predictor = fm.Predictor(fm.nn.MLP(6, (5,), 2))
    with pytest.raises(ValueError, match=r"x is \(3, 5\); it must be \(N, 6\) or \(6,\)"):
        predictor(np.ones((3, 5), np.float32))
    with pytest.raises(ValueError, match="x has the type complex64; it must be uint8, float32 or float64"):
        predictor(np.ones((3, 6), np.complex64))
    with pytest.raises(ValueError, match="no Linear layer; call model"):
        fm.Predictor(fm.nn.Sequential(fm.nn.ReLU()))
    with pytest.raises(ValueError, match="n_threads is 0; it must be a whole number of at least 1, or 'auto'"):
        fm.Predictor(fm.nn.MLP(6, (5,), 2), n_threads=0)
    with pytest.raises(TypeError, match=r"model is NoneType; it must be a fastmlp\.nn\.Module"):
        fm.Predictor(None)


def test_predictor_takes_images_and_all_threads():
    model = fm.nn.MLP(12, (5,), 2)
    x = np.random.default_rng(0).normal(size=(7, 3, 4)).astype(np.float32)
    assert np.array_equal(fm.Predictor(model, "auto")(x), fm.Predictor(model)(x.reshape(7, 12)))


def test_fit_refuses_the_optimizer_of_another_model():
    other = fm.optim.Adam(fm.nn.MLP(6, (5,), 2).parameters())
    with pytest.raises(ValueError, match="optimizer holds none of the model's parameters"):
        fm.fit(fm.nn.MLP(6, (5,), 2), data_set(6, 2, 30), optimizer=other, progress=False)


def test_predict_gives_classes():
    model = fm.nn.MLP(6, (5,), 3)
    x = np.random.default_rng(0).normal(size=(20, 6)).astype(np.float32)
    assert np.array_equal(fm.predict(model, x), fm.Predictor(model)(x).argmax(axis=1))
    assert fm.predict(model, x[0]) == fm.predict(model, x)[0]


def test_no_rows_give_no_logits():
    assert fm.Predictor(fm.nn.MLP(6, (5,), 3))(np.empty((0, 6), np.float32)).shape == (0, 3)


def test_a_fraction_of_a_row_is_refused_by_both():
    model = fm.nn.MLP(3, (), 2)
    data = fm.Dataset(np.zeros((30, 3), np.float32), np.arange(30) % 2)
    with pytest.raises(TypeError, match="evaluate: row numbers are float64; they must be whole numbers"):
        fm.Predictor(model).logits(data, np.array([0.5]))
    engine = Engine(model, fm.optim.SGD(model.parameters()), 3, 4, 1)
    with engine, pytest.raises(TypeError, match="Engine: row numbers are float64"):
        engine.epoch(data, np.array([0.5, 1.0]), [2])
