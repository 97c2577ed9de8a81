"""Clipping by norm and by value: a twin in NumPy, the kernels, and engine = graph = a loop of one's own, to the bit.

tests/test_peers_steps.py has PyTorch beside it.
"""

import math

import numpy as np
import pytest
from test_engine import Changing, data_set, same_bits, silent, state_of
from test_frozen import in_groups, net, parts

import fastmlp as fm
from fastmlp import nn, optim
from fastmlp.kernels import clip
from fastmlp.nn.utils import clip_grad_norm_, clip_grad_value_
from fastmlp.running import nodes
from fastmlp.running.clip import Clip
from fastmlp.running.engine import Engine
from fastmlp.running.pace import Fixed
from fastmlp.training.checks import batch_sizes

BOUNDS = {
    "norm": Clip(norm=0.05),
    "value": Clip(value=0.002),
    "both": Clip(value=0.01, norm=0.05),
}
LOOSE = Clip(value=1e6, norm=1e6)  # far beyond every gradient here


def trained(how, bounds, freeze=lambda model: None, rule=None, dtype=np.float32, rates=None, model=None):
    """(model, optimizer, what an epoch returned) after two epochs, as in test_frozen, with clipping."""
    model, data = model or net(dtype), data_set(20, 3, 110, dtype)
    freeze(model)
    optimizer = rule(model) if rule else optim.AdamW(model.parameters(), lr=0.02)
    sizes = batch_sizes(len(data), 16, True)
    orders = [np.random.default_rng(epoch).permutation(len(data)) for epoch in range(2)]
    if how == "graph":
        loss = nn.CrossEntropyLoss()
        scores = [
            nodes.epoch(model, optimizer, loss, data, order, sizes, silent, rates, clip=bounds) for order in orders
        ]
    else:
        pace = Changing(3, 5) if how == "changing" else Fixed(how)
        with Engine(model, optimizer, 20, max(sizes), 4, pace, None if how == 1 else 2, clip=bounds) as engine:
            scores = [engine.epoch(data, order, sizes, rates=rates) for order in orders]
    return model, optimizer, scores


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", BOUNDS)
def test_engine_and_graph_clip_the_same_for_every_number_of_threads(name, dtype):
    model, optimizer, scores = trained("graph", BOUNDS[name], dtype=dtype)
    for how in (1, 2, 3, 4, "changing"):
        *got, got_scores = trained(how, BOUNDS[name], dtype=dtype)
        same_bits(state_of(*got), state_of(model, optimizer))
        assert got_scores == scores
    assert state_of(model, optimizer).keys()
    plain, *_ = trained(2, Clip(), dtype=dtype)
    assert not np.array_equal(plain[1].weight.data, model[1].weight.data), "else nothing was clipped"


@pytest.mark.parametrize("name", BOUNDS)
def test_with_frozen_parameters_and_groups_with_rates_of_their_own(name):
    rates = np.random.default_rng(3).uniform(0.001, 0.02, (7, 2))
    for freeze in (parts("4", "7"), parts("1.bias", "2.weight", "5"), parts("0.weight", "7.bias")):
        want = state_of(*trained("graph", BOUNDS[name], freeze, in_groups("adam"), rates=rates)[:2])
        for how in (1, 3, "changing"):
            same_bits(state_of(*trained(how, BOUNDS[name], freeze, in_groups("adam"), rates=rates)[:2]), want)


@pytest.mark.parametrize("kind", optim.RULES.values())
def test_every_rule_steps_on_what_is_kept(kind):
    """Each keeps its own state, and each thread prepares its steps by itself."""

    def rule(model):
        return kind(model.parameters(), lr=0.003)

    want = state_of(*trained("graph", BOUNDS["norm"], rule=rule)[:2])
    for how in (1, 2, "changing"):
        same_bits(state_of(*trained(how, BOUNDS["norm"], rule=rule)[:2]), want)
    same_bits(state_of(*trained(2, LOOSE, rule=rule)[:2]), state_of(*trained(2, Clip(), rule=rule)[:2]))


