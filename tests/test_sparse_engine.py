"""Sparse rows on the engine: batches without the columns that they do not need, and weights that owe steps."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

import fastmlp as fm
from fastmlp import nn, optim
from fastmlp.running import buffers, owing
from fastmlp.running.divergence import WayBack
from fastmlp.running.door import inputs_at_once
from fastmlp.running.engine import Engine
from fastmlp.running.pace import Pace

ROWS, INPUTS, CLASSES = 90, 700, 3
RULES = {
    "SGD": lambda p: optim.SGD(p, 0.1),
    "SGD with momentum and decay": lambda p: optim.SGD(p, 0.1, momentum=0.9, weight_decay=0.01, nesterov=True),
    "Adam": lambda p: optim.Adam(p, 0.01),
    "Adam with decay": lambda p: optim.Adam(p, 0.01, weight_decay=0.01),
    "Adam, maximize": lambda p: optim.Adam(p, 0.01, maximize=True),
    "AdamW": lambda p: optim.AdamW(p, 0.01),
    "amsgrad": lambda p: optim.Adam(p, 0.01, amsgrad=True),
    "RMSprop": lambda p: optim.RMSprop(p, 0.01),
    "Lion": lambda p: optim.Lion(p, 0.001),
}
OWING = [name for name in RULES if name.startswith(("SGD", "Adam"))]


def matrix(seed: int, rows: int = ROWS, inputs: int = INPUTS, filled: float = 0.005, dtype=np.float32):
    """A few columns that many rows have, and many that few have; some rows are empty."""
    rng = np.random.default_rng(seed)
    x = np.where(rng.random((rows, inputs)) < filled, rng.normal(size=(rows, inputs)), 0)
    x[:, 5] = rng.normal(size=rows)
    x[::7] = 0
    return sp.csr_matrix(x.astype(dtype))


def model_of(dtype=np.float32, inputs: int = INPUTS, width: int = 40) -> nn.Sequential:
    fm.manual_seed(0)
    layers = nn.Linear(inputs, width, dtype=dtype), nn.ReLU(), nn.Linear(width, CLASSES, dtype=dtype)
    return nn.Sequential(*layers)


def state(model, optimizer) -> bytes:
    arrays = [p.data for p in model.parameters()]
    for number in sorted(optimizer.state):
        arrays += [np.asarray(value) for _, value in sorted(optimizer.state[number].items())]
    return b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)


class Own(nn.Sequential):
    """A subclass with a forward of its own, which trains on the graph."""

    def forward(self, x):
        return super().forward(x)


def trained(x, rule, threads: int = 1, dtype=np.float32, graph: bool = False, **options) -> bytes:
    model = model_of(dtype, x.shape[1])
    if graph:
        model = Own(*model)
    optimizer = RULES[rule](model.parameters())
    data = fm.Dataset(x, np.arange(x.shape[0]) % CLASSES)
    options = {"epochs": 3, "batch_size": 8} | options
    fm.fit(model, data, optimizer=optimizer, n_threads=threads, progress=False, **options)
    return state(model, optimizer)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rule", RULES)
def test_sparse_rows_train_to_the_bits_of_dense_ones(rule, dtype):
    """Parameters and the rule's state, for one thread and for three."""
    x = matrix(0, dtype=dtype)
    want = trained(x.toarray(), rule, dtype=dtype)
    assert trained(x, rule, 1, dtype) == want
    assert trained(x, rule, 3, dtype) == want
    assert trained(x, rule, 1, dtype, graph=True) == want


OPTIONS = {
    "clip_norm": {"clip_norm": 0.5},
    "clip_value": {"clip_value": 0.01},
    "ema": {"average": "ema"},
    "swa": {"average": "swa"},
    "validation": {"validation": 0.2},
    "schedule": {"schedule": optim.schedules.CosineAnnealingLR(33), "schedule_every": "step"},
    "one batch": {"batch_size": 90},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_with_every_option(options):
    x = matrix(1)
    assert trained(x, "AdamW", 2, **options) == trained(x.toarray(), "AdamW", 2, **options)


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 10**6), rows=st.integers(1, 60), inputs=st.integers(1, 400), batch=st.integers(1, 20),
    filled=st.sampled_from([0.0, 0.001, 0.02, 0.3, 1.0]), rule=st.sampled_from(OWING),
)  # fmt: skip
def test_any_shape_and_any_filling(seed, rows, inputs, batch, filled, rule):
    x = matrix(seed, rows, inputs, filled) if inputs > 5 else sp.csr_matrix(np.eye(rows, inputs, dtype=np.float32))
    assert trained(x, rule, 2, batch_size=batch, epochs=2) == trained(x.toarray(), rule, 2, batch_size=batch, epochs=2)


class Changing(Pace):
    """Another number of threads in each chunk."""

    def threads(self, now: float) -> int:
        self.turn = getattr(self, "turn", 0) + 1
        return 1 + self.turn % self.counts[0]


def engine_of(x, rule: str, **options) -> Engine:
    model = model_of(inputs=x.shape[1])
    optimizer = RULES[rule](model.parameters())
    data = fm.Dataset(x, np.arange(x.shape[0]) % CLASSES)
    pace = Changing(3)
    engine = Engine(
        model, optimizer, x.shape[1], 8, 3, pace, 2, at_once=inputs_at_once(model, data.rows, 8), **options
    )  # fmt: skip
    engine.data = data
    return engine


