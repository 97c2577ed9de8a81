"""What a step does beside the rule, here and in PyTorch on the same batches: freezing, groups, clipping, averages."""

import inspect

import numpy as np
import pytest
from test_engine import data_set
from test_frozen import FROZEN, net

from fastmlp import Parameter, nn, optim
from fastmlp.running.averaging import Averaging
from fastmlp.running.clip import Clip
from fastmlp.running.engine import Engine
from fastmlp.running.rows import batches as batches_of
from fastmlp.training.checks import batch_sizes

torch = pytest.importorskip(
    "torch", reason="PyTorch is not installed; `make test-peers` installs it and runs this file"
)

swa_utils = pytest.importorskip("torch.optim.swa_utils", reason="PyTorch is not installed")

# Sums of up to 70 products in float64, added up in another order, over 14 steps that go on from them: seen 2e-14.
SAME = 1e-11
EPOCHS = 2


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """The nets are too small for threads of PyTorch, and the machine is shared."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def twin_of(model: nn.Sequential) -> torch.nn.Sequential:
    """The net of test_frozen with the same weights, frozen where that one is."""
    peer = torch.nn
    twin = peer.Sequential(
        peer.BatchNorm1d(20), peer.Linear(20, 70), peer.LayerNorm(70), peer.ReLU(), peer.Linear(70, 40),
        peer.BatchNorm1d(40), peer.Tanh(), peer.Linear(40, 3),
    ).double()  # fmt: skip
    twin.load_state_dict({key: torch.tensor(array) for key, array in model.state_dict().items()})
    for parameter, own in zip(twin.parameters(), model.parameters(), strict=True):
        parameter.requires_grad = own.requires_grad
    return twin


def trained(model, rule, data, threads=2, **options):
    """On the engine; the sizes and the order of the batches as `batches_of` has them."""
    sizes = batch_sizes(len(data), 16, True)
    with Engine(model, rule, 20, max(sizes), threads, **options) as engine:
        for epoch in range(EPOCHS):
            engine.epoch(data, np.random.default_rng(epoch).permutation(len(data)), sizes)


def torch_steps(twin, rule, data, after_backward=lambda: None, after_step=lambda: None):
    """The same steps in PyTorch."""
    sizes = batch_sizes(len(data), 16, True)
    for epoch in range(EPOCHS):
        order = np.random.default_rng(epoch).permutation(len(data))
        for x, y in batches_of(data, order, sizes, np.float64):
            rule.zero_grad()
            torch.nn.functional.cross_entropy(twin(torch.tensor(x.data)), torch.tensor(y)).backward()
            after_backward()
            rule.step()
            after_step()


def agree(state, twin):
    for key, array in twin.state_dict().items():
        assert np.allclose(state[key], array.numpy(), rtol=SAME, atol=SAME), key


@pytest.mark.parametrize("name", FROZEN)
def test_frozen_parameters(name):
    model, data = net(np.float64), data_set(20, 3, 110, np.float64)
    FROZEN[name](model)
    twin = twin_of(model)
    trained(model, optim.SGD(model.parameters(), lr=0.1, momentum=0.9), data)
    torch_steps(twin, torch.optim.SGD(twin.parameters(), lr=0.1, momentum=0.9), data)
    agree(model.state_dict(), twin)


def test_an_optimizer_of_some_parameters_in_groups():
    model, data = net(np.float64), data_set(20, 3, 110, np.float64)
    twin = twin_of(model)

    def groups(made):
        return [
            {"params": [made[4].weight, made[7].weight], "weight_decay": 0.2},
            {"params": [made[4].bias, made[7].bias], "weight_decay": 0.0, "lr": 0.03},
        ]

    trained(model, optim.SGD(groups(model), lr=0.1, momentum=0.9), data)
    torch_steps(twin, torch.optim.SGD(groups(twin), lr=0.1, momentum=0.9), data)
    agree(model.state_dict(), twin)


@pytest.mark.parametrize("bounds", [Clip(norm=0.05), Clip(value=0.002), Clip(value=0.01, norm=0.05)])
@pytest.mark.parametrize("name", ["nothing", "the biases"])
def test_clipping(name, bounds):
    model, data = net(np.float64), data_set(20, 3, 110, np.float64)
    FROZEN[name](model)
    twin = twin_of(model)

    def clip():
        if bounds.value < np.inf:
            torch.nn.utils.clip_grad_value_(twin.parameters(), bounds.value)
        if bounds.norm < np.inf:
            torch.nn.utils.clip_grad_norm_(twin.parameters(), bounds.norm)

    trained(model, optim.SGD(model.parameters(), lr=0.1, momentum=0.9), data, clip=bounds)
    torch_steps(twin, torch.optim.SGD(twin.parameters(), lr=0.1, momentum=0.9), data, clip)
    agree(model.state_dict(), twin)


@pytest.mark.parametrize("norm_type", [2.0, 1.0, 3.5, np.inf])
@pytest.mark.parametrize("most", [1.0, 1e9, 0.0])
@pytest.mark.parametrize("special", [1.0, np.nan, np.inf])
def test_the_functions_of_a_loop_of_ones_own(norm_type, most, special):
    values = [np.random.default_rng(0).normal(size=(4, 5)), np.array([1.0, special, -3.0])]
    ours, theirs = [Parameter(np.zeros_like(v)) for v in values], [torch.zeros(v.shape).double() for v in values]
    for own, other, value in zip(ours, theirs, values, strict=True):
        own.grad, other.grad = value.copy(), torch.tensor(value)
    got = nn.utils.clip_grad_norm_(ours, most, norm_type)
    want = torch.nn.utils.clip_grad_norm_(theirs, most, norm_type)
    # a norm of 23 numbers, in another order
    assert np.allclose(got, want.numpy(), rtol=1e-14, equal_nan=True)
    for own, other in zip(ours, theirs, strict=True):
        assert np.allclose(own.grad, other.grad.numpy(), rtol=1e-14, atol=0, equal_nan=True)
    nn.utils.clip_grad_value_(ours, 0.25), torch.nn.utils.clip_grad_value_(theirs, 0.25)
    for own, other in zip(ours, theirs, strict=True):
        assert np.allclose(own.grad, other.grad.numpy(), rtol=1e-14, atol=0, equal_nan=True)


AVERAGES = {
    "ema": (
        optim.EMA(0.9),
        lambda twin: swa_utils.AveragedModel(twin, multi_avg_fn=swa_utils.get_ema_multi_avg_fn(0.9)),
    ),
    "swa": (optim.SWA(2), swa_utils.AveragedModel),
    "swa of all": (optim.SWA(0), swa_utils.AveragedModel),
}


@pytest.mark.parametrize("name", AVERAGES)
def test_averages(name):
    """AveragedModel, and update_bn on the batches of the last epoch: weights, running means and variances."""
    rule, averaged = AVERAGES[name]
    model, data, sizes, epochs = (
        net(np.float64),
        data_set(20, 3, 110, np.float64),
        batch_sizes(110, 16, True),
        4,
    )
    FROZEN["the biases"](model)
    twin = twin_of(model)
    mean, peer_rule = averaged(twin), torch.optim.SGD(twin.parameters(), lr=0.1, momentum=0.9)
    own = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    averaging = Averaging(model, own, rule, 0, epochs)
    with Engine(model, own, 20, max(sizes), 2, averaging=averaging) as engine:
        for epoch in range(1, epochs + 1):
            order = np.random.default_rng(epoch).permutation(110)
            averaging.begin()
            engine.refresh()
            engine.epoch(data, order, sizes)
            averaging.end_of_epoch()
            averaging.show(data, order, sizes)
            batches = [(torch.tensor(x.data), torch.tensor(y)) for x, y in batches_of(data, order, sizes, np.float64)]
            for x, y in batches:
                peer_rule.zero_grad()
                torch.nn.functional.cross_entropy(twin(x), y).backward()
                peer_rule.step()
                if name == "ema":
                    mean.update_parameters(twin)
            if name != "ema" and epoch >= rule.begins(epochs):
                mean.update_parameters(twin)
    swa_utils.update_bn(batches, mean)
    for key, array in mean.module.state_dict().items():
        if not key.endswith("num_batches_tracked"):  # theirs counts the batches of update_bn
            assert np.allclose(model.state_dict()[key], array.numpy(), rtol=SAME, atol=SAME), key
    for key, array in twin.named_parameters():
        assert np.allclose(own.averaged["raw"][key], array.detach().numpy(), rtol=SAME, atol=SAME), key


def test_the_defaults_of_averages():
    assert inspect.signature(swa_utils.get_ema_multi_avg_fn).parameters["decay"].default == optim.EMA().decay
