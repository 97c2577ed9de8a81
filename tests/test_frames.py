"""Frames and series of pandas and polars: what a `Dataset` makes of their columns, what it refuses by name."""

import datetime
import decimal

import numpy as np
import pytest
from trainings import bits, mlp

import fastmlp as fm
from fastmlp.data import Dataset
from fastmlp.data.frames import library

WHY = "frames are tested with pandas and polars, of the extra test: pip install 'fastmlp[test]'"
pd = pytest.importorskip("pandas", reason=WHY)
pl = pytest.importorskip("polars", reason=WHY)

Y = [0, 1, 0, 2]
COLUMNS = {
    "a": np.array([1, -2, 3, 4], np.int16),
    "b": np.array([0.5, 2, -3, 4], np.float32),
    "c": np.array([True, False, True, True]),
    "d": np.array([7, 8, 9, 200], np.uint8),
}
EXACT = np.stack([column.astype(np.float64) for column in COLUMNS.values()], axis=1)


def of_pandas(columns):
    return pd.DataFrame(dict(columns), index=[7, 3, 3, 0])  # rows go by their place


def nullable(columns):
    """The nullable types of pandas, which have a gap for what is missing."""
    return of_pandas(columns).convert_dtypes()


def of_polars(columns):
    """In two chunks."""
    frame = pl.DataFrame(dict(columns))
    return pl.concat([frame[:1], frame[1:]], rechunk=False)


MAKERS = {"pandas": of_pandas, "nullable": nullable, "polars": of_polars}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
@pytest.mark.parametrize(
    ("names", "kept"),
    [
        ("abcd", "f4"),  # float32 has every number of all four
        ("d", "u1"),
        ("ad", "f4"),
        ("c", "f4"),
        ("abe", "f8"),  # e: int32
        ("f", "f8"),
        ("bf", "f8"),
        ("abg", "f4"),  # g: float16
    ],
)
def test_columns_become_one_type_that_has_their_numbers(make, names, kept):
    columns = COLUMNS | {
        "e": np.array([2**24 + 1, 0, 1, 2], np.int32),
        "f": np.array([0.1, 0.2, 0.3, 0.4]),
        "g": np.array([0.5, 1, 2, 3], np.float16),
    }
    if make is nullable and "g" in names:
        kept = "f8"  # pandas has no nullable type for float16, and makes Float64 of it
    columns = {name: columns[name] for name in names}
    data = Dataset(make(columns), Y, scale=1)
    assert data.features.dtype == kept
    assert data.features.flags.c_contiguous
    assert data.feature_names == tuple(names)
    assert np.array_equal(data.features, np.stack([c.astype(np.float64) for c in columns.values()], axis=1))
    assert data[1:3].feature_names == tuple(names)


def test_names_of_columns():
    frame = of_pandas(COLUMNS)
    assert Dataset(pd.DataFrame(EXACT), Y).feature_names is None, "0, 1, 2, 3 are nobody's names"
    assert Dataset(frame.set_axis([1, 2, 3, "d"], axis=1), Y).feature_names == ("1", "2", "3", "d")
    assert Dataset(frame.set_axis(list("aabb"), axis=1), Y).feature_names == ("a", "a", "b", "b")
    two = pd.concat({"left": frame[["a"]], "right": frame[["a"]]}, axis=1)
    assert Dataset(two, Y).feature_names == ("left/a", "right/a")


def test_objects_that_are_numbers_or_booleans_are_those():
    """As pandas has the columns of a table that was transposed, and of rows that were applied to."""
    data = Dataset(of_pandas(COLUMNS).astype(object), Y)
    assert np.array_equal(data.features, EXACT)


def test_a_sparse_column_is_made_dense():
    frame = pd.DataFrame({"a": pd.arrays.SparseArray([0.0, 0, 1, 0])})
    assert Dataset(frame, Y).features.ravel().tolist() == [0, 0, 1, 0]


def with_column(make, values, **options):
    if make is of_polars:
        return pl.DataFrame(COLUMNS).with_columns(pl.Series("x", values, **options))
    return (
        of_pandas(COLUMNS).assign(x=pd.Series(values, index=[7, 3, 3, 0], **options).to_numpy())
        if not options
        else (of_pandas(COLUMNS).reset_index(drop=True).assign(x=pd.Series(values, **options)))
    )


