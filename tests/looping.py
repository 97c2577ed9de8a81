"""What the tests of schedules share: small nets and rules, and what they have come to."""

import numpy as np

import fastmlp as fm
from fastmlp import kernels, nn, optim


def data(dtype=np.float32) -> fm.Dataset:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(90, 8)).astype(dtype)
    return fm.Dataset(x, (x[:, 0] > 0).astype(int) + (x[:, 1] > 0))


def net() -> nn.Sequential:
    fm.manual_seed(0)
    return nn.MLP(8, (16,), 3, dropout=0.3)


def rule(lr=0.1, kind=optim.SGD, **options) -> optim.Optimizer:
    """A rule with two groups, the second at half the rate."""
    return kind([{"params": [p], "lr": r} for p, r in zip(two(), (lr, lr / 2), strict=True)], **options)


def two() -> list[fm.Parameter]:
    return [fm.Parameter(np.ones(2)), fm.Parameter(np.ones(3))]


def rates(optimizer) -> list[float]:
    return [group["lr"] for group in optimizer.param_groups]


def fit(model, optimizer, epochs, **options):
    options = {"batch_size": 32, "progress": False} | options
    return fm.fit(model, data(), optimizer=optimizer, epochs=epochs, **options)


def bits(model):
    return {name: array.tobytes() for name, array in model.state_dict().items()}


class OnGraph(nn.Sequential):
    """On the graph."""

    def forward(self, x: fm.Tensor) -> fm.Tensor:
        return super().forward(x)


class Halving(optim.Schedule):
    """Somebody's own, without a constructor."""

    def rate(self, start, done, total):
        return start / 2**done


class Slower(optim.StepLR):
    """Somebody's own, with PyTorch's way to write a constructor."""

    def __init__(self, optimizer, factor):
        super().__init__(optimizer, step_size=1, gamma=factor)


def lines(capsys) -> list[str]:
    return [line for line in capsys.readouterr().out.splitlines() if "learning rate" in line]


@kernels.kernel
def option_scale(option, lr, t, scale):
    """scale = (lr as the options have it,)."""
    scale[0] = option[0]


@kernels.kernel
def option_update(p, g, m, v, u, option, scale):
    """p ← p - lr g."""
    for i in range(p.size):
        p[i] -= p.dtype.type(option[0] * 0.5 + scale[0] * 0.5) * g[i]


class ByOption(optim.Optimizer):
    """Takes the rate from its options, where a rule of somebody's own may look for it."""

    scale, update = staticmethod(option_scale), staticmethod(option_update)
    counts_steps = False

    def __init__(self, params, lr):
        super().__init__(params, {"lr": lr})
