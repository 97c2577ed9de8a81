"""Every kernel against its slow float64 twin in `oracles`, in float32 and float64.

`kernel_registry` holds one case a kernel, and all go through the same tests: twin, pieces of the range, numbers
outside it, NaN, infinity. A kernel without a case fails, and so does a kind of layer, loss or rule whose kernels have
none.
"""

import ast
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import oracles
import pytest
import strategies as our
from hypothesis import given
from hypothesis import strategies as st
from kernel_cases import Case, check, same_bits
from kernel_registry import CASES, ELSEWHERE
from strategies import CHECKED, DTYPES, FEW, Source, cuts

from fastmlp import kernels as k
from fastmlp import nn, optim
from fastmlp.kernels.jit import inner, kernel

every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
finite_cases = pytest.mark.parametrize("case", [case for case in CASES if case.infinite], ids=lambda case: case.name)


@every_case
@CHECKED
@given(source=our.sources, N=our.rows, O=our.columns, shift=st.sampled_from([0, 1, 3]))
def test_a_kernel_agrees_with_its_twin(case, source, N, O, shift):
    check(case, case.make(source, N, O, shift))


@every_case
@FEW
@given(data=st.data(), source=our.sources, N=our.rows, O=our.columns)
def test_pieces_of_the_range_give_the_same_bits_and_touch_nothing_else(case, data, source, N, O):
    whole, pieces = (case.make(Source(source.dtype, source.seed, source.kind), N, O) for _ in range(2))
    before = {name: getattr(whole, name).copy() for name in case.outputs}
    length = case.length(whole)
    case.run(whole, 0, length)
    done = {name: np.zeros(getattr(whole, name).shape, bool) for name in case.outputs}
    for lo, hi in data.draw(cuts(length, whole.lanes if case.blocked else 1)):
        case.run(pieces, lo, hi)
        for name in case.outputs:
            done[name] |= case.filled(name, pieces, lo, hi)
            expected = np.where(done[name], getattr(whole, name), before[name])
            assert same_bits(getattr(pieces, name), expected), f"{name} after [{lo}, {hi})"
    assert all(mask.all() for mask in done.values())


@every_case
@FEW
@given(source=st.builds(Source, our.dtypes, our.seeds), data=st.data())
def test_nan_in_nan_out(case, source, data):
    """NaN is where the twin has it, and nowhere else."""
    a = case.make(source, 5, 19)
    planted = [name for name in sorted(a.given) if float_input(a, name)]
    name = data.draw(st.sampled_from(planted))
    array = getattr(a, name)
    spot = tuple(data.draw(st.integers(0, n - 1)) for n in real_shape(case, a, name))
    array[spot] = np.nan
    if name == "weight":
        a.w[...] = oracles.pack(array, a.lanes)
    check(case, a, padding=False)


def float_input(a: SimpleNamespace, name: str) -> bool:
    """Whether NaN can be planted there. w is planted through weight; padding stays zero; a label is a whole number."""
    return getattr(a, name).dtype.kind == "f" and name not in ("w", "scratch", "targets")


def real_shape(case: Case, a: SimpleNamespace, name: str) -> tuple[int, ...]:
    """The shape without padding."""
    shape = getattr(a, name).shape
    if name == "dy" and case.blocked:
        return (shape[0], len(a.weight) if hasattr(a, "weight") else a.O)
    return (shape[0], a.w.shape[1]) if name == "x" and hasattr(a, "w") else shape


@finite_cases
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_infinity(case, dtype, value):
    for name in case.infinite:
        a = case.make(Source(dtype, 3), 4, 21)
        getattr(a, name)[1, 2] = value
        check(case, a, padding=False)


# ---------------------------------------------------------------- no kernel without a twin

HELD = {case.name for case in CASES} | ELSEWHERE.keys()


def public_kernels() -> dict[str, object]:
    """The jitted functions among the public names of `kernels`."""
    return {name: getattr(k, name) for name in k.__all__ if hasattr(getattr(k, name), "py_func")}


def kernels_of_kinds(layers, losses, rules) -> dict[str, object]:
    """The kernels that kinds declare, by the kind and what each does."""
    found = {f"{n} {what}": one for n, layer in layers.items() for what, one in layer.kernels.items() if one}
    found |= {f"{n} {what}": one for n, loss in losses.items() for what, one in loss.kernels.items()}
    found |= {f"{n} score": loss.score.kernel for n, loss in losses.items()}
    return found | {f"{n} {what}": getattr(rule, what) for n, rule in rules.items() for what in ("scale", "update")}


