"""Every declared layer, loss, rule and schedule with every set of options: 50 steps in float64 as its peer makes them.

The peers stand by name in `contract`. One that is not of PyTorch needs its package too.
"""

import importlib
import inspect

import contract
import contract_losses
import numpy as np
import pytest

import fastmlp as fm

torch = pytest.importorskip(
    "torch", reason="PyTorch is not installed; `make test-peers` installs it and runs this file"
)

STEPS, ROWS, FEATURES, OUTPUTS = 50, 16, 11, 5
# Sums are added in another order: each step brings roundings of 1e-16, and 50 steps of training make them grow.
# Measured: at most 1e-12.
SAME = 1e-9


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """The nets are too small for threads of PyTorch, and the machine is shared."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def named(peer):
    """The class or function with this name, in a package that is installed."""
    package, *path = peer.split(".")
    found = pytest.importorskip(package, reason=f"{package} is not installed; it holds the peer {peer}")
    for depth, name in enumerate(path, 1):
        if not hasattr(found, name):
            importlib.import_module(".".join([package, *path[:depth]]))
        found = getattr(found, name)
    return found


# --- the peers of rules, all driven in one way -----------------------------------------------------------------------


class TorchRule:
    """A rule of torch.optim on tensors that want gradients, with groups of parameters."""

    def __init__(self, make, groups, options):
        self.optimizer = make(groups, **options)

    def step(self, rates):
        """One step from the tensors' `.grad`, with a rate for each group."""
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
        torch.set_default_dtype(torch.float64)  # of the numbers that a rule keeps, such as mu_product
        try:
            self.optimizer.step()
        finally:
            torch.set_default_dtype(torch.float32)


class OptaxRule:
    """A rule of optax on the same tensors: its options are those of the function that makes it, without the rate."""

    def __init__(self, make, groups, options):
        import jax

        jax.config.update("jax_enable_x64", True)
        self.groups = [group["params"] for group in groups]
        options = {name: value for name, value in options.items() if name != "learning_rate"}
        self.make = lambda rate: make(rate, **options)
        self.states = [self.make(0.0).init(self.arrays(group)) for group in self.groups]

    @staticmethod
    def arrays(group):
        return [parameter.detach().numpy().copy() for parameter in group]

    def step(self, rates):
        """As of torch; the rate is no part of what optax keeps, so the rule may be made again for each step."""
        for i, (group, rate) in enumerate(zip(self.groups, rates, strict=True)):
            gradients = [parameter.grad.numpy() for parameter in group]
            updates, self.states[i] = self.make(rate).update(gradients, self.states[i], self.arrays(group))
            with torch.no_grad():
                for parameter, update in zip(group, updates, strict=True):
                    parameter += torch.tensor(np.asarray(update))


RULES = {"torch": TorchRule, "optax": OptaxRule}


def peer_rule(name, chosen, groups):
    entry = contract.RULES[name]
    return RULES[entry.peer.partition(".")[0]](
        named(entry.peer), groups, entry.peer_options(dict(entry.options[chosen]))
    )


def test_every_peer_is_driven_by_somebody():
    assert {*RULES, "sklearn"} == set(contract.PEERS)  # scikit-learn has no rule to drive; it measures losses


# --- the same net on both sides --------------------------------------------------------------------------------------


class Replayed(torch.nn.Module):
    """A layer that draws: in training the twin's numbers, for PyTorch draws others."""

    def __init__(self, ours, entry, peer):
        super().__init__()
        self.ours, self.entry, self.peer = ours, entry, peer

    def forward(self, x):
        return self.entry.replay(contract.facts(self.ours), x) if self.training else self.peer(x)


def twins(net):
    """(model, its peer) with the same numbers, in float64."""
    model, peers = net.make(np.float64), []
    for layer, (name, *_) in zip(model, net.layers, strict=True):
        entry = contract.LAYERS[name]
        arguments = {argument: layer.argument(argument) for argument in layer.arguments}
        peer = named(entry.peer)(**arguments).double()
        state = {key: torch.tensor(array) for key, array in layer.state_dict().items()}
        peer.load_state_dict(state)  # the same names: a model's file is PyTorch's
        peers.append(Replayed(layer, entry, peer) if entry.replay and layer.form == "random" else peer)
    return model, torch.nn.Sequential(*peers)


def groups_of(peer):
    parameters = list(peer.parameters())
    half = len(parameters) // 2
    return [{"params": parameters[:half]}, {"params": parameters[half:]}] if half else [{"params": parameters}]


