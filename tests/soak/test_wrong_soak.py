"""Every wrong value in the place of every argument of every public function and class."""

import pytest
from right_calls import BARE, CALLS
from wrong_arguments import WRONG, quiet
from wrong_arguments import elsewhere as elsewhere


@pytest.mark.parametrize("name", [name for name in CALLS if name not in BARE])
def test_every_wrong_value_in_every_place_is_refused_in_one_sentence(name):
    call, found = CALLS[name], {}
    for argument in call.arguments():
        for place in call.places(argument):
            words = quiet(call.function, call.arguments() | {argument: WRONG[place]()}).words
            if words:
                found[argument, place] = words
    assert not found
