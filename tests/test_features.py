"""What features are multiplied by, which types are taken, numbers that a model cannot hold, advice on their size."""

import warnings

import numpy as np
import pytest
from idx_files import idx_bytes
from trainings import bits

import fastmlp as fm
from fastmlp.data import Dataset, load
from fastmlp.data.features import SCALES

FLAGS = np.array([[0, 0], [0, 1], [1, 0], [1, 1]] * 5, np.uint8)
XOR = (FLAGS[:, 0] ^ FLAGS[:, 1]).astype(np.int64)
PIXELS = np.random.default_rng(0).integers(0, 256, (20, 2)).astype(np.uint8)


def quiet(make):
    """What `make()` gives, which must not warn."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return make()


class Own(fm.nn.Sequential):
    """A class of one's own, which runs on the graph."""

    def forward(self, x: fm.Tensor) -> fm.Tensor:
        return super().forward(x)


def trained(data: Dataset, net: str = "engine") -> list[bytes]:
    """The weights after two epochs on the engine, or node by node on the graph."""
    fm.manual_seed(0)
    model = fm.nn.MLP(data.n_features, (5,), 2)
    model = Own(*model) if net == "graph" else model
    fm.fit(model, data, epochs=2, batch_size=4, progress=False)
    return list(bits(model).values())


# --- the scale of bytes ----------------------------------------------------------------------------------------------


def test_bytes_that_are_not_bright_warn_and_say_the_way_on():
    with pytest.warns(UserWarning, match=r"Dataset: features are uint8 and the largest byte is 1; .*1/255: scale=1 "):
        assert Dataset(FLAGS, XOR).scale == 1 / 255
    with pytest.warns(UserWarning, match="the largest byte is 31"):
        Dataset(FLAGS * 31, XOR)


@pytest.mark.parametrize(
    ("x", "scale", "expected"),
    [
        (PIXELS, None, 1 / 255),
        (FLAGS * 32, None, 1 / 255),
        (FLAGS * 0, None, 1 / 255),  # there is nothing to scale
        (FLAGS, 1, 1.0),
        (FLAGS, 1 / 255, 1 / 255),
        (FLAGS.astype(np.float32), None, 1.0),
        (FLAGS.astype(bool), None, 1.0),
        (FLAGS.astype(np.int64), None, 1.0),
        (PIXELS.astype(np.float64), 1 / 255, 1 / 255),
    ],
)
def test_no_warning_where_bytes_are_bright_or_somebody_said_what_they_are(x, scale, expected):
    data = quiet(lambda: Dataset(x, XOR, scale=scale))
    assert data.scale == expected
    for part in (data[:3], data[[1, 0]], *data.split(4)):
        assert part.scale == expected


def test_the_search_for_a_bright_byte_ends_where_there_is_one():
    """A memory map larger than memory is not read for it: what follows the first bright piece is not touched."""

    class Pieces(np.ndarray):
        seen = 0

        def max(self, *arguments, **options):
            Pieces.seen += self.size
            return super().max(*arguments, **options)

    from fastmlp.data import features, mapped

    features.warn_of_small_bytes(np.full((1000, 1000), 40, np.uint8).view(Pieces), "x")
    assert Pieces.seen == mapped.PIECE


@pytest.mark.parametrize("net", ["engine", "graph"])
def test_flags_as_bytes_train_as_the_same_floats(net):
    assert trained(Dataset(FLAGS, XOR, scale=1), net) == trained(Dataset(FLAGS.astype(np.float32), XOR), net)
    assert trained(Dataset(FLAGS.astype(np.float32), XOR), net) == trained(Dataset(FLAGS > 0, XOR), net)


def test_the_control_flags_taken_for_brightness_train_otherwise():
    assert trained(Dataset(FLAGS, XOR, scale=1 / 255)) != trained(Dataset(FLAGS, XOR, scale=1))


@pytest.mark.parametrize("scale", [0, -1, np.nan, np.inf, 1e-50, 1e39, True, "1", [1]])
def test_a_scale_that_is_none_is_refused(scale):
    with pytest.raises(ValueError, match=r"Dataset: scale is .*; it must be a number above 0 that float32 can hold"):
        Dataset(FLAGS, XOR, scale=scale)
    with pytest.raises(ValueError, match="Predictor: scale is"):
        fm.Predictor(fm.nn.MLP(2, (), 2), scale=scale)


