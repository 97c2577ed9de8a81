"""Losses and rules of a user's own: what is missing or wrong in a declaration is said in one sentence."""

import numpy as np
import pytest
from own import BOTH, labels, made, prices, said, x

import fastmlp as fm
from fastmlp import nn, optim
from fastmlp.kernels import SCALES, kernel

# --- losses ----------------------------------------------------------------------------------------------------------


@kernel
def absolute_forward(z, targets, r, kept, terms, numbers, columns, lo, hi):
    for n in range(lo, hi):
        total = z.dtype.type(0)
        for c in range(columns):
            total += abs(z[n, c] - z.dtype.type(targets[n, c]))
        terms[0, n] = r[n] * total


@kernel
def absolute_backward(z, targets, r, kept, dz, numbers, columns, lo, hi):
    for n in range(lo, hi):
        for c in range(columns):
            dz[n, c] = r[n] * np.sign(z[n, c] - z.dtype.type(targets[n, c]))


@kernel
def half_backward(z, targets, r, kept, dz, numbers, columns, lo, hi):
    for n in range(lo, hi):
        for c in range(columns):
            dz[n, c] = r[n] / 2 * np.sign(z[n, c] - z.dtype.type(targets[n, c]))


@kernel
def keeps_forward(z, targets, r, kept, terms, numbers, columns, lo, hi):
    kept[lo, 0] = z[lo, 0]


@kernel
def padding_forward(z, targets, r, kept, terms, numbers, columns, lo, hi):
    for n in range(lo, hi):
        for c in range(z.shape[1]):
            terms[0, n] += abs(z[n, c] - targets[n, c])


@kernel
def too_few(z, targets, lo, hi):
    pass


@kernel
def rows_forward(z, targets, r, kept, terms, numbers, columns, lo, hi):
    for n in range(z.shape[0]):
        terms[0, n] = 1


SCORE = nn.MSELoss.score
ABSOLUTE = (absolute_forward, absolute_backward)


def row(self, z, targets):
    """A forward by another node than the class names."""
    return nn.row_loss("absolute", loss_node(), z, targets)


def loss_node(pair=ABSOLUTE):
    return made(nn.LossNode, pair=pair)


def loss(**declared):
    """A class of losses; None leaves something out."""
    declared = {"targets": "numbers", "score": SCORE} | declared
    return made(nn.Loss, **{name: value for name, value in declared.items() if value is not None})


def fitted(kind):
    """The training loss of one epoch."""
    fm.manual_seed(0)
    history = fm.fit(nn.MLP(5, (4,), 1), fm.Dataset(x, prices), loss=kind(), epochs=1, progress=False)
    return history[-1].train_loss


def checked(kind):
    fm.manual_seed(0)
    return fm.gradcheck(nn.MLP(5, (4,), 1), x[:5], prices[:5], loss=kind())


def test_a_loss_names_its_kernels_once():
    kind = loss(node=loss_node())
    assert kind().runs_on_engine()
    assert (kind.kernels["forward"], kind.kernels["backward"]) == ABSOLUTE
    assert checked(kind).ok
    on_the_graph = loss(forward=row)
    assert not on_the_graph().runs_on_engine()
    assert fitted(kind) == fitted(on_the_graph)


def test_a_loss_of_classes_is_a_node_too():
    @kernel
    def forward(z, targets, r, kept, terms, numbers, columns, lo, hi):
        for n in range(lo, hi):
            terms[0, n] = r[n] * (1 - z[n, int(targets[n, 0])]) ** 2

    @kernel
    def backward(z, targets, r, kept, dz, numbers, columns, lo, hi):
        for n in range(lo, hi):
            for c in range(columns):
                dz[n, c] = 0
            c = int(targets[n, 0])
            dz[n, c] = -2 * r[n] * (1 - z[n, c])

    kind = loss(node=loss_node((forward, backward)), targets="classes", score=nn.CrossEntropyLoss.score)
    assert fm.gradcheck(nn.Sequential(), x[:5, :3], labels[:5], loss=kind()).ok
    assert "targets are (5, 1), z is (5, 3); they must be (N,) and (N, C)" in said(
        lambda: kind()(fm.Tensor(x[:5, :3]), prices[:5])
    )
    assert "targets lie in 3 .. 3; they must be whole numbers in 0 .. 2" in said(
        lambda: kind()(fm.Tensor(x[:5, :3]), np.full(5, 3))
    )


