"""Hypothesis strategies: shapes, dtypes, arrays, ways to cut a range, random networks.

Arrays are drawn as a seed and a kind of values, and filled by NumPy: fast, and still one small example to look at.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

import fastmlp as fm

CHECKED = settings(
    deadline=None, derandomize=True, max_examples=40
)  # the same examples each run; a first call compiles
FEW = settings(CHECKED, max_examples=25)

DTYPES = (np.float32, np.float64)
dtypes = st.sampled_from(DTYPES)
seeds = st.integers(0, 2**32 - 1)
rows = st.integers(1, 40)
columns = st.integers(1, 70)  # more than four vectors of 16
classes = st.integers(1, 12)

KINDS = {
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "wide": lambda rng, shape: rng.standard_normal(shape) * 10.0 ** rng.integers(-6, 4, shape),  # many magnitudes
    "sparse": lambda rng, shape: rng.standard_normal(shape) * (rng.random(shape) < 0.3),  # zeros, as after ReLU
    "whole": lambda rng, shape: rng.integers(-3, 4, shape).astype(float),  # ties
    "offset": lambda rng, shape: 100 + rng.standard_normal(shape),  # a mean far from zero
}
kinds = st.sampled_from(sorted(KINDS))


class Source:
    """Makes arrays of one dtype from a seed. `rng` and `kind` are there for what is made otherwise."""

    def __init__(self, dtype, seed: int, kind: str = "normal"):
        self.dtype, self.seed, self.kind, self.rng = np.dtype(dtype), seed, kind, np.random.default_rng(seed)

    def array(self, *shape: int) -> np.ndarray:
        return KINDS[self.kind](self.rng, shape).astype(self.dtype)

    def positive(self, *shape: int) -> np.ndarray:
        return self.rng.uniform(0.1, 3.0, shape).astype(self.dtype)

    def __repr__(self) -> str:
        return f"Source({self.dtype}, seed={self.seed}, kind={self.kind!r})"


sources = st.builds(Source, dtypes, seeds, kinds)


def off_kinks(rng: np.random.Generator, shape: tuple[int, ...], gap: float = 0.01) -> np.ndarray:
    """Float64 numbers at least `gap` away from 0, the kink of ReLU: far more than the step of a gradient check."""
    return rng.choice([-1.0, 1.0], shape) * rng.uniform(gap, 2.0, shape)


@st.composite
def cuts(draw, length: int, multiple: int = 1) -> list[tuple[int, int]]:
    """[0, length) in pieces (lo, hi), in any order; every lo is a multiple of `multiple`."""
    inner = draw(st.lists(st.integers(1, max(1, (length - 1) // multiple)), max_size=4))
    bounds = sorted({0, length, *(i * multiple for i in inner if i * multiple < length)})
    return draw(st.permutations(list(pairwise(bounds))))


@dataclass
class Net:
    """A random network with a batch for it. `make` builds it from its seed, always the same."""

    seed: int
    widths: tuple[int, ...]  # inputs, hidden widths, classes
    rows: int
    activation: str
    dropout: float
    batch_norm: bool
    label_smoothing: float
    weighted: bool
    training: bool

    def make(self) -> tuple[fm.nn.MLP, np.ndarray, np.ndarray, np.ndarray | None]:
        """(model, x, labels, sample weights or None)."""
        fm.manual_seed(self.seed)
        model = fm.nn.MLP(
            self.widths[0], self.widths[1:-1], self.widths[-1], self.activation, self.dropout, self.batch_norm
        ).train(self.training)
        rng = np.random.default_rng(self.seed)
        x = rng.standard_normal((self.rows, self.widths[0]))
        labels = rng.integers(0, self.widths[-1], self.rows)
        return model, x, labels, rng.uniform(0.1, 2, self.rows) if self.weighted else None


@st.composite
def nets(draw) -> Net:
    """Depth 1 to 4, widths 1 to 40, batches of 1 to 33; batch norm in training gets at least 2 rows."""
    batch_norm, training = draw(st.booleans()), draw(st.booleans())
    return Net(
        seed=draw(seeds),
        widths=tuple(draw(st.lists(st.integers(1, 40), min_size=2, max_size=5))),
        rows=draw(st.integers(2 if batch_norm and training else 1, 33)),
        activation=draw(st.sampled_from(sorted(fm.nn.ACTIVATIONS))),
        dropout=draw(st.sampled_from([0.0, 0.2, 0.5])),
        batch_norm=batch_norm,
        label_smoothing=draw(st.sampled_from([0.0, 0.1])),
        weighted=draw(st.booleans()),
        training=training,
    )
