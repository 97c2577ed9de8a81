"""`Encoding`: how the columns of a table become features, learned on training rows and kept with the model.

number    (x - mean) / std; where a value is missing, 0, the mean
boolean   0 and 1; where missing, the share of 1
category  a feature for each value that a training row has, 1 where it is the row's, else 0: "colour=red"
missing   behind a column of which training rows lack values, 1 where the value is missing: "age missing"
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from .. import check
from ..machine import check_memory
from .columns import (
    Raw,
    no_numbers,
    numbers_written_otherwise,
    places_by_number,
    raw_columns,
    read_frame,
    without_points,
)
from .dataset import Dataset
from .features import reach
from .frames import Array, library, named_columns, targets_of, weight_of
from .targets import Targets, read

VERSION = 2  # of the texts that hold an Encoding; 1 has no scaled targets, no weights


@dataclass(frozen=True)
class Column:
    """How one column becomes features."""

    name: str
    kind: str  # "number", "boolean" or "category"
    mean: float = 0.0
    std: float = 1.0
    fill: float = 0.0  # what stands for a missing number, before it is scaled
    missing: bool = False  # whether a feature says that the value is missing
    values: tuple[str, ...] = ()  # of a category

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its features."""
        own = [f"{self.name}={value}" for value in self.values] if self.kind == "category" else [self.name]
        return (*own, *([f"{self.name} missing"] if self.missing else []))


