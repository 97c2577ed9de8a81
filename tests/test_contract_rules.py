"""Every declared rule with every set of options: its twin step by step, its state, NaN, groups."""

import math

import contract
import numpy as np
import pytest
from contract_rules import RuleEntry

import fastmlp as fm

CASES = contract.cases(contract.RULES)
DTYPES = [np.float32, np.float64]
STEPS = 20

every_rule = pytest.mark.parametrize(("name", "chosen"), CASES)


def made(name, chosen, arrays, **more):
    """(the rule, its parameters) for copies of these arrays."""
    parameters = [fm.Parameter(array.copy()) for array in arrays]
    return fm.optim.RULES[name](parameters, **contract.RULES[name].options[chosen] | more), parameters


def arrays(rng, dtype, shapes=((13, 7), (5,), ())):
    return [np.asarray(rng.standard_normal(shape), dtype) for shape in shapes]


def step(rule, parameters, gradients):
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient
    rule.step()


def copied(state_dict):
    return {f"{i}.{name}": np.array(v) for i, values in state_dict["state"].items() for name, v in values.items()}


# --- complete --------------------------------------------------------------------------------------------------------


def test_every_declared_rule_has_options_a_twin_and_a_peer():
    assert contract.gaps(fm.optim.RULES, contract.RULES) == []


def test_a_declared_rule_that_is_in_no_table_is_noticed(monkeypatch):
    monkeypatch.setattr(fm.optim, "RULES", fm.optim.RULES | {"planted": type("Planted", (fm.optim.SGD,), {})})
    assert contract.gaps(fm.optim.RULES, contract.RULES) == ["planted has no entry in tests/contract.py"]


@pytest.mark.parametrize("lacking", ["options", "twin", "peer"])
def test_an_entry_that_lacks_something_is_noticed(monkeypatch, lacking):
    entry = RuleEntry(**vars(contract.RULES["adam"]) | {lacking: None})
    monkeypatch.setattr(contract, "RULES", contract.RULES | {"adam": entry})
    found = contract.gaps(fm.optim.RULES, contract.RULES)
    assert found[0] == f"adam has no {lacking}"
    assert len(found) == (1 if lacking != "options" else 7)  # each of six options is tried by nobody then


# --- numbers ---------------------------------------------------------------------------------------------------------


@every_rule
@pytest.mark.parametrize("dtype", DTYPES)
def test_each_step_is_that_of_the_twin(name, chosen, dtype):
    rng = np.random.default_rng(0)
    starts, options = arrays(rng, dtype), contract.options_of(contract.RULES, fm.optim.RULES, name, chosen)
    rule, parameters = made(name, chosen, starts)
    twins, states = [start.astype(np.float64) for start in starts], [{} for _ in starts]
    for t in range(1, STEPS + 1):
        gradients = arrays(rng, dtype)
        step(rule, parameters, gradients)
        for i, gradient in enumerate(gradients):
            twins[i], states[i] = contract.RULES[name].twin(
                twins[i], gradient.astype(np.float64), states[i], options, t
            )
            contract.agree(f"parameter {i} after step {t}", parameters[i].data, twins[i])
            for key, expected in states[i].items():
                contract.agree(f"{key} of {i} after step {t}", rule.state[i][key], expected)
    kept = {*rule.arrays_of(rule.param_groups[0]), *rule.numbers}
    for state in states:
        assert state.keys() == kept
    counted = {"step"} if rule.counts_steps else set()
    assert all(values.keys() in (kept | counted, set()) for values in rule.state.values())


@every_rule
@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_in_one_number_stays_nan_and_in_it_alone(name, chosen, dtype):
    rng = np.random.default_rng(1)
    (start,) = arrays(rng, dtype, ((40,),))
    rule, parameters = made(name, chosen, [start])
    clean_rule, clean = made(name, chosen, [start])
    for t in range(4):
        (gradient,) = arrays(rng, dtype, ((40,),))
        step(clean_rule, clean, [gradient])
        gradient = gradient.copy()
        if t == 1:
            gradient[[0, 17, 39]] = math.nan
        step(rule, parameters, [gradient])
    bad = np.isin(np.arange(40), [0, 17, 39])
    assert np.array_equal(np.isnan(parameters[0].data), bad)
    assert np.array_equal(parameters[0].data[~bad], clean[0].data[~bad])
    for key in rule.arrays:
        if key in rule.state.get(0, {}):
            assert np.array_equal(rule.state[0][key][~bad], clean_rule.state[0][key][~bad])


@every_rule
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_state_that_is_stored_goes_on_with_the_same_bits(name, chosen, dtype):
    rng = np.random.default_rng(2)
    rule, parameters = made(name, chosen, arrays(rng, dtype))
    for _ in range(3):
        step(rule, parameters, arrays(rng, dtype))
    stored = rule.state_dict()
    again, others = made(name, chosen, [parameter.data for parameter in parameters], lr=7.0)
    again.load_state_dict(stored)
    for _ in range(3):
        gradients = arrays(rng, dtype)
        step(rule, parameters, gradients)
        step(again, others, gradients)
    for ours, theirs in zip(parameters, others, strict=True):
        assert np.array_equal(ours.data, theirs.data)
    assert contract.differing(copied(rule.state_dict()), copied(again.state_dict())) == []
    assert rule.state_dict()["param_groups"] == again.state_dict()["param_groups"]


@every_rule
def test_groups_step_as_rules_of_their_own(name, chosen):
    rng = np.random.default_rng(3)
    starts = arrays(rng, np.float64)
    options = contract.RULES[name].options[chosen]
    grouped = [fm.Parameter(start.copy()) for start in starts]
    rule = fm.optim.RULES[name](
        [{"params": grouped[:1], "lr": options["lr"] / 3}, {"params": grouped[1:]}], **options
    )  # fmt: skip
    apart = [made(name, chosen, starts[:1], lr=options["lr"] / 3), made(name, chosen, starts[1:])]
    for _ in range(4):
        gradients = arrays(rng, np.float64)
        step(rule, grouped, gradients)
        step(*apart[0], gradients[:1])
        step(*apart[1], gradients[1:])
    for ours, theirs in zip(grouped, apart[0][1] + apart[1][1], strict=True):
        assert np.array_equal(ours.data, theirs.data)


@every_rule
def test_a_rate_of_zero_changes_no_parameter_and_a_changed_rate_counts_from_the_next_step(name, chosen):
    rng = np.random.default_rng(4)
    starts, options = arrays(rng, np.float64), contract.options_of(contract.RULES, fm.optim.RULES, name, chosen)
    rule, parameters = made(name, chosen, starts, lr=0.0)
    twins, states = list(starts), [{} for _ in starts]
    for t, rate in enumerate((0.0, 0.0, 0.3, 0.01), 1):
        rule.param_groups[0]["lr"] = options.lr = rate
        gradients = arrays(rng, np.float64)
        step(rule, parameters, gradients)
        for i, gradient in enumerate(gradients):
            twins[i], states[i] = contract.RULES[name].twin(twins[i], gradient, states[i], options, t)
            contract.agree(f"parameter {i} after step {t}", parameters[i].data, twins[i])
            if not rate:
                assert np.array_equal(parameters[i].data, starts[i])


@every_rule
def test_options_out_of_range_are_refused(name, chosen):
    options = contract.options_of(contract.RULES, fm.optim.RULES, name, chosen)
    for option, bad in (("lr", -1.0), ("lr", math.nan), ("weight_decay", -0.1)):
        if hasattr(options, option):
            with pytest.raises(ValueError, match=option):
                made(name, chosen, [np.ones(3)], **{option: bad})