def test_the_repr_names_a_scale_that_is_not_that_of_the_type():
    assert repr(Dataset(FLAGS, XOR, scale=1)) == "Dataset(20 rows, features (2,) uint8 times 1, 2 classes)"
    assert "times" not in repr(Dataset(PIXELS, XOR))


def test_images_in_idx_files_are_pixels_however_dark(tmp_path):
    (tmp_path / "images-idx3-ubyte").write_bytes(idx_bytes(FLAGS.reshape(20, 2, 1)))
    (tmp_path / "labels-idx1-ubyte").write_bytes(idx_bytes(XOR.astype(np.uint8)))
    assert quiet(lambda: load(tmp_path))[0].scale == 1 / 255
    assert quiet(lambda: load(tmp_path, scale=1))[0].scale == 1


def test_bytes_in_an_npz_may_be_numbers(tmp_path):
    np.savez(tmp_path / "a.npz", x_train=FLAGS, y_train=XOR, x_test=FLAGS[:8], y_test=XOR[:8])
    with pytest.warns(UserWarning, match=r"load: the features of .*a\.npz array x_train are uint8"):
        load(tmp_path / "a.npz")
    train, test = quiet(lambda: load(tmp_path / "a.npz", scale=1))
    assert train.scale == test.scale == 1


def test_a_predictor_multiplies_as_a_data_set_of_the_same_scale():
    model = fm.nn.MLP(2, (5,), 2)
    rows = np.arange(len(PIXELS))
    for scale in (None, 1, 0.5):
        data, predictor = Dataset(PIXELS, XOR, scale=scale), fm.Predictor(model, scale=scale)
        expected = predictor.logits(data, rows)
        np.testing.assert_array_equal(predictor(PIXELS), expected)
        np.testing.assert_array_equal(predictor(PIXELS[3]), expected[3])  # one row has a way of its own
        np.testing.assert_array_equal(fm.predict(model, PIXELS, scale=scale), expected.argmax(axis=1))
    assert not np.array_equal(fm.Predictor(model, scale=1)(PIXELS), fm.Predictor(model)(PIXELS))


def test_training_and_validation_have_one_scale():
    with pytest.raises(ValueError, match=r"uint8 times 1, .* their features must agree"):
        fm.fit(fm.nn.MLP(2, (), 2), Dataset(PIXELS, XOR), validation=Dataset(PIXELS, XOR, scale=1), progress=False)


# --- types -----------------------------------------------------------------------------------------------------------

TAKEN = {
    "bool": "f4", "i1": "f4", "i2": "f4", "u2": "f4", "f2": "f4", ">i2": "f4", ">f2": "f4",
    "i4": "f8", "u4": "f8", "i8": "f8", "u8": "f8", ">i8": "f8", ">f4": "f4", ">f8": "f8",
}  # fmt: skip


@pytest.mark.parametrize("given", TAKEN)
def test_numbers_of_every_type_are_taken(given):
    """Up to 16 bits float32 has each of them, up to 53 float64 has."""
    x = np.array([[0, 1, 100], [127, 5, 1]]).astype(given)
    data = quiet(lambda: Dataset(x, [0, 1]))
    assert data.features.dtype == np.dtype(TAKEN[given])
    assert data.features.flags.carray
    np.testing.assert_array_equal(data.features, x)
    model = fm.nn.MLP(3, (), 2)
    np.testing.assert_array_equal(fm.Predictor(model)(x), fm.Predictor(model)(x.astype(np.float64)))
    np.testing.assert_array_equal(fm.predict(model, x[1]), fm.predict(model, x[1].astype(np.float64)))


def test_lists_of_whole_numbers_are_taken():
    assert Dataset([[0, 1], [1, 0]], [0, 1]).features.dtype == np.float64


@pytest.mark.parametrize(("given", "most"), [("i2", 2**15 - 1), ("u2", 2**16 - 1), ("i4", 2**31 - 1), ("i8", 2**53)])
def test_the_ends_of_whole_numbers_are_kept(given, most):
    assert int(Dataset(np.array([[most]], given), [0]).features[0, 0]) == most


# --- what is finite here and not in the model ------------------------------------------------------------------------