@pytest.mark.parametrize(
    ("declare", "sentence"),
    [
        (lambda: loss(node=loss_node(), targets=None)(),
         'Own: targets is missing; it must be "classes" or "numbers" or "labels" or "probabilities", or'),
        (lambda: loss(node=loss_node(), targets="floats"),
         """Own: targets is 'floats'; it must be "classes" or "numbers" or "labels" or "probabilities", or a"""),
        (lambda: loss(node=loss_node(), score=None)(),
         "Own: score is missing; it must be a fastmlp.nn.Score, such as MSELoss.score"),
        (lambda: loss(node=loss_node(), score="r2"), "Own: score is a str; it must be a fastmlp.nn.Score"),
        (lambda: loss(node=loss_node(), score=nn.Score("own", too_few))(),
         "Own: score: too_few has 4 arguments; a kernel of the form score has 7: (z, targets, terms,"),
        (lambda: loss()(), "Own: node is missing; it must be its class of LossNode, or forward is to be defined"),
        (lambda: loss(node=row), "it must be a class of LossNode"),
        (lambda: loss(node=made(nn.LossNode)), f"Own: pair is missing; {BOTH}"),
        (lambda: loss_node((absolute_forward,)), f"Own: pair is (absolute_forward,); {BOTH}"),
        (lambda: loss_node((too_few, absolute_backward)), "a kernel of the form loss_forward has 9: (z, targets, r,"),
        (lambda: made(nn.LossNode, pair=ABSOLUTE, keeps={"w": "why"}), "it must hold names among"),
        (lambda: loss(forward=row, kernels={"forward": absolute_forward}),
         "Own: kernels has forward; it must have forward, backward"),
        (lambda: loss(forward=row, kernels=ABSOLUTE),
         "Own: kernels has (absolute_forward, absolute_backward); it must have forward, backward"),
        (lambda: loss(node=loss_node(), kernels={}),
         "Own: kernels are given beside node; its pair is what trains, leave them out"),
    ],
)  # fmt: skip
def test_a_loss_that_lacks_something_is_refused(declare, sentence):
    assert sentence in said(declare)


@pytest.mark.parametrize("use", [fitted, checked])
@pytest.mark.parametrize(
    ("forward", "sentence"),
    [
        (keeps_forward, "keeps_forward reaches beyond its arguments: index 1 is out of bounds for axis 0 with size 0"),
        (padding_forward, "padding_forward reaches beyond its arguments: index 3 is out of bounds"),
        (rows_forward, "rows_forward changes terms where it must not; it may change terms[0, 1:3] and kept alone"),
    ],
)
def test_a_loss_that_does_what_it_must_not_is_refused_before_it_is_trusted(forward, sentence, use):
    kind = loss(node=loss_node((forward, absolute_backward)))
    assert sentence in said(lambda: use(kind))


@pytest.mark.parametrize("use", [fitted, checked])
@pytest.mark.parametrize("by", ["node", "kernels", "forward alone"])
@pytest.mark.parametrize(
    ("gives", "sentence"),
    [
        (lambda z: None, "Own: forward returns NoneType; it must return the loss, a Tensor without axes"),
        (lambda z: 1.0, "Own: forward returns float; it must return the loss, a Tensor without axes"),
        (lambda z: z, "Own: forward returns a Tensor of the shape"),
        (lambda z: fm.Tensor(np.zeros((), z.dtype)), "Own: forward returns a Tensor that no gradient leads back from"),
    ],
)
def test_a_forward_that_gives_no_loss_is_refused(gives, sentence, by, use):
    declared = {
        "node": {"node": loss_node()},
        "kernels": {"kernels": dict(zip(("forward", "backward"), ABSOLUTE, strict=True))},
        "forward alone": {},
    }
    kind = loss(forward=lambda self, z, targets: gives(z), **declared[by])
    if use is checked and "no gradient" in sentence:
        return  # finite differences run without a graph; a gradient that never arrives counts as zero
    assert said(lambda: use(kind)).startswith(sentence)


def test_what_fit_runs_is_what_is_checked():
    """`kernels` beside a forward: another loss is refused, and of the same loss the backward is checked."""
    squares = {"forward": nn.MSELoss.kernels["forward"], "backward": nn.MSELoss.kernels["backward"]}
    other = loss(forward=row, kernels=squares)
    assert "its kernels give" in said(lambda: fitted(other))
    with pytest.raises(AssertionError, match="fit trains with the kernels; they must be one loss"):
        checked(other)
    wrong = loss(forward=row, kernels={"forward": absolute_forward, "backward": half_backward})
    with pytest.raises(AssertionError, match="WRONG"):
        checked(wrong)
    twice = loss(forward=lambda self, z, targets: row(self, z, targets) * 2, node=loss_node())
    assert "Own: forward records MulBackward0, and its node is Own" in said(lambda: fitted(twice))