DAY = datetime.date(2024, 2, 29)
BAD_COLUMNS = {
    "pandas, strings": (of_pandas, list("uvwx"), {}, "has the column 'x' of the type"),
    "pandas, a string type": (of_pandas, list("uvwx"), {"dtype": "string"}, "the column 'x' of the type string"),
    "pandas, categories": (of_pandas, list("uvuu"), {"dtype": "category"}, "the column 'x' of the type category"),
    "pandas, categories that are numbers": (of_pandas, [1, 2, 1, 1], {"dtype": "category"}, "of the type category"),
    "pandas, dates": (of_pandas, [DAY] * 4, {"dtype": "datetime64[ns]"}, "of the type datetime64[ns]"),
    "pandas, dates as objects": (of_pandas, [DAY] * 4, {}, "the column 'x' of the type object"),
    "pandas, decimals": (of_pandas, [decimal.Decimal(1)] * 4, {}, "the column 'x' of the type object"),
    "pandas, complex": (of_pandas, [1j] * 4, {}, "the column 'x' of the type complex128"),
    "pandas, NaN": (of_pandas, [1, 2, np.nan, 3], {}, "has a missing value in row 2, column 'x'; fill it"),
    "pandas, NA": (of_pandas, [1, 2, None, 3], {"dtype": "Int64"}, "has a missing value in row 2, column 'x'"),
    "pandas, None among booleans": (of_pandas, [True, None, False, True], {}, "a missing value in row 1, column 'x'"),
    "pandas, NA among booleans": (of_pandas, [True, None, False, True], {"dtype": "boolean"}, "in row 1, column 'x'"),
    "pandas, infinite": (of_pandas, [1, 2, 3, np.inf], {}, "has inf in row 3, column 'x'; it must be finite"),
    "polars, strings": (of_polars, list("uvwx"), {}, "the column 'x' of the type String; it must be numbers"),
    "polars, categories": (of_polars, list("uvuu"), {"dtype": pl.Categorical}, "'x' of the type Categorical"),
    "polars, an enum": (of_polars, list("uvuu"), {"dtype": pl.Enum(["u", "v"])}, "the column 'x' of the type Enum"),
    "polars, dates": (of_polars, [DAY] * 4, {}, "the column 'x' of the type Date"),
    "polars, decimals": (of_polars, [decimal.Decimal(1)] * 4, {}, "the column 'x' of the type Decimal"),
    "polars, lists": (of_polars, [[1], [2], [3], [4]], {}, "the column 'x' of the type List"),
    "polars, arrays": (of_polars, [[1], [2], [3], [4]], {"dtype": pl.Array(pl.Int8, 1)}, "of the type Array"),
    "polars, nothing": (of_polars, [None] * 4, {}, "has a missing value in row 0, column 'x'"),
    "polars, null": (of_polars, [1, None, 3, 4], {}, "has a missing value in row 1, column 'x'"),
    "polars, null among booleans": (of_polars, [True, None, False, True], {}, "missing value in row 1, column 'x'"),
    "polars, NaN": (of_polars, [1.0, 2.0, 3.0, float("nan")], {}, "has a missing value in row 3, column 'x'"),
    "polars, infinite": (of_polars, [1.0, 2.0, 3.0, float("-inf")], {}, "has -inf in row 3, column 'x'"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_COLUMNS)
def test_a_column_that_is_no_feature_is_refused_by_name(case):
    make, values, options, words = BAD_COLUMNS[case]
    with pytest.raises(ValueError) as caught:
        Dataset(with_column(make, values, **options), Y)
    assert str(caught.value).startswith("Dataset: features ")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_no_table_of_rows_is_refused():
    frame = of_polars(COLUMNS)
    with pytest.raises(ValueError, match=r"features is a LazyFrame; it must be a frame, as collect\(\) gives"):
        Dataset(frame.lazy(), Y)
    for column in (frame["a"], of_pandas(COLUMNS)["a"]):
        with pytest.raises(ValueError, match=r"features has the shape \(4,\); it must be \(N, \.\.\.\)"):
            Dataset(column, Y)
    with pytest.raises(ValueError, match=r"features has the shape \(4, 0\); it must not be empty"):
        Dataset(of_pandas(COLUMNS)[[]], Y)


TEXTS = ["eel", "cat", "eel", "dog"]
ORDERED = pd.CategoricalDtype(["eel", "dog", "cat", "fox"])
SORTED, DECLARED = ["cat", "dog", "eel"], list(ORDERED.categories)
TARGETS = {  # name -> (targets, arguments, kind, targets as kept, classes_ or names of the columns)
    "pandas, strings": (lambda: pd.Series(TEXTS, index=[3, 3, 1, 0]), {}, "classes", [2, 0, 2, 1], SORTED),
    "pandas, string type": (lambda: pd.Series(TEXTS, dtype="string"), {}, "classes", [2, 0, 2, 1], SORTED),
    "pandas, categories": (lambda: pd.Series(TEXTS, dtype=ORDERED), {}, "classes", [0, 2, 0, 1], DECLARED),
    "pandas, a categorical": (lambda: pd.Categorical(TEXTS), {}, "classes", [2, 0, 2, 1], SORTED),
    "pandas, an index": (lambda: pd.Index(TEXTS), {}, "classes", [2, 0, 2, 1], SORTED),
    "pandas, categories that are numbers": (lambda: pd.Series([3, 5, 3, 5], dtype="category"), {}, "classes",
                                            [0, 1, 0, 1], [3, 5]),
    "pandas, categories as numbers": (lambda: pd.Series([3, 5, 3, 5], dtype="category"), {"kind": "numbers"}, "numbers",
                                      [3, 5, 3, 5], None),
    "pandas, Int64": (lambda: pd.Series([1, 2, 1, 3], dtype="Int64"), {}, "classes", [0, 1, 0, 2], [1, 2, 3]),
    "pandas, boolean": (lambda: pd.Series([True, False] * 2, dtype="boolean"), {}, "classes", [1, 0] * 2,
                        [False, True]),
    "pandas, floats": (lambda: pd.Series([0.5, 1, 2, 3], name="price"), {}, "numbers", [0.5, 1, 2, 3], ("price",)),
    "pandas, columns": (lambda: of_pandas(COLUMNS)[["b", "a"]], {}, "numbers", EXACT[:, [1, 0]], ("b", "a")),
    "pandas, labels": (lambda: pd.DataFrame({"red": [True, False] * 2, "big": [0, 1, 1, 1]}), {}, "labels",
                       [[1, 0], [0, 1], [1, 1], [0, 1]], ("red", "big")),
    "pandas, probabilities": (lambda: pd.DataFrame({"no": [0.5, 1, 0, 0], "yes": [0.5, 0, 1, 1]}),
                              {"kind": "probabilities"}, "probabilities", [[0.5, 0.5], [1, 0], [0, 1], [0, 1]],
                              ["no", "yes"]),
    "polars, strings": (lambda: pl.Series(TEXTS), {}, "classes", [2, 0, 2, 1], SORTED),
    "polars, an enum": (lambda: pl.Series(TEXTS, dtype=pl.Enum(DECLARED)), {}, "classes", [0, 2, 0, 1],
                        DECLARED),
    "polars, categories": (lambda: pl.Series(TEXTS, dtype=pl.Categorical), {}, "classes", [2, 0, 2, 1],
                           SORTED),
    "polars, booleans": (lambda: pl.Series([True, False] * 2), {}, "classes", [1, 0, 1, 0], [False, True]),
    "polars, floats": (lambda: pl.Series("price", [0.5, 1, 2, 3]), {}, "numbers", [0.5, 1, 2, 3], ("price",)),
    "polars, labels": (lambda: pl.DataFrame({"red": [True, False] * 2, "big": [False, True, True, True]}), {}, "labels",
                       [[1, 0], [0, 1], [1, 1], [0, 1]], ("red", "big")),
}  # fmt: skip


@pytest.mark.parametrize("case", TARGETS)
def test_series_and_frames_as_targets(case):
    make, arguments, kind, kept, named = TARGETS[case]
    data = Dataset(EXACT, make(), **arguments)
    assert (data.kind, data.targets.tolist()) == (kind, np.asarray(kept).tolist())
    if isinstance(named, list):
        assert data.classes_.tolist() == named
    else:
        assert (data.classes_, data.target_names) == (None, named)


@pytest.mark.parametrize("make", [pd.Series, pl.Series], ids=["pandas", "polars"])
@pytest.mark.parametrize("values", [["a", None, "b", "a"], [1, None, 2, 3], [True, None, False, True]])
def test_a_missing_target_is_refused_by_its_row(make, values):
    with pytest.raises(
        ValueError, match="Dataset: targets has a missing value in row 1; fill it, or leave the row out"
    ):
        Dataset(EXACT, make(values))


def test_targets_that_are_refused():
    frame = of_pandas(COLUMNS)
    with pytest.raises(ValueError, match=r"targets has the shape \(4, 1\); .*: targets\['a'\], or kind=\"labels\""):
        Dataset(EXACT, frame[["a"]])
    with pytest.raises(ValueError, match="targets has the type datetime64"):
        Dataset(EXACT, pd.Series([DAY] * 4, dtype="datetime64[ns]"))
    with pytest.raises(ValueError, match="targets holds objects of the type Interval"):
        Dataset(EXACT, pd.cut(frame["a"], 2))
    with pytest.raises(ValueError, match="sample_weight has a missing value in row 3"):
        Dataset(EXACT, Y, sample_weight=pd.Series([1, 1, 1, np.nan]))
    assert Dataset(EXACT, Y, sample_weight=pl.Series([1, 2, 3, 4])).sample_weight.tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame], ids=["pandas", "polars"])
