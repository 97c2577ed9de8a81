"""The losses by hand: kinks, extreme numbers, weights of rows in a training, and what is refused."""

import math

import contract
import numpy as np
import pytest

import fastmlp as fm
from fastmlp import nn, ops
from fastmlp.kernels import kernel
from fastmlp.running import door
from fastmlp.running.engine import Engine

DTYPES = [np.float32, np.float64]
X = np.random.default_rng(0).standard_normal((40, 5))


def slope(loss, z, t):
    """(losses, slopes) of each number."""
    tensor = fm.Tensor(np.array(z)[:, None], requires_grad=True)
    value = loss(tensor, np.array(t, np.float64)[:, None])
    value.backward(np.ones(value.shape, value.dtype))
    return value.data[:, 0].tolist(), tensor.grad[:, 0].tolist()


# --- kinks and extreme numbers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_slopes_at_kinks(dtype):
    """PyTorch's, but for the pinball loss, which it has not: a target that is met sends nothing back."""
    z, t = np.array([0, 1, -1, 2, -2], dtype), np.zeros(5)
    assert slope(nn.L1Loss("none"), z, t) == ([0, 1, 1, 2, 2], [0, 1, -1, 1, -1])
    assert slope(nn.HuberLoss("none"), z, t) == ([0, 0.5, 0.5, 1.5, 1.5], [0, 1, -1, 1, -1])
    assert slope(nn.HuberLoss("none", delta=2), z, t) == ([0, 0.5, 0.5, 2, 2], [0, 1, -1, 2, -2])
    assert slope(nn.SmoothL1Loss("none", beta=2), z, t) == ([0, 0.25, 0.25, 1, 1], [0, 0.5, -0.5, 1, -1])
    assert slope(nn.SmoothL1Loss("none", beta=0), z, t) == slope(nn.L1Loss("none"), z, t)
    assert slope(nn.QuantileLoss(0.75, "none"), z, t) == ([0, 0.25, 0.75, 0.5, 1.5], [0, 0.25, -0.75, 0.25, -0.75])


