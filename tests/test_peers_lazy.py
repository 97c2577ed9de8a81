"""Adam with lazy=True beside torch.optim.SparseAdam, on the sparse gradients of an EmbeddingBag."""

import numpy as np
import pytest
from test_lazy import EPOCHS, SIZES, in_order, lazy
from test_sparse_engine import CLASSES, ROWS, matrix, model_of

from fastmlp import nn

torch = pytest.importorskip(
    "torch", reason="PyTorch is not installed; `make test-peers` installs it and runs this file"
)

SAME = 1e-9  # sums of float64 in another order; where a gradient is as small as eps, Adam makes a whole step of both
OPTIONS = {
    "plain": {},
    "betas": {"betas": (0.5, 0.9)},
    "maximize": {"maximize": True},
    "eps": {"eps": 1e-3},
}


def torch_steps(model: nn.Sequential, x, sparse_adam: bool = True, moved: bool = True, **options):
    """(weight of the first layer, all others, its moments) of the same steps: the weight is a bag of columns."""
    weight, bias, last, last_bias = (torch.tensor(p.data.copy()) for p in model.parameters())
    bag = torch.nn.EmbeddingBag.from_pretrained(weight.T.contiguous(), freeze=False, mode="sum", sparse=sparse_adam)
    rest = [torch.nn.Parameter(array) for array in (bias, last, last_bias)]
    options = {"lr": 0.01} | options
    kind = torch.optim.SparseAdam if sparse_adam else torch.optim.Adam
    first, others = kind(bag.parameters(), **options), torch.optim.Adam(rest, **options)
    eps, beta = options.get("eps", 1e-8), options.get("betas", (0.9, 0.999))[1]
    at, y = 0, np.arange(ROWS) % CLASSES
    for t, size in enumerate(SIZES * EPOCHS, 1):
        rows = x[at : at + size]
        columns, begins = (torch.tensor(array.astype(np.int64)) for array in (rows.indices, rows.indptr[:-1]))
        if sparse_adam and moved:  # it adds eps to √v, where Adam adds it to √v̂ = √v / √(1 - β₂ᵗ)
            first.param_groups[0]["eps"] = eps * (1 - beta**t) ** 0.5
        z = torch.relu(bag(columns, begins, per_sample_weights=torch.tensor(rows.data)) + rest[0]) @ rest[1].T + rest[2]
        for rule in (first, others):
            rule.zero_grad()
        torch.nn.functional.cross_entropy(z, torch.tensor(y[at : at + size])).backward()
        first.step()
        others.step()
        at = (at + size) % ROWS
    state = first.state[bag.weight]
    moments = [state[name].detach().numpy().T for name in ("exp_avg", "exp_avg_sq")]
    return bag.weight.detach().numpy().T, [p.detach().numpy() for p in rest], moments


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_the_weights_and_their_moments_are_those_of_sparse_adam(options):
    x, model = matrix(0, dtype=np.float64), model_of(np.float64)
    weight, rest, moments = torch_steps(model, x, **options)
    optimizer = lazy(model, **options)
    in_order(model, optimizer, x)
    for ours, peer in zip(model.parameters(), [weight, *rest], strict=True):
        assert np.abs(ours.data - peer).max() <= SAME
    for name, peer in zip(("exp_avg", "exp_avg_sq"), moments, strict=True):
        assert np.abs(optimizer.state[0][name] - peer).max() <= SAME


def test_the_comparison_tells_both_rules_apart():
    """PyTorch's Adam on dense gradients is Adam here without lazy, and another rule than with it."""
    x, found = matrix(0, dtype=np.float64), []
    for switch in (False, True):
        model = model_of(np.float64)
        weight, *_ = torch_steps(model, x, sparse_adam=False)
        in_order(model, lazy(model, lazy=switch), x)
        found.append(np.abs(model[0].weight.data - weight).max())
    assert found[0] <= SAME
    assert found[1] > 1e-3


def test_sparse_adam_adds_eps_elsewhere():
    """As the docstring of Adam says: with an eps that counts the weights differ, unless it is moved."""
    x, model = matrix(0, dtype=np.float64), model_of(np.float64)
    weight, *_ = torch_steps(model, x, moved=False, eps=1e-3)
    in_order(model, lazy(model, eps=1e-3), x)
    assert np.abs(model[0].weight.data - weight).max() > 1e-4
