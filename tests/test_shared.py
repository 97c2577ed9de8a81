"""One object, several threads: a Predictor that all ask, a model that is evaluated while others use it."""

import copy
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import fastmlp as fm
from fastmlp.kernels import prediction
from fastmlp.nn.module import evaluating, undrawn
from fastmlp.running import door, predict
from fastmlp.studies import dropout

THREADS = 8
SECONDS = 20  # most that one waits for another; only in a fault


def rows(count, seed=0, dtype=np.float32):
    generator = np.random.default_rng(seed)
    return generator.integers(0, 256, (count, 6)).astype(dtype) if dtype == np.uint8 else (
        generator.normal(size=(count, 6)).astype(dtype)
    )  # fmt: skip


def a_model():
    return fm.nn.MLP(6, (40, 20), 3, "leaky_relu", dropout=0.2, norm="batch")


def change(model):
    """Other numbers, of parameters and of running statistics."""
    for array in model.state_dict().values():
        array += 1


def on_another_thread(function, *arguments):
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function, *arguments).result()


# --- a Predictor -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "questions",
    [
        list(rows(THREADS)),
        list(rows(THREADS, dtype=np.uint8)),
        [rows(1, seed) for seed in range(THREADS)],
        [rows(300, seed) for seed in range(THREADS)],
        [rows(1, seed)[0] if seed % 2 else rows(200, seed, np.float64) for seed in range(THREADS)],
    ],
    ids=["single rows", "single rows of bytes", "batches of one", "batches", "both"],
)
def test_threads_that_ask_at_once_get_their_own_answers(monkeypatch, questions):
    """All hand their rows over before a kernel runs, and all kernels have run before one takes its answer."""
    predictor = fm.Predictor(a_model())
    expected = [predictor(x).copy() for x in questions]
    barrier, kernel = threading.Barrier(THREADS, timeout=60), prediction.predict_rows

    def together(*arguments):
        barrier.wait()
        kernel(*arguments)
        barrier.wait()

    monkeypatch.setattr(prediction, "predict_rows", together)
    for _ in range(3):  # memory that was given back is taken again
        with ThreadPoolExecutor(THREADS) as pool:
            answers = list(pool.map(predictor, questions))
        assert all(np.array_equal(a, b) for a, b in zip(answers, expected, strict=True))


def test_threads_that_ask_as_they_come_get_their_own_answers(monkeypatch):
    """Many calls, with threads of the Predictor's own too, a copy now and then, and a switch at every chance."""
    predictor, data = fm.Predictor(a_model(), 2), fm.Dataset(rows(1500), np.zeros(1500, np.int64))
    x, order = rows(50, 1), np.arange(1500)[::-1]
    single, few, many = np.array([predictor(row) for row in x]), predictor(x), predictor.logits(data, order)
    before, wrong = sys.getswitchinterval(), []

    def ask(thread):
        for turn in range(60):
            at = (7 * thread + turn) % len(x)
            if not np.array_equal(predictor(x[at]), single[at]):
                wrong.append("a row")
            if turn % 10 == thread and not np.array_equal(predictor.logits(data, order), many):
                wrong.append("a data set")
            if turn % 20 == thread and not np.array_equal(copy.copy(predictor)(x[at]), single[at]):
                wrong.append("a copy")
            if not np.array_equal(predictor(x[at:]), few[at:]):
                wrong.append("rows")

    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(ask, range(THREADS)))
    finally:
        sys.setswitchinterval(before)
    assert not wrong


@pytest.mark.parametrize("x", [rows(1)[0], rows(1), rows(1300)], ids=["a row", "a batch of one", "two threads"])
def test_a_call_ends_with_the_numbers_it_began_with(monkeypatch, x):
    """A refresh comes between the question and the kernel, or between the kernels of two threads."""
    model = a_model()
    predictor, kernel = fm.Predictor(model, 2), prediction.predict_rows
    old, refreshed, lock = predictor(x), [], threading.Lock()

    def late(*arguments):
        with lock:
            if not refreshed:
                change(model)
                refreshed.append(predictor.refresh())
        kernel(*arguments)

    monkeypatch.setattr(prediction, "predict_rows", late)
    assert np.array_equal(predictor(x), old)
    assert refreshed
    assert np.array_equal(predictor(x), fm.Predictor(model)(x))
    assert not np.array_equal(predictor(x), old)


