"""Clusters, small models, and the training written out by hand, which is the measure of `fit`."""

import dataclasses

import numpy as np
import pytest

import fastmlp as fm
from fastmlp import Dataset, History, Tensor, fit, nn, ops, optim

# A mean of losses: each batch's loss is rounded to float32 (6e-8), and `fit` may add up rows in another order.
LOSS_TOLERANCE = 1e-6


def clusters(rows: int = 300, dtype=np.float32, seed: int = 0) -> Dataset:
    """Three clusters, five standard deviations from each other: separable."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, rows)
    labels[:3] = 0, 1, 2
    features = rng.normal(size=(rows, 8))
    features[np.arange(rows), labels] += 5
    return Dataset(features.astype(dtype), labels)


def pixels(rows: int = 100) -> Dataset:
    """uint8 features of two axes, and the clusters' labels."""
    data = clusters(rows)
    grey = np.clip(data.features * 20 + 60, 0, 255).astype(np.uint8)
    return Dataset(grey.reshape(rows, 2, 4), data.labels)


def mlp(seed: int = 0, **options) -> nn.MLP:
    fm.manual_seed(seed)
    return nn.MLP(8, (16,), 3, **options)


class Own(nn.Sequential):
    """A reader's own class around an MLP: `fit` cannot know what its forward does, and has to call it."""

    def __init__(self, **options) -> None:
        super().__init__(mlp(**options))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)


def bits(model: nn.Module) -> dict[str, bytes]:
    """The state to the last bit."""
    return {name: array.tobytes() for name, array in model.state_dict().items()}


def copied(model: nn.Module) -> dict[str, np.ndarray]:
    return {name: array.copy() for name, array in model.state_dict().items()}


def measured(history: History) -> list[str]:
    """What an epoch measured but for the time and where; as text, because NaN is not equal to NaN."""
    others = {"seconds", "samples_per_second", "ran_on"}
    return [repr({k: v for k, v in dataclasses.asdict(e).items() if k not in others}) for e in history.epochs]


def trained(data: Dataset, model: nn.Module | None = None, **options) -> tuple[nn.Module, History]:
    """A silent run of two epochs, unless the options say otherwise."""
    model = mlp() if model is None else model
    return model, fit(model, data, **{"epochs": 2, "progress": False, **options})


def refuses(error: type[Exception], call, *words: str) -> None:
    """`call()` raises this error in one sentence that contains these words."""
    with pytest.raises(error) as caught:
        call()
    message = str(caught.value)
    assert type(caught.value) is error
    assert message
    assert "\n" not in message
    for word in words:
        assert word in message


def by_hand(
    model: nn.Module,
    data: Dataset,
    optimizer: optim.Optimizer,
    sizes: list[int],
    epochs: int = 2,
    seed: int = 0,
    rows: np.ndarray | None = None,
    start: int = 0,
) -> tuple[list[float], list[float]]:
    """Trains `model` in batches of `sizes`; returns the epochs' losses and accuracies, weighted by rows."""
    rows = np.arange(len(data)) if rows is None else rows
    assert sum(sizes) == len(rows)
    dtype = next(model.parameters()).dtype
    dropouts = [module for module in model.modules() if isinstance(module, nn.Dropout)]
    for layer, module in enumerate(dropouts):
        module.seed, module.layer, module.step = seed, layer, start * len(sizes)
    losses, accuracies = [], []
    for epoch in range(start + 1, start + epochs + 1):
        order = np.random.default_rng((seed, epoch)).permutation(rows)
        loss_sum, correct, start = 0.0, 0, 0
        for size in sizes:
            batch = order[start : start + size]
            start += size
            x, labels = data.rows[batch].astype(dtype) * dtype.type(data.scale), data.labels[batch]
            logits = model(Tensor(x))
            loss = ops.cross_entropy(logits, labels)
            model.zero_grad()
            loss.backward()
            optimizer.step()
            loss_sum += loss.item() * size
            correct += int((logits.data.argmax(axis=1) == labels).sum())
        losses.append(loss_sum / len(rows))
        accuracies.append(correct / len(rows))
    return losses, accuracies


MODELS = {
    "relu": lambda: mlp(),
    "softmax regression": lambda: nn.MLP(8, (), 3),
    "three layers": lambda: nn.MLP(8, (20, 33, 5), 3),
    "tanh and sigmoid": lambda: nn.Sequential(
        nn.Linear(8, 9), nn.Tanh(), nn.Linear(9, 7, bias=False), nn.Sigmoid(), nn.Linear(7, 3)
    ),
    "dropout": lambda: nn.MLP(8, (16, 12), 3, dropout=0.4),
    "batch norm": lambda: nn.MLP(8, (16, 12), 3, batch_norm=True),
    "batch norm and dropout": lambda: nn.MLP(8, (16,), 3, "tanh", 0.2, True),
    "float64": lambda: nn.MLP(8, (16,), 3, dropout=0.2, batch_norm=True).double(),
    "nested": lambda: nn.Sequential(nn.Sequential(nn.Linear(8, 6), nn.ReLU()), nn.MLP(6, (5,), 3)),
}
OPTIMIZERS = {
    "sgd": lambda parameters: optim.SGD(parameters, lr=0.1),
    "nesterov": lambda parameters: optim.SGD(parameters, lr=0.05, momentum=0.9, weight_decay=1e-3, nesterov=True),
    "dampened": lambda parameters: optim.SGD(parameters, lr=0.05, momentum=0.5, dampening=0.3),
    "adam": lambda parameters: optim.Adam(parameters, lr=0.01, betas=(0.8, 0.99), eps=1e-6, weight_decay=0.01),
    "adamw": lambda parameters: optim.AdamW(parameters, lr=0.01, weight_decay=0.1),
}


def dropout_steps(model: nn.Module) -> list[int]:
    return [module.step for module in model.modules() if isinstance(module, nn.Dropout)]


def assert_fit_equals_by_hand(make_model, make_optimizer, data, sizes, **options) -> None:
    """Weights, buffers, optimizer state and counters to the bit; loss within rounding; accuracy exactly."""
    model, twin = make_model(), make_model()
    twin.load_state_dict(model.state_dict())
    optimizer, twin_optimizer = make_optimizer(model.parameters()), make_optimizer(twin.parameters())
    _, history = trained(data, model, optimizer=optimizer, seed=5, **options)
    losses, accuracies = by_hand(twin, data, twin_optimizer, sizes, seed=5)
    assert history.column("train_loss") == pytest.approx(losses, rel=LOSS_TOLERANCE, abs=0)
    assert history.column("train_accuracy") == accuracies
    assert bits(model) == bits(twin)
    np.testing.assert_equal(optimizer.state_dict()["state"], twin_optimizer.state_dict()["state"])
    assert dropout_steps(model) == dropout_steps(twin)
