"""What the tests of the graph share: leaves, seeded numbers, names of edges, error sentences."""

import numpy as np
import pytest

from fastmlp import Tensor


def leaf(value, dtype=np.float64) -> Tensor:
    """A float64 leaf that wants a gradient."""
    return Tensor(np.array(value, dtype), requires_grad=True)


def numbers(shape, seed: int = 0) -> np.ndarray:
    """Seeded normal numbers, float64."""
    return np.random.default_rng(seed).normal(size=shape)


def edge_names(node) -> list:
    """The names of the nodes that the edges lead to; None for an edge that leads nowhere."""
    return [None if below is None else below.name() for below, _ in node.next_functions]


def one_sentence(error: pytest.ExceptionInfo, *words: str) -> None:
    """The message is one line that contains these words."""
    message = str(error.value)
    assert message
    assert "\n" not in message
    for word in words:
        assert word in message