def test_a_refresh_that_began_earlier_does_not_undo_a_later_one(monkeypatch):
    model, x = a_model(), rows(4)
    predictor, make = fm.Predictor(model), predict._Snapshot

    def slow(*arguments):
        snapshot = make(*arguments)
        monkeypatch.setattr(predict, "_Snapshot", make)
        change(model)
        on_another_thread(predictor.refresh)
        return snapshot

    monkeypatch.setattr(predict, "_Snapshot", slow)
    predictor.refresh()
    assert np.array_equal(predictor(x), fm.Predictor(model)(x))


def test_refresh_takes_options_and_layers_over():
    """As a Predictor made anew does."""
    model, x = a_model(), rows(4)
    predictor = fm.Predictor(model)
    for alter in (
        lambda: setattr(model[2], "negative_slope", 0.5),
        lambda: setattr(model, "2", fm.nn.Tanh()),
        lambda: setattr(model, "8", fm.nn.Linear(20, 7)),
        model.double,
    ):
        before = predictor(x)
        alter()
        assert np.array_equal(predictor(x), before)
        predictor.refresh()
        assert np.array_equal(predictor(x), fm.Predictor(model)(x))
        assert np.array_equal(predictor(x[0]), predictor(x)[0])


def test_a_refresh_that_cannot_be_leaves_the_snapshot():
    model, x = a_model(), rows(4)
    predictor = fm.Predictor(model)
    before = predictor(x)
    change(model)
    setattr(model, "9", Asking())
    with pytest.raises(ValueError, match="Predictor: Asking declares no kernels for its forward"):
        predictor.refresh()
    assert np.array_equal(predictor(x), before)


# --- evaluation ------------------------------------------------------------------------------------------------------


class Asking(fm.nn.Module):
    """Calls `ask`, where there is one, in the middle of a forward; only the graph runs it."""

    ask = None

    def forward(self, x):
        if self.ask:
            self.ask()
        return x * 1


class Block(fm.nn.Module):
    """A user's own module: children as attributes, and the same in a list, where no `train()` finds them."""

    def __init__(self):
        super().__init__()
        self.linear, self.norm, self.asking = fm.nn.Linear(6, 5), fm.nn.BatchNorm1d(5), Asking()
        self.drop, self.last = fm.nn.Dropout(0.5), fm.nn.Linear(5, 3)
        self.order = [self.linear, self.norm, self.asking, self.drop, self.last]
        self.seen = []

    def forward(self, x):
        self.seen.append(self.training)
        for module in self.order:
            x = module(x)
        return x


def state(model):
    """All that an evaluation could change."""
    arrays = {name: array.copy() for name, array in model.state_dict().items()}
    return arrays, modes(model), [m.step for m in model.modules() if isinstance(m, fm.nn.Dropout)]


def modes(model):
    return [module.training for module in model.modules()]


def same(one, other):
    np.testing.assert_equal(one, other)


EVALUATE = {
    "evaluate": lambda model, x: fm.evaluate(model, fm.Dataset(x, np.zeros(len(x), np.int64))).probabilities,
    "asker": lambda model, x: door.asker(model)(x),
    "study": lambda model, x: dropout.one_pass(model, x),
}


@pytest.mark.parametrize("evaluate", EVALUATE.values(), ids=EVALUATE)
@pytest.mark.parametrize("frozen", [False, True], ids=["training", "partly frozen"])
def test_who_evaluates_leaves_the_model_alone(evaluate, frozen):
    """Other threads see its modes as they are, also in the middle, and the answers are those of evaluation mode."""
    model, x = Block(), rows(30)
    change(model)
    expected = evaluate(copy.deepcopy(model).eval(), x)
    if frozen:
        model.norm.eval()
    before, seen = state(model), []
    model.asking.ask = lambda: seen.append((modes(model), on_another_thread(modes, model)))
    assert np.array_equal(evaluate(model, x), expected)
    same(state(model), before)
    assert seen == [([False] * 6, before[1])]
    assert model.seen == [False]


