"""Models and rows that every export is tried on, what the library says of them, and how answers are compared.

The rows are of MNIST's test set, each picture's pixels summed to 7 by 7 places; a table is made up by a seed.
"""

import copy
import functools
import warnings
from dataclasses import dataclass
from typing import Any

import contract
import numpy as np
import pandas

import fastmlp as fm

I, H, O, N = 49, 6, 4, 1000
LAYERS = contract.cases(contract.LAYERS)
LOSSES = [
    ("mse_loss", "plain", 1), ("mse_loss", "plain", 3), ("poisson_nll_loss", "plain", 1),
    ("poisson_nll_loss", "counts", 2), ("quantile_loss", "several", 3), ("quantile_loss", "of several targets", 6),
]  # fmt: skip


class Odd(fm.nn.Elementwise):
    """Its formula has what other languages have otherwise. Its kernels are ReLU's; `odd` says it again."""

    node, function = fm.nn.ReLU.node, fm.nn.ReLU.function
    formula = (
        "Math.min(Math.max(v, -2), 1, v * v) + Math.round(v) % 2 * Math.sign(v) + (v > 0) * (v && 0.5) + (v || 3)"
        " + 1e-3 * v ** 3 + (!(v > 3) ? Math.cbrt(v) : -Math.pow(2, -v)) + (v < 0 || v > 1 ? 0 : 1) + Math.atan2(v, 2)"
    )


def odd(v: float) -> float:
    """What the formula of `Odd` is."""
    rest = np.fmod(np.floor(v) + (v - np.floor(v) >= 0.5), 2)
    return (
        min(max(v, -2), 1, v * v) + rest * np.sign(v) + (0.5 if v > 0 else 0) + (v if v else 3) + 1e-3 * v * v * v
        + (-(2**-v) if v > 3 else np.cbrt(v)) + (1 if 0 <= v <= 1 else 0) + np.arctan2(v, 2)
    )  # fmt: skip


V = np.array([-7.5, -2.5, -1.5, -0.5, -0.25, 0, 0.25, 0.5, 1, 1.5, 2.5, 3, 3.5, 9.75])  # where it changes, all exact


def odd_net(dtype: Any) -> fm.nn.Sequential:
    """`Odd` alone, of a number for each of two outputs, the second of its negative."""
    model = fm.nn.Sequential(fm.nn.Linear(1, 2, dtype=dtype), Odd(), fm.nn.Linear(2, 2, dtype=dtype))
    for layer, weight in ((model[0], [[1], [-1]]), (model[2], np.eye(2))):
        layer.weight.data[...], layer.bias.data[...] = weight, 0
    model.keep_loss(fm.nn.MSELoss())
    return model.eval()


def odd_outputs() -> np.ndarray:
    """What `odd_net` makes of V."""
    return np.array([[odd(v), odd(-v)] for v in V])


@dataclass
class Case:
    """A model with rows that it is asked about: (N, features), or a frame."""

    name: str
    model: Any
    rows: Any
    scale: float = 1.0

    @property
    def dtype(self) -> np.dtype:
        return next(self.model.parameters()).dtype

    @property
    def kind(self) -> str:
        kinds = getattr(self.model.loss_, "kinds", ())
        return next((kind for kind in ("labels", "numbers") if kind in kinds), "classes")

    def columns(self) -> dict[str, list]:
        """Of a frame the values by column, None where missing."""
        table = self.rows.astype(object).where(self.rows.notna(), None)
        items = {name: table[name].tolist() for name in table}
        return {name: [v.item() if isinstance(v, np.generic) else v for v in items[name]] for name in items}

    @functools.cached_property
    def expected(self) -> dict[str, np.ndarray]:
        """{"logits", "proba" unless they are numbers, "predict"} as the library has them."""
        with warnings.catch_warnings():  # of what the training did not have
            warnings.simplefilter("ignore", UserWarning)
            z = fm.Predictor(self.model, scale=self.scale)(self.rows)
            answers = {"logits": z, "predict": fm.predict(self.model, self.rows, scale=self.scale)}
        wide = z.astype(np.float64) / self.model.temperature_
        if self.kind == "labels":
            answers["proba"] = 1 / (1 + np.exp(-wide))
        elif self.kind == "classes":
            e = np.exp(wide - wide.max(axis=1, keepdims=True))
            answers["proba"] = e / e.sum(axis=1, keepdims=True)
        return answers


