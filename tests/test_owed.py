"""Steps that are owed: weights that no batch touched, brought up to date later, have the bits of the rule that sweeps
all of them in every step. That rule is the twin here, with the gradient +0; each condition has a run without it, too.
"""

import numpy as np
import pytest
import strategies as our
from hypothesis import given
from hypothesis import strategies as st
from strategies import DTYPES, FEW

from fastmlp import Parameter, optim
from fastmlp import kernels as k
from fastmlp.kernels import flushed, forms
from fastmlp.kernels.jit import kernel
from fastmlp.kernels.owed import LIFT, REACH, owed_table

INPUTS, BLOCKS, AT = 24, 3, 5  # of a packed weight, which begins at p[AT] of a longer array


def same_numbers(a, b) -> bool:
    """The same bits, but for those of NaN: which of two a sum passes on is the processor's choice."""
    return np.array_equal(a, b, equal_nan=True) and np.array_equal(np.signbit(a)[a == a], np.signbit(b)[b == b])


class Weights:
    """p, m, v of one packed weight, and how a rule's steps go over it."""

    def __init__(self, rule, dtype, rng, plant=()):
        self.rule, self.lanes = rule, k.lanes(dtype)
        self.flat = [k.zeros((AT + BLOCKS * INPUTS * self.lanes + 3,), dtype) for _ in range(3)]
        self.flat[0][...] = rng.normal(0, 0.05, self.flat[0].size)
        for place, numbers in enumerate(plant):
            self.flat[place][AT : AT + len(numbers)] = numbers

    def packed(self, place: int) -> np.ndarray:
        return self.flat[place][AT:-3].reshape(BLOCKS, INPUTS, self.lanes)

    def step(self, inputs, g, option, scale) -> None:
        """The rule's step on some inputs; g: (BLOCKS, len(inputs), lanes)."""
        parts = [np.ascontiguousarray(self.packed(place)[:, inputs]).reshape(-1) for place in range(3)]
        self.rule.update(parts[0], g.reshape(-1), *parts[1:], parts[0][:0], option, scale)
        for place, part in enumerate(parts):
            self.packed(place)[:, inputs] = part.reshape(BLOCKS, -1, self.lanes)

    def bring_up(self, inputs, seen, now, table, option, cuts) -> None:
        p, m, v = self.flat
        last = BLOCKS * self.lanes - 3  # the last block is whole, wherever the columns end
        for lo, hi in zip([0, *cuts], [*cuts, BLOCKS], strict=True):
            columns = lo * self.lanes, min(hi * self.lanes, last)
            touched = np.append(inputs, -1)  # what follows the first `count` means nothing
            arguments = AT, INPUTS, touched, len(inputs), seen, now, table, option, self.lanes, *columns
            self.rule.owed(p, m, v, p[:0], *arguments)


@flushed
def agree(
    rule, option, dtype=np.float32, lengths=(300, 40), rate=None, odds=0.03, cuts=(1,), spoil=None, plant=(), seed=0
):
    """Whether both give the same numbers in some epochs of these lengths. Three in four inputs are never touched.

    rate: step of the epoch -> its learning rate; odds: that a batch touches one of the others; spoil: changes a table.
    """
    rng = np.random.default_rng(seed)
    dense, late = (Weights(rule, dtype, np.random.default_rng(seed), plant) for _ in range(2))
    made, equal, numbers, everything = 0, True, np.zeros(k.SCALES), np.arange(INPUTS)
    for length in lengths:
        options = np.repeat(np.array(option, float)[None], length if rate else 1, axis=0)
        if rate:
            options[:, 0] = [rate(step) for step in range(length)]
        table = owed_table(rule.scale, rule.lift, options, made, length)
        if spoil:
            spoil(table)
        seen = np.zeros(INPUTS, np.int64)
        for step in range(length):
            now = options[min(step, len(options) - 1)]
            rule.scale(now, now[0], made + step + 1, numbers)
            inputs = np.flatnonzero(rng.random(INPUTS) < odds * (everything % 4 == 1))
            size = 10.0 ** rng.uniform(-5, -1, (1, len(inputs), 1))
            g = np.zeros((BLOCKS, INPUTS, dense.lanes), dtype)
            g[:, inputs] = rng.normal(0, 1, (BLOCKS, len(inputs), dense.lanes)) * size
            if len(inputs):
                late.bring_up(inputs, seen, step, table, options[0], cuts)
                equal &= same_numbers(late.packed(0)[:, inputs], dense.packed(0)[:, inputs])  # what forward reads
                seen[inputs] = step + 1
                late.step(inputs, g[:, inputs], now, numbers)
            dense.step(everything, g, now, numbers)
        late.bring_up(everything, seen, length, table, options[0], cuts)
        made += length
    return bool(equal) and all(same_numbers(a, b) for a, b in zip(late.flat, dense.flat, strict=True))


