"""Every declared loss with every set of options: its twin, gradients, NaN, the score beside it, what prints it."""

import math

import contract
import contract_losses
import numpy as np
import pytest

import fastmlp as fm

CASES = contract.cases(contract.LOSSES)
DTYPES = [np.float32, np.float64]
SHAPES = [(1, 1), (1, 5), (9, 1), (9, 5), (40, 21)]

every_loss = pytest.mark.parametrize(("name", "chosen"), CASES)


def drawn(name, chosen, shape, dtype=np.float64, seed=0):
    """(loss, z, targets)."""
    loss, rng = contract.loss(name, chosen, shape[1]), np.random.default_rng(seed)
    if shape[1] < contract_losses.least_columns(loss):
        shape = (shape[0], contract_losses.least_columns(loss))
        loss = contract.loss(name, chosen, shape[1])
    z = (3 * contract.LOSSES[name].points(rng, shape)).astype(dtype)
    return loss, z, contract.targets(loss, rng, *shape)


def kernel_targets(targets):
    return np.ascontiguousarray(targets.reshape(len(targets), -1), np.float64)


# --- complete --------------------------------------------------------------------------------------------------------


def test_every_declared_loss_has_options_a_twin_gradient_checks_a_score_and_a_peer():
    assert contract.gaps(fm.nn.LOSSES, contract.LOSSES) == []


def test_a_declared_loss_that_is_in_no_table_is_noticed(monkeypatch):
    monkeypatch.setattr(fm.nn, "LOSSES", fm.nn.LOSSES | {"planted": type("Planted", (fm.nn.CrossEntropyLoss,), {})})
    assert contract.gaps(fm.nn.LOSSES, contract.LOSSES) == ["planted has no entry in tests/contract_losses.py"]


@pytest.mark.parametrize("lacking", ["twin", "score", "points", "peer"])
def test_an_entry_that_lacks_something_is_noticed(monkeypatch, lacking):
    entry = contract.LossEntry(**vars(contract.LOSSES["cross_entropy"]) | {lacking: None})
    monkeypatch.setattr(contract, "LOSSES", contract.LOSSES | {"cross_entropy": entry})
    assert contract.gaps(fm.nn.LOSSES, contract.LOSSES) == [f"cross_entropy has no {lacking}"]


# --- numbers ---------------------------------------------------------------------------------------------------------


@every_loss
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_loss_and_its_gradient_are_those_of_the_twin(name, chosen, dtype, shape):
    loss, z, targets = drawn(name, chosen, shape, dtype)
    expected, dz = contract_losses.twin(name, chosen, z.astype(np.float64), targets).reduced()
    tensor = fm.Tensor(z, requires_grad=True)
    value = loss(tensor, targets)
    value.backward()
    assert value.shape == ()
    assert value.dtype == dtype
    contract.agree("the loss", value.data, expected)
    contract.agree("dz", tensor.grad * len(z), dz * len(z))  # each row's own, without the share in the mean


@every_loss
@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_are_those_of_finite_differences(name, chosen, shape):
    loss, z, targets = drawn(name, chosen, shape)
    report = fm.gradcheck(fm.nn.Sequential(), z, targets, loss=loss)
    assert report.ok
    assert report.errors.keys() == {"x"}


@every_loss
@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_stays_nan(name, chosen, dtype):
    loss, z, targets = drawn(name, chosen, (9, 5), dtype)
    for column in range(5):
        bad = z.copy()
        bad[4, column] = math.nan
        tensor = fm.Tensor(bad, requires_grad=True)
        value = loss(tensor, targets)
        value.backward()
        _, dz = contract_losses.twin(name, chosen, bad.astype(np.float64), targets).reduced()
        assert math.isnan(value.item())
        assert np.isnan(tensor.grad[4, column])
        assert np.array_equal(np.isnan(tensor.grad), np.isnan(dz))
        measured = loss.measure(bad, kernel_targets(targets), loss.score.known(kernel_targets(targets)))
        assert math.isnan(measured.loss)


