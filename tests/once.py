"""What a study measures, once a process: the study's own tests ask for it, and those of the pages that quote it."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from importlib import import_module
from typing import Any

import page_checks
import pytest
from page_checks import docs

from fastmlp import machine, studies


@contextmanager
def one_thread() -> Iterator[None]:
    """Within this, a training that names no number of threads has one: it gives the same bits, and processes that share
    the tests take no core from each other by waiting for their second thread.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(machine.OURS, "1")
        yield


@cache
def measured(name: str) -> Any:
    """What the study's `measure` gives for the seed 0."""
    with one_thread():
        return _MEASURE[name](0)


_MEASURE = {name: import_module(f"fastmlp.studies.{name}").measure for name in studies.NAMES}


@contextmanager
def taken(name: str) -> Iterator[None]:
    """Within this, `studies.run(name)` measures where nobody has yet, and else takes what was measured."""

    def measure(seed: int) -> Any:
        assert seed == 0
        return measured(name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(import_module(f"fastmlp.studies.{name}"), "measure", measure)
        yield


def study(name: str) -> studies.Study:
    """`studies.run(name)`, measured once."""
    with taken(name):
        return studies.run(name)


def pages_hold(source: str) -> None:
    """Fail where a source, a study or another, no longer gives what the pages quote of it."""
    numbers = docs.load_numbers()
    stored = {key: entry for key, entry in numbers.items() if key.startswith(f"{source}.")}
    figures = {stem for stem in docs.shown() if stem.startswith(source)}
    assert stored, f"no page quotes {source}"
    with one_thread(), taken(source) if source in studies.NAMES else nullcontext():
        fresh = docs.sources()[source]()
    assert page_checks.number_faults(stored, fresh.numbers) == []
    assert figures <= fresh.figures.keys()
    for page in docs.pages():
        assert docs.claim_faults(page.read_text("utf-8"), numbers | fresh.numbers) == []