def test_a_bound_that_is_never_reached_changes_no_bit():
    """The gradients are kept whole, and used in a pass of their own: the same as when they are used at once."""
    for how in ("graph", 1, 2):
        same_bits(state_of(*trained(how, LOOSE)[:2]), state_of(*trained(how, Clip())[:2]))


def test_wide_layers_that_threads_share_and_more_inputs_than_a_piece():
    states = []
    for how in ("graph", 1, 2, 4):
        fm.manual_seed(1)
        model = nn.MLP(1100, (330, 40), 300)
        optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        data, sizes = data_set(1100, 300, 24), [12, 12]
        if how == "graph":
            nodes.epoch(
                model, optimizer, nn.CrossEntropyLoss(), data, np.arange(24), sizes, silent, clip=Clip(norm=0.1)
            )
        else:
            with Engine(model, optimizer, 1100, 12, how, Fixed(how), clip=Clip(norm=0.1)) as engine:
                engine.epoch(data, np.arange(24), sizes)
        states.append(state_of(model, optimizer))
    for state in states[1:]:
        same_bits(state, states[0])


def twin_step(model, x, y, lr, bounds) -> dict[str, np.ndarray]:
    """One SGD step on clipped gradients in NumPy and float64: value first, then the norm of all together."""
    model.zero_grad()
    nn.CrossEntropyLoss()(model(fm.Tensor(x)), y).backward()
    gradients = {name: p.grad.astype(np.float64) for name, p in model.named_parameters() if p.grad is not None}
    gradients = {name: np.minimum(np.maximum(g, -bounds.value), bounds.value) for name, g in gradients.items()}
    norm = math.sqrt(sum((g**2).sum() for g in gradients.values()))
    factor = min(1.0, bounds.norm / (norm + 1e-6))
    return {name: p.data - lr * factor * gradients.get(name, 0.0) for name, p in model.named_parameters()}


@pytest.mark.parametrize("how", ["graph", 2])
@pytest.mark.parametrize("name", BOUNDS)
def test_a_step_is_that_of_the_twin(name, how):
    """Also of what is frozen: it counts in no norm. Rounding: a few units of 1e-16 times sums of 70 terms."""
    x, y = np.random.default_rng(0).normal(size=(16, 20)), np.arange(16) % 3
    for freeze in (lambda model: None, parts("1", "7.weight")):
        model, reference = net(np.float64), net(np.float64)
        freeze(model), freeze(reference)
        want = twin_step(reference, x, y, 0.5, BOUNDS[name])
        data, optimizer = fm.Dataset(x, y), optim.SGD(model.parameters(), lr=0.5)
        if how == "graph":
            loss = nn.CrossEntropyLoss()
            nodes.epoch(model, optimizer, loss, data, np.arange(16), [16], silent, clip=BOUNDS[name])
        else:
            with Engine(model, optimizer, 20, 16, 2, Fixed(2), clip=BOUNDS[name]) as engine:
                engine.epoch(data, np.arange(16), [16])
        for key, parameter in model.named_parameters():
            assert np.allclose(parameter.data, want[key], rtol=0, atol=1e-14), key


def test_fit_clips_as_a_loop_of_ones_own_does():
    data, kept = data_set(20, 3, 64), []
    for own in (False, True):
        fm.manual_seed(0)
        model = nn.MLP(20, (16, 8), 3)
        optimizer = optim.Adam(model.parameters(), lr=0.01)
        if own:
            order = np.random.default_rng((0, 1)).permutation(64)
            for start in range(0, 64, 16):
                rows = order[start : start + 16]
                loss = nn.CrossEntropyLoss()(model(fm.Tensor(data.features[rows])), data.labels[rows])
                optimizer.zero_grad()
                loss.backward()
                clip_grad_value_(model.parameters(), 0.05)
                assert clip_grad_norm_(model.parameters(), 0.1) > 0.1
                optimizer.step()
        else:
            history = fm.fit(
                model, data, optimizer=optimizer, epochs=1, batch_size=16, progress=False, clip_norm=0.1,
                clip_value=0.05,
            )  # fmt: skip
            assert history.column("ran_on") == ["engine"]
        kept.append(state_of(model, optimizer))
    same_bits(*kept)


