"""docs/peers.md says what the neighbours do: each figure is measured again, in its column's library and release."""

import re
from contextlib import nullcontext
from importlib.util import find_spec

import neighbours
import neighbours_layers
import neighbours_losses
import neighbours_rules
import neighbours_schedules
import neighbours_steps
import neighbours_training
import pytest
from neighbours import COLUMNS, NOTHING, PAGE, ROOT, Row, cell_fault, flat, jax, measures, says, torch, why_not

# Keras 3.15 in NumPy 2's words; it says nothing about what is measured
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
ROWS = neighbours.rows(
    neighbours_layers, neighbours_losses, neighbours_rules, neighbours_schedules, neighbours_steps, neighbours_training
)
TEXT = PAGE.read_text("utf-8")
CELLS, VERSIONS = neighbours.cells(TEXT), neighbours.versions(TEXT)
CASES = [
    pytest.param(row, column, id=f"{column.partition(',')[0]}: {row.__doc__}")
    for row in ROWS
    for column in measures(row)
]


@pytest.fixture(autouse=True)
def as_they_come():
    """One thread of PyTorch, for the machine is shared; JAX in 32 bits, whatever another file has asked for."""
    threads = torch.get_num_threads() if find_spec("torch") else 0
    if threads:
        torch.set_num_threads(1)
    with jax.enable_x64(False) if find_spec("jax") else nullcontext():
        yield
    if threads:
        torch.set_num_threads(threads)


@pytest.mark.parametrize(("row", "column"), CASES)
def test_a_figure_on_the_page_is_what_the_library_gives(row, column):
    if reason := why_not(column, VERSIONS):
        pytest.skip(reason)
    fault = cell_fault(CELLS[row.__doc__][column], measures(row)[column]())
    assert fault is None, f"docs/peers.md, {row.__doc__}, {column}: {fault}"


def test_every_row_of_the_page_is_measured_and_every_measure_is_on_it():
    assert len(ROWS) > 50
    assert [row.__doc__ for row in ROWS if row.__doc__ not in CELLS] == []
    assert sorted(CELLS) == sorted(row.__doc__ for row in ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.__doc__)
def test_a_cell_without_a_measure_has_no_figure(row):
    unmeasured = {column: cell for column, cell in CELLS[row.__doc__].items() if column not in measures(row)}
    assert [cell for cell in unmeasured.values() if re.search(r"[*\d]", cell) or not cell] == []
    assert {cell for column, cell in unmeasured.items() if column != "fastmlp"} <= {NOTHING}


def test_the_releases_on_the_page_are_those_that_make_installs():
    pins = dict(re.findall(r"'([\w-]+)==([\d.]+)'", (ROOT / "Makefile").read_text("utf-8")))
    exported = {"onnx", "onnxruntime"}  # of `make test-exports`, which docs/export.md names
    assert {name: pin for name, pin in pins.items() if name not in exported} == VERSIONS
    assert {package for _, packages in COLUMNS.values() for package in packages} <= set(VERSIONS)


# --- planted faults --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("figure", "value"),
    [("0.01", 0.0100001), ("1", 1.0), ("0.50", 0.4999982), ("1.31", 1.3126), ("-474.3", -474.34), ("8.2e-5", 8.199e-5),
     ("12", 12), ("nan", float("nan")), ("inf", float("inf")), ("refused", "refused"), ("0", -0.0)],
)  # fmt: skip
def test_a_figure_that_is_right(figure, value):
    assert says(figure, value)


@pytest.mark.parametrize(
    ("figure", "value"),
    [("0.01", 0.02), ("1", 1.01), ("1", 0.9), ("0.5", 0.501), ("0.50", 0.51), ("1.31", 1.3), ("12", 11),
     ("1", float("nan")), ("nan", 1.0), ("inf", float("-inf")), ("refused", 1.0), ("refused", "the same"),
     ("0", 1e-3), ("1.0e-4", 1e-5)],
)  # fmt: skip
def test_a_figure_that_is_wrong(figure, value):
    assert not says(figure, value)


def test_a_cell_with_too_few_or_too_many_figures_is_at_fault():
    assert cell_fault("**1**, `left`; **2**", [1.0, 2.0]) is None
    assert cell_fault("**1**", [1.0, 2.0]) == "the page says 1; measured: 1.0, 2.0"
    assert cell_fault("one", 1.0) == "the page says nothing; measured: 1.0"
    assert cell_fault("**1**, **2**", 1.0)


def test_a_missing_row_and_a_row_that_stands_twice_are_seen():
    head = f"| what | {' | '.join(COLUMNS)} |\n|---|---|---|---|---|---|\n"
    line = "| **a thing** of this kind | **1** | – | – | – | **2** |\n"
    assert neighbours.cells(head + line)["a thing"] == dict(
        zip(COLUMNS, ["**1**", "–", "–", "–", "**2**"], strict=True)
    )
    assert neighbours.cells("| what | other |\n|---|---|\n| **a thing** | **1** |\n") == {}
    with pytest.raises(AssertionError, match="two rows"):
        neighbours.cells(head + 2 * line)


def test_another_release_is_not_compared_and_says_so():
    assert why_not("fastmlp", {}) is None
    here = {"pytest": pytest.__version__}
    neighbours.COLUMNS["pytest"] = ("pytest", ("pytest",))
    try:
        assert why_not("pytest", here) is None
        assert why_not("pytest", {"pytest": "0.1"}).startswith("docs/peers.md speaks of pytest 0.1, here is ")
        neighbours.COLUMNS["pytest"] = ("pytest", ("a-package-that-nobody-has",))
        assert "is not installed" in why_not("pytest", {})
    finally:
        del neighbours.COLUMNS["pytest"]


def test_a_row_measures_by_a_function_or_by_each():
    class Made(Row):
        """a thing"""

        columns = ("keras", "fastmlp")

        @staticmethod
        def each(column):
            return column

        def keras():
            return [1, [2.0, "x"]]

    found = measures(Made)
    assert list(found) == ["Keras", "fastmlp"]
    assert list(flat(found["Keras"]())) == [1, 2.0, "x"]
    assert found["fastmlp"]() == "fastmlp"