@pytest.mark.parametrize("dtype", DTYPES)
def test_large_logits_of_labels(dtype):
    """A right answer loses nothing and a wrong one its logit; infinity too, where PyTorch gives NaN."""
    inf = math.inf
    losses, slopes = slope(
        nn.BCEWithLogitsLoss(reduction="none"), np.array([1e4, -1e4, -inf, inf], dtype), [1, 0, 0, 1]
    )
    assert losses == [0] * 4
    assert slopes == [0] * 4
    losses, slopes = slope(
        nn.BCEWithLogitsLoss(reduction="none"), np.array([1e4, -1e4, -inf, inf], dtype), [0, 1, 1, 0]
    )
    assert losses == [1e4, 1e4, inf, inf]
    assert slopes == [1, -1, -1, 1]
    (loss,), (down,) = slope(nn.BCEWithLogitsLoss(reduction="none"), np.array([-20.0], dtype), [0])
    assert loss == pytest.approx(math.exp(-20), rel=1e-5)  # log(1 + e^-20); float32 rounds to 6e-8
    assert down == pytest.approx(math.exp(-20), rel=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
def test_large_logarithms_of_counts(dtype):
    """The exponential is infinite, as it is in PyTorch, and 0 where it is too small."""
    losses, slopes = slope(nn.PoissonNLLLoss(reduction="none"), np.array([1e4, -1e4, 0], dtype), [1, 2, 0])
    assert losses == [math.inf, 2e4, 1]
    assert slopes == [math.inf, -2, 1]
    losses, slopes = slope(nn.PoissonNLLLoss(False, reduction="none"), np.array([0, -1], dtype), [1, 1])
    assert losses[0] == pytest.approx(-math.log(1e-8), rel=1e-6)
    assert math.isnan(losses[1])


def test_a_class_without_a_share_counts_nothing_whatever_its_logit():
    z = fm.Tensor(np.array([[-np.inf, 0.0, 0.0]]), requires_grad=True)
    for options in ({"labels": [1], "weight": [0, 1, 1]}, {"labels": np.array([[0, 1.0, 0]])}):
        z.grad = None
        loss = ops.cross_entropy(z, **options)
        loss.backward()
        assert loss.item() == pytest.approx(math.log(2), rel=1e-15)
        assert z.grad.tolist() == [[0, -0.5, 0.5]]


def test_columns_whose_targets_are_all_the_same_have_no_part_in_a_score():
    """Though the mean of ten times 0.1 is not 0.1."""
    t = np.stack([np.arange(10.0), np.full(10, 0.1)], axis=1)
    assert t.mean(axis=0)[1] != 0.1
    for loss in (nn.MSELoss(), nn.QuantileLoss(), nn.PoissonNLLLoss()):
        for weights in (None, np.arange(10.0)):
            known = loss.score.known(t, weights)[-2:]
            assert known[1] == 0 < known[0]
            assert np.isnan(loss.score.known(t[:, 1:], weights)[-1])


# --- a training with weights of its rows -----------------------------------------------------------------------------


def trained(data, loss, width=4, weights=None, **options):
    """(weights of a net, mean loss, score) after an epoch of one batch by SGD."""
    fm.manual_seed(0)
    model = fm.nn.MLP(5, (6,), width).double()
    rows, optimizer = len(data), fm.optim.SGD(model.parameters(), lr=0.1)
    with door.Trainer(model, optimizer, loss, data, rows, 1, print, weights) as trainer:
        mean, score = trainer.epoch(np.arange(rows), [rows], lambda *_: None)
    return np.concatenate([p.data.ravel() for p in model.parameters()]), mean, score


@pytest.mark.parametrize(("name", "chosen"), contract.cases(contract.LOSSES))
def test_a_row_of_weight_2_is_two_rows(name, chosen):
    loss = contract.loss(name, chosen, 4)
    data = contract.data_set(loss, 5, 4, 12, np.float64, 0)
    counts = np.array([1, 2, 0, 3, 1, 1, 0, 2, 1, 1, 2, 1])
    weighted = fm.Dataset(data.features, data.targets, data.classes or None, kind=loss.kind, sample_weight=counts)
    (p, mean, score), (q, again, same) = trained(weighted, loss), trained(data[np.repeat(np.arange(12), counts)], loss)
    np.testing.assert_allclose(p, q, rtol=1e-9, atol=1e-12)  # sums of other orders
    assert mean == pytest.approx(again, rel=1e-12)
    assert score == pytest.approx(same, rel=1e-9, nan_ok=True)


def test_weights_of_a_training_stand_in_place_of_the_datas_and_the_score_keeps_those():
    labels = np.arange(40) % 4
    data = fm.Dataset(X, labels, sample_weight=np.arange(40.0))
    loss, weights = nn.CrossEntropyLoss(), np.arange(40.0) * np.array([1.0, 2, 0, 1])[labels]
    p, mean, score = trained(data, loss, weights=weights)
    q, again, _ = trained(fm.Dataset(X, labels, sample_weight=weights), loss)
    assert np.array_equal(p, q)
    assert mean == again
    assert score == trained(data, loss)[2]
    with pytest.raises(ValueError, match=r"fit: weights is \(3,\); it must be \(40,\)"):
        trained(data, loss, weights=np.ones(3))
    with pytest.raises(ValueError, match="all rows to train on have the weight 0"):
        trained(data, loss, weights=np.zeros(40))


@pytest.mark.parametrize("n_threads", [1, 2])
def test_the_history_of_a_sum_is_a_mean(n_threads):
    """So that losses can be compared whatever the batch; the rate is the sum's, so it is divided here."""
    data, found = fm.Dataset(X, X[:, :3] * 2, sample_weight=np.arange(40) % 3), []
    for reduction, factor in (("mean", 1), ("sum", np.arange(40)[:40] % 3)):
        fm.manual_seed(0)
        model = fm.nn.MLP(5, (6,), 3).double()
        rate = 0.1 if reduction == "mean" else 0.1 / (3 * np.sum(factor))
        found.append(
            fm.fit(
                model, data, loss=nn.MSELoss(reduction), optimizer=fm.optim.SGD(model.parameters(), lr=float(rate)),
                epochs=3, batch_size=40, validation=data, progress=False, n_threads=n_threads,
            )
        )  # fmt: skip
    for column in ("train_loss", "validation_loss", "train_score", "validation_score"):
        np.testing.assert_allclose(found[0].column(column), found[1].column(column), rtol=1e-12)


def test_a_batch_that_counts_nothing_moves_nothing_but_the_rules_state():
    fm.manual_seed(0)
    model = fm.nn.MLP(5, (6,), 4).double()
    before = [p.data.copy() for p in model.parameters()]
    weights = np.where(np.arange(40) < 20, 0.0, 1.0)
    data, optimizer = fm.Dataset(X, np.arange(40) % 4, sample_weight=weights), fm.optim.Adam(model.parameters())
    with Engine(model, optimizer, 5, 20, 2, loss=nn.CrossEntropyLoss()) as engine:
        loss, score = engine.epoch(data, np.arange(20), [20])
    assert math.isnan(loss)
    assert math.isnan(score)  # of no row at all there is none
    assert all(np.array_equal(p.data, b) for p, b in zip(model.parameters(), before, strict=True))
    assert all(state["step"] == 1 for state in optimizer.state.values())


# --- losses of a user's own ------------------------------------------------------------------------------------------


@kernel
def cubic_forward(z, targets, r, kept, terms, numbers, columns, lo, hi):
    for n in range(lo, hi):
        total = z.dtype.type(0)
        for c in range(columns):
            total += abs(z[n, c] - z.dtype.type(targets[n, c])) ** 3
        terms[0, n] = r[n] * (total / z.dtype.type(columns))


@kernel
def cubic_backward(z, targets, r, kept, dz, numbers, columns, lo, hi):
    for n in range(lo, hi):
        for c in range(columns):
            d = z[n, c] - z.dtype.type(targets[n, c])
            dz[n, c] = r[n] * z.dtype.type(3) * d * abs(d) / z.dtype.type(columns)


@kernel
def inside_score(z, targets, terms, numbers, columns, lo, hi):
    """The share of the numbers off by less than 1, of those whose target is above 0."""
    for n in range(lo, hi):
        terms[1, n], terms[2, n] = 0, 0
        for c in range(columns):
            if targets[n, c] > 0:
                terms[1, n] += abs(z[n, c] - targets[n, c]) < 1
                terms[2, n] += 1


class CubicBackward0(nn.LossNode):
    """loss = Σₙ r[n] Σ_c |z - t|³ / C."""

    equation = "dz = 3 dloss r[n] d |d| / C"
    pair = (cubic_forward, cubic_backward)


class Cubic(nn.Loss):
    """A loss of two kinds, with a score that is a ratio."""

    node, targets = CubicBackward0, ("numbers", "labels")
    score = nn.Score("inside", inside_score, best=1.0, ratio=True)


class ByOperations(nn.Loss):
    """The same without kernels."""

    targets, score = "numbers", Cubic.score

    def forward(self, z, targets):
        d = z - fm.Tensor(targets.astype(z.dtype))
        return (d * d * d * d).mean()


class Weighed(ByOperations):
    """And with weights."""

    def forward(self, z, targets, sample_weight=None):
        d = z - fm.Tensor(targets.astype(z.dtype))
        w = np.ones(len(z)) if sample_weight is None else sample_weight
        return (d * d * d * d * fm.Tensor((w / w.sum())[:, None].astype(z.dtype))).sum() * (1 / z.shape[1])


def test_an_own_loss_has_weights_reductions_kinds_and_a_ratio():
    rng, w = np.random.default_rng(1), np.arange(40) % 3
    t = rng.standard_normal((40, 3))
    assert fm.gradcheck(nn.Sequential(), X[:, :3], t, loss=Cubic()).ok
    loss = Cubic("sum")(fm.Tensor(X[:, :3]), t, w).item()
    assert loss == pytest.approx(float((w[:, None] * np.abs(X[:, :3] - t) ** 3).sum()), rel=1e-12)
    for kind, targets in (("numbers", t), ("labels", (t > 0).astype(int))):
        data = fm.Dataset(X, targets, kind=kind, sample_weight=w)
        states = [contract.train(how, *made, Cubic(), data) for how in contract.HOWS for made in [net()]]
        assert all(contract.differing(state, states[0]) == [] for state in states)
    z = fm.Predictor(net()[0])(X)
    near = (np.abs(z - t) < 1) & (t > 0)
    found = Cubic().measure(z, t, np.zeros(1), w.astype(float))
    expected = float((w[:, None] * near).sum() / (w[:, None] * (t > 0)).sum())
    assert Cubic().score.of(found.above.sum(), found.below.sum()) == pytest.approx(expected, rel=1e-14)


def net():
    fm.manual_seed(3)
    model = fm.nn.MLP(5, (6,), 3).double()
    return model, fm.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)