def test_the_norm_is_that_of_all_gradients_together_and_comes_back():
    a, b, c = (fm.Parameter(np.zeros(shape)) for shape in ((2, 3), (4,), ()))
    unused = fm.Parameter(np.ones(3))
    a.grad, b.grad, c.grad = np.full((2, 3), 2.0), np.full(4, -3.0), np.array(6.0)
    norm = clip_grad_norm_([a, b, c, unused], 1e9)
    assert norm == math.sqrt(6 * 4 + 4 * 9 + 36)
    assert norm.item() == float(norm)
    assert (a.grad == 2).all(), "a factor of 1"
    assert clip_grad_norm_([a, b, c, unused], 4.8) == norm
    after = math.sqrt((a.grad**2).sum() + (b.grad**2).sum() + c.grad**2)
    assert after == pytest.approx(4.8, rel=2e-7)  # 1e-6 is added to a norm of 9.8
    assert unused.grad is None
    assert clip_grad_norm_(c, 1.0) == pytest.approx(6 * 4.8 / norm, rel=2e-7), "a single tensor"
    assert clip_grad_norm_([unused], 1.0) == 0
    deep = fm.Parameter(np.zeros((2, 3, 4)))
    deep.grad = np.ones((2, 3, 4))
    assert clip_grad_norm_([deep], np.inf) == math.sqrt(24)
    assert clip_grad_norm_([deep], 1.0, norm_type=np.inf) == 1
    assert clip_grad_norm_([deep], 1.0, 1) == pytest.approx(24 / (1 + 1e-6))


def test_a_generator_and_a_gradient_that_is_not_contiguous():
    model = nn.MLP(4, (3,), 2)
    for parameter in model.parameters():
        parameter.grad = np.asfortranarray(np.full(parameter.shape, 2.0, np.float32))
    size = sum(parameter.data.size for parameter in model.parameters())
    assert clip_grad_norm_(model.parameters(), 1.0) == math.sqrt(4 * size)
    clip_grad_value_(model.parameters(), 0.01)
    for parameter in model.parameters():
        assert (parameter.grad == np.float32(0.01)).all()


def test_what_is_not_finite_goes_the_way_of_torch():
    for value, finite, itself in ((np.nan, np.nan, np.nan), (np.inf, 0.0, np.nan)):
        a = fm.Parameter(np.zeros(2))
        a.grad = np.array([1.0, value])
        norm = clip_grad_norm_([a], 1.0)
        assert np.array_equal(a.grad, [finite, itself], equal_nan=True)
        assert np.array_equal(norm, value, equal_nan=True)
        a.grad = np.array([1.0, value])
        with pytest.raises(RuntimeError, match=r"clip_grad_norm_: the norm of the gradients is (nan|inf); it must be"):
            clip_grad_norm_([a], 1.0, error_if_nonfinite=True)
        assert a.grad[0] == 1
    a.grad = np.array([-np.inf, np.nan])
    clip_grad_value_(a, 3.0)
    assert np.array_equal(a.grad, [-3, np.nan], equal_nan=True)


@pytest.mark.parametrize("bounds", [Clip(norm=1.0), Clip(value=1.0)])
def test_gradients_that_are_not_finite_give_the_same_on_engine_and_graph(bounds):
    def broken(model):
        model[1].weight.data[3, 5] = np.inf

    want = state_of(*trained("graph", bounds, broken)[:2])
    assert not np.isfinite(want["1.weight"]).all()
    for how in (1, 2):
        same_bits(state_of(*trained(how, bounds, broken)[:2]), want)