def jumps(step: int) -> float:
    return 1e-3 if step // 100 % 2 else 1e-6


def falls(step: int) -> float:
    return 0.0 if step > 150 else 1e-3 * 0.97**step


# lr, β₁, β₂, ε, λ, amsgrad, maximize;  lr, μ, τ, λ, nesterov, maximize
USUAL, LONG = (1e-3, 0.9, 0.999, 1e-8, 0, 0, 0), (900, 7)
SMALL = [0.05] * 200, [1e-10] * 200, [1.0] * 200  # steps that grow as v falls faster than m
CASES = {
    "usual": (optim.Adam, USUAL, {}),
    "long gaps": (optim.Adam, USUAL, {"lengths": LONG, "odds": 0.004}),
    "long gaps, maximize": (optim.Adam, (*USUAL[:-1], 1), {"lengths": LONG, "odds": 0.004}),
    "rates that jump": (optim.Adam, USUAL, {"lengths": LONG, "rate": jumps, "odds": 0.01}),
    "rates that fall to 0": (optim.Adam, USUAL, {"rate": falls}),
    "betas 0.5, 0.9": (optim.Adam, (1e-3, 0.5, 0.9, 1e-8, 0, 0, 0), {}),
    "betas 0, 0.99": (optim.Adam, (1e-3, 0.0, 0.99, 1e-8, 0, 0, 0), {}),
    "betas 0.9, 0": (optim.Adam, (1e-3, 0.9, 0.0, 1e-8, 0, 0, 0), {}),
    "betas 0.99, 0.9": (optim.Adam, (1e-3, 0.99, 0.9, 1e-12, 0, 0, 0), {"lengths": LONG, "odds": 0, "plant": SMALL}),
    "betas 0.9, 0.5": (optim.Adam, (1e-3, 0.9, 0.5, 1e-8, 0, 0, 0), {"lengths": LONG, "odds": 0.01}),
    "eps 1e-3": (optim.Adam, (1e-3, 0.9, 0.999, 1e-3, 0, 0, 0), {}),
    "eps 1e-30": (optim.Adam, (1e-3, 0.9, 0.9, 1e-30, 0, 0, 0), {"lengths": LONG, "odds": 0.005}),
    "L2": (optim.Adam, (1e-3, 0.9, 0.999, 1e-8, 0.01, 0, 0), {"rate": jumps}),
    "L2, maximize": (optim.Adam, (1e-3, 0.9, 0.999, 1e-8, 0.01, 0, 1), {}),
    "AdamW": (optim.AdamW, (1e-3, 0.9, 0.999, 1e-8, 0.01, 0, 0), {"rate": jumps}),
    "AdamW, no decay": (optim.AdamW, USUAL, {}),
    "AdamW, 1 % a step": (optim.AdamW, (0.1, 0.9, 0.999, 1e-8, 0.1, 0, 0), {"lengths": LONG, "odds": 0.004}),
    "AdamW, 10 % a step, maximize": (optim.AdamW, (0.1, 0.9, 0.999, 1e-8, 1, 0, 1), {"lengths": LONG, "odds": 0.004}),
    "AdamW, p grows": (optim.AdamW, (1.0, 0.9, 0.999, 1e-8, 2.5, 0, 0), {}),
    "SGD": (optim.SGD, (0.1, 0, 0, 0, 0, 0), {}),
    "SGD, decay": (optim.SGD, (0.1, 0, 0, 1e-3, 0, 1), {"rate": jumps}),
    "SGD, momentum": (optim.SGD, (0.1, 0.9, 0, 0, 0, 0), {"lengths": LONG, "odds": 0.004}),
    "SGD, dampening, decay, maximize": (optim.SGD, (0.1, 0.9, 0.5, 1e-3, 0, 1), {"rate": jumps}),
    "SGD, nesterov": (optim.SGD, (0.1, 0.95, 0, 0, 1, 0), {}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_the_bits_are_those_of_a_step_over_all_weights(case):
    rule, option, more = CASES[case]
    assert agree(rule, option, **more)


@pytest.mark.parametrize("case", ["usual", "L2", "AdamW", "SGD, momentum"])
def test_the_same_in_float64(case):
    rule, option, more = CASES[case]
    assert agree(rule, option, np.float64, **more)


options = st.one_of(
    st.tuples(
        st.sampled_from([optim.Adam, optim.AdamW]),
        st.tuples(
            st.sampled_from([1e-4, 1e-2, 1.0]), st.sampled_from([0.0, 0.5, 0.9, 0.99]), st.floats(0.05, 0.9999),
            st.sampled_from([1e-20, 1e-8, 1.0]), st.sampled_from([0.0, 0.1]), st.just(0.0), st.sampled_from([0.0, 1.0]),
        ),
    ),
    st.tuples(
        st.just(optim.SGD),
        st.tuples(
            st.sampled_from([1e-3, 1.0]), st.sampled_from([0.0, 0.5, 0.9]), st.sampled_from([0.0, 0.5, 1.5]),
            st.sampled_from([0.0, 0.1]), st.just(0.0), st.sampled_from([0.0, 1.0]),
        ),
    ),
)  # fmt: skip


@FEW
@given(
    drawn=options,
    dtype=our.dtypes,
    seed=our.seeds,
    lengths=st.lists(st.integers(1, 90), min_size=1, max_size=3),
    odds=st.sampled_from([0.0, 0.02, 0.5, 1.0]),
    cuts=st.sampled_from([(), (1,), (2,), (1, 2)]),
    rate=st.sampled_from([None, jumps, falls]),
)
def test_the_same_for_options_that_are_drawn(drawn, dtype, seed, lengths, odds, cuts, rate):
    rule, option = drawn
    assert agree(rule, option, dtype, lengths, rate, odds, cuts, seed=seed)


# ---------------------------------------------------------------- numbers that stand at an edge

EDGES = [0.0, -0.0, 1e-40, -1e-40, 1e-30, -1e-20, 1e20, -1e30]


@pytest.mark.parametrize("rule", [optim.Adam, optim.AdamW])
@pytest.mark.parametrize("maximize", [0, 1])
def test_zeros_of_both_signs_and_denormals_become_what_they_would(rule, maximize):
    """p, m and v of inputs that nothing touches, in all pairs: -0 + 0 is +0, and a number too small is flushed."""
    p, m, v = (np.ravel(a) for a in np.meshgrid(EDGES, EDGES, [0.0, 1e-40, 1e-30, 1e-3]))
    option = (*USUAL[:-1], maximize)
    assert agree(rule, option, plant=(p, m, v), odds=0.0)
    assert agree(rule, option, plant=(p, m, v), odds=0.0, lengths=(1, 2))
    assert not agree(rule, option, plant=(p, m, v), odds=0.0, spoil=lambda table: table[LIFT].fill(0))


@pytest.mark.parametrize("rule", [optim.Adam, optim.AdamW])
@pytest.mark.parametrize("maximize", [0, 1])
def test_a_moment_that_fades_to_nothing_gets_the_right_sign(rule, maximize):
    """p stands still at once; then a negative m is flushed, to -0, and + 0 makes +0 of it."""
    plant = [0.05] * 200, [-1e-36] * 200, [1e-3] * 200
    for decay in (0, 0.01) if rule is optim.AdamW else (0,):
        assert agree(rule, (*USUAL[:4], decay, 0, maximize), plant=plant, odds=0.0, lengths=(300,))


def test_signs_of_zero_without_momentum_too():
    for maximize in (0, 1):
        for option in (0.1, 0, 0, 0, 0, maximize), (0.1, 0.9, 0, 0, 0, maximize):
            assert agree(optim.SGD, option, plant=(EDGES * 8, np.repeat(EDGES, 8)), odds=0.0)


@pytest.mark.parametrize("case", ["usual", "L2", "AdamW", "SGD, momentum", "SGD"])
def test_inf_and_nan_spread_as_they_would(case):
    rule, option, _ = CASES[case]
    wild = [np.inf, -np.inf, np.nan, 3e38, -3e38, 1.0]
    p, m, v = (np.ravel(a) for a in np.meshgrid(wild, wild, [0.0, 1e-3, np.inf, np.nan]))
    if rule is optim.SGD:
        v = np.ones(v.size)
    assert agree(rule, option, plant=(p, m, v), lengths=(30, 3))


def test_a_step_that_leaves_the_range_of_numbers():
    """p gets infinite on its way, and the gradient λp with λ = 0 is NaN from then on."""
    option, plant = (1e-3, 0.9, 0.999, 1e-30, 0, 0, 0), ([1.0] * 64, [1e12] * 64, [0.0] * 64)
    assert agree(optim.Adam, option, plant=plant, odds=0.0, lengths=(41,))
    assert not agree(optim.Adam, option, plant=plant, odds=0.0, lengths=(41,), spoil=lambda t: t[REACH].fill(1e38))


# ---------------------------------------------------------------- what the conditions are there for


def too_early(table) -> None:
    table[LIFT] /= 64


def forgets(table) -> None:
    table[LIFT] = 1


@pytest.mark.parametrize(
    ("case", "spoil"), [("long gaps", too_early), ("rates that jump", forgets), ("betas 0.99, 0.9", forgets)]
)
def test_a_p_that_stops_too_early_is_another(case, spoil):
    rule, option, more = CASES[case]
    assert agree(rule, option, **more)
    assert not agree(rule, option, **more, spoil=spoil)


def test_p_does_stop():
    """Else it would be replayed to the end: with an α of NaN after the stop, nothing of it is seen."""

    def nothing_later(table):
        table[0, 250:] = np.nan

    more = {"lengths": (300,), "odds": 0.0, "plant": ([0.05] * 200, [1e-3] * 200, [1e-6] * 200)}
    assert agree(optim.Adam, USUAL, **more)
    assert agree(optim.Adam, USUAL, **more, spoil=nothing_later)


def test_a_table_has_what_scale_gives():
    rates = np.array([[0.1, 0.9, 0.999, 1e-8, 0, 0, 0], [0.2, 0.9, 0.999, 1e-8, 0, 0, 0]])
    table, numbers = owed_table(optim.Adam.scale, optim.Adam.lift, rates, 7, 2), np.zeros(k.SCALES)
    for step in range(2):
        optim.Adam.scale(rates[step], rates[step, 0], 8 + step, numbers)
        assert np.array_equal(table[: k.SCALES, step], numbers)
    assert table[LIFT, 0] > 1.2  # the rate doubles
    assert table[LIFT, 1] < 1.001
    assert owed_table(optim.SGD.scale, None, np.array([[0.1, 0.9, 0, 0, 0, 0]]), 0, 3)[:2].tolist() == [
        [0.1] * 3,
        [1, 0, 0],
    ]


@kernel
def by_address(address, p, m, v, u, at, inputs, touched, count, seen, now, table, option, lanes, lo, hi):
    forms.call_owed(address, p, m, v, u, at, inputs, touched, count, seen, now, table, option, lanes, lo, hi)


@pytest.mark.parametrize("dtype", DTYPES)
def test_it_is_called_by_its_address(dtype):
    table = owed_table(optim.Adam.scale, optim.Adam.lift, np.array([USUAL], float), 3, 20)
    a, b = (Weights(optim.Adam, dtype, np.random.default_rng(0), ((), [0.1] * 40, [0.1] * 40)) for _ in range(2))
    touched, seen = np.array([1, 5]), np.zeros(INPUTS, np.int64)
    a.bring_up(touched, seen, 20, table, np.array(USUAL, float), (1, 2))
    address = forms.address(optim.Adam.owed, "owed", dtype)
    arguments = AT, INPUTS, touched, 2, seen, 20, table, np.array(USUAL, float), b.lanes, 0, BLOCKS * b.lanes
    by_address(address, *b.flat, b.flat[0][:0], *arguments)
    assert all(map(same_numbers, a.flat, b.flat))
    untouched = np.delete(np.arange(INPUTS), touched)
    assert np.array_equal(
        a.packed(1)[:, untouched],
        Weights(optim.Adam, dtype, np.random.default_rng(0), ((), [0.1] * 40)).packed(1)[:, untouched],
    )


# ---------------------------------------------------------------- which rules and options can


def reason(rule, dtype=np.float32, **options) -> str:
    optimizer = rule([Parameter(np.zeros((2, 3), dtype))], **options)
    return optimizer.why_swept(optimizer.param_groups[0])


def test_who_cannot_says_why():
    assert reason(optim.Adam) == reason(optim.AdamW) == reason(optim.SGD, momentum=0.9, nesterov=True) == ""
    assert reason(optim.Adam, amsgrad=True) == "Adam has amsgrad"
    assert reason(optim.AdamW, eps=1e-37) == "eps is 1e-37, too small"
    assert reason(optim.AdamW, np.float64, eps=1e-37) == ""
    for rule in set(optim.RULES.values()) - {optim.Adam, optim.AdamW, optim.SGD}:
        assert reason(rule) == f"{rule.__name__} cannot make up for steps"
    optimizer = optim.Adam([Parameter(np.zeros((2, 3)))])
    optimizer.moves_momentum = True
    assert optimizer.why_swept(optimizer.param_groups[0]) == "the schedule moves the momentum"


def test_without_that_refusal_the_rule_makes_nan():
    assert not agree(optim.Adam, (1e-3, 0.9, 0.999, 1e-40, 0, 0, 0), lengths=(5,))


def test_who_has_another_rule_does_not_inherit_it():
    class Same(optim.Adam):
        pass

    class Update(optim.Adam):
        update = staticmethod(k.adamw_update)

    class Scale(optim.SGD):
        scale = staticmethod(k.adam_scale)

    class Own(optim.Adam):
        owed = staticmethod(optim.AdamW.owed)

    class Hooked(optim.Adam):
        def step(self):
            super().step()

    assert reason(Same) == ""
    for rule in (Update, Scale, Own, Hooked):
        assert reason(rule) == f"{rule.__name__} cannot make up for steps"


@pytest.mark.parametrize("rule", [rule for rule in optim.RULES.values() if rule.owed is not None])
def test_every_rule_that_can_has_cases(rule):
    assert rule in {one for one, _, _ in CASES.values()}
    assert forms.is_address(forms.address(rule.owed, "owed", np.float32))