def test_a_training_on_a_frame_is_that_on_its_array(make):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 8)).astype(np.float32), np.array(["u", "v", "w"])[rng.integers(0, 3, 60)]
    frame = make({f"column {k}": x[:, k] for k in range(8)})
    trained = []
    for features in (x, frame):
        model = mlp()
        fm.fit(model, Dataset(features, y), validation=Dataset(features[:9], y[:9]), epochs=2, progress=False)
        trained.append(
            (bits(model), fm.predict(model, features).tolist(), fm.evaluate(model, Dataset(features, y)).loss)
        )
    assert trained[0] == trained[1]
    assert np.array_equal(fm.Predictor(model)(frame), fm.Predictor(model)(x))


def test_columns_in_another_order_are_refused_as_validation():
    frame = of_pandas(COLUMNS)
    other = frame[["a", "b", "d", "c"]]
    with pytest.raises(ValueError, match="fit: column 2 of data is 'c', of validation 'd'; they must be the same"):
        fm.fit(fm.nn.MLP(4, (3,), 3), Dataset(frame, Y), validation=Dataset(other, Y), progress=False)


def test_a_column_that_is_far_from_1_is_called_by_its_name():
    frame = of_pandas(COLUMNS | {"income": np.array([3e4, 5e4, 1e4, 2e4])})
    assert "features are large, 3.12e+04 in column 'income'" in Dataset(frame, Y).advice()
    data = Dataset(of_pandas(COLUMNS | {"income": np.array([3e4, 5e40, 1e4, 2e4])}), Y)
    with pytest.raises(ValueError, match=r"fit: data has 5e\+40 in row 1, column 'income'; the model is float32"):
        fm.fit(fm.nn.MLP(5, (3,), 3), data, progress=False)


