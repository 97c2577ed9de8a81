"""Tables as they come from elsewhere: the same table with pandas and with polars, or one sentence."""

import numpy as np
import pandas
import polars
import pytest

from fastmlp.data import columns, table

LIBRARIES = ("pandas", "polars")


@pytest.fixture(params=LIBRARIES)
def by(request, monkeypatch):
    """One of the libraries is to be found."""
    find = columns.find_spec
    monkeypatch.setattr(columns, "find_spec", lambda name: find(name) if name == request.param else None)


@pytest.mark.parametrize(
    ("text", "names", "first"),
    [
        ("a, b ,y\n 1, 2 ,u\n 3,4 ,v\n", ("a", " b "), [-1, -1]),  # spaces around numbers
        ("a,y\n+1,u\n+2,v\n", ("a",), [-1]),
        ("a,y\n true,u\nfalse ,v\n", ("a",), [1]),
        ("a,b,y\n1,2,u\n\n3,4,v\n\n", ("a", "b"), [-1, -1]),  # lines without a value
        ("a,y\n1,u\n99999999999999999999999,v\n", ("a",), [-1]),  # beyond int64: Int128 of polars
        ("\ufeffa,b,y\n1,2,u\n2,3,v\n", ("a", "b"), [-1, -1]),
        ('a,b,y\n1,"x\nz",u\n2,w,v\n', ("a", "b=w", "b=x\nz"), [-1, 0, 1]),
        ('"a","b;c","y"\n1,2,u\n3,4,v\n', ("a", "b;c"), [-1, -1]),
        ("a,y\n0x10,u\n0x11,v\n", ("a=0x10", "a=0x11"), [1, 0]),
    ],
)
def test_a_csv_is_the_same_table(by, tmp_path, text, names, first):
    (path := tmp_path / "t.csv").write_text(text, "utf-8")
    train, _ = table(path, "y")
    assert (train.feature_names, len(train)) == (names, 2)
    np.testing.assert_allclose(train.features[0], first, atol=1e-6)  # float32


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a;y\n1,5;u\n2;v\n", "column a holds numbers as '1,5'; write them with a point and no other mark"),
        ('a,y\n"1,234",u\n12,v\n', "column a holds numbers as '1,234'; write them with a point"),
        ("a,y\n10%,u\n20 %,v\n", "column a holds numbers as '10%'; write them with a point"),
        (
            "a,y\n" + "".join(f"{n},u\n" for n in range(200)) + "oops,v\n",
            "column a holds numbers, but 'oops' in row 200",
        ),
        ("a,b,y\n1,2,u\n3\n", "target has a missing value in row 1"),
        ("a,b,y\n1,2,u\n3,4,v,9\n", "t.csv is no table that"),
        ("a,a,y\n1,2,u\n", "its first line names 'a' twice"),
        ("a,b,y\n", "t.csv has no rows"),
    ],
)
def test_a_csv_gets_a_sentence(by, tmp_path, text, words):
    (path := tmp_path / "t.csv").write_text(text, "utf-8")
    with pytest.raises(ValueError, match="table: .*" + words):
        table(path, "y")


def test_utf_16_is_named(by, tmp_path):
    (path := tmp_path / "t.csv").write_text("a,y\n1,u\n2,v\n", "utf-16")
    with pytest.raises(ValueError, match="it is UTF-16; it must be UTF-8"):
        table(path, "y")


def test_numbers_written_otherwise_may_be_words(by, tmp_path):
    (path := tmp_path / "t.csv").write_text("a;y\n1,5;u\n2,5;v\n")
    assert table(path, "y", categorical=["a"])[0].feature_names == ("a=1,5", "a=2,5")


def test_codes_that_a_float_cannot_tell_apart_are_refused():
    for frame in (pandas.DataFrame, polars.DataFrame):
        rows = frame({"id": [2**53, 2**53 + 1, 1], "y": ["u", "v", "u"]})
        with pytest.raises(ValueError, match=r"column id holds categories of 2\*\*53 and more"):
            table(rows, "y", categorical=["id"])
