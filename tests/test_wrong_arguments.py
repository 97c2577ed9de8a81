"""Every public function and class, with wrong arguments of every sort: it works, or it is refused in a sentence.

`right_calls` has a right call of each; some of its arguments are replaced by values that fit nowhere, or by chance do.
What comes then is no crash, no error of Python's, NumPy's or Numba's own, and no error of a class that nobody
documents. A hang, a crash or a large allocation would end the tests.
"""

import os
import re

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from right_calls import BARE, CALLS, MODULES, NO_DOORS, public
from wrong_arguments import WRONG, blame, quiet
from wrong_arguments import elsewhere as elsewhere

import fastmlp as fm

EXAMPLES = int(
    os.environ.get("FASTMLP_EXAMPLES", 12)
)  # of each call; tests/soak tries every value in the place of every argument


def test_every_public_name_has_a_right_call_or_a_reason():
    assert len(public()) > 150
    assert sorted(public().keys() - CALLS.keys() - NO_DOORS.keys()) == []
    assert sorted(NO_DOORS.keys() - public().keys()) == []
    for module in (fm.nn, fm.optim, fm.data, fm.ops):
        assert module in MODULES.values()


@pytest.mark.parametrize("name", CALLS)
def test_the_right_call_works(name):
    arguments = CALLS[name].arguments()
    assert (name in BARE) == (not arguments)
    assert quiet(CALLS[name].function, arguments).error is None


@pytest.mark.parametrize("name", [name for name in CALLS if name not in BARE])
@settings(
    max_examples=EXAMPLES,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(draw=st.data())
def test_wrong_arguments_are_refused_in_one_sentence(name, draw):
    call = CALLS[name]
    arguments = call.arguments()
    for argument in draw.draw(st.lists(st.sampled_from(sorted(arguments)), min_size=1, max_size=2, unique=True)):
        place = draw.draw(st.sampled_from(call.places(argument)), label=f"the place in WRONG of {argument}")
        arguments[argument] = WRONG[place]()
    assert quiet(call.function, arguments).words == ""


# --- the tester is tested ---------------------------------------------------------------------------------------------


def raised(error):
    def function(epochs):
        raise error

    return function


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (raised(ValueError("fit: epochs is 3; it must be 4")), "not said by the package|from "),
        (lambda epochs: epochs.shape, "AttributeError"),
        (lambda epochs: np.zeros((2, 3)) @ np.zeros((2, 3)), "not one sentence|not said by the package|from "),
        (lambda epochs: fm.check_that_is_not_there, "AttributeError"),
        (raised(KeyError("epochs")), "of a class that is not documented"),
        (raised(UnicodeDecodeError("utf-8", b"", 0, 1, "no")), "of a class that is not documented"),
        (raised(ValueError("fit: two\nlines")), "not one sentence"),
        (raised(ValueError("epochs")), "not one sentence that begins with who was called"),
        (raised(ValueError("")), "not one sentence"),
        (raised(ValueError("fit: " + "x" * 999)), "not one sentence"),
        (lambda epochs: np.complex64([0.5]).astype(np.float32), "ComplexWarning"),
    ],
)
def test_a_planted_fault_is_found(function, words):
    assert re.search(words, blame(function, {"epochs": 3}).words)


def test_a_sentence_of_the_package_is_no_fault():
    assert blame(fm.manual_seed, {"seed": -1}).words == ""
    assert "manual_seed: seed is -1" in str(blame(fm.manual_seed, {"seed": -1}).error)
    assert blame(fm.manual_seed, {"seed": 1}) == (None, "")


# --- what was found ---------------------------------------------------------------------------------------------------


def tensor(*shape):
    return fm.Tensor(np.ones(shape, np.float32), True)