class OfSklearn:
    """The losses of numbers as a function of sklearn.metrics measures them: one for each column, without a gradient.

    Where it takes `alpha`, column c is quantile c modulo K of target c // K.
    """

    def __init__(self, measure, quantiles=(0.5,), reduction="mean"):
        self.measure, self.quantiles, self.reduction = measure, quantiles, reduction

    def __call__(self, z, targets, w=None):
        targets = np.repeat(targets.reshape(len(z), -1), len(self.quantiles), axis=1)
        alphas = np.resize(self.quantiles, z.shape[1])
        columns = zip(targets.T, z.T, alphas, strict=True)
        return np.mean([self.measure(t, y, sample_weight=w, alpha=alpha) for t, y, alpha in columns])


def with_gradients():
    """The losses whose peer is PyTorch's: others measure."""
    return [case for case in contract.cases(contract.LOSSES) if contract.LOSSES[case[0]].peer.startswith("torch.")]


def peer_loss(name, chosen, columns=OUTPUTS, **more):
    options = contract_losses.options(name, chosen, columns) | more
    tensors = {
        option: torch.tensor(value, dtype=torch.float64) for option, value in options.items() if isinstance(value, list)
    }
    return named(contract.LOSSES[name].peer)(**options | tensors)


def train_both(net, rule=("sgd", "momentum"), loss=("cross_entropy", "plain")):
    """50 steps on both sides; checks every loss, and gives both models."""
    (model, peer), (ours, theirs) = twins(net), (contract.loss(*loss, net.outputs), peer_loss(*loss, net.outputs))
    optimizer = contract.optimizer(model, *rule)
    peer_optimizer = peer_rule(*rule, groups_of(peer))
    rates = [group["lr"] for group in optimizer.param_groups]
    rng, losses = np.random.default_rng(net.seed), []
    for _ in range(STEPS):
        x, targets = rng.standard_normal((ROWS, net.features)), contract.targets(ours, rng, ROWS, net.outputs)
        peer.zero_grad()
        theirs_now = theirs(peer(torch.tensor(x)), torch.tensor(targets))
        theirs_now.backward()
        peer_optimizer.step(rates)
        value = ours(model(fm.Tensor(x)), targets)  # after the peer: it moves the counters that a replay reads
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        losses.append((value.item(), theirs_now.item()))
    ours_all, theirs_all = np.array(losses).T
    assert np.isfinite(theirs_all).all()
    np.testing.assert_allclose(ours_all, theirs_all, rtol=SAME, atol=0)
    return model, peer


def assert_same_state(model, peer):
    ours = list(model.state_dict().values())
    theirs = list(peer.state_dict().values())
    for array, tensor in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(array, tensor.numpy(), rtol=SAME, atol=SAME)


def around(name, chosen):
    """A small net with the layer first, between two Linear layers and last."""
    place = (name, chosen, 7)
    return contract.Net(FEATURES, (place, ("Linear", "plain", 12), place, ("Linear", "plain", OUTPUTS), place), 3)


SMALL = contract.Net(FEATURES, (("Linear", "plain", 12), ("Tanh", "plain", 1), ("Linear", "plain", OUTPUTS)), 3)


@pytest.mark.parametrize(("name", "chosen"), contract.cases(contract.LAYERS))
def test_a_net_with_each_layer_trains_and_predicts_as_its_peer(name, chosen):
    model, peer = train_both(around(name, chosen))
    assert_same_state(model, peer)
    model.eval(), peer.eval()
    x = np.random.default_rng(9).standard_normal((ROWS, FEATURES))
    z, dz = fm.Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    y, peer_y = model(z), peer(dz)
    np.testing.assert_allclose(y.data, peer_y.detach().numpy(), rtol=SAME, atol=SAME)
    dy = np.random.default_rng(8).standard_normal(y.shape)
    y.backward(dy), peer_y.backward(torch.tensor(dy))
    np.testing.assert_allclose(z.grad, dz.grad.numpy(), rtol=SAME, atol=SAME)


@pytest.mark.parametrize(("name", "chosen"), contract.cases(contract.LAYERS))
def test_each_layer_has_the_state_of_its_peer(name, chosen):
    layer = contract.layer(name, chosen, FEATURES, OUTPUTS, np.float32)
    peer = named(contract.LAYERS[name].peer)(**{argument: layer.argument(argument) for argument in layer.arguments})
    ours, theirs = layer.state_dict(), peer.state_dict()
    assert list(ours) == list(theirs)
    for key, array in ours.items():
        assert array.shape == tuple(theirs[key].shape)
        assert array.dtype == theirs[key].numpy().dtype


