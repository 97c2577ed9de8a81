"""`fastmlp.data.Dataset`: what it keeps, refuses and gives."""

import mmap

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from idx_files import classes, images, peak_memory

from fastmlp.data import Dataset

# ---------------------------------------------------------------- Dataset


@pytest.mark.parametrize("dtype", ["u1", "f4", "f8"])
def test_dataset_keeps_the_array(dtype):
    x = images(6).astype(dtype)
    dataset = Dataset(x, classes(6), name="six")
    assert dataset.features is x
    assert dataset.name == "six"
    assert dataset.classes == 3
    assert dataset.labels.dtype == np.int64
    assert dataset.labels.flags.c_contiguous
    assert len(dataset) == 6
    assert dataset.n_features == 6
    assert dataset.rows.shape == (6, 6)
    assert np.shares_memory(dataset.rows, x)
    np.testing.assert_array_equal(dataset.rows[1], x[1].ravel())
    assert dataset.scale == (1 / 255 if dtype == "u1" else 1.0)
    assert repr(dataset) == f"Dataset(6 rows, features (3, 2) {np.dtype(dtype)}, 3 classes)"


def test_dataset_straightens_arrays_it_cannot_keep():
    x = images(6, (4,)).astype("f8")
    unaligned = np.frombuffer(b"\0" + x.tobytes(), dtype="f8", offset=1).reshape(x.shape)
    assert not unaligned.flags.aligned
    for odd in (np.asfortranarray(x), np.repeat(x, 2, axis=0)[::2], x.astype(">f8"), unaligned, x.tolist()):
        dataset = Dataset(odd, classes(6).tolist(), classes=7)
        assert dataset.features.dtype == np.float64
        assert dataset.features.dtype.isnative
        assert dataset.features.flags.c_contiguous
        assert dataset.features.flags.aligned
        np.testing.assert_array_equal(dataset.features, x)
        assert dataset.classes == 7


@pytest.mark.parametrize("dtype", ["i1", "u1", ">i2", "u4", "i8", "u8"])
def test_labels_of_every_integer_type(dtype):
    labels = np.repeat(classes(6), 2).astype(dtype)[::2]
    dataset = Dataset(images(6), labels)
    assert dataset.labels.dtype == np.int64
    assert dataset.labels.flags.c_contiguous
    assert dataset.labels.tolist() == [0, 1, 2, 0, 1, 2]


@pytest.mark.parametrize("shape", [(4,), (4, 1), (4, 3)])
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f4"])
def test_floats_are_numbers_to_be_met(shape, dtype):
    numbers = np.arange(np.prod(shape)).reshape(shape).astype(dtype) - 1
    data = Dataset(ARRAY, numbers)
    assert (data.kind, data.classes, data.targets.dtype) == ("numbers", 0, np.float64)
    assert np.array_equal(data.targets, numbers)
    assert np.array_equal(data[1:3].targets, numbers[1:3])
    assert np.array_equal(data[2][1], numbers[2])
    with pytest.raises(ValueError, match="Dataset: the targets are numbers; labels are for classes"):
        data.labels  # noqa: B018
    assert Dataset(ARRAY, classes(4)).kind == "classes"


def test_memory_map_stays_one(tmp_path):
    path = tmp_path / "x.npy"
    np.save(path, images(8).astype("f4"))
    x = np.load(path, mmap_mode="r")
    dataset = Dataset(x, classes(8))
    for kept in (dataset.features, dataset.rows, dataset[2:5].features):
        assert isinstance(kept, np.memmap)
        assert np.shares_memory(kept, x)
    rest, held = dataset.split(2)
    np.testing.assert_array_equal(rest.features[0], x[dataset.split_rows(2)[0][0]])
    assert not np.shares_memory(held.features, x)


def test_dataset_takes_no_memory_of_the_size_of_the_set():
    x, y = np.zeros((100_000, 200), dtype=np.float32), np.zeros(100_000, dtype=np.int64)  # 80 MB
    assert peak_memory(Dataset, x, y) < 2e6  # the search for NaN in pieces of 1/4 MB, no other temporary