class Halfway:
    """An evaluation on another thread that stops in the middle of its forward until it is let go."""

    def __init__(self):
        self.begun, self.go_on, self.pool = threading.Event(), threading.Event(), ThreadPoolExecutor(1, "halfway")

    def start(self, evaluate, model, x):
        self.answer = self.pool.submit(evaluate, model, x)
        self.begun.wait(SECONDS)

    def stop(self):
        self.begun.set()
        self.go_on.wait(SECONDS)

    def result(self):
        self.go_on.set()
        self.pool.shutdown()
        return self.answer.result()


def elsewhere():
    return threading.current_thread().name.startswith("halfway")


@pytest.mark.parametrize("evaluate", EVALUATE.values(), ids=EVALUATE)
def test_two_evaluations_that_overlap(evaluate):
    """The first ends in the middle of the second: it would put modes back that the second relies on."""
    model, x, others = Block(), rows(30), []
    expected, before = evaluate(model, x), state(model)

    def ask():
        if elsewhere():
            others[0].stop()
        else:
            others.append(Halfway())
            others[0].start(evaluate, model, x)

    model.asking.ask = ask
    assert np.array_equal(evaluate(model, x), expected)
    assert np.array_equal(others[0].result(), expected)
    same(state(model), before)


def test_a_model_is_evaluated_while_it_trains():
    """On the graph: the training comes to the same bits with an evaluation in the middle all the time."""
    data = fm.Dataset(rows(60), np.arange(60) % 3)
    results = {}
    for watched in (False, True):
        fm.manual_seed(0)
        model, others = Block(), []

        def ask(model=model, others=others):
            if elsewhere():
                others[-1].stop()
            elif model.training:  # a step of the training
                if others:
                    assert others[-1].result() is not None
                others.append(Halfway())
                others[-1].start(EVALUATE["evaluate"], model, data.features)

        if watched:
            model.asking.ask = ask
        fm.fit(model, data, epochs=2, batch_size=20, validation=0.5, progress=False)
        if watched:
            others[-1].result()
            assert len(others) == 4  # two steps an epoch
        results[watched] = state(model)
    same(results[True], results[False])


def test_no_mode_is_left_over_between_batches():
    """Whoever takes the outputs runs in its own mode, with gradients, and may stop in the middle."""
    model = Block()
    for _, z in door.outputs(model, fm.Dataset(rows(30), np.zeros(30, np.int64)), 10):
        assert len(z) == 10
        assert model.training
        assert fm.is_grad_enabled()
        break
    assert model(fm.Tensor(rows(4))).requires_grad


def test_evaluating_is_of_the_thread_alone():
    model = Block()
    model.norm.eval()
    before = modes(model)
    with evaluating():
        assert modes(model) == [False] * 6
        assert on_another_thread(modes, model) == before
        with evaluating():
            model.train()  # sets what is seen outside
            assert modes(model) == [False] * 6
        assert not model.training
        assert copy.deepcopy(model).__dict__["training"]
    assert modes(model) == [True] * 6
    with pytest.raises(KeyError), evaluating():
        raise KeyError
    assert model.training


# --- what modules draw from ------------------------------------------------------------------------------------------


def test_a_model_that_is_loaded_takes_no_numbers_from_those_of_other_threads():
    """What another thread draws meanwhile is not drawn again."""
    fm.manual_seed(0)
    expected = [fm.nn.generator().integers(2**63) for _ in range(2)]
    fm.manual_seed(0)
    with undrawn():
        first = on_another_thread(lambda: fm.nn.generator().integers(2**63))
        assert fm.nn.generator().integers(2**63) == expected[0]  # of the copy, made when the block began
    assert [first, fm.nn.generator().integers(2**63)] == expected
