"""The pins of `make oldest`: the lower bounds of pyproject.toml, and nothing else."""

import importlib.util
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def oldest():
    spec = importlib.util.spec_from_file_location("scripts_oldest", ROOT / "scripts" / "oldest.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_dependency_is_pinned_to_its_lower_bound(oldest):
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    told = tomllib.loads(text)["project"]
    wanted = told["dependencies"] + told["optional-dependencies"]["sklearn"] + told["optional-dependencies"]["fetch"]
    assert oldest.pins(text) == [line.replace(">=", "==") for line in wanted]
    assert any(line.startswith("numba==") for line in oldest.pins(text))


def test_a_dependency_without_a_bound_is_refused(oldest):
    with pytest.raises(ValueError, match="'numpy' has no lower bound"):
        oldest.pins('[project]\ndependencies = ["numpy"]')