def far(value: float = 1e300) -> Dataset:
    x = np.random.default_rng(0).normal(size=(20, 2, 3))
    x[7, 1, 2] = value
    return Dataset(x, XOR)


REFUSED = r"(data|validation) has {} in row 7, column 5; the model is float32, which ends at 3\.4e\+38"


@pytest.mark.parametrize("value", [1e300, -1e39])
def test_a_float64_that_overflows_the_model_is_refused_by_name(value):
    model = fm.nn.MLP(6, (), 2)
    before = bits(model)
    words = REFUSED.format(str(value).replace("+", r"\+"))
    for call in (
        lambda: fm.fit(model, far(value), progress=False),
        lambda: fm.fit(model, far(0), validation=far(value), progress=False),
        lambda: fm.evaluate(model, far(value)),
    ):
        with pytest.raises(ValueError, match=words):
            call()
    assert bits(model) == before


def test_where_the_model_holds_it_or_the_row_is_left_out_it_is_taken():
    far()[:7].check_range("x", np.float32)
    far(3e38).check_range("x", np.float32)
    far().check_range("x", np.float64)
    fm.evaluate(fm.nn.MLP(6, (), 2).double(), far())


def test_targets_that_overflow_the_model_are_refused_too():
    data = Dataset(np.zeros((3, 2), np.float32), [[0.0, 1.0], [2.0, 1e39], [0.0, 0.0]])
    with pytest.raises(ValueError, match=r"fit: data.targets has 1e\+39 in row 1, column 1"):
        fm.fit(fm.nn.MLP(2, (), 2), data, loss=fm.nn.MSELoss(), progress=False)


# --- size ------------------------------------------------------------------------------------------------------------

NORMAL = np.random.default_rng(0).normal(size=(300, 4))


@pytest.mark.parametrize(
    ("x", "scale", "words"),
    [
        (NORMAL, None, ""),
        (np.abs(NORMAL) * 5, None, ""),
        (np.eye(300), None, ""),  # one-hot columns are 1 where they are
        (np.zeros((300, 4)), None, ""),
        (np.rint(np.abs(NORMAL) * 1000).clip(0, 255), None, "look like pixels, and Dataset(..., scale=1/255)"),
        (np.rint(np.abs(NORMAL) * 1000).clip(0, 255), 1 / 255, ""),
        (NORMAL * [1, 1, 1e5, 1] + [0, 0, 0, 1], None, "in column 2 (root mean square): bring each column to mean 0"),
        (NORMAL + np.array([0, 2000, 0, 0]), None, "2e+03 in column 1"),
        (NORMAL * 1e300, None, "large"),
        (NORMAL / 1000, None, "small, none above 0.00"),
    ],
)
def test_advice_on_features_whose_size_is_far_from_1(x, scale, words):
    line = Dataset(x, np.zeros(300, int), scale=scale).advice()
    assert (words in line) if words else line == ""
    assert "\n" not in line


def test_fit_says_it_in_a_line_before_the_first_epoch(capsys):
    data = Dataset(NORMAL * 1000, np.arange(300) % 2)
    fm.fit(fm.nn.MLP(4, (), 2), data, epochs=1, progress="table")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("features are large, ")
    assert sum("features are" in line for line in lines) == 1
    fm.fit(fm.nn.MLP(4, (), 2), data, epochs=1, progress=False)
    fm.fit(fm.nn.MLP(4, (), 2), Dataset(NORMAL, np.arange(300) % 2), epochs=1, progress="table")
    assert "features are" not in capsys.readouterr().out


def test_mnist_is_what_it_was():
    train, _ = fm.data.mnist()
    assert (train.scale, train.advice(), SCALES) == (1 / 255, "", {np.dtype(np.uint8): 1 / 255})


# --- targets belong to the set ---------------------------------------------------------------------------------------


def test_what_is_done_to_an_array_of_labels_later_does_not_reach_the_set(tmp_path):
    np.save(tmp_path / "y.npy", np.arange(6))
    for given in (np.arange(6), np.arange(6.0), np.arange(12.0).reshape(6, 2), np.load(tmp_path / "y.npy", "r+")):
        data, before = Dataset(np.zeros((6, 2), np.float32), given), given.copy()
        given[...] = -100
        np.testing.assert_array_equal(data.targets, before)