def not_held(found: dict[str, object]) -> list[str]:
    """Those without a case and without a test of another kind."""
    return [place for place, one in found.items() if one.py_func.__name__ not in HELD]


def test_every_public_kernel_has_a_case():
    assert len(public_kernels()) > 30
    assert not_held(public_kernels()) == []


def test_every_declared_kind_has_its_kernels_held_to_a_twin():
    found = kernels_of_kinds(nn.LAYERS, nn.LOSSES, optim.RULES)
    for kinds in (nn.LAYERS, nn.LOSSES, optim.RULES):
        needed = {name for name, kind in kinds.items() if getattr(kind, "form", "") != "nothing"}
        assert {place.split()[0] for place in found} >= needed
    assert not_held(found) == []


@kernel
def planted(x, y, numbers, lo, hi):
    pass


def test_a_kernel_without_a_case_is_found(monkeypatch):
    monkeypatch.setattr(k, "planted", planted, raising=False)
    monkeypatch.setattr(k, "__all__", [*k.__all__, "planted"])
    assert not_held(public_kernels()) == ["planted"]


def without_wrapper(found: dict[str, object]) -> list[str]:
    """Those that only kernels may call: from Python the call is a crash of the process, not an error."""
    return [place for place, one in found.items() if one.targetoptions.get("no_cpython_wrapper")]


def test_python_can_call_every_public_and_every_declared_kernel():
    assert without_wrapper(public_kernels()) == []
    assert without_wrapper(kernels_of_kinds(nn.LAYERS, nn.LOSSES, optim.RULES)) == []


@inner
def only_for_kernels(x):
    return x


def test_a_public_function_that_only_kernels_may_call_is_found(monkeypatch):
    monkeypatch.setattr(k, "only_for_kernels", only_for_kernels, raising=False)
    monkeypatch.setattr(k, "__all__", [*k.__all__, "only_for_kernels"])
    assert without_wrapper(public_kernels()) == ["only_for_kernels"]


def test_a_kind_without_a_case_is_found():
    """A layer, a loss, its score and a rule, each beside those that are there."""
    layer = type("Planted", (nn.ReLU,), {"kernels": {**nn.ReLU.kernels, "backward": planted}})
    loss = type("PlantedLoss", (nn.CrossEntropyLoss,), {"score": nn.Score("planted", planted)})
    rule = type("PlantedRule", (optim.SGD,), {"update": staticmethod(planted)})
    found = kernels_of_kinds({**nn.LAYERS, "Planted": layer}, {**nn.LOSSES, "PlantedLoss": loss},
                             {**optim.RULES, "PlantedRule": rule})  # fmt: skip
    assert not_held(found) == ["Planted backward", "PlantedLoss score", "PlantedRule update"]


def test_a_case_runs_the_kernel_that_it_names():
    for case in CASES:
        cells = [cell.cell_contents for cell in case.run.__closure__ or ()]  # of a case that a function makes
        named = {getattr(value, "__name__", "") for value in cells} | {*case.run.__code__.co_names}
        assert case.name in named, case.name
    twice = {name for name, count in Counter(case.name for case in CASES).items() if count > 1}
    assert twice == {"gelu_forward", "gelu_backward"}  # exact, and by tanh
    assert not ELSEWHERE.keys() & {case.name for case in CASES}


def test_the_tests_of_another_kind_are_there():
    """The test exists, and its source names the kernel."""
    for name, place in ELSEWHERE.items():
        file, test = place.split("::")
        source = (Path(__file__).parent / file).read_text()
        bodies = {node.name: ast.get_source_segment(source, node) for node in ast.parse(source).body
                  if isinstance(node, ast.FunctionDef)}  # fmt: skip
        assert f".{name}" in bodies[test], (name, place)


def test_the_tester_refuses_a_wrong_kernel():
    """A kernel that is off by a thousandth, one that gives zeros and one that gives NaN."""
    (relu,) = (case for case in CASES if case.name == "relu_forward")
    for wrong in (1.001, 0.0, np.nan):

        def run(a, lo, hi, wrong=wrong):
            relu.run(a, lo, hi)
            a.y[...] *= wrong

        with pytest.raises(AssertionError, match="relu_forward: y"):
            check(replace(relu, run=run), relu.make(Source(np.float64, 1), 5, 19))