def test_a_forward_without_weights_refuses_rows_that_have_some(capsys):
    t, w = X[:, :3] * 2, np.arange(40) % 3
    weighted = fm.Dataset(X, t, sample_weight=w)
    sentence = "data has weights of its rows; the forward of ByOperations has no argument sample_weight"
    with pytest.raises(ValueError, match=sentence):
        fm.fit(net()[0], weighted, loss=ByOperations(), progress=False)
    with pytest.raises(ValueError, match="the forward of ByOperations has no argument sample_weight"):
        door.Trainer(*net(), ByOperations(), fm.Dataset(X, t), 40, 1, print, w)
    with pytest.raises(TypeError, match="ByOperations: rows have weights, and its forward has no argument"):
        ByOperations()(fm.Tensor(X[:, :3]), t, w)
    history = fm.fit(net()[0], weighted, validation=weighted, loss=Weighed(), epochs=2, progress=False)
    model = net()[0]
    fm.fit(model, weighted, loss=Weighed(), epochs=2, progress=False)
    d = fm.Predictor(model)(X) - t
    assert history[-1].validation_loss == pytest.approx(float(np.average(d**4, axis=0, weights=w).mean()), rel=1e-12)


# --- whatever looks on -----------------------------------------------------------------------------------------------


def test_watch_and_early_stopping_take_labels_with_weights():
    labels = X[:, :4] > 0.3
    data, loss = fm.Dataset(X, labels, sample_weight=np.arange(40) % 3), nn.BCEWithLogitsLoss(pos_weight=2)
    watch, stop = fm.Watch(data, rows=20), fm.EarlyStopping(patience=1, metric="validation_score")
    fm.manual_seed(0)
    model = fm.nn.MLP(5, (8,), 4)
    history = fm.fit(model, data, validation=0.3, loss=loss, epochs=30, callbacks=[watch, stop], progress=False)
    assert history.score_name == "f1_micro"
    assert 0 < history[-1].train_score <= 1
    assert math.isnan(history[-1].train_accuracy)
    assert len(watch.epochs) == len(history) + 1
    with pytest.raises(ValueError, match="Watch: loss has the reduction 'none'"):
        fm.Watch(data, loss=nn.BCEWithLogitsLoss(reduction="none"))