MENDED = {
    "a model of many lines as a rate": (lambda: fm.optim.Adam(tensor_list(), lr=fm.nn.MLP(3, (4,), 2)), "lr is MLP("),
    "an array as a switch": (lambda: fm.Tensor(np.ones(3), np.ones(2)), "Tensor: requires_grad is array([1., 1.])"),
    "an array as a word": (lambda: fm.nn.GELU(np.ones(3)), "GELU: approximate is array([1., 1., 1.])"),
    "an array as a kind": (lambda: fm.Dataset(np.ones((2, 1)), [0, 1], kind=np.ones(2)), "Dataset: kind is array"),
    "a number without an axis for many": (lambda: fm.nn.MLP(3, np.array(4), 2), "MLP: hidden is array(4)"),
    "a text as a type": (lambda: fm.nn.Linear(3, 2, dtype="text"), "Linear: dtype is 'text'"),
    "whole numbers as a type": (lambda: fm.nn.Linear(3, 2, dtype=int), "Linear: dtype is <class 'int'>"),
    "a complex number": (lambda: fm.nn.ELU(np.complex64(1)), "ELU: alpha is "),
    "a number without a text": (lambda: fm.nn.ELU(10**5000), "ELU: alpha is of the type int"),
    "an epsilon beyond 64 bits": (lambda: fm.ops.layer_norm(tensor(4, 3), eps=10**60), "layer_norm: eps is 1000000"),
    "an exponent beyond all": (lambda: tensor(2) ** (10**400), "**: the exponent is 1000000"),
    "an array to pack": (lambda: fm.ops.pack_columns(np.ones((2, 3))), "pack_columns: weight is ndarray"),
    "a tensor of three axes to pack": (lambda: fm.ops.pack_columns(tensor(2, 3, 4)), "weight is (2, 3, 4)"),
    "a tensor without axes in a loss": (lambda: fm.ops.mse_loss(tensor(), [1.0]), "targets are (1,), z is ()"),
    "a text as keepdim": (lambda: tensor(2, 3).sum(0, "yes"), "sum: keepdim is 'yes'"),
    "a shape in a line": (lambda: fm.images.centre_by_mass(np.ones((4, 4)), (4,)), "centre_by_mass: shape is (4,)"),
    "a huge picture": (lambda: fm.images.read_image("x.png", (10**6, 10**6)), "of at most 50,000,000 pixels"),
    "no path": (lambda: fm.data.read_idx(3), "read_idx: path is int; it must be a path"),
    "a path with a zero in it": (lambda: fm.load_model("a\0b"), r"load_model: path is 'a\x00b'"),
    "an empty path": (lambda: fm.History().to_csv(""), "History.to_csv: path is ''"),
    "texts as confidence": (
        lambda: fm.metrics.calibration_error([0, 1], [0, 1], ["a", "b"]), "reliability_bins: confidence is <U1"),
    "an array as a history's place": (lambda: fm.History()[np.ones(2)], "History: the index is array([1., 1.])"),
    "a loss to evaluate": (
        lambda: fm.evaluate(fm.nn.MSELoss(), fm.Dataset(np.ones((2, 1)), [0, 1])), "evaluate: model is MSELoss"),
    "a function of nothing to check": (lambda: fm.gradcheck(lambda: 0, np.ones(3)), "gradcheck: model takes ()"),
    "a kind of plot's title": (lambda: fm.plots.loss_curve(fm.History(), title=3), "loss_curve: title is 3"),
    "figures in a list": (
        lambda: fm.report.write_report("r", fm.nn.Linear(1, 1), fm.History(), None, None, {}, None, None, [1]),
        "write_report: figures is [1]"),
    "a mask in the place of a number": (lambda: fm.nn.utils.clip_grad_norm_([], 1.0, np.ones(2)), "norm_type is array"),
    "a class beyond all": (
        lambda: fm.metrics.precision_recall_fscore_support([2**62], [2**62]), "has the class 4611686018427387904"),
    "probabilities of no row": (
        lambda: fm.nn.CrossEntropyLoss()(tensor(0, 3), np.ones((0, 3))), "cross_entropy: labels are float64 (0, 3)"),
    "a type that data cannot have": (lambda: fm.Tensor(["a"], dtype=np.float32), "Tensor: data is <U1; it must be"),
    "uneven row numbers": (
        lambda: fm.Dataset(np.ones((2, 1)), [0, 1])[[1, [2, 3]]], "Dataset: the index is a list that NumPy can"),
}  # fmt: skip


def tensor_list():
    return [fm.Parameter(np.ones(3, np.float32))]


@pytest.mark.parametrize("name", MENDED)
def test_what_was_found_stays_mended(name):
    """Each once came out in the words of Python, NumPy or Numba, over several lines, or was taken."""
    call, words = MENDED[name]
    with pytest.raises((TypeError, ValueError)) as raised:
        call()
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)