KINDS = [(fm.nn.LAYERS, contract.LAYERS), (fm.nn.LOSSES, contract.LOSSES), (fm.optim.RULES, contract.RULES),
         (fm.optim.SCHEDULES, contract.SCHEDULES)]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "peer"), [(kind, table[name].peer) for declared, table in KINDS for name, kind in declared.items()]
)
def test_arguments_of_pytorch_have_its_names_and_defaults(kind, peer):
    """A length that PyTorch wants and that may be left out here has the default None."""
    theirs = inspect.signature(named(peer)).parameters
    if not peer.startswith("torch."):
        return  # its options are translated
    for argument, default in contract.defaults(kind).items():
        if argument in ("lazy", "eps_hat"):  # the first is a class of its own there, SparseAdam
            assert argument not in theirs
            assert default is False
            continue
        assert theirs[argument].default == default or (
            default is None and theirs[argument].default is inspect.Parameter.empty
        )


@pytest.mark.parametrize(("name", "chosen"), with_gradients())
@pytest.mark.parametrize("outputs", [1, OUTPUTS])
def test_each_loss_trains_as_its_peer(name, chosen, outputs):
    outputs += "classes" in contract.loss(name, chosen).kinds  # of one class the loss is 0, up to roundings
    layers = (("Linear", "plain", 12), ("Tanh", "plain", 1), ("Linear", "plain", outputs))
    assert_same_state(*train_both(contract.Net(FEATURES, layers, 3), loss=(name, chosen)))


@pytest.mark.parametrize(("name", "chosen"), with_gradients())
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_each_loss_is_reduced_as_its_peer(name, chosen, reduction):
    """And with weights of the rows, which PyTorch has not: the mean of its losses, weighted."""
    rng, columns = np.random.default_rng(7), 6
    ours = contract.loss(name, chosen, columns, reduction=reduction)
    z, targets = rng.standard_normal((ROWS, columns)), contract.targets(ours, rng, ROWS, columns)
    for w in (None, rng.integers(0, 3, ROWS) / 4):
        tensor, theirs = fm.Tensor(z, requires_grad=True), torch.tensor(z, requires_grad=True)
        value = ours(tensor, targets, w)
        value.backward(np.ones(value.shape))
        if w is None:
            expected = peer_loss(name, chosen, columns, reduction=reduction)(theirs, torch.tensor(targets))
        else:
            each = peer_loss(name, chosen, columns, reduction="none")(theirs, torch.tensor(targets))
            mass = contract_losses.twin(name, chosen, z, targets).mass
            each = each * torch.tensor(w).reshape(-1, *[1] * (each.ndim - 1))
            total = float((w * mass).sum()) * each[0].numel()
            expected = each if reduction == "none" else each.sum() / (total if reduction == "mean" else 1)
        expected.sum().backward()
        assert value.shape == tuple(expected.shape)
        np.testing.assert_allclose(value.data, expected.detach().numpy(), rtol=SAME, atol=1e-14)
        np.testing.assert_allclose(tensor.grad, theirs.grad.numpy(), rtol=SAME, atol=1e-14)


@pytest.mark.parametrize(
    ("name", "chosen"), [case for case in contract.cases(contract.LOSSES) if case not in with_gradients()]
)
@pytest.mark.parametrize("weighted", [False, True])
def test_each_loss_without_a_peer_that_trains_is_measured_as_its_peer(name, chosen, weighted):
    rng, columns = np.random.default_rng(7), 6
    ours, peer = contract.loss(name, chosen, columns), named(contract.LOSSES[name].peer)
    z, targets = rng.standard_normal((ROWS, columns)), contract.targets(ours, rng, ROWS, columns)
    w = rng.integers(0, 3, ROWS) / 4 if weighted else None
    expected = OfSklearn(peer, **contract_losses.options(name, chosen, columns))(z, targets, w)
    assert ours(fm.Tensor(z), targets, w).item() == pytest.approx(expected, rel=SAME)


def scored(loss, z, targets, w):
    found = loss.measure(z, targets, loss.score.known(targets, w), w)
    return loss.score.of(found.above.sum(), found.below.sum())


