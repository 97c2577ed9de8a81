"""Ctrl-C, SIGTERM and SIGHUP at 200 random moments each, once and twice in a row, on engine and graph: none torn."""

import os
import random
import signal
import sys
from contextlib import nullcontext

import interruptions
import pytest
from interruptions import ended_at, on_graph, states_of_steps

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
MOMENTS = int(os.environ.get("FASTMLP_MOMENTS", 200))
SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"]


@pytest.fixture(scope="module")
def states():
    return states_of_steps()


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("name", SIGNALS)
@pytest.mark.parametrize("where", ["engine", "graph"])
def test_all_parts_are_of_one_step(where, name, times, states):
    number, draw, torn, ended, within = getattr(signal, name, 0), random.Random(f"{name}{times}"), [], 0, 0
    with on_graph() if where == "graph" else nullcontext():
        length = interruptions.usual_seconds()
        for _ in range(MOMENTS):
            steps, early = ended_at(number, draw.uniform(0, length), times, states)
            if len(set(map(str, steps.values()))) != 1:
                torn.append(steps)
            ended += early
            within += early and steps["weights"] % len(interruptions.SIZES) > 0
    print(
        f"\n{name} x {times}, {where}: {MOMENTS} moments, {ended} ended it, {within} within an epoch, {len(torn)} torn"
    )
    assert torn == []
    assert ended >= MOMENTS // 2, "signals that come when all is over test nothing"