@every_loss
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_measured_is_the_loss_and_the_score_of_the_twin(name, chosen, dtype, shape):
    loss, z, targets = drawn(name, chosen, shape, dtype)
    wide = kernel_targets(targets)
    found = loss.measure(z, wide, loss.score.known(wide))
    expected, _ = contract_losses.twin(name, chosen, z.astype(np.float64), targets).reduced()
    contract.agree("the loss", np.asarray(found.loss / found.mass, dtype), expected)
    score = loss.score.of(found.above.sum(), found.below.sum())
    contract.agree("the score", np.asarray(score, dtype), contract_losses.score(name, chosen, z, targets))


@every_loss
@pytest.mark.parametrize("weighted", [False, True])
def test_fit_reports_the_loss_and_the_score_of_what_is_held_out(name, chosen, weighted):
    loss, n_threads = contract.loss(name, chosen, 4), 1 + weighted
    sizes = ((60, 0), (31, 1))
    data, held = (contract.data_set(loss, 7, 4, rows, np.float64, seed, weighted) for rows, seed in sizes)
    fm.manual_seed(0)
    model = fm.nn.MLP(7, (9,), 4).double()
    history = fm.fit(model, data, validation=held, loss=loss, epochs=2, progress=False, n_threads=n_threads)
    z = fm.Predictor(model)(held.features)
    expected, _ = contract_losses.twin(name, chosen, z, held.targets).reduced("mean", held.sample_weight)
    assert history[-1].validation_loss == pytest.approx(expected, rel=1e-12)  # some hundred roundings
    score = contract_losses.score(name, chosen, z, held.targets, held.sample_weight)
    assert history[-1].validation_score == pytest.approx(score, rel=1e-12, nan_ok=True)  # of the log of a count below 0
    assert history.score_name == loss.score.name


@every_loss
def test_targets_of_another_kind_are_refused(name, chosen):
    loss = contract.loss(name, chosen)
    x = np.zeros((6, 7), np.float32)
    others = {"classes": np.arange(6) % 4, "numbers": np.zeros((6, 4)), "labels": np.eye(6, 4)}
    others["probabilities"] = np.full((6, 4), 0.25)
    for kind in others.keys() - set(loss.kinds):
        with pytest.raises(ValueError, match=f"{type(loss).__name__} takes {' or '.join(loss.kinds)}"):
            fm.fit(fm.nn.MLP(7, (), 4), fm.Dataset(x, others[kind], kind=kind), loss=loss, progress=False)


# --- weights of rows, reductions -------------------------------------------------------------------------------------

WEIGHTS = [None, "some 0", "equal"]


def weights(how, rows, seed=1):
    """Weights of rows: none, halves of which every third is 0, or 2.5 for all."""
    if how is None:
        return None
    return np.full(rows, 2.5) if how == "equal" else np.arange(rows) % 3 * np.random.default_rng(seed).random(rows)


@every_loss
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("how", WEIGHTS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_weights_and_reductions_are_those_of_the_twin(name, chosen, reduction, how, dtype):
    _, z, targets = drawn(name, chosen, (9, 6), dtype)
    loss, w = contract.loss(name, chosen, 6, reduction=reduction), weights(how, 9)
    expected, dz = contract_losses.twin(name, chosen, z.astype(np.float64), targets).reduced(reduction, w)
    tensor = fm.Tensor(z, requires_grad=True)
    value = loss(tensor, targets, sample_weight=w)
    assert value.shape == np.shape(expected)
    value.backward(np.ones(value.shape, dtype))
    contract.agree("the loss", value.data, expected)
    contract.agree("dz", tensor.grad, dz)
    assert fm.gradcheck(fm.nn.Sequential(), z, targets, loss=lambda z, t: loss(z, t, w)).ok
    assert "r" in fm.explain(loss(tensor, targets, w))


@every_loss
def test_equal_weights_are_no_weights(name, chosen):
    """Powers of two, so that nothing is rounded: to the last bit."""
    loss, z, targets = drawn(name, chosen, (8, 6))
    found = []
    for w in (None, np.full(8, 0.25)):
        tensor = fm.Tensor(z, requires_grad=True)
        value = loss(tensor, targets, w)
        value.backward()
        found.append((value.item(), tensor.grad))
    assert found[0][0] == found[1][0]
    assert np.array_equal(found[0][1], found[1][1])


@every_loss
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_rows_of_weight_0_change_nothing(name, chosen, reduction):
    """A batch of them leaves a weight where it is, and gives the loss 0; NaN nowhere."""
    _, z, targets = drawn(name, chosen, (9, 6))
    loss, w = contract.loss(name, chosen, 6, reduction=reduction), np.arange(9) % 3.0
    found = []
    for rows in (np.arange(9), np.flatnonzero(w)):
        tensor = fm.Tensor(z[rows], requires_grad=True)
        value = loss(tensor, targets[rows], w[rows])
        value.backward()
        found.append((value.item(), tensor.grad))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-14)  # the same terms, and zeros
    assert (found[0][1][w == 0] == 0).all()
    np.testing.assert_allclose(found[0][1][w > 0], found[1][1], rtol=1e-14)
    tensor = fm.Tensor(z, requires_grad=True)
    value = loss(tensor, targets, np.zeros(9))
    value.backward()
    assert value.item() == 0
    assert (tensor.grad == 0).all()