@pytest.mark.parametrize("weighted", [False, True])
def test_scores_are_those_of_scikit_learn(weighted):
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    rng = np.random.default_rng(3)
    w = rng.integers(0, 3, 41) / 4 if weighted else None
    z, t, counts = rng.standard_normal((41, 1)), rng.standard_normal((41, 1)), rng.poisson(2.0, (41, 1)) / 1.0
    expected = metrics.d2_tweedie_score(counts, np.exp(z), power=1, sample_weight=w)
    assert scored(fm.nn.PoissonNLLLoss(), z, counts, w) == pytest.approx(expected, rel=SAME)
    expected = metrics.d2_tweedie_score(counts, np.exp(z), power=1, sample_weight=w)
    assert scored(fm.nn.PoissonNLLLoss(log_input=False), np.exp(z), counts, w) == pytest.approx(expected, rel=SAME)
    for alpha in (0.1, 0.5, 0.83):
        expected = metrics.d2_pinball_score(t, z, sample_weight=w, alpha=alpha)
        assert scored(fm.nn.QuantileLoss(alpha), z, t, w) == pytest.approx(expected, rel=SAME)
    many, labels = rng.standard_normal((41, 4)), rng.integers(0, 2, (41, 4)).astype(float)
    for loss in (fm.nn.MSELoss(), fm.nn.L1Loss(), fm.nn.HuberLoss(), fm.nn.SmoothL1Loss()):
        assert scored(loss, many, labels + many, w) == pytest.approx(
            metrics.r2_score(labels + many, many, sample_weight=w), rel=SAME
        )
    expected = metrics.f1_score(labels, many > 0, average="micro", sample_weight=w)
    assert scored(fm.nn.BCEWithLogitsLoss(), many, labels, w) == pytest.approx(expected, rel=SAME)
    expected = metrics.accuracy_score(labels.argmax(axis=1), many.argmax(axis=1), sample_weight=w)
    labels[:] = np.eye(4)[labels.argmax(axis=1)]
    assert scored(fm.nn.CrossEntropyLoss(), many, labels, w) == pytest.approx(expected, rel=SAME)


@pytest.mark.parametrize(("name", "chosen"), contract.cases(contract.RULES))
def test_each_rule_trains_as_its_peer(name, chosen):
    assert_same_state(*train_both(SMALL, rule=(name, chosen)))


@pytest.mark.parametrize(("name", "chosen"), contract.cases(contract.RULES))
def test_each_rule_makes_the_steps_of_its_peer_where_gradients_are_far_apart(name, chosen):
    """Gradients from 1e-9 to 1e4, zeros too: where eps counts, and where it does not."""
    rng = np.random.default_rng(5)
    start = rng.standard_normal(40)
    ours, theirs = fm.Parameter(start.copy()), torch.tensor(start, requires_grad=True)
    rule = fm.optim.RULES[name]([ours], **contract.RULES[name].options[chosen])
    peer = peer_rule(name, chosen, [{"params": [theirs]}])
    size = 10.0 ** np.linspace(-9, 4, 40)
    size[::7] = 0
    for _ in range(STEPS):
        gradient = rng.standard_normal(40) * size
        ours.grad, theirs.grad = gradient, torch.tensor(gradient)
        rule.step(), peer.step([rule.param_groups[0]["lr"]])
        np.testing.assert_allclose(ours.data, theirs.detach().numpy(), rtol=SAME, atol=1e-12)


def switches(rule) -> list[str]:
    """Options that may change at any step: numbers, and not those that decide what is kept or where it begins."""
    fixed = {*rule.only_with.values(), *rule.starts.values(), *rule.switches, "dampening", "betas"}
    return [name for name in rule.defaults if name not in fixed]


@pytest.mark.parametrize("name", [n for n in fm.optim.RULES if contract.RULES[n].peer.startswith("torch.")])
def test_the_state_of_each_rule_goes_on_in_its_peer_with_other_options(name):
    """By PyTorch's names, with every set of options; what was made with the old ones stays as it was made."""
    for chosen in contract.RULES[name].options:
        rng = np.random.default_rng(6)
        ours = fm.Parameter(rng.standard_normal(12))
        rule = fm.optim.RULES[name]([ours], **contract.RULES[name].options[chosen])
        for _ in range(7):
            ours.grad = rng.standard_normal(12)
            rule.step()
        theirs = torch.tensor(ours.data.copy(), requires_grad=True)
        peer = peer_rule(name, chosen, [{"params": [theirs]}])
        state = {key: torch.tensor(value, dtype=torch.float64) for key, value in rule.state_dict()["state"][0].items()}
        peer.optimizer.load_state_dict(peer.optimizer.state_dict() | {"state": {0: state} if state else {}})
        for option in switches(rule):
            for group in (rule.param_groups[0], peer.optimizer.param_groups[0]):
                group[option] *= 0.75
        for _ in range(7):
            gradient = rng.standard_normal(12)
            ours.grad, theirs.grad = gradient, torch.tensor(gradient)
            rule.step(), peer.step([rule.param_groups[0]["lr"]])
            np.testing.assert_allclose(ours.data, theirs.detach().numpy(), rtol=SAME, atol=1e-12)
        after = peer.optimizer.state_dict()["state"].get(0, {})
        kept = {key: value for key, value in after.items() if value is not None}  # SGD without momentum keeps None
        assert kept.keys() - {"step"} == rule.state[0].keys() - {"step"}
        for key in kept.keys() - {"step"}:
            np.testing.assert_allclose(rule.state[0][key], kept[key].numpy(), rtol=SAME, atol=1e-12)