ARRAY = images(4)
BAD_DATASETS = [
    (ARRAY, classes(5), None, ("features has 4 rows", "targets has 5")),
    (ARRAY[:0], classes(0), None, ("features has the shape (0, 3, 2)", "empty")),
    (np.zeros((3, 0), "f4"), classes(3), None, ("(3, 0)", "empty")),
    (np.uint8(3), classes(4), None, ("features has the shape ()", "(N, ...)")),
    (ARRAY[:, 0, 0], classes(4), None, ("features has the shape (4,)", "(N, ...)")),
    (ARRAY.astype("c8"), classes(4), None, ("features has the type complex64", "uint8, float32 or float64")),
    (ARRAY.astype("m8[s]"), classes(4), None, ("features has the type timedelta64[s]",)),
    (ARRAY.astype("U3"), classes(4), None, ("features has the type <U3",)),
    (ARRAY.astype(object), classes(4), None, ("features has the type object",)),
    (np.ma.masked_equal(ARRAY, 3), classes(4), None, ("features is a masked array",)),
    (ARRAY, np.ma.masked_equal(classes(4), 1), None, ("targets is a masked array",)),
    ([[1.0, 2.0], [3.0]], classes(2), None, ("features is a list", "its rows are uneven")),
    (ARRAY, classes(4).astype("f8"), 4, ("classes is 4", "targets has the type float64", "integers")),
    (ARRAY, classes(4).astype("c8"), None, ("targets has the type complex64", "integer")),
    (ARRAY, np.array([0, 1, np.nan, 2]), None, ("targets has nan in row 2", "finite")),
    (ARRAY, np.array([[0, 1], [0, np.inf], [1, 2], [1, 2]], "f4"), None, ("inf] in row 1", "finite")),
    (ARRAY, np.zeros((4, 0)), None, ("targets has the shape (4, 0)", "floats (N, T)")),
    (ARRAY, np.zeros((4, 2, 1)), None, ("targets has the shape (4, 2, 1)", "floats (N, T)")),
    (ARRAY, classes(4)[:, None], None, ("targets has the shape (4, 1)", "(N,)")),
    (ARRAY, np.uint8(1), None, ("targets has the shape ()", "(N,)")),
    (ARRAY, [0, 1, 3, 2], 3, ("targets has the label 3 in row 2", "0..2")),
    (ARRAY, [0, -4, 3, -2], 4, ("targets has the label -4 in row 1", "0..3")),
    (ARRAY, np.array([0, 0, 0, 2**64 - 1], "u8"), None, ("label 18446744073709551615 in row 3",)),
    (ARRAY, np.array([0, 0, 2**64 - 9, 0], "u8"), 5, ("in row 2", "0..4")),
    (ARRAY, classes(4), 0, ("classes is 0",)),
    (ARRAY, classes(4), -3, ("classes is -3",)),
]


@pytest.mark.parametrize(("x", "y", "k", "words"), BAD_DATASETS)
def test_dataset_refuses(x, y, k, words):
    with pytest.raises(ValueError) as caught:
        Dataset(x, y, classes=k)
    for word in ("Dataset: ", *words):
        assert word in str(caught.value)


@pytest.mark.parametrize("k", [3.0, "3", True])
def test_classes_must_be_an_integer(k):
    with pytest.raises(TypeError, match=r"classes is .*must be an integer"):
        Dataset(ARRAY, classes(4), classes=k)
    assert Dataset(ARRAY, classes(4), classes=np.int32(3)).classes == 3