REFUSED = {
    "delta of 0": (lambda: nn.HuberLoss(delta=0), "HuberLoss: delta is 0; it must be a finite number above 0"),
    "beta below 0": (lambda: nn.SmoothL1Loss(beta=-1), "SmoothL1Loss: beta is -1"),
    "eps of 0": (lambda: nn.PoissonNLLLoss(eps=0.0), "PoissonNLLLoss: eps is 0.0"),
    "log_input as a word": (lambda: nn.PoissonNLLLoss("no"), "PoissonNLLLoss: log_input is 'no'; it must be True or"),
    "quantile of 1": (lambda: nn.QuantileLoss(1.0), "QuantileLoss: quantiles is 1.0; it must be one number between 0"),
    "no quantile": (lambda: nn.QuantileLoss(()), r"QuantileLoss: quantiles is \(\)"),
    "outputs of quantiles": (lambda: nn.QuantileLoss((0.1, 0.9))(fm.Tensor(X), X), r"\(N, T\) and \(N, 2 T\)"),
    "a weight below 0": (lambda: nn.BCEWithLogitsLoss(-1), "BCEWithLogitsLoss: weight is"),
    "weights of other labels": (lambda: nn.BCEWithLogitsLoss(pos_weight=[1, 2])(fm.Tensor(X), X > 0), "one for each"),
    "a target of 2": (lambda: ops.binary_cross_entropy_with_logits(fm.Tensor(X), X * 0 + 2), "they must be 0, 1 or"),
    "labels of another shape": (lambda: nn.BCEWithLogitsLoss()(fm.Tensor(X), X[:, :3] > 0), r"targets are \(40, 3\)"),
    "a count below 0": (
        lambda: fm.fit(net()[0], fm.Dataset(X, X[:, :3]), loss=nn.PoissonNLLLoss(), progress=False),
        "fit: data has the target .* a count is at least 0",
    ),
    "weights of other classes": (
        lambda: fm.fit(net()[0], fm.Dataset(X, np.arange(40) % 3), loss=nn.CrossEntropyLoss([1, 2]), progress=False),
        r"fit: data has 3 classes; the weight of the loss is \(2,\), one for each",
    ),
    "weights of other labels in fit": (
        lambda: fm.fit(net()[0], fm.Dataset(X, X[:, :3] > 0), loss=nn.BCEWithLogitsLoss([1, 2]), progress=False),
        r"fit: data has 3 labels; weight of the loss is \(2,\), one for each",
    ),
    "outputs of quantiles in fit": (
        lambda: fm.fit(net()[0], fm.Dataset(X, X[:, 0]), loss=nn.QuantileLoss((0.1, 0.9)), progress=False),
        "fit: data has 1 targets a row, for which QuantileLoss needs 2 outputs; the model has 3 outputs",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_loss_does_not_take_is_refused_in_a_sentence(case):
    call, sentence = REFUSED[case]
    with pytest.raises((ValueError, TypeError), match=sentence):
        call()


def test_an_engine_for_labels_takes_no_probabilities():
    """The width of the targets is what its buffers were made for."""
    model, optimizer = net()
    data = fm.Dataset(X, np.full((40, 3), 1 / 3), kind="probabilities")
    with (
        Engine(model, optimizer, 5, 40, 1, loss=nn.CrossEntropyLoss()) as engine,
        pytest.raises(ValueError, match="Engine: data has 3 targets a row; the engine was made for 1"),
    ):
        engine.prepare(data)


def test_a_callback_may_put_probabilities_in_the_place_of_labels():
    data = fm.Dataset(X, np.arange(40) % 3)

    def change(model, history):
        data.targets, data.kind = np.full((40, 3), 1 / 3), "probabilities"

    fm.fit(net()[0], data, loss=nn.CrossEntropyLoss(), epochs=2, callbacks=[change], progress=False)