@every_loss
def test_weights_that_are_none_are_refused(name, chosen):
    loss, z, targets = drawn(name, chosen, (9, 6))
    for bad, word in (
        (np.ones(8), r"sample_weight is \(8,\)"),
        (np.full(9, -1.0), "at least 0"),
        (np.full(9, math.nan), "finite"),
        (np.full(9, "a"), "must hold numbers"),
    ):
        with pytest.raises((ValueError, TypeError), match=word):
            loss(fm.Tensor(z), targets, bad)
    with pytest.raises(ValueError, match="reduction is 'average'; it must be 'mean', 'sum' or 'none'"):
        contract.loss(name, chosen, reduction="average")
    x, each = np.zeros((9, 3), np.float32), contract.loss(name, chosen, 6, reduction="none")
    with pytest.raises(ValueError, match="fit: loss has the reduction 'none'"):
        fm.fit(fm.nn.MLP(3, (), 6), fm.Dataset(x, targets, kind=loss.kind), loss=each, progress=False)


# --- words -----------------------------------------------------------------------------------------------------------


@every_loss
def test_explain_prints_its_nodes(name, chosen):
    loss, z, targets = drawn(name, chosen, (9, 5))
    value = loss(fm.Tensor(z, requires_grad=True), targets)
    text, node = fm.explain(value), value.grad_fn
    while not isinstance(node, fm.AccumulateGrad):
        assert node.name() in text
        assert (type(node).__doc__ or "").strip()
        node = node.next_functions[0][0]


@every_loss
def test_repr_names_its_options(name, chosen):
    loss = contract.loss(name, chosen)
    assert repr(loss).startswith(f"{type(loss).__name__}(")
    for option, value in contract_losses.options(name, chosen, 5).items():
        assert f"{option}={value}" in repr(loss)
    assert "reduction='sum'" in repr(contract.loss(name, chosen, reduction="sum"))


def test_a_loss_with_another_forward_trains_on_the_graph_with_it(capsys):
    class Doubled(fm.nn.MSELoss):
        def forward(self, z, targets):
            return super().forward(z, targets) * 2

    assert fm.nn.MSELoss().runs_on_engine()
    assert not Doubled().runs_on_engine()
    rng = np.random.default_rng(0)
    data = fm.Dataset(rng.normal(size=(40, 3)), rng.normal(size=40))
    losses = {}
    for loss in (fm.nn.MSELoss(), Doubled()):
        fm.manual_seed(0)
        model = fm.nn.MLP(3, (4,), 1).double()
        history = fm.fit(
            model, data, validation=data, loss=loss, optimizer=fm.optim.SGD(model.parameters(), lr=0.0), epochs=1,
            progress="table",
        )  # fmt: skip
        losses[type(loss)] = history[0]
    assert "Doubled declares no kernels for its forward" in capsys.readouterr().out
    single, double = losses[fm.nn.MSELoss], losses[Doubled]
    assert double.train_loss == pytest.approx(2 * single.train_loss, rel=1e-12)  # a product more
    assert double.validation_loss == pytest.approx(2 * single.validation_loss, rel=1e-12)
    assert double.train_score == single.train_score