@given(
    st.sampled_from(["f4", "f8"]),
    st.sampled_from([np.nan, np.inf, -np.inf]),
    st.integers(0, 999),
    st.integers(0, 1199),
)
@settings(deadline=None, max_examples=20)
def test_nan_is_found_wherever_it_is(dtype, value, row, column):
    x = np.zeros((1000, 30, 40), dtype=dtype)  # more than one piece of the search
    x[row, column // 40, column % 40] = value
    x[-1, -1, -1] = np.nan  # the first is named
    with pytest.raises(ValueError, match=f"has {value} in row {row}, column {column}; it must be finite"):
        Dataset(x, np.zeros(1000, dtype=int))


def test_getitem():
    x, y = images(7), np.array([0, 1, 2, 0, 1, 0, 0])
    dataset = Dataset(x, y, classes=5, name="seven")
    for index in (3, -1, np.int64(2), np.uint8(0)):
        row, label = dataset[index]
        np.testing.assert_array_equal(row, x[index])
        assert label == y[index]
        assert type(label) is int
    mask = np.array([True, False, False, True, True, False, False])
    for index in (
        slice(1, 4),
        slice(None, None, -2),
        [4, 0, 4],
        np.array([1, -1], "i2"),
        mask,
        mask.tolist(),
    ):
        part = dataset[index]
        index = np.asarray(index) if isinstance(index, list) else index
        np.testing.assert_array_equal(part.features, x[index])
        np.testing.assert_array_equal(part.labels, y[index])
        assert part.classes == 5
        assert part.name == "seven"
        assert part.features.flags.c_contiguous
        assert part.labels.flags.c_contiguous
    assert np.shares_memory(dataset[2:5].features, x)
    assert len(list(dataset)) == 7


@pytest.mark.parametrize(
    ("index", "error", "words"),
    [
        (7, IndexError, "row 7 .* -7..6"),
        (-8, IndexError, "row -8"),
        ([0, 9], IndexError, "row 9"),
        (np.array([1, -8]), IndexError, "row -8"),
        (np.ones(6, bool), IndexError, "mask has 6 entries; it must have 7"),
        (slice(3, 3), ValueError, "selects 0 of 7 rows"),
        ([], ValueError, "selects 0 of 7 rows"),
        (np.zeros(7, bool), ValueError, "selects 0 of 7 rows"),
        ((1, 2), TypeError, "tuple"),
        ([0.0, 1.0], TypeError, "row numbers"),
        (True, TypeError, "index is True"),
        ("a", TypeError, "index is 'a'"),
        (np.zeros((2, 2), int), TypeError, "row numbers"),
    ],
)
def test_getitem_refuses(index, error, words):
    with pytest.raises(error, match=words):
        Dataset(images(7), classes(7))[index]


@given(st.integers(2, 300), st.floats(0.001, 0.999), st.integers(0, 2**32))
@settings(deadline=None, max_examples=60)
def test_split_is_a_partition_and_repeats(n, fraction, seed):
    x = np.arange(n, dtype=np.float32)[:, None]  # every row knows its number
    dataset = Dataset(x, np.arange(n) % 7, classes=9)
    for held_out in (fraction, 1 + int(fraction * (n - 1))):
        rest, held = dataset.split(held_out, seed)
        expected = held_out if isinstance(held_out, int) else min(max(round(held_out * n), 1), n - 1)
        assert len(held) == expected
        assert len(rest) == n - expected
        numbers = [part.features[:, 0] for part in (rest, held)]
        assert sorted(np.concatenate(numbers).tolist()) == x[:, 0].tolist()
        for part, number in zip((rest, held), numbers, strict=True):
            assert (np.diff(number) > 0).all()
            np.testing.assert_array_equal(part.labels, number.astype(int) % 7)
            assert part.classes == 9
        again = dataset.split(held_out, seed)[1]
        np.testing.assert_array_equal(again.features, held.features)


def test_split_follows_the_documented_rule():
    dataset = Dataset(images(100), classes(100))
    rest, held = dataset.split_rows(0.3, seed=5)
    order = np.random.default_rng(5).permutation(100)
    assert held.tolist() == sorted(order[:30])
    assert rest.tolist() == sorted(order[30:])
    assert dataset.split_rows(30, seed=6)[1].tolist() != held.tolist()
    assert dataset.split_rows(np.int64(30), seed=5)[1].tolist() == held.tolist()
    assert dataset.split_rows(30)[1].tolist() == dataset.split_rows(30, seed=0)[1].tolist()


@pytest.mark.parametrize(
    ("held_out", "error", "words"),
    [
        (0, ValueError, "0 rows; it must be in 1..4"),
        (5, ValueError, "5 rows; it must be in 1..4"),
        (-1, ValueError, "-1 rows"),
        (0.0, ValueError, "between 0 and 1"),
        (1.0, ValueError, "held_out is 1.0"),
        (float("nan"), ValueError, "held_out is nan"),
        (True, TypeError, "held_out is True"),
        ("0.1", TypeError, "held_out is '0.1'"),
        (None, TypeError, "held_out is None"),
    ],
)
def test_split_refuses(held_out, error, words):
    with pytest.raises(error, match=words):
        Dataset(images(5), classes(5)).split(held_out)
    with pytest.raises(ValueError, match="has 1 row; it must have at least 2"):
        Dataset(images(1), classes(1)).split(0.5)


def test_a_memory_map_can_be_told_that_its_rows_come_in_no_order(tmp_path, monkeypatch):
    """The map below a Dataset gets the advice, through views; an array in memory needs none."""
    if not hasattr(mmap, "MADV_RANDOM"):
        pytest.skip("this system takes no advice for memory maps")
    np.save(tmp_path / "x.npy", np.zeros((50, 3), np.uint8))
    seen = []

    class Map(mmap.mmap):
        def madvise(self, option, *rest):
            seen.append(option)
            return super().madvise(option, *rest)

    monkeypatch.setattr(mmap, "mmap", Map)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    Dataset(mapped[10:], np.zeros(40, np.int64)).expect_shuffled_reads()
    assert seen == [mmap.MADV_RANDOM]
    Dataset(np.zeros((5, 3), np.uint8), np.zeros(5, np.int64)).expect_shuffled_reads()
    assert seen == [mmap.MADV_RANDOM]