@dataclass(frozen=True)
class Encoding:
    """The columns of a table in the order of the features, and what a table's target is.

    Made by `fastmlp.data.table` of the training rows; a model that `fit` has trained on them has it as `encoding_`, and
    `fastmlp.save` keeps it in the model's file. `predict` and `Predictor` take frames then.

    target_mean, target_std: of the target columns, a number for each; a model's outputs are (t - target_mean) /
    target_std. 0 and 1 where targets are as they come: classes, labels, and the encoding of a model whose loss wants
    them so (`Loss.scales`).
    """

    columns: tuple[Column, ...]
    target: tuple[str, ...] = ()
    kind: str = "classes"  # of the targets
    missing: tuple[str, ...] = ()  # what stands for nothing in a CSV, beside the usual
    target_mean: tuple[float, ...] = ()
    target_std: tuple[float, ...] = ()
    sample_weight: str | None = None  # the name of the column that says how much a row counts

    def __post_init__(self) -> None:
        object.__setattr__(self, "target_mean", self.target_mean or (0.0,) * len(self.target))
        object.__setattr__(self, "target_std", self.target_std or (1.0,) * len(self.target))

    @property
    def scales_targets(self) -> bool:
        """Whether targets are scaled."""
        return any(self.target_mean) or any(std != 1 for std in self.target_std)

    def words_of_targets(self) -> str:
        """A line for a person: which targets are scaled, and by what; an empty text where none are."""
        each = zip(self.target, self.target_mean, self.target_std, strict=True)
        some = ", ".join(f"{check.short(name)} ({mean:.5g} ± {std:.5g})" for name, mean, std in [*each][:3])
        more = f" and {len(self.target) - 3} more" * (len(self.target) > 3)
        return f"the loss is of scaled targets, (t - mean) / std: {some}{more}" if self.scales_targets else ""

    def with_targets_as_they_are(self) -> Encoding:
        """The same features, and targets that are not scaled."""
        return replace(self, target_mean=(), target_std=())

    def scaled(self, data: Dataset) -> Dataset:
        """The rows with scaled targets, (t - target_mean) / target_std; itself where they are as they come."""
        if not self.scales_targets:
            return data
        t = data._targets()
        return data._with(data.features, t._replace(values=self._each(t.values, -1)), data.sample_weight)

    def unscaled(self, z: Array) -> Array:
        """target_mean + target_std z, float64; itself where targets are as they come.    z: (..., T)"""
        return self._each(z, 1) if self.scales_targets else z

    def _each(self, values: Array, way: int) -> Array:
        mean, std = np.array(self.target_mean), np.array(self.target_std)
        rows = values.reshape(-1, len(mean)) if values.ndim == 1 else values
        found: Array = rows * std + mean if way > 0 else (rows - mean) / std
        return found.reshape(values.shape)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the features."""
        return tuple(name for column in self.columns for name in column.names)

    @property
    def n_features(self) -> int:
        """D, how many features a row has."""
        return len(self.names)

    def frame(self, data: Any, where: str = "Encoding") -> Any:
        """The frame itself, or that in the CSV or Parquet file of this path."""
        if library(data):
            return data
        texts = [column.name for column in self.columns if column.kind == "category"]
        return read_frame(data, where, texts, self.missing)

    def apply(self, data: Any, where: str = "Encoding") -> Array:
        """(N, D) float32: the features of a frame, or of a CSV or Parquet file.

        A category that no training row had is none of the known ones, all its features are 0; a column that is not
        there counts as missing in every row. A warning says so. Columns that the training did not use are passed over.
        Error: ValueError where no column is there, or one is of another kind than in the training.
        """
        frame = self.frame(data, where)
        wanted = {column.name for column in self.columns}
        raws = raw_columns(frame, where, _all_but(frame, wanted, where))
        if not raws:
            raise ValueError(f"{where}: the table has none of the columns {_words(sorted(wanted))}")
        if absent := [column.name for column in self.columns if column.name not in raws]:
            one = "column" if len(absent) == 1 else "columns"
            check.warn(f"{where}: the table has no {one} {_words(absent)}; it counts as missing in every row")
        return self._features(raws, len(frame), where)

    def _features(self, raws: Mapping[str, Raw], rows: int, where: str) -> Array:
        check_memory(f"{where}: the features of the table", rows * self.n_features * 4)
        x = np.zeros((rows, self.n_features), np.float32)
        at = 0
        for column in self.columns:
            raw = raws.get(column.name, Raw(column.name, "number", np.full(rows, np.nan)))
            width = len(column.names)
            said = _fill(x[:, at : at + width], column, raw, where)
            if said and column.name in raws:
                check.warn(said)
            at += width
        return x

    def dataset(self, data: Any, classes: Any = None, name: str | None = None) -> Dataset:
        """The rows of another table, with their targets, as the training rows were encoded.

        classes: `model.classes_`, to number the classes as the model does; None: as they are in this table.
        Where the training rows had weights, these have theirs, from the column of the same name; without it each row
        counts once, and a warning says so.
        Errors: as `apply`; ValueError too where the table has no target column.
        """
        frame = self.frame(data, "Encoding.dataset")
        x = self.apply(frame, "Encoding.dataset")
        y, names, categories = target_of(frame, self.target, "Encoding.dataset")
        t = read(y, self.kind, classes, "Encoding.dataset", _of_target(self.target), names, categories)
        weight = self.sample_weight
        if weight is not None and weight not in dict(named_columns(frame, "Encoding.dataset")):
            check.warn(
                f"Encoding.dataset: the table has no column {check.short(weight)}, the weights; each row counts once"
            )
            weight = None
        return made(x, t, name or _name(data), self, weights_in(frame, weight, "Encoding.dataset"))

    def to_text(self) -> str:
        """JSON, the same encoding with `from_text`."""
        fields = asdict(self)
        if not (newer := self.scales_targets or self.sample_weight is not None):  # older releases read it
            del fields["target_mean"], fields["target_std"], fields["sample_weight"]
        return json.dumps({"version": VERSION if newer else 1, **fields}, ensure_ascii=False)

    @classmethod
    def from_text(cls, text: str) -> Encoding:
        """The encoding in a text of `to_text`. Error: ValueError for another text."""
        try:
            found = json.loads(text)
            if found.pop("version") not in (1, VERSION):
                raise ValueError("it is of another version")
            columns = tuple(Column(**{**entry, "values": tuple(entry["values"])}) for entry in found.pop("columns"))
            target, scale = tuple(found["target"]), [tuple(found.get(f"target_{word}", ())) for word in ("mean", "std")]
            if any(len(numbers) not in (0, len(target)) or not all(map(check.is_number, numbers)) for numbers in scale):
                raise ValueError("the scale of its targets is damaged")
            if min(scale[1], default=1) <= 0:
                raise ValueError("the scale of its targets is not above 0")
            weight = found.get("sample_weight")
            if not isinstance(weight, str | None):
                raise ValueError("the name of its weights is damaged")
            whole = cls(columns, target, found["kind"], tuple(found["missing"]), scale[0], scale[1], weight)
            for column in columns:
                numbers = column.mean, column.std, column.fill
                if column.kind not in ("number", "boolean", "category") or not all(map(check.is_number, numbers)):
                    raise ValueError(f"column {column.name} is of no kind that is known")
                if not all(isinstance(name, str) for name in (column.name, *column.values)) or column.std <= 0:
                    raise ValueError(f"column {column.name} is damaged")
        except (KeyError, TypeError, AttributeError, RecursionError, ValueError) as error:
            raise ValueError(f"the encoding of the table cannot be read: {check.reason(error)}") from error
        return whole


def learn(raws: Mapping[str, Raw], rows: Array, categorical: Sequence[str], most: int, where: str) -> list[Column]:
    """What the columns are, from these training rows alone. Error: ValueError for a column of too many categories."""
    columns = []
    for raw in raws.values():
        part = raw._replace(values=raw.values[rows])
        missing = part.missing()
        if missing.all():
            check.warn(f"{where}: column {check.short(raw.name)} has no value in the training rows; it is left out")
            continue
        lacks = bool(missing.any())
        if raw.kind == "text" or raw.declared or raw.name in categorical:
            _check_codes(raw, where)
            values = without_points(set(part.texts()[~missing].tolist()))
            if (
                raw.kind == "text"
                and {value.strip().lower() for value in values} <= {"true", "false"}
                and not (raw.declared or raw.name in categorical)
            ):
                raw_numbers = _booleans(part, where)
                columns.append(Column(raw.name, "boolean", fill=float(np.nanmean(raw_numbers)), missing=lacks))
                continue
            if raw.kind == "text" and not (raw.declared or raw.name in categorical):
                _check_words(raw, values, most, where)
            if len(values) > most:
                raise ValueError(
                    f"{where}: column {check.short(raw.name)} has {len(values):,} different values in "
                    f"{len(part.values):,} training rows, and each would be a feature; leave it out: drop, or take "
                    "it: max_categories"
                )
            columns.append(Column(raw.name, "category", missing=lacks, values=tuple(sorted(values))))
            continue
        numbers = part.values[~missing]
        if raw.kind == "boolean":
            columns.append(Column(raw.name, "boolean", fill=float(numbers.mean()), missing=lacks))
            continue
        mean, std = spread(numbers)
        columns.append(Column(raw.name, "number", mean, std, mean, lacks))
    return columns


def _check_words(raw: Raw, values: set[str], most: int, where: str) -> None:
    """Refuse words that are numbers written otherwise, and numbers among which a word stands. ValueError."""
    name = check.short(raw.name)
    if numbers_written_otherwise(values):
        some = next(value for value in sorted(values) if numbers_written_otherwise([value]))
        raise ValueError(
            f"{where}: column {name} holds numbers as {check.shown(some)}; write them with a point and no other mark, "
            "or say that they are words: categorical"
        )
    others = no_numbers(raw.values.tolist())
    if len(values) > most and 0 < len(others) < len(raw.values) / 2:
        raise ValueError(
            f"{where}: column {name} holds numbers, but {check.shown(raw.values[others[0]])} in row {others[0]}; where "
            "that stands for nothing, name it: missing"
        )


def _check_codes(raw: Raw, where: str) -> None:
    """Refuse whole numbers that float64 cannot tell apart as categories. ValueError."""
    if raw.kind == "number" and np.nanmax(np.abs(raw.values), initial=0) >= 2**53:
        raise ValueError(
            f"{where}: column {check.short(raw.name)} holds categories of 2**53 and more, which could not be told "
            "apart; make texts of them"
        )


def spread(numbers: Array) -> tuple[float, float]:
    """(mean, standard deviation) of numbers; 1 for the deviation of a constant."""
    size = float(np.abs(numbers).max()) or 1.0  # squares of numbers as large as 1e300 are none
    mean, std = float((numbers / size).mean()) * size, float((numbers / size).std()) * size
    return mean, std if std > 1e-12 * size else 1.0  # a constant, but for rounding


def _fill(x: Array, column: Column, raw: Raw, where: str) -> str:
    """Write the features of a column; a sentence about what the training did not have, or an empty text."""
    missing = raw.missing()
    name, said = check.short(column.name), ""
    if column.missing:
        x[:, -1] = missing
    elif missing.any():
        stands = "no category" if column.kind == "category" else "the mean of the training rows"
        said = f"{where}: column {name} is missing in {_rows(missing)}, and in no training row; {stands} counts"
    if column.kind == "category":
        place = {value: at for at, value in enumerate(column.values)}
        _check_codes(raw, where)
        texts = raw.texts()
        at = np.array([place.get(value, -1) for value in texts.tolist()], np.int64)
        if by_number := places_by_number(column.values):  # 1, 1.0 and "1.0" are one category, whoever has read them
            for row in np.flatnonzero((at < 0) & ~missing).tolist():
                if not no_numbers([texts[row]]):
                    at[row] = by_number.get(float(texts[row]), -1)
        known = at >= 0
        x[np.flatnonzero(known), at[known]] = 1
        if unseen := sorted(set(texts[~known & ~missing].tolist())):
            some = check.short(", ".join(map(repr, unseen[:3]))) + " ..." * (len(unseen) > 3)
            said = f"{where}: column {name} has {some} in {_rows(~known & ~missing)}, and in no training row"
            said += "; no category counts"
        return said
    values = _booleans(raw, where) if raw.kind == "text" and column.kind == "boolean" else raw.values
    if raw.kind == "text" and column.kind == "number" and not missing.all():
        row = int(np.argmin(missing))
        raise ValueError(f"{where}: column {name} has {check.shown(raw.values[row])} in row {row}; it must be numbers, "
                         "as in the training")  # fmt: skip
    if column.kind == "boolean" and ((values != 0) & (values != 1) & ~missing).any():
        raise ValueError(f"{where}: column {name} holds other numbers than 0 and 1; it must be booleans, as in the "
                         "training")  # fmt: skip
    numbers = np.where(missing, column.fill, np.where(missing, 0, values).astype(np.float64))
    x[:, 0] = (numbers - column.mean) / column.std
    return said


def _booleans(raw: Raw, where: str) -> Array:
    """Texts true and false as numbers, NaN where missing. Error: ValueError for another."""
    table: dict[Any, float] = {None: np.nan, "true": 1.0, "false": 0.0}
    words = [value if value is None else value.strip().lower() for value in raw.values.tolist()]
    if (other := next((row for row, word in enumerate(words) if word not in table), None)) is not None:
        name, value = check.short(raw.name), check.shown(raw.values[other])
        raise ValueError(f"{where}: column {name} has {value} in row {other}; it must be true or false, as in the "
                         "training")  # fmt: skip
    return np.array([table[word] for word in words])


def target_of(frame: Any, target: Sequence[str], where: str) -> tuple[Array, tuple[str, ...] | None, Array | None]:
    """The target columns as `targets_of` has them. Error: ValueError names one that is not there, or lacks a value."""
    columns = dict(named_columns(frame, where))
    if lacks := [name for name in target if name not in columns]:
        has = check.short(", ".join(columns), 300)
        raise ValueError(f"{where}: the table has no column {check.short(lacks[0])}, the target; it has {has}")
    if len(target) == 1:
        return targets_of(columns[target[0]], f"{where}: target")
    parts = [targets_of(columns[name], f"{where}: target")[0] for name in target]
    return np.stack(parts, axis=1), tuple(target), None


def weights_in(frame: Any, name: str | None, where: str) -> Array | None:
    """(N,) float64 of the column of weights; None where no name is given.

    Error: ValueError names a column that is not there, a row whose weight is missing or below 0, and another type.
    """
    if name is None:
        return None
    columns = dict(named_columns(frame, where))
    if name not in columns:
        has = check.short(", ".join(columns), 300)
        raise ValueError(f"{where}: the table has no column {check.short(name)}, the weights; it has {has}")
    return weight_of(columns[name], len(frame), where, f"column {check.short(name)}, the weights,")


def made(x: Array, t: Targets, name: str | None, encoding: Encoding, weight: Array | None = None) -> Dataset:
    """The Dataset of encoded rows."""
    largest = reach(x, "table", "the features", encoding.names)
    data = Dataset._of(x, t, name, 1.0, largest, weight, encoding.names)
    data.encoding = encoding
    return data


def _of_target(target: Sequence[str]) -> str:
    return f"column {check.short(', '.join(target))}, the target,"


def _name(data: Any) -> str:
    return Path(data).name.split(".")[0] if not library(data) else "table"


def _all_but(frame: Any, wanted: set[str], where: str) -> set[str]:
    return {name for name, _ in named_columns(frame, where)} - wanted


def _rows(mask: Array) -> str:
    count = int(mask.sum())
    return f"{count:,} row{'s' * (count != 1)}"


def _words(names: Sequence[str]) -> str:
    return check.short(", ".join(names), 200)