def faults(case: Case, found: dict[str, Any]) -> list[str]:
    """What an export answers otherwise: numbers by more than a part of 1e-5, 1e-12 of a float64 model.

    Logits to 1e-5 of the largest; probabilities to 1e-5 of themselves. Two outputs may be as good as the same.
    """
    expected, said = case.expected, []
    tolerance = 1e-5 if case.dtype == np.float32 else 1e-12
    z = expected["logits"]
    size = max(1.0, float(np.abs(z).max()))
    for name, right in expected.items():
        got = np.asarray(found[name])
        if got.shape != right.shape:
            said.append(f"{case.name}: {name} is {got.shape}, not {right.shape}")
        elif name == "logits" and not np.abs(got - z).max() <= tolerance * size:
            said.append(f"{case.name}: logits differ by {np.abs(got - z).max():.2g}")
        elif name == "proba" and not (np.abs(got / right - 1).max() <= tolerance and np.isfinite(got).all()):
            said.append(f"{case.name}: probabilities differ by a part of {np.abs(got / right - 1).max():.2g}")
        elif name == "predict" and case.kind == "numbers":
            if not np.all(np.abs(got - right) <= tolerance * np.maximum(size, np.abs(right))):
                said.append(f"{case.name}: predictions differ by {np.abs(got - right).max():.2g}")
        elif name == "predict":
            two = np.sort(z, axis=1)[:, -2:] if case.kind == "classes" else None
            close = np.abs(z) <= 2 * tolerance * size if two is None else two[:, 1] - two[:, 0] <= 2 * tolerance * size
            other = (got != right) & ~close
            if other.any() or np.mean(close) > 0.01:
                said.append(f"{case.name}: {other.sum()} predictions differ")
    return said


