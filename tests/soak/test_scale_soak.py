"""The formula of docs/scale.md at its end: the messages of 1,024 machines, simulated one by one."""

from test_scale_model import model as model  # the fixture
from test_scale_model import test_the_formula_is_what_the_messages_take as holds


def test_the_formula_of_a_thousand_machines(model):
    holds(model, 1024)