def test_whose_frame_it_is_is_known_by_its_class():
    class Own(pd.DataFrame):
        """A class of one's own, as geopandas has one."""

    things = {
        "pandas": [of_pandas(COLUMNS), Own(of_pandas(COLUMNS)), of_pandas(COLUMNS)["a"], pd.Index([1]), pd.array([1])],
        "polars": [of_polars(COLUMNS), of_polars(COLUMNS)["a"], of_polars(COLUMNS).lazy()],
        "": [EXACT, [1], "pandas", pd, None],
    }
    for name, given in things.items():
        assert [library(thing) for thing in given] == [name] * len(given)


def test_a_category_that_is_a_number_is_one_whoever_has_read_it(tmp_path):
    """pandas writes a column of whole numbers with gaps as 1.0; a frame has 1; codes such as 007 stay what they are."""
    codes = pd.DataFrame({"code": [1.0, 2.0, np.nan, 3.0], "y": [0.0, 1, 2, 3]})
    codes.to_csv(tmp_path / "gaps.csv", index=False)
    whole = codes.assign(code=[1, 2, 2, 3])
    whole.to_csv(tmp_path / "whole.csv", index=False)
    for name in ("gaps", "whole"):
        train, _ = fm.data.table(tmp_path / f"{name}.csv", target="y", categorical=["code"])
        encoding = train.encoding
        assert encoding.columns[0].values == ("1", "2", "3")
        one = encoding.dataset(whole.assign(code=[1, 2, 3, 3])).features
        for same in ([1.0, 2.0, 3.0, 3.0], ["1.0", "2", "3.00", "3e0"]):
            assert (encoding.dataset(whole.assign(code=same)).features == one).all()
            assert (encoding.dataset(pl.DataFrame({"code": same, "y": [0] * 4})).features == one).all()
    (tmp_path / "zero.csv").write_text("code,y\n007,1\n7,2\n08,3\n1e-05,4\n")
    train, _ = fm.data.table(tmp_path / "zero.csv", target="y", categorical=["code"])
    assert train.encoding.columns[0].values == ("007", "08", "1e-05", "7")
    found = train.encoding.dataset(pl.DataFrame({"code": ["7", "007", "8", "0.00001"], "y": [0] * 4})).features
    assert found[:, :4].argmax(axis=1).tolist() == [3, 0, 1, 2]
    with pytest.warns(UserWarning, match=r"code has '7\.0' in 1 row"):  # two are 7: nobody can say which
        train.encoding.dataset(pl.DataFrame({"code": ["7.0"], "y": [0]}))
