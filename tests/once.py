"""What a study measures, once a process: the study's own tests ask for it, and those of the pages that quote it."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from typing import Any

import pytest

from fastmlp import studies


@cache
def measured(name: str) -> Any:
    """What the study's `measure` gives for the seed 0."""
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
