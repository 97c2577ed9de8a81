"""Targets of a `Dataset`: which kind they are, which values their classes have, what is refused, what parts keep."""

import warnings

import numpy as np
import pytest
from idx_files import peak_memory

import fastmlp as fm
from fastmlp.data import Dataset

X = np.arange(24, dtype=np.float32).reshape(6, 4)
NAMES = ["eel", "cat", "dog", "cat", "eel", "cat"]
ONE_HOT = np.eye(3, dtype=int)[[0, 1, 2, 0, 1, 2]]
LABELS = np.array([[1, 0, 1], [0, 0, 0], [1, 1, 1], [0, 1, 0], [0, 0, 1], [1, 0, 0]])
TAKEN = {  # name -> (targets, arguments, kind, targets as kept, classes_)
    "integers from 0": ([2, 0, 3, 0, 0, 2], {}, "classes", [2, 0, 3, 0, 0, 2], [0, 1, 2, 3]),
    "integers from 1": ([3, 1, 2, 1, 3, 1], {}, "classes", [2, 0, 1, 0, 2, 0], [1, 2, 3]),
    "integers with gaps, not from 0": ([30, 10, 20, 10, 30, 10], {}, "classes", [2, 0, 1, 0, 2, 0], [10, 20, 30]),
    "-1 and 1": ([-1, 1, 1, -1, 1, 1], {}, "classes", [0, 1, 1, 0, 1, 1], [-1, 1]),
    "integers from 1 of which the number is given": ([1, 1, 2, 1, 2, 1], {"classes": 3}, "classes",
                                                     [1, 1, 2, 1, 2, 1], [0, 1, 2]),
    "large integers": (2**60 + np.array([5, 3, 3, 5, 3, 5]), {}, "classes", [1, 0, 0, 1, 0, 1], [2**60 + 3, 2**60 + 5]),
    "booleans": ([True, False, True, True, False, True], {}, "classes", [1, 0, 1, 1, 0, 1], [False, True]),
    "booleans that are all one": ([True] * 6, {}, "classes", [1] * 6, [False, True]),
    "strings": (NAMES, {}, "classes", [2, 0, 1, 0, 2, 0], ["cat", "dog", "eel"]),
    "objects that are strings": (np.array(NAMES, object), {}, "classes", [2, 0, 1, 0, 2, 0], ["cat", "dog", "eel"]),
    "objects that are integers": (np.array([0, 1, 2] * 2, object), {}, "classes", [0, 1, 2] * 2, [0, 1, 2]),
    "objects that are booleans": (np.array([True, False] * 3, object), {}, "classes", [1, 0] * 3, [False, True]),
    "objects that are numbers": (np.array([0.5, 1, 2] * 2, object), {}, "numbers", [0.5, 1, 2] * 2, None),
    "strings in an order": (NAMES, {"classes": ["dog", "eel", "cat", "fox"]}, "classes", [1, 2, 0, 2, 1, 2],
                            ["dog", "eel", "cat", "fox"]),
    "values in an order": ([3, 1, 2, 1, 3, 1], {"classes": [3, 2, 1]}, "classes", [0, 2, 1, 2, 0, 2], [3, 2, 1]),
    "values that are 0 .. 2": ([2, 1, 0, 1, 2, 1], {"classes": np.arange(3)}, "classes", [2, 1, 0, 1, 2, 1], [0, 1, 2]),
    "floats": ([0.0, 1, 2, 0, 1, 2], {}, "numbers", [0.0, 1, 2, 0, 1, 2], None),
    "floats said to be classes": ([1.0, 2, 3, 1, 2, 3], {"kind": "classes"}, "classes", [0, 1, 2] * 2, [1, 2, 3]),
    "a column said to be classes": ([[3], [1], [2], [1], [3], [1]], {"kind": "classes"}, "classes",
                                    [2, 0, 1, 0, 2, 0], [1, 2, 3]),
    "integers said to be numbers": ([5, 0, 3, 1, 1, 2], {"kind": "numbers"}, "numbers", [5, 0, 3, 1, 1, 2], None),
    "booleans (N, K)": (LABELS > 0, {}, "labels", LABELS, None),
    "integers 0 and 1 (N, K)": (LABELS.astype(np.uint8), {}, "labels", LABELS, None),
    "floats said to be labels": (LABELS.astype("f4"), {"kind": "labels"}, "labels", LABELS, None),
    "one label": ([0, 1, 1, 0, 1, 1], {"kind": "labels"}, "labels", [[0], [1], [1], [0], [1], [1]], None),
    "one label in a column": ([[0], [1], [1], [0], [1], [1]], {"kind": "labels"}, "labels",
                              [[0], [1], [1], [0], [1], [1]], None),
    "one-hot rows": (ONE_HOT, {}, "labels", ONE_HOT, None),
    "one-hot rows said to be probabilities": (ONE_HOT, {"kind": "probabilities"}, "probabilities", ONE_HOT, [0, 1, 2]),
    "probabilities": (np.full((6, 4), 0.25), {"kind": "probabilities"}, "probabilities", np.full((6, 4), 0.25),
                      [0, 1, 2, 3]),
    "probabilities with names": (np.full((6, 2), 0.5), {"kind": "probabilities", "classes": ["no", "yes"]},
                                 "probabilities", np.full((6, 2), 0.5), ["no", "yes"]),
}  # fmt: skip