@functools.cache
def rows() -> np.ndarray:
    """(N, 49) uint8: MNIST's pictures, 4 by 4 pixels to their mean."""
    pictures = fm.data.mnist()[1].rows[:N].reshape(N, 7, 4, 7, 4).astype(np.int64)
    return (pictures.sum(axis=(2, 4)) // 16).reshape(N, I).astype(np.uint8)


def net(name: str, chosen: str, dtype: Any) -> fm.nn.Sequential:
    """Linear, a layer of the contract, Linear, with numbers in all their arrays."""
    fm.manual_seed(0)
    layers = [
        fm.nn.Linear(I, H, dtype=dtype),
        contract.layer(name, chosen, H, H, dtype),
        fm.nn.Linear(H, O, dtype=dtype),
    ]
    return numbered(fm.nn.Sequential(*layers))


def mlp(outputs: int, dtype: Any, inputs: int = I) -> fm.nn.Sequential:
    """A net with ReLU."""
    model = fm.nn.MLP(inputs, (H,), outputs)
    return numbered(model.double() if dtype == np.float64 else model)


def numbered(model: fm.nn.Sequential) -> fm.nn.Sequential:
    """The model with other numbers in its parameters and statistics, in evaluation mode."""
    rng = np.random.default_rng(1)
    for parameter in model.parameters():
        parameter.data[...] = rng.normal(0, 0.5, parameter.shape)
    for key, array in model.state_dict().items():
        if "running" in key:
            array[...] = rng.uniform(0.1, 2, array.shape)
    return model.eval()


def frame(seed: int, n: int = N) -> pandas.DataFrame:
    """Columns of every kind, with gaps; with another seed than 0 values too that those rows do not have."""
    rng = np.random.default_rng(seed)
    names = ["red", "blau", 'say "it"', "a,b\\n", "größer", "??/", "NAME_x"] + ["new"] * bool(seed)

    def gaps(values, share=0.1):
        return [None if gone else value for value, gone in zip(values, rng.random(n) < share, strict=True)]

    return pandas.DataFrame({
        "age": gaps(rng.normal(40, 12, n)),
        "*/ Größe in m²\n": rng.normal(1.7, 0.1, n),
        "int": pandas.Series(gaps(rng.choice(names, n)), dtype=object),
        "owns": pandas.Series(gaps(rng.random(n) < 0.3), dtype=object),
        "Int": rng.random(n) < 0.5,
        "code": gaps(rng.choice([7.0, 8.0, 0.25, 1e-05] + [9.0] * bool(seed), n)),
    })  # fmt: skip


def table_net(dtype: Any, classes: list) -> fm.nn.Sequential:
    """A net on the features of the frame of seed 0."""
    known = frame(0)
    known["target"] = np.arange(N) % 2
    train, _ = fm.data.table(known, "target", categorical=["code"])
    model = mlp(len(classes), dtype, train.features.shape[1])
    model.encoding_, model.classes_ = train.encoding, np.array(classes)
    return model


@functools.cache
def cases() -> tuple[Case, ...]:
    """All of them."""
    found = []
    for dtype in (np.float32, np.float64):
        word = np.dtype(dtype).name
        for name, chosen in LAYERS:
            case = Case(f"{name} {chosen} {word}", net(name, chosen, dtype), rows(), 1 / 255)
            found.append(case)
        for name, chosen, outputs in LOSSES:
            model = mlp(outputs, dtype)
            model.keep_loss(contract.loss(name, chosen))
            found.append(Case(f"{name} {outputs} {word}", model, rows(), 1 / 255))
        for name, classes in (
            ("texts", ["zero", "ein\n\"s\"", "größer 二", "??/"]), ("numbers", [3_000_000_000, -(2**63), 2**53 + 1, 7]),
            ("truths", [False, True]), ("floats", [1.0, 2.5]),
        ):  # fmt: skip
            model = mlp(len(classes), dtype)
            model.classes_, model.temperature_ = np.array(classes), 1.7
            found.append(Case(f"{name} {word}", model, rows(), 1 / 255))
        labels = mlp(5, dtype)
        labels.keep_loss(fm.nn.BCEWithLogitsLoss())
        labels.temperature_ = 0.8
        found.append(Case(f"labels {word}", labels, rows(), 1 / 255))
        found.append(Case(f"table {word}", table_net(dtype, [4, 5, 6]), frame(1)))
        found.append(Case(f"table with new gaps {word}", table_net(dtype, ["no", "yes"]), gappy()))
        found.append(Case(f"table without columns {word}", table_net(dtype, ["no", "yes"]), frame(1)[["age", "Int"]]))
    folded = [
        fm.nn.BatchNorm1d(I),
        fm.nn.Linear(I, H),
        fm.nn.BatchNorm1d(H),
        fm.nn.LeakyReLU(0.3),
        fm.nn.BatchNorm1d(H),
    ]
    more = [fm.nn.Linear(H, H), fm.nn.LeakyReLU(0.1), fm.nn.Linear(H, O)]
    found.append(Case("folded", numbered(fm.nn.Sequential(*folded, *more)), rows(), 1 / 255))
    return tuple(found)


def gappy() -> pandas.DataFrame:
    """Values are missing also where no row of seed 0 lacks one."""
    table = frame(2)
    table.loc[::7, "*/ Größe in m²\n"] = np.nan
    table["Int"] = pandas.Series([None if n % 5 == 0 else bool(n % 2) for n in range(N)], dtype=object)
    return table


def planted(model: fm.nn.Sequential) -> fm.nn.Sequential:
    """A copy of the model with one weight that is a thousandth more: every comparison must see it."""
    other = copy.deepcopy(model)
    weight = [m for m in other if isinstance(m, fm.nn.Linear)][-1].weight.data
    weight[np.unravel_index(np.argmax(np.abs(weight)), weight.shape)] *= 1.001
    return other