def test_a_training_with_a_norm_of_nan_ends_after_its_epoch(capsys):
    data = data_set(20, 3, 64)
    data.features[3, 3] = np.nan
    history = fm.fit(nn.MLP(20, (8,), 3), data, epochs=5, progress="table", clip_norm=1.0)
    assert len(history) == 1
    assert "stopped: a feature is not finite in epoch 1, step " in capsys.readouterr().out


def test_kept_gradients_are_within_their_bound():
    g = np.array([-3, -1, -0.0, 0, 0.5, 1, 2, np.inf, -np.inf, np.nan], np.float32)
    kept, p, none = np.zeros(10, np.float32), np.ones(10, np.float32), np.zeros(0, np.float32)
    clip.keep_scale(np.ones(1), 0.1, 1, np.zeros(8))
    clip.keep_gradient(p, g, kept, none, none, np.array([1.0]), np.zeros(8))
    assert np.array_equal(kept, [-1, -1, 0, 0, 0.5, 1, 1, 1, -1, np.nan], equal_nan=True)
    clip.keep_gradient(p, g, kept, none, none, np.array([np.inf]), np.zeros(8))
    assert np.array_equal(kept, g, equal_nan=True)
    assert (p == 1).all()


def test_squares_and_their_norm_are_added_in_order_and_in_float64():
    g = np.random.default_rng(0).normal(size=(7, 300)).astype(np.float32)
    squares = np.zeros(7)
    clip.row_squares(g, squares)
    for o in range(7):
        total = 0.0
        for value in g[o]:
            total += float(value) ** 2
        assert squares[o] == total
    total = 0.0
    for square in squares:
        total += square
    assert clip.total_norm(squares) == math.sqrt(total)
    large = np.full((1, 4), 3e30, np.float32)
    clip.row_squares(large, squares[:1])
    assert squares[0] == pytest.approx(4 * 9e60), "in float32 it would be infinite"


def test_the_factor():
    assert clip.clip_factor(0.5, 1.0) == 1
    assert clip.clip_factor(3.0, 1.5) == 1.5 / (3.0 + 1e-6)
    assert clip.clip_factor(0.0, 0.0) == 0
    assert clip.clip_factor(np.inf, 1.0) == 0
    assert math.isnan(clip.clip_factor(np.nan, 1.0))


def test_bounds_that_are_none_are_refused_in_a_sentence():
    model, data = nn.MLP(20, (8,), 3), data_set(20, 3, 64)
    for name in ("clip_norm", "clip_value"):
        for value in (0, -1, np.nan, np.inf, True, "1", [1.0]):
            with pytest.raises(ValueError, match=rf"fit: {name} is .*; it must be a finite number above 0, or None"):
                fm.fit(model, data, progress=False, **{name: value})
        with pytest.raises(ValueError, match=f"fit: {name} is 1e-60, in float32 0"):
            fm.fit(model, data, progress=False, **{name: 1e-60})
    p = fm.Parameter(np.zeros(3))
    with pytest.raises(ValueError, match="clip_grad_norm_: max_norm is -1; it must be a finite number of at least 0"):
        clip_grad_norm_([p], -1)
    with pytest.raises(ValueError, match="clip_grad_value_: clip_value is nan"):
        clip_grad_value_([p], np.nan)
    with pytest.raises(ValueError, match="clip_grad_norm_: norm_type is 0; it must be a number above 0"):
        clip_grad_norm_([p], 1.0, 0)
    with pytest.raises(TypeError, match="clip_grad_norm_: parameters holds ndarray; each must be a Parameter"):
        clip_grad_norm_([np.zeros(3)], 1.0)
    with pytest.raises(TypeError, match="clip_grad_value_: parameters is 3; it must be Parameters"):
        clip_grad_value_(3, 1.0)


def test_the_buffers_of_kept_gradients_count_in_the_memory():
    model = nn.MLP(20, (8,), 3)
    made = [Engine(model, optim.SGD(model.parameters()), 20, 16, 2, clip=bounds) for bounds in (Clip(), Clip(norm=1))]
    sizes = made[0].plan.sizes
    assert made[1].sum_of_buffers() - made[0].sum_of_buffers() == 4 * sizes["p"]
