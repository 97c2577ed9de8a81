"""`notebooks/tour.ipynb` runs from its first cell to its last, and holds no output.

Outputs are not stored: they would be stale after the next change of a plot, and half a megabyte of PNG in every diff.
"""

import re
import sys
import textwrap
import tomllib
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat", reason="the notebook is read with nbformat, of the extra test")
nbclient = pytest.importorskip("nbclient", reason="the notebook is run with nbclient, of the extra test")
pytest.importorskip("ipykernel", reason="the notebook is run by ipykernel, of the extra test")

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOK = ROOT / "notebooks" / "tour.ipynb"


def read(path: Path = NOTEBOOK):
    return nbformat.read(path, as_version=4)


def run(notebook, folder: Path):
    """Run all cells in a folder where the checkout can be found: what they write stays there."""
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager

    manager = AsyncKernelManager()  # a kernel of this very Python, whatever kernels the user has installed
    manager._kernel_spec = KernelSpec(
        argv=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"], display_name="test"
    )
    (folder / "fastmlp").symlink_to(ROOT / "fastmlp")
    client = nbclient.NotebookClient(notebook, km=manager, timeout=120, resources={"metadata": {"path": str(folder)}})
    return client.execute()


def test_it_is_valid_and_holds_no_output():
    notebook = read()
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert not cell.outputs
            assert cell.execution_count is None


def test_it_runs_and_shows_what_it_says(tmp_path):
    notebook = run(read(), tmp_path)
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    text = "".join(output.get("text", "") for output in outputs)
    assert "the gradients agree" in text
    assert "AccumulateGrad weight" in text
    pictures = [output.data for output in outputs if "data" in output]
    assert sum("image/png" in data for data in pictures) == 3  # digits, curves, wrong digits
    assert sum("image/svg+xml" in data for data in pictures) == 1  # the graph
    (folder,) = (tmp_path / "runs").iterdir()
    assert (folder / "report.html").stat().st_size > 10_000


def test_a_training_shows_its_bar_in_one_output_that_is_empty_in_the_end(tmp_path):
    code = """
        import time
        from fastmlp.training.progress import Progress
        progress = Progress(True, 1, 1000)
        time.sleep(0.3)
        progress.batch(500, 0.5, 0.8)
        progress.close()
    """
    (cell,) = run(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(textwrap.dedent(code))]), tmp_path).cells
    (output,) = cell.outputs  # of a standard error there is nothing
    assert (output.output_type, output.data) == ("display_data", {"text/plain": ""})


def test_a_cell_that_fails_is_noticed(tmp_path):
    notebook = read()
    notebook.cells = [*notebook.cells[:2], nbformat.v4.new_code_cell("assert fm.__version__ == 'another'")]
    with pytest.raises(nbclient.exceptions.CellExecutionError):
        run(notebook, tmp_path)


def test_a_target_of_make_installs_what_opens_it_and_opens_it():
    makefile = (ROOT / "Makefile").read_text("utf-8")
    needs, copy, command = re.search(r"^notebook: (\S+) (\S+)\n\t(.+)$", makefile, re.MULTILINE).groups()
    module, opened = re.search(r"-m (\S+) (\S+)$", command).groups()
    assert opened == copy  # Jupyter would write the outputs into the tour itself
    assert f"\n{copy}: notebooks/tour.ipynb\n" in makefile
    made = makefile.partition(f"\n{needs}:")[2].partition("\n\n")[0]
    extra = re.search(r"'\.\[(\w+)\]'", made)[1]
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    assert {module, "ipykernel"} == {re.match(r"\w+", line)[0] for line in extras[extra]}
    assert "`make notebook`" in read().cells[0].source
