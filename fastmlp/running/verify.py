"""A plan is checked as a whole before a kernel trusts a place or an address in it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..kernels import forms, guard, layout
from .plan import ADDRESSES, Plan, Weights, first_dx, gradient_rows, sends_by_rows


def verify(plan: Plan) -> dict[str, list[tuple[int, int]]]:
    """Refuse a plan that a kernel could not trust; every one is held to it before the first step.

    Returns the places [start, end) that are taken in each buffer.

    Widths chain, every place lies inside its buffer, no two things overlap, each input is the output of the layer
    before, addresses are those of compiled kernels, a layer waits where its input, or its gradient, was made by other
    owners. Error: RuntimeError that names the layer and what is wrong.
    """
    room = plan.room
    taken: dict[str, list[tuple[int, int]]] = {name: [] for name in plan.sizes}

    def occupy(i: int, what: str, buffer: str, at: int, size: int) -> None:
        if at < 0 or size < 0 or at + size > plan.sizes[buffer]:
            raise RuntimeError(f"plan: layer {i}: {what} at {at} of {size} numbers is outside {buffer}")
        if any(at < end and start < at + size for start, end in taken[buffer]):
            raise RuntimeError(f"plan: layer {i}: {what} at {at} overlaps another in {buffer}")
        taken[buffer].append((at, at + size))

    def require(i: int, holds: Any, words: str) -> None:
        if not holds:
            raise RuntimeError(f"plan: layer {i}: {words}")

    for i, (row, layer) in enumerate(zip(plan.rows, plan.layers, strict=True)):
        below = plan.rows[i - 1] if i else None
        for name, wide in (("inputs", "width_in"), ("columns", "width")):
            require(
                i, 0 < row[name] <= row[wide] < row[name] + plan.lanes and row[wide] % plan.lanes == 0, f"{wide} is odd"
            )
        occupy(i, "y", "act", int(row["y"]), room * int(row["width"]))
        occupy(i, "dy", "dact", int(row["dy"]), room * int(row["width"]))
        if below is None:
            require(i, row["x"] == -1, "the first layer reads the batch")
            occupy(i, "dx", "dact", int(row["dx"]), first_dx(row, room))
        else:
            require(i, row["width_in"] == below["width"] and row["inputs"] == below["columns"], "widths do not chain")
            require(i, row["x"] == below["y"] and row["dx"] == below["dy"], "it does not read the layer before")
            changes = row["form"] == layout.LINEAR or row["by_rows"] != below["by_rows"]
            require(i, row["waits"] or not changes, "it does not wait for its input")
        linear, above = row["form"] == layout.LINEAR, plan.rows[i + 1] if i + 1 < len(plan.rows) else None
        others = linear or sends_by_rows(above) != row["by_rows"]
        require(i, row["waits_back"] or not others, "it does not wait for its gradient")
        for k, slot in enumerate(plan.slots[int(row["slot"]) : int(row["slot"] + row["parameters"])]):
            size = math.prod(slot.packed) if slot.packed else int(row["width"])
            require(
                i,
                slot.at == (row["bias"] if linear and k else row["weight"] + k * row["width"]),
                "a parameter elsewhere",
            )
            require(i, slot.copies == (row["width"] if row["tied"] else 1), "a number of copies is odd")
            occupy(i, "a parameter", "p", slot.at, size)
            one = plan.slot_rows[int(row["slot"]) + k]
            placed = one["at"] == slot.at and one["width"] * one["inputs"] == size
            counts = 0 < one["columns"] <= one["width"] and 0 <= one["first"] <= plan.counted - one["columns"]
            require(i, placed and (counts or not one["trained"]), "a parameter that passes over all find elsewhere")
        trains_below = any(earlier["trains"] for earlier in plan.rows[:i])
        require(i, row["sends"] or not trains_below, "a layer below is trained, and gets no gradient")
        if row["form"] == layout.NORM:
            absent = int(row["weight_rows"] - row["parameters"])
            require(i, 0 <= absent <= len(layer.absent), "a number of rows of weights is odd")
            at = int(row["weight"] + row["parameters"] * row["width"])
            occupy(i, "what stands in for parameters", "p", at, absent * int(row["width"]))
            require(i, row["tied"] == 0 or forms.is_address(int(row["tied"])), "the sum of columns is no kernel")
            require(i, not (row["tied"] and row["weights"]), "its columns' gradients are not there in time")
            require(i, row["state_width"] >= (room if row["by_rows"] else row["width"]), "its state is too short")
            occupy(i, "state", "state", int(row["state"]), int(row["state_rows"] * row["state_width"]))
            occupy(i, "dweights", "state", int(row["dweights"]), gradient_rows(row) * int(row["width"]))
        for what in ADDRESSES[layer.form]:
            needed = layer.kernels.get(what) is not None and (plan.training or what == "evaluate")
            require(i, forms.is_address(int(row[what])) if needed else row[what] == 0, f"{what} is no kernel's address")
        require(i, np.isfinite(plan.numbers[i]).all(), "an option is not finite")
    return taken


def watch(taken: dict[str, list[tuple[int, int]]], weights: Weights, engine: Any = None) -> None:
    """In the mode of `kernels.guard`: lay guards between the places that are taken, in all buffers of that layout."""
    if not guard.ON:
        return
    p, state, more = [weights.p], [weights.state], {}
    if engine is not None:
        p += [*engine.arrays, engine.g, engine.average.a]
        state.append(engine.kept_state)
        more = {name: [getattr(engine, name)] for name in ("act", "dact")}
    for name, arrays in {"p": p, "state": state, **more}.items():
        for array in arrays:
            if array.shape[-1] > 1:  # not one that a rule does not keep
                guard.between(array, taken[name], name)
