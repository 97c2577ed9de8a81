"""Layers of a user's own, the trial of all kinds, and kernels that raise: what is wrong is said in one sentence.

Some is said when the class is made, some at the first object, and what the kernels do wrong before they are trusted,
by a trial in plain Python. A kernel that raises while others wait ends the training, in its own words.
"""

import subprocess
import sys

import numpy as np
import pytest
from own import BOTH, labels, made, said, x

import fastmlp as fm
from fastmlp import nn, optim
from fastmlp.kernels import forms, kernel, trial
from fastmlp.nn import declared
from fastmlp.nn import formula as formulas

ONE = 'it must hold one name, "x" or "y", with the reason, as a dict'


@kernel
def double_forward(x, y, numbers, lo, hi):
    for n in range(x.shape[0]):
        for o in range(lo, hi):
            y[n, o] = x[n, o] + x[n, o]


@kernel
def double_backward(dy, x, dx, numbers, lo, hi):
    for n in range(x.shape[0]):
        for o in range(lo, hi):
            dx[n, o] = dy[n, o] + dy[n, o]


@kernel
def too_few(x, y, lo, hi):
    pass


@kernel
def far(x, y, numbers, lo, hi):
    y[0, lo] = numbers[7]


@kernel
def one_more(x, y, numbers, lo, hi):
    for n in range(x.shape[0]):
        for o in range(lo, hi + 1):
            y[n, o] = x[n, o]


@kernel
def all_columns(x, y, numbers, lo, hi):
    for n in range(x.shape[0]):
        for o in range(x.shape[1]):
            y[n, o] = x[n, o]


@kernel
def into_x(x, y, numbers, lo, hi):
    x[0, lo] = y[0, lo]


@kernel
def by_another(x, y, numbers, lo, hi):
    one_more(x, y, numbers, lo, hi)


@kernel
def other_order(y, numbers, x, lo, hi):
    y[0, lo] = x[0, lo] * numbers[0]


@kernel
def misspelt(x, y, numbers, lo, hi):
    y[0, lo] = xx[0, lo]  # noqa: F821


PAIR = (double_forward, double_backward)


def node(pair=PAIR, keeps=None):
    """A class of nodes."""
    return made(nn.ElementwiseNode, pair=pair, keeps={"x": "it is there"} if keeps is None else keeps)


def layer(kind, **declared):
    """A layer of such nodes."""
    declared = {"function": staticmethod(lambda x, *numbers: nn.elementwise("own", kind, x, *numbers))} | declared
    return made(nn.Elementwise, node=kind, **declared)


def trained(kind):
    """A training with such a layer between two others."""
    return fm.fit(nn.Sequential(nn.Linear(5, 4), kind(), nn.Linear(4, 3)), fm.Dataset(x, labels), epochs=1,
                  progress=False)  # fmt: skip


@pytest.mark.parametrize(
    ("declare", "sentence"),
    [
        (lambda: node((double_forward,)), f"Own: pair is (double_forward,); {BOTH}"),
        (lambda: node(double_forward), f"Own: pair is double_forward; {BOTH}"),
        (lambda: node((double_forward.py_func, double_backward)),
         "Own: double_forward is function; it must be a function under fastmlp.kernels.kernel"),
        (lambda: node((too_few, double_backward)),
         "Own: too_few has 4 arguments; a kernel of the form elementwise_forward has 5: (x, y, numbers, lo, hi)"),
        (lambda: layer(made(nn.ElementwiseNode, keeps={"x": "why"})), f"Own: pair is missing; {BOTH}"),
        (lambda: nn.elementwise("own", made(nn.ElementwiseNode), fm.Tensor(x)), f"Own: pair is missing; {BOTH}"),
        (lambda: layer(made(nn.ElementwiseNode, pair=PAIR)), f"Own: keeps is missing; {ONE}"),
        (lambda: node(keeps={"x": "a", "y": "b"}), f"Own: keeps is {{'x': 'a', 'y': 'b'}}; {ONE}"),
        (lambda: node(keeps={"z": "a"}), f"Own: keeps is {{'z': 'a'}}; {ONE}"),
        (lambda: node(keeps="x"), f"Own: keeps is 'x'; {ONE}"),
        (lambda: made(nn.Elementwise)(), "Own: node is missing; it must be the class of its nodes"),
        (lambda: made(nn.Elementwise, node=node())(),
         "Own: function is missing; it must be its operation, under staticmethod"),
        (lambda: made(nn.Elementwise, node=fm.ops.relu), "it must be a class of ElementwiseNode"),
        (lambda: layer(node(), numbers=("slope"))(),
         """Own: numbers is 'slope'; it must be a tuple of names, such as ("slope",)"""),
        (lambda: layer(node(), numbers=("slope",))()(fm.Tensor(x)),
         "Own: slope is missing; numbers names it, so it must be a number"),
        (lambda: made(nn.Norm, kernels={"forward": double_forward}),
         "Own: kernels has forward; it must have forward, evaluate, backward, and may have evaluate_backward, weights"),
        (lambda: made(nn.Layer, kernels={"forward": double_forward}),
         "Own: form is missing; it must be one of elementwise, random, norm, linear"),
    ],
)  # fmt: skip
def test_a_layer_that_lacks_something_is_refused(declare, sentence):
    assert sentence in said(declare)