# --- schedules -------------------------------------------------------------------------------------------------------


def peer_schedule(name, chosen, optimizer, total):
    entry = contract.SCHEDULES[name]
    options = dict(entry.peer_options(dict(entry.options[chosen]), total))
    if "schedulers" in options:
        parts = [(named(contract.SCHEDULES[part].peer), given) for part, given in options["schedulers"]]
        options["schedulers"] = [kind(optimizer, **given) for kind, given in parts]
    return named(entry.peer)(optimizer, **options)


@pytest.mark.parametrize(("name", "chosen"), contract.cases(contract.OF_DONE))
@pytest.mark.parametrize("total", [20, STEPS])
def test_each_schedule_has_the_rates_of_its_peer(name, chosen, total):
    schedule = fm.optim.SCHEDULES[name](**contract.SCHEDULES[name].options[chosen])
    optimizer = torch.optim.SGD([torch.ones(1, requires_grad=True)], lr=0.1)
    peer = peer_schedule(name, chosen, optimizer, total)
    for done in range(total):
        assert schedule.rate(0.1, done, total) == pytest.approx(optimizer.param_groups[0]["lr"], rel=SAME, abs=1e-15)
        optimizer.step(), peer.step()


@pytest.mark.parametrize(("name", "chosen"), contract.cases(contract.OF_DONE))
@pytest.mark.parametrize(("every", "epochs"), [("epoch", 10), ("step", 10)])
@pytest.mark.parametrize("rule", [("sgd", "momentum"), ("adam", "plain")], ids=str)
def test_fit_with_each_schedule_trains_as_its_peer(name, chosen, every, epochs, rule):
    model, peer = twins(SMALL)
    loss, criterion = contract.loss("cross_entropy", "plain"), peer_loss("cross_entropy", "plain")
    rows, seed = 5 * ROWS, 3
    data = contract.data_set(loss, FEATURES, OUTPUTS, rows, np.float64, 4)
    optimizer = contract.optimizer(model, *rule)
    rates = [group["lr"] for group in optimizer.param_groups]
    history = fm.fit(
        model, data, optimizer=optimizer, epochs=epochs, batch_size=ROWS, seed=seed, progress=False,
        schedule=fm.optim.SCHEDULES[name](**contract.SCHEDULES[name].options[chosen]), schedule_every=every,
    )  # fmt: skip
    entry = contract.RULES[rule[0]]
    theirs = named(entry.peer)(
        [{**group, "lr": rate} for group, rate in zip(groups_of(peer), rates, strict=True)], **entry.options[rule[1]]
    )  # fmt: skip
    schedule = peer_schedule(name, chosen, theirs, epochs if every == "epoch" else epochs * 5)
    expected = []
    for epoch in range(1, epochs + 1):
        order, losses = np.random.default_rng((seed, epoch)).permutation(rows), []
        for at in range(0, rows, ROWS):
            x, labels = data.features[order[at : at + ROWS]], data.labels[order[at : at + ROWS]]
            theirs.zero_grad()
            value = criterion(peer(torch.tensor(x)), torch.tensor(labels))
            value.backward()
            theirs.step()
            losses.append(value.item())
            if every == "step":
                schedule.step()
        if every == "epoch":
            schedule.step()
        expected.append(np.mean(losses))
    np.testing.assert_allclose(history.column("train_loss"), expected, rtol=SAME)
    assert_same_state(model, peer)


# --- controls --------------------------------------------------------------------------------------------------------


def test_another_rate_is_noticed(monkeypatch):
    monkeypatch.setattr(TorchRule, "step", lambda self, rates: self.optimizer.step())  # one rate for both groups
    with pytest.raises(AssertionError):
        train_both(SMALL)


def test_another_mask_is_noticed(monkeypatch):
    entry = contract.LayerEntry(**vars(contract.LAYERS["Dropout"]) | {"replay": lambda s, x: x})
    monkeypatch.setitem(contract.LAYERS, "Dropout", entry)
    with pytest.raises(AssertionError):
        train_both(around("Dropout", "few"))
