"""Every wrong value in the place of every argument of every public function and class."""

import os

import pytest
from right_calls import CALLS
from wrong_arguments import HUGE, WRONG, quiet


@pytest.fixture(autouse=True, scope="module")
def elsewhere(tmp_path_factory):
    """Some of the wrong arguments are names of folders, which are made."""
    before = os.getcwd()
    os.chdir(tmp_path_factory.mktemp("elsewhere"))
    yield
    os.chdir(before)


@pytest.mark.parametrize("name", [name for name, call in CALLS.items() if call.arguments()])
def test_every_wrong_value_in_every_place_is_refused_in_one_sentence(name):
    call, found = CALLS[name], {}
    for argument in call.arguments():
        for place, make in enumerate(WRONG):
            if not (argument in call.huge and make in HUGE):
                words = quiet(call.function, call.arguments() | {argument: make()}).words
                if words:
                    found[argument, place] = words
    assert not found