@pytest.mark.parametrize("case", TAKEN)
def test_what_targets_are(case):
    y, arguments, kind, kept, values = TAKEN[case]
    data = Dataset(X, y, **arguments)
    assert data.kind == kind
    assert data.targets.dtype == (np.int64 if kind == "classes" else np.float64)
    assert np.array_equal(data.targets, kept)
    assert data.targets.flags.c_contiguous
    assert data.classes == (0 if values is None else len(values))
    assert data.classes_ is None if values is None else data.classes_.tolist() == values
    assert data.n_outputs == (data.classes or np.atleast_2d(np.transpose(kept)).shape[0])
    if kind == "classes":
        assert data.labels is data.targets
        looked_up = data.classes_[data.labels]
        assert looked_up.tolist() == np.asarray(y).reshape(-1).tolist()
    else:
        with pytest.raises(ValueError, match=f"the targets are {kind}; labels are for classes, targets for all"):
            data.labels  # noqa: B018


REFUSED = {
    "a kind that is none": ([0] * 6, {"kind": "class"}, "kind is 'class'; it must be one of 'classes'"),
    "a missing name": (["a", None] * 3, {}, "targets has None in row 1; none may be missing"),
    "a NaN among names": (["a", "b", float("nan"), "a", "b", "b"], {}, "targets has nan in row 2"),
    "names and numbers": (["a", 1] * 3, {}, "targets holds objects of the type int, str"),
    "booleans and names": (["a", True] * 3, {}, "targets holds objects of the type bool, str"),
    "objects": ([object()] * 6, {}, "targets holds objects of the type object"),
    "an integer beyond int64": (np.array([2**70] + [1] * 5, object), {}, "a number that is too large for int64"),
    "bytes": ([b"a"] * 6, {}, "targets.astype(str) makes strings of bytes"),
    "dates": (np.zeros(6, "M8[s]"), {}, "targets has the type datetime64[s]"),
    "a class in a column": ([[1]] * 6, {}, 'targets.reshape(-1), or kind="labels" where it is one label'),
    "a name in a column": ([["a"]] * 6, {}, "one class for each row: targets.reshape(-1)"),
    "names in columns": ([["a", "b"]] * 6, {}, "has the shape (6, 2) and holds strings"),
    "whole numbers in columns": (LABELS * 2, {}, 'has the shape (6, 3) and [2 0 2] in row 0; whole numbers (N, K) must '
                                 'be 0 and 1, labels: kind="numbers"'),
    "labels that are none": (LABELS * 0.5, {"kind": "labels"}, "has [0.5 0.  0.5] in row 0; labels are 0 and 1"),
    "a probability below 0": (np.array([[1.5, -0.5]] * 6), {"kind": "probabilities"}, "each row must be >= 0"),
    "a sum that is not 1": (np.full((6, 2), 0.6), {"kind": "probabilities"}, "sum to 1"),
    "a single probability": (np.ones((6, 1)), {"kind": "probabilities"}, "(N, K) with K of at least 2"),
    "names as numbers": (NAMES, {"kind": "numbers"}, "numbers are floats, integers or booleans"),
    "a half as a class": ([0, 0.5, 1] * 2, {"kind": "classes"}, "has 0.5 in row 1; classes are whole numbers"),
    "one-hot rows as classes": (ONE_HOT, {"kind": "classes"}, "targets.argmax(axis=1) of one-hot rows"),
    "a class that is not among them": (NAMES, {"classes": ["cat", "dog"]}, "has the class 'eel' in row 0; the classes "
                                       "are 'cat', 'dog'"),
    "a text for a number": (["1"] * 6, {"classes": [1, 2]}, "has the class '1' in row 0; the classes are 1, 2"),
    "classes twice": (NAMES, {"classes": ["cat", "cat"]}, "classes has 'cat' more than once"),
    "classes that are fractions": (NAMES, {"classes": [0.5, 1]}, "or class values (C,)"),
    "a number of names": (NAMES, {"classes": 3}, "classes is 3 and targets holds strings; leave it out"),
    "classes of numbers": ([0.5] * 6, {"classes": [0, 1]}, "classes are integers"),
    "classes of other probabilities": (np.full((6, 2), 0.5), {"kind": "probabilities", "classes": 3},
                                       "classes is 3; targets has 2 columns"),
    "weights of other rows": ([0] * 6, {"sample_weight": [1.0] * 5}, "has the shape (5,); it must be (6,)"),
    "a weight below 0": ([0] * 6, {"sample_weight": [1, 1, -2, 1, 1, 1]}, "sample_weight has -2.0 in row 2"),
    "a weight that is none": ([0] * 6, {"sample_weight": [1, np.nan] * 3}, "sample_weight has nan in row 1"),
    "a weight that is a text": ([0] * 6, {"sample_weight": ["1"] * 6}, "it must be numbers, one for each row"),
    "no row that counts": ([0] * 6, {"sample_weight": [0] * 6}, "is 0 in all rows"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_targets_cannot_be(case):
    y, arguments, words = REFUSED[case]
    with pytest.raises(ValueError) as caught:
        Dataset(X, y, **arguments)
    assert str(caught.value).startswith("Dataset: ")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_targets_are_given_once_by_the_new_name_or_the_old():
    assert Dataset(X, labels=[0, 1] * 3).labels.tolist() == Dataset(X, targets=[0, 1] * 3).labels.tolist()
    with pytest.raises(ValueError, match="Dataset: labels has the label"):
        Dataset(X, labels=[0, 7] * 3, classes=2)
    for arguments in ({}, {"targets": [0] * 6, "labels": [0] * 6}):
        with pytest.raises(TypeError, match=r"Dataset: targets are .*given"):
            Dataset(X, **arguments)


WEIGHTS = np.array([1.0, 0.5, 0, 2, 2, 3])
WHOLE = {
    "classes": Dataset(X, NAMES, sample_weight=WEIGHTS, name="pond"),
    "numbers": Dataset(X, X[:, :2], sample_weight=WEIGHTS),
    "labels": Dataset(X, LABELS, sample_weight=WEIGHTS),
    "probabilities": Dataset(X, ONE_HOT, kind="probabilities", sample_weight=WEIGHTS),
}


@pytest.mark.parametrize("kind", WHOLE)
def test_a_part_keeps_what_the_whole_has(kind):
    data = WHOLE[kind]
    data.feature_names, data.target_names = ("a", "b", "c", "d"), ("t", "u")
    mask = np.array([True, False, False, True, True, False])
    rest, held = data.split_rows(2)
    parts = [(data[1:4], slice(1, 4)), (data[[4, 0, 4]], [4, 0, 4]), (data[mask], mask)]
    for part, rows in [*parts, *zip(data.split(2), (rest, held), strict=True)]:
        assert (part.kind, part.classes, part.name) == (kind, data.classes, data.name)
        assert (part.feature_names, part.target_names) == (("a", "b", "c", "d"), ("t", "u"))
        assert part.class_values is data.class_values
        assert np.array_equal(part.targets, data.targets[rows])
        assert np.array_equal(part.sample_weight, WEIGHTS[rows])
    assert np.array_equal(data[3][1], data.targets[3])
    assert (type(data[3][1]) is int) == (kind == "classes")
    assert repr(data).endswith({
        "classes": "3 classes 'cat', 'dog', 'eel', weighted)",
        "numbers": "targets (2,) numbers, weighted)",
        "labels": "targets (3,) labels, weighted)",
        "probabilities": "targets (3,) probabilities, weighted)",
    }[kind])  # fmt: skip


def test_weights_are_a_copy():
    given = np.ones(6)
    data = Dataset(X, NAMES, sample_weight=given)
    given[0] = 9
    assert data.sample_weight.tolist() == [1] * 6
    assert Dataset(X, NAMES).sample_weight is None


def test_classes_are_numbered_by_other_values():
    data = WHOLE["classes"]
    other = data.encoded(["eel", "fox", "dog", "cat"])
    assert other.labels.tolist() == [0, 3, 2, 3, 0, 3]
    assert other.classes_.tolist() == ["eel", "fox", "dog", "cat"]
    assert other.features is data.features
    assert other.sample_weight is data.sample_weight
    assert data.encoded(["cat", "dog", "eel"]) is data
    plain = Dataset(X, [1, 2, 1, 2, 1, 2], classes=3)
    assert plain.encoded(np.arange(3)) is plain
    assert plain.encoded([2, 1]).labels.tolist() == [1, 0, 1, 0, 1, 0], "the class 0 has no row"
    assert Dataset(X, [False, True] * 3).encoded([0, 1]).labels.tolist() == [0, 1] * 3
    assert WHOLE["labels"].encoded([3, 4]) is WHOLE["labels"]
    with pytest.raises(ValueError, match=r"pond has the class 'dog' in row 2; the classes are 'cat', 'eel'$"):
        data.encoded(["cat", "eel"], "pond")
    with pytest.raises(ValueError, match=r"has the class 1 in row 0; the classes are 'cat', 'eel'$"):
        plain.encoded(["cat", "eel"])


def test_targets_can_be_taken_for_another_kind():
    data = Dataset(X, [1.0, 2, 3, 1, 2, 3], sample_weight=WEIGHTS)
    assert data.as_kind("numbers") is data
    classes = data.as_kind("classes")
    assert classes.classes_.tolist() == [1, 2, 3]
    assert classes.sample_weight is data.sample_weight
    assert classes.as_kind("numbers").targets.tolist() == [1, 2, 3, 1, 2, 3]
    assert Dataset(X, [True, False] * 3).as_kind("labels").targets.tolist() == [[1], [0]] * 3
    with pytest.raises(ValueError, match=r"targets has 0\.5 in row 0; classes are whole numbers"):
        Dataset(X, [0.5] * 6).as_kind("classes")


def test_a_class_for_nearly_every_row_is_said():
    prices = np.arange(60) + 100
    x = np.zeros((60, 2), np.float32)
    with pytest.warns(
        UserWarning, match=r"60 distinct values in 60 rows, each of them a class; kind=\"numbers\" takes"
    ):
        Dataset(x, prices)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Dataset(x, prices, kind="numbers")
        Dataset(x, prices % 30 + 1)


def test_a_long_name_does_not_make_the_others_long():
    """As one array of strings a million characters in a row would take 4 MB for each of the others."""
    rows = ["a", "b" * 1_000_000, *["a"] * 998]
    x, y = np.zeros((1000, 1), np.float32), np.array(rows, object)
    assert Dataset(x, y).labels.tolist() == [0, 1, *[0] * 998]
    assert peak_memory(Dataset, x, y) < 50e6  # two class values of 4 MB, and copies of them


TYPES = [*"?bBhHiIlLqQefdg", ">i2", ">u4", ">f2", ">f4", ">f8"]


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(
    "layout", ["as it is", "fortran", "strided", "reversed", "read-only", "unaligned", "broadcast"]
)
def test_features_of_every_type_and_layout(dtype, layout):
    """Converted once, exactly: to float32 up to 16 bits, else to float64; the three kept types stay."""
    x = (np.arange(24).reshape(6, 4) % 2).astype(dtype)
    x = {
        "as it is": lambda: x,
        "fortran": lambda: np.asfortranarray(x),
        "strided": lambda: np.repeat(np.repeat(x, 2, axis=0), 3, axis=1)[::2, ::3],
        "reversed": lambda: x[::-1, ::-1],
        "read-only": lambda: np.frombuffer(x.tobytes(), x.dtype).reshape(x.shape),
        "unaligned": lambda: np.frombuffer(b"\0" + x.tobytes(), x.dtype, offset=1).reshape(x.shape),
        "broadcast": lambda: np.broadcast_to(x[0], (6, 4)),
    }[layout]()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of bytes that are not bright
        data = Dataset(x, NAMES)
    native = x.dtype.newbyteorder("=")
    kept = native if native in ("u1", "f4", "f8") else np.dtype("f4" if x.dtype.itemsize < 3 else "f8")
    assert data.features.dtype == kept
    assert data.features.dtype.isnative
    assert np.array_equal(data.features, x.astype(kept))
    assert data.features.flags.c_contiguous
    assert data.features.flags.aligned
    assert (data.features is x) == (x.dtype == kept and x.flags.c_contiguous and x.flags.aligned)
    assert fm.Predictor(fm.nn.MLP(4, (3,), 3), scale=1)(x).shape == (6, 3)


def test_maps_of_a_kept_type_are_gathered_as_they_are_and_others_converted_once(tmp_path):
    for dtype, kept in (("f4", True), ("u1", True), ("i2", False), (">f4", False)):
        path = tmp_path / f"{dtype[-2:]}{kept}"
        (np.arange(24).reshape(6, 4) * 10).astype(dtype).tofile(path)
        mapped = np.memmap(path, dtype, "r", shape=(6, 4))
        data = Dataset(mapped, NAMES)
        assert (data.features is mapped) == kept
        assert np.shares_memory(data.features, mapped) == kept
        assert np.array_equal(data.features, mapped)