@pytest.mark.parametrize("use", [trained, lambda kind: fm.gradcheck(kind(), x[:3])])
@pytest.mark.parametrize(
    ("forward", "sentence"),
    [
        (far, "Own: far reaches beyond its arguments: index 7 is out of bounds"),
        (one_more, "Own: one_more reaches beyond its arguments: index 8 is out of bounds"),
        (by_another, "Own: by_another reaches beyond its arguments: index 8 is out of bounds"),
        (all_columns, "Own: all_columns changes y where it must not; it may change y[:, 2:6] alone"),
        (into_x, "Own: into_x changes x where it must not; it may change y[:, 0:8] alone"),
        (other_order, "other_order cannot be compiled with the arguments (x, y, numbers, lo, hi) of the form "
                      "elementwise_forward: No implementation"),
        (misspelt, "misspelt cannot be compiled with the arguments (x, y, numbers, lo, hi) of the form "
                   "elementwise_forward: NameError: name 'xx' is not defined"),
    ],
)  # fmt: skip
def test_a_kernel_that_does_what_it_must_not_is_refused_before_it_is_trusted(forward, sentence, use):
    kind = layer(node((forward, double_backward)))
    for _ in range(2):  # no trial has passed: the second time is as the first
        assert said(lambda: use(kind)).startswith(sentence)


def test_numbas_own_words_stand_behind_the_sentence():
    with pytest.raises(TypeError) as caught:
        forms.address(other_order, "elementwise_forward", np.float32)
    assert "(test_own_layers.py, line" in str(caught.value)
    assert "Failed in nopython mode" in str(caught.value.__cause__)


@pytest.mark.parametrize(
    ("function", "sentence"),
    [
        (
            fm.ops.relu,
            "Own: its function records ReluBackward0, and its node is Own, whose kernels train; they must be",
        ),
        (lambda x: None, "Own: its function returns NoneType; it must return a Tensor"),
    ],
)
def test_a_function_that_runs_other_kernels_than_train_is_refused(function, sentence):
    kind = layer(node(), function=staticmethod(function))
    assert said(lambda: trained(kind)).startswith(sentence)
    assert said(lambda: fm.gradcheck(kind(), x[:3])).startswith(sentence)


@pytest.mark.parametrize("numbers", [(), (2.0,), (1.0, 2.0)])
def test_a_function_that_gives_its_kernels_other_numbers_than_train_is_refused(numbers):
    kind = node()
    own = layer(kind, numbers=("slope",), slope=1.0, function=staticmethod(
        lambda x, slope: nn.elementwise("own", kind, x, *numbers)))  # fmt: skip
    assert said(lambda: own()(fm.Tensor(x, True))) == (
        f"Own: its function gives its kernels the numbers {list(numbers)}, and its own numbers are [1.0], which train; "
        "they must be the same"
    )
    assert said(lambda: trained(own)).startswith("Own: its function gives its kernels the numbers")


def test_a_function_takes_the_arguments_and_the_kernels_the_numbers_made_from_them():
    """A word, which a kernel cannot have: the graph and the engine see the same number, the file the word."""
    kind, seen = node(), []

    def own(x, shape):
        seen.append(shape)
        return nn.elementwise("own", kind, x, float(shape == "round"))

    made = layer(kind, numbers=("round",), arguments=("shape",), shape="round", function=staticmethod(own),
                 round=property(lambda self: float(self.shape == "round")))  # fmt: skip
    y = made()(fm.Tensor(x, True))
    assert seen == ["round"]
    assert y.grad_fn.numbers.tolist() == made().number_array().tolist() == [1.0]
    assert repr(made()) == "Own(shape='round')"
    assert made().detail() == "shape='round'"
    trained(made)


@pytest.mark.parametrize(
    ("formula", "wrong"),
    [
        ("v / (1 + Math.exp(-beta * v))", "names beta"),
        ("v / (1 +", "ends where a value is due"),
        ("v / (1 + v", "leaves ( open"),
        ("v)", "has ) where nothing is open"),
        ("v ? 1", "leaves ? open"),
        ("v : 1", "has : where nothing is open"),
        ("v v", "has v where an operator is due"),
        ("v, 1", "has , outside the brackets of a function"),
        ("(v, 1)", "has , outside the brackets of a function"),
        ("-v ** 2", "has ** behind -; brackets must say which of them comes first"),
        ("Math.max(v, 1", "leaves ( open"),
        ("Math.exp(v, 1)", "gives Math.exp 2 values"),
        ("(v : 1)", "has : where nothing is open"),
        ("v ? (1 : 2", "has : where nothing is open"),
        ("Math.exp", "names Math.exp"),
        ("", "ends where a value is due"),
        ("l.other * v", "names l.other"),
        ("Math.sinn(v)", "names Math.sinn"),
        ("v(1)", "calls v"),
        ("erfc(v)", "names erfc"),
        ("erf(v", "leaves ( open"),
        ("</script>", "has < where a value is due"),
        ("v; 1", "has ;"),
        ("`v`", "has `"),
    ],
)
def test_a_formula_that_is_none_is_refused(formula, wrong):
    with pytest.raises(ValueError) as caught:
        formulas.parse(formula, ("beta",))
    assert str(caught.value) == wrong
    assert said(lambda: layer(node(), numbers=("beta",), formula=formula)) == (
        f"Own: formula is {formula!r} and {wrong}; it must be JavaScript of v, l.beta, numbers, Math and erf"
    )


