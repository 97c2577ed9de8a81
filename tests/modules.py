"""Small modules and inputs for the tests of `nn`."""

import numpy as np
import pytest

from fastmlp import Tensor, nn


def x32(*shape: int) -> Tensor:
    """A seeded float32 input."""
    return Tensor(np.random.default_rng(0).normal(size=shape).astype(np.float32))


def full_model() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.Dropout(0.5), nn.Linear(3, 2))


FULL_KEYS = [
    "0.weight", "0.bias",
    "1.weight", "1.bias", "1.running_mean", "1.running_var", "1.num_batches_tracked",
    "4.weight", "4.bias",
]  # fmt: skip


def refuses(error: type[Exception], call, *words: str) -> None:
    """`call()` raises this error in one sentence that contains these words."""
    with pytest.raises(error) as caught:
        call()
    message = str(caught.value)
    assert type(caught.value) is error
    assert "\n" not in message
    for word in words:
        assert word in message
