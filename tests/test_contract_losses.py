"""Every declared loss with every set of options: its twin, gradients, NaN, the score beside it, what prints it."""

import math

import contract
import numpy as np
import pytest

import fastmlp as fm

CASES = contract.cases(contract.LOSSES)
DTYPES = [np.float32, np.float64]
SHAPES = [(1, 1), (1, 5), (9, 1), (9, 5), (40, 21)]

every_loss = pytest.mark.parametrize(("name", "chosen"), CASES)


def drawn(name, chosen, shape, dtype=np.float64, seed=0):
    """(loss, z, targets)."""
    loss, rng = contract.loss(name, chosen), np.random.default_rng(seed)
    z = (3 * contract.LOSSES[name].points(rng, shape)).astype(dtype)
    return loss, z, contract.targets(loss, rng, *shape)


def kernel_targets(targets):
    return np.ascontiguousarray(targets.reshape(len(targets), -1), np.float64)


# --- complete --------------------------------------------------------------------------------------------------------


def test_every_declared_loss_has_options_a_twin_gradient_checks_a_score_and_a_peer():
    assert contract.gaps(fm.nn.LOSSES, contract.LOSSES) == []


def test_a_declared_loss_that_is_in_no_table_is_noticed(monkeypatch):
    monkeypatch.setattr(fm.nn, "LOSSES", fm.nn.LOSSES | {"planted": type("Planted", (fm.nn.CrossEntropyLoss,), {})})
    assert contract.gaps(fm.nn.LOSSES, contract.LOSSES) == ["planted has no entry in tests/contract.py"]


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
    expected, dz = contract.LOSSES[name].twin(z.astype(np.float64), targets, contract.LOSSES[name].options[chosen])
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
        _, dz = contract.LOSSES[name].twin(bad.astype(np.float64), targets, contract.LOSSES[name].options[chosen])
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
    expected, _ = contract.LOSSES[name].twin(z.astype(np.float64), targets, contract.LOSSES[name].options[chosen])
    contract.agree("the loss", np.asarray(found.loss / found.mass, dtype), expected)
    score = loss.score.of(found.above.sum(), found.below.sum())
    contract.agree("the score", np.asarray(score, dtype), contract.LOSSES[name].score(z, targets))


@every_loss
@pytest.mark.parametrize("n_threads", [1, 2])
def test_fit_reports_the_loss_and_the_score_of_what_is_held_out(name, chosen, n_threads):
    loss = contract.loss(name, chosen)
    data, held = (contract.data_set(loss, 7, 4, rows, np.float64, seed) for rows, seed in ((60, 0), (31, 1)))
    fm.manual_seed(0)
    model = fm.nn.MLP(7, (9,), 4).double()
    history = fm.fit(model, data, validation=held, loss=loss, epochs=2, progress=False, n_threads=n_threads)
    z = fm.Predictor(model)(held.features)
    expected, _ = contract.LOSSES[name].twin(z, held.targets, contract.LOSSES[name].options[chosen])
    assert history[-1].validation_loss == pytest.approx(expected, rel=1e-12)  # some hundred roundings
    score = contract.LOSSES[name].score(z, held.targets)
    assert history[-1].validation_score == pytest.approx(score, rel=1e-12)
    assert history.score_name == loss.score.name


@every_loss
def test_targets_of_another_kind_are_refused(name, chosen):
    loss = contract.loss(name, chosen)
    x = np.zeros((6, 7), np.float32)
    other = np.zeros((6, 4)) if loss.targets == "classes" else np.zeros(6, np.int64)
    with pytest.raises(ValueError, match=f"{type(loss).__name__} takes {loss.targets}"):
        fm.fit(fm.nn.MLP(7, (), 4), fm.Dataset(x, other), loss=loss, progress=False)


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
    for option, value in contract.LOSSES[name].options[chosen].items():
        assert f"{option}={value}" in repr(loss)


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