@pytest.mark.parametrize(
    "formula",
    ["v / (1 + Math.exp(-l.beta * v))", "v > 0 ? v : l.beta * v", "Math.max(v, .5e-3) ** 2", "!(v < 0) ? -v : +v - 1",
     "v < 0 ? v < -1 ? 0 : 1 : 2", "(1 + erf(l.beta * v)) / 2",
     *(kind.formula for kind in nn.ACTIVATIONS.values() if issubclass(kind, nn.Elementwise) and not kind.numbers)],
)  # fmt: skip
def test_a_formula_is_taken(formula):
    assert formulas.parse(formula, ("beta",))


# --- the trial -------------------------------------------------------------------------------------------------------


def test_a_trial_runs_once_and_not_for_the_kinds_of_the_package():
    runs = []
    own = made(nn.Elementwise)
    for kind in (own, own, nn.ReLU, optim.Adam, nn.MSELoss):
        trial.once(kind, 1, lambda kind=kind: runs.append(kind))
    assert runs == [own]


@pytest.mark.parametrize("kind", [*nn.LAYERS.values()])
def test_the_kinds_of_the_package_pass_their_trial(kind):
    """All but Linear, whose products are machine code."""
    if issubclass(kind, nn.Elementwise):
        declared.elementwise(kind.node, kind().number_array(), np.float32)
    elif kind is not nn.Linear:
        declared.layer(kind() if kind is nn.Dropout else kind(8))


def test_an_exception_that_is_no_index_is_left_for_the_run():
    @kernel
    def fails(option, lr, t, scale):
        raise ValueError("of its own")

    trial.run("Own", fails, "scale", dict.fromkeys(("option", "lr", "t", "scale"), 0), {})


# --- a kernel that raises in one thread ------------------------------------------------------------------------------

BRITTLE = """
import numpy as np
import fastmlp as fm
from fastmlp.kernels import kernel
from fastmlp.running import door

door.available_cores = lambda: 3  # as many threads on every machine


@kernel
def through(x, y, numbers, lo, hi):
    y[:, lo:hi] = x[:, lo:hi]


@kernel
def back(dy, x, dx, numbers, lo, hi):
    if lo > 0:  # not in the first thread
        raise ValueError("late in the layer")
    dx[:, lo:hi] = dy[:, lo:hi]


class Back0(fm.nn.ElementwiseNode):
    pair, keeps = (through, back), {"x": "it is there"}


class Layer(fm.nn.Elementwise):
    node, function = Back0, staticmethod(lambda x: fm.nn.elementwise("own", Back0, x))


@kernel
def score(z, targets, terms, numbers, columns, lo, hi):
    if lo > 0:
        raise ValueError("late in the score")


class Loss(fm.nn.MSELoss):
    score = fm.nn.Score("own", score)


@kernel
def scale(option, lr, t, scale):
    scale[0] = t


@kernel
def update(p, g, m, v, u, option, scale):
    if scale[0] == 4 and p[0] > 0:
        raise ValueError("late in the rule")
    p -= g


class Rule(fm.optim.Optimizer):
    scale, update = staticmethod(scale), staticmethod(update)

    def __init__(self, params):
        super().__init__(params, {"lr": 0.1})


rng = np.random.default_rng(0)
data = fm.Dataset(rng.normal(size=(300, 6)), rng.normal(size=(300, 1)))
for layer, loss, rule in ((Layer, fm.nn.MSELoss, fm.optim.SGD), (fm.nn.ReLU, Loss, fm.optim.SGD),
                          (fm.nn.ReLU, fm.nn.MSELoss, Rule)):
    fm.manual_seed(0)
    model = fm.nn.Sequential(fm.nn.Linear(6, 300), layer(), fm.nn.Linear(300, 1)).double()
    before = [array.copy() for array in model.state_dict().values()]
    try:
        fm.fit(model, data, loss=loss(), optimizer=rule(model.parameters()), epochs=2, n_threads=3, progress=False)
    except Exception as error:
        same = all(np.array_equal(*pair) for pair in zip(before, model.state_dict().values(), strict=True))
        print(type(error).__name__, error, same)
"""


def test_a_kernel_that_raises_in_one_thread_ends_the_training_in_its_own_words(tmp_path):
    """In a process that is killed after a while: with a fault the other threads wait for ever."""
    file = tmp_path / "brittle.py"
    file.write_text(BRITTLE, "utf-8")
    run = subprocess.run([sys.executable, str(file)], capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines() == [f"ValueError late in the {where} True" for where in ("layer", "score", "rule")]