def test_a_score_whose_numbers_are_no_array_of_floats_is_refused():
    kind = loss(node=loss_node(), score=nn.Score("own", SCORE.kernel, lambda targets: 1))
    assert said(lambda: fitted(kind)) == (
        "Own: the score's numbers(targets) gives int; it must give an array (n,) of float64"
    )


# --- rules -----------------------------------------------------------------------------------------------------------


@kernel
def plain_scale(option, lr, t, scale):
    scale[0] = lr


@kernel
def wide_scale(option, lr, t, scale):
    for i in range(12):
        scale[i] = lr


@kernel
def two_update(p, g, m, v, u, option, scale):
    for i in range(p.size):
        m[i], v[i] = g[i], g[i]
        p[i] -= p.dtype.type(scale[0]) * g[i]


@kernel
def slice_update(p, g, m, v, u, option, scale):
    m[:] = g


@kernel
def option_update(p, g, m, v, u, option, scale):
    p[0] -= p.dtype.type(option[5])


@kernel
def later_update(p, g, m, v, u, option, scale):
    if scale[0] < 0.005:  # as the second step has it
        u[0] = 1


@kernel
def halving_scale(option, lr, t, scale):
    scale[0] = lr / t


@kernel
def into_g(p, g, m, v, u, option, scale):
    g[0] = 0


def rule(scale=plain_scale, update=two_update, arrays=("m", "v"), **defaults):
    """A class of optimizers."""

    def __init__(self, params):  # noqa: N807
        optim.Optimizer.__init__(self, params, defaults or {"lr": 0.01})

    kernels = {name: staticmethod(f) for name, f in (("scale", scale), ("update", update)) if f}
    return made(optim.Optimizer, arrays=arrays, __init__=__init__, **kernels)


def on_the_engine(kind):
    model = nn.MLP(5, (4,), 3)
    fm.fit(model, fm.Dataset(x, labels), optimizer=kind(model.parameters()), epochs=1, progress=False)


def on_the_graph(kind):
    model = nn.MLP(5, (4,), 3)
    optimizer = kind(model.parameters())
    fm.ops.cross_entropy(model(fm.Tensor(x)), labels).backward()
    optimizer.step()


def test_a_rule_needs_lr_alone():
    on_the_engine(rule())
    on_the_graph(rule())


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        (rule(scale=None), "Own: scale is missing; it must be a function under fastmlp.kernels.kernel, as static"),
        (rule(update=None), "Own: update is missing; it must be a function under fastmlp.kernels.kernel"),
        (rule(scale=two_update), "two_update has 7 arguments; a kernel of the form scale has 4: (option, lr, t,"),
        (rule(momentum=0.5, lr=0.1), "Own: the options begin with momentum; lr must be the first, the kernels"),
        (rule(momentum=0.5), "Own: the options begin with momentum; lr must be the first"),
        (rule(lr=0.1, how="fast"), "Own: how is 'fast'; it must be a number, or a pair of numbers"),
        (rule(arrays=("momentum")), """Own: arrays is 'momentum'; it must be a tuple of up to three names, such as"""),
        (rule(arrays=("a", "b", "c", "d")), "it must be a tuple of up to three names"),
        (rule(arrays=("a", "a")), """the names must differ, and none may be "step\""""),
    ],
)  # fmt: skip
def test_a_rule_that_lacks_something_is_refused(kind, sentence):
    assert sentence in said(lambda: kind(nn.MLP(5, (4,), 3).parameters()))


@pytest.mark.parametrize("use", [on_the_engine, on_the_graph])
@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        (rule(arrays=("m",)), "Own: two_update reaches beyond its arguments: index 0 is out of bounds for axis 0"),
        (rule(arrays=()), "Own: two_update reaches beyond its arguments: index 0 is out of bounds"),
        (rule(update=slice_update, arrays=()), "Own: slice_update reaches beyond its arguments: could not broadcast"),
        (rule(scale=wide_scale), f"Own: wide_scale reaches beyond its arguments: index {SCALES} is out of bounds"),
        (rule(update=option_update), "Own: option_update reaches beyond its arguments: index 5 is out of bounds"),
        (rule(halving_scale, later_update, lr=0.009), "Own: later_update reaches beyond its arguments: index 0"),
        (rule(update=into_g), "Own: into_g changes g where it must not; it may change p and m and v and u alone"),
        (rule(optim.Adam.scale, optim.Adam.update, (), lr=0.1, betas=(0.9, 0.99), eps=1e-8, weight_decay=0.0,
              amsgrad=0.0, maximize=0.0),
         "Own: adam_update reaches beyond its arguments: index 0 is out of bounds"),
    ],
)  # fmt: skip
def test_a_rule_that_reaches_beyond_its_arrays_is_refused_before_it_is_trusted(kind, sentence, use):
    assert said(lambda: use(kind)).startswith(sentence)
