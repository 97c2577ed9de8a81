"""The formula of docs/scale.md, held to a simulation of the tree's messages."""

import importlib.util
import sys
from pathlib import Path

import pytest

from fastmlp.scale import tree

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def model():
    spec = importlib.util.spec_from_file_location("scale_model", ROOT / "scripts" / "scale_model.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    path = list(sys.path)
    spec.loader.exec_module(module)
    sys.path[:] = path
    return module


@pytest.mark.parametrize("p", [2, 4, 16, 128])
def test_the_formula_is_what_the_messages_take(model, p):
    """Of each network, to rounding: every machine sends at every height as much as the formula has it.

    `soak/test_scale_soak` asks for 1,024 machines, which takes half a minute.
    """
    for net in model.NETS[:2]:
        for network in model.NETWORKS:
            seconds = model.simulated(p, net.bytes, network.L, network.W)
            assert seconds == pytest.approx(model.exchange(net, network, p), rel=1e-9)


def test_a_tree_that_sends_all_to_one_place_is_seen(model, monkeypatch):
    """The planted fault: sums are made at the first rank of a node, whatever the piece."""
    monkeypatch.setattr(tree.Tree, "place", lambda self, node, piece: self.owner(node[0]))
    net, network = model.NETS[1], model.NETWORKS[0]
    seconds = model.simulated(16, net.bytes, network.L, network.W)
    assert seconds > 3 * model.exchange(net, network, 16)


def test_machines_pay_where_the_formula_says(model):
    """C (1 - 1 / p) > A(p), on both sides of the border."""
    network = model.NETWORKS[1]
    for C in (1e-5, 1e-3, 1.0):
        net = model.NETS[1]._replace(C=C, U=0.001, fit=C + 0.001)
        for p in (2, 64):
            faster = model.step(net, network, p) < model.step(net, network, 1)
            assert faster == (C * (1 - 1 / p) > model.exchange(net, network, p))
    assert model.pays(model.NETS[1]._replace(C=1e-5, U=0.001, fit=0.00101), network) is None