@pytest.mark.parametrize("rule", OWING)
def test_threads_may_change_and_somebody_may_look_within_an_epoch(rule):
    """What is given after some steps is what the dense engine gives; and so is what comes after."""
    x, order, sizes = matrix(2), np.random.default_rng(0).permutation(88), [8] * 11
    found = []
    for rows in (x, x.toarray()):
        with engine_of(rows, rule) as engine:
            states = []
            engine.train_on(engine.data)
            engine.open(order, sizes)
            for limit in (3, 4, 9, 11):
                while engine.step < limit:
                    engine.chunk(limit)
                engine.give()
                states.append(state(engine.model, engine.optimizer))
            found.append(states)
            assert (engine.owed[0] != 0) == (rows is x)
    assert found[0] == found[1]


def test_a_copy_to_go_back_to_knows_what_is_owed():
    x, order, sizes = matrix(3), np.arange(88), [8] * 11
    with engine_of(x, "Adam") as engine:
        engine.train_on(engine.data)
        engine.open(order, sizes)
        while engine.step < 5:
            engine.chunk(5)
        kept = engine.snapshot()
        while engine.step < 11:
            engine.chunk(11)
        engine.give()
        want = state(engine.model, engine.optimizer)
        engine.restore(kept)
        while engine.step < 11:
            engine.chunk(11)
        engine.give()
        assert state(engine.model, engine.optimizer) == want


def test_a_step_that_forgets_what_is_owed_is_seen(monkeypatch):
    """The tests above can fail: without the last bringing-up the weights of inputs not seen lag behind."""
    x = matrix(0)
    want = trained(x.toarray(), "AdamW")
    monkeypatch.setattr(owing, "bring_up", lambda engine: None)
    assert trained(x, "AdamW") != want


def test_reasons_to_sweep_are_said():
    x = matrix(0)
    for rule, why in (("amsgrad", "amsgrad"), ("Lion", "cannot make up"), ("Adam", "")):
        with engine_of(x, rule) as engine:
            engine.train_on(engine.data)
            engine.open(np.arange(88), [8] * 11)
            assert why in engine.swept_for if why else engine.swept_for == ""
    with engine_of(sp.csr_matrix(np.ones((90, 50), np.float32)), "Adam") as engine:
        engine.train_on(engine.data)
        engine.open(np.arange(88), [8] * 11)
        assert engine.swept_for == "a batch has so many of the inputs"


def test_memory_follows_what_a_batch_needs_not_the_columns():
    """Buffers of the batch hold at most the columns of the fullest rows."""
    x = sp.csr_matrix((np.ones(90, np.float32), (np.arange(90), np.arange(90) * 1000)), shape=(90, 100_000))
    with engine_of(x, "SGD") as engine:
        assert engine.plan.at_once == 8
        one = (
            engine.own_x.nbytes + engine.own_kept.nbytes + engine.act.nbytes + engine.lists.nbytes + engine.dact.nbytes
        )
        assert one < 1_000_000
    predictor = fm.Predictor(model_of(inputs=100_000))
    assert predictor(x).tobytes() == predictor(x.toarray()).tobytes()


def test_rows_that_need_more_room_than_there_is_are_refused():
    with engine_of(matrix(0), "SGD") as engine:
        full = fm.Dataset(sp.csr_matrix(np.ones((90, INPUTS), np.float32)), np.arange(90) % CLASSES)
        with pytest.raises(ValueError, match=r"more than .* columns"):
            engine.train_on(full)


def test_a_net_that_begins_with_dropout_draws_by_the_places_of_all_columns():
    x, made = matrix(0), []
    for rows in (x, x.toarray()):
        fm.manual_seed(0)
        model = nn.Sequential(nn.Dropout(0.5), nn.Linear(INPUTS, 20), nn.ReLU(), nn.Linear(20, CLASSES))
        fm.fit(model, fm.Dataset(rows, np.arange(ROWS) % CLASSES), epochs=2, batch_size=8, progress=False)
        made.append(b"".join(p.data.tobytes() for p in model.parameters()))
    assert made[0] == made[1]


def test_a_large_state_has_no_copies_and_finds_its_way_back(monkeypatch):
    """The arrays of the model and the optimizer are the copy: what diverges ends with the weights from before."""
    x, order = matrix(4), np.arange(88)
    found = []
    for large in (False, True):
        model = model_of()
        optimizer = optim.Adam(model.parameters(), 0.01)
        data = fm.Dataset(x, np.arange(ROWS) % CLASSES)
        fm.fit(model, data, optimizer=optimizer, epochs=1, batch_size=8, progress=False)
        monkeypatch.setattr(buffers, "LARGE", 0 if large else 1 << 40)
        optimizer.param_groups[0]["lr"] = 1e30
        history = fm.fit(model, data, optimizer=optimizer, epochs=2, batch_size=8, progress=False)
        assert len(history) == 1
        assert all(np.isfinite(p.data).all() for p in model.parameters())
        found.append(state(model, optimizer))
    assert found[0] == found[1]
    with engine_of(x, "Adam") as engine:
        assert engine.is_large
        way_back = WayBack()
        engine.train_on(engine.data)
        engine.open(order, [8] * 11)
        way_back.begin(engine)
        while engine.step < 7:
            engine.chunk(7)
        assert way_back.kept == [(1, 0, None)]
        assert way_back.go(3, 11)
        engine.give()
        gone_back = state(engine.model, engine.optimizer)
    with engine_of(x, "Adam") as engine:
        engine.train_on(engine.data)
        engine.open(order, [8] * 11)
        while engine.step < 3:
            engine.chunk(3)
        engine.give()
        assert state(engine.model, engine.optimizer) == gone_back
