"""A model lowered to rows of numbers and flat buffers, as `kernels.steps` runs it.

`obstacle` says whether that can be done, `Plan` holds where everything lies, `Weights` holds the numbers, and
`verify.verify` checks a plan before a kernel trusts it. The engine trains with them, `predict` predicts. What a layer
is, its declaration says (`nn.Layer`); no kind of layer is named here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import kernels
from ..graph import FLOATS, Array, Parameter
from ..graph.operation import kernel_array
from ..kernels import forms, guard, layout, norm
from ..nn import Elementwise, Layer, Module, Sequential
from ..optim import Optimizer
from .process import OfThisProcess

FORMS = {"elementwise": layout.ELEMENTWISE, "random": layout.RANDOM, "norm": layout.NORM, "linear": layout.LINEAR}
ADDRESSES = {  # a form's kernels: what they do -> the arguments they have; those of a "norm" differ by what they do
    "elementwise": {"forward": "elementwise_forward", "evaluate": "elementwise_forward",
                    "backward": "elementwise_backward"},
    "random": {"forward": "random", "evaluate": "random", "backward": "random"},
    "norm": {"forward": "norm_forward", "evaluate": "norm_forward", "backward": "norm_backward",
             "weights": "norm_weights"},
    "linear": {"forward": "linear_forward", "evaluate": "linear_forward", "backward": "linear_input",
               "weights": "linear_weight", "bias_update": "linear_bias"},
}  # fmt: skip


def obstacle(model: Module, optimizer: Optimizer | None = None) -> str | None:
    """Why the engine cannot run this model with this optimizer, in a few words; None where it can."""
    layers = flat_layers(model)
    if layers is None:
        return f"{type(model).__name__} is not a Sequential of declared layers"
    for layer in layers:
        if not isinstance(layer, Layer) or not layer.runs_on_engine():
            return f"{type(layer).__name__} declares no kernels for its forward"
    if not any(layer.form == "linear" for layer in layers):
        return "there is no Linear layer"
    parameters = [parameter for layer in layers for parameter in layer.parameters()]
    if len({id(parameter) for parameter in parameters}) < len(parameters):
        return "layers share a parameter"
    if len(parameters) != sum(len(layer.engine_parameters()) for layer in layers):
        return "a layer has a parameter that its declaration does not name"
    if any(layer.absent and not _leading(layer) for layer in layers):
        return "a layer lacks a parameter before one that it has"
    drawing = [id(layer) for layer in layers if layer.form == "random"]
    if len(set(drawing)) < len(drawing):
        return "a Dropout is used twice, and its counter moves with each use"
    if len({parameter.dtype for parameter in parameters}) != 1 or parameters[0].dtype not in FLOATS:
        return "its parameters are not all float32 or all float64"
    if optimizer is not None:
        for layer in layers:
            if not (layer.training or idle(layer, True) or layer.trains_in_evaluation()):
                return f"a {type(layer).__name__} is in evaluation mode and declares no kernels to train in it"
        if any(parameter.requires_grad and parameter._hooks for parameter in parameters):
            return "a parameter has a hook, which wants to see its gradient"
        if not optimizer.runs_on_engine():
            return f"{type(optimizer).__name__} declares no kernels for its step"
        if not (trained := trained_parameters(model, optimizer)):
            return "the optimizer holds no parameter of the model that requires grad"
        if not all(parameter.data.flags.carray for parameter in trained):
            return "a parameter is not contiguous"
    return None


def trained_parameters(model: Module, optimizer: Optimizer) -> list[Parameter]:
    """Those of the model, in its order, that a step changes: the optimizer holds them, and they require grad."""
    held = {id(parameter) for parameter in optimizer.parameters()}
    return [parameter for parameter in model.parameters() if id(parameter) in held and parameter.requires_grad]


def facts(layers: list[Any], features: int, training: bool) -> list[Any]:
    """All of a model that a plan depends on, but for numbers: it fits as long as these stay the same.

    training: of a plan to train with, which the layers' modes are facts of, too.
    Error: ValueError for widths that do not fit together, in the layer's words.
    """
    found: list[Any] = []
    for i, layer in working(layers, training):
        out = layer.columns(features, i)
        parameters = [(id(parameter), parameter.data.shape, parameter.dtype) for parameter in layer.engine_parameters()]
        buffers = [(name, array.shape) for name, array in layer.named_buffers()]
        mode = training and layer.training
        found.append((id(layer), type(layer), features, out, parameters, buffers, mode))
        features = out
    return found


def flat_layers(model: Module) -> list[Any] | None:
    """The layers of a Sequential, those of Sequentials within it in their place; None for another module."""
    return model.flat() if isinstance(model, Sequential) else None


def working(layers: list[Any], training: bool) -> list[tuple[int, Any]]:
    """(place, layer) of those that change a number: the others have no row in a plan."""
    return [(i, layer) for i, layer in enumerate(layers) if not idle(layer, training)]


def idle(layer: Any, training: bool) -> bool:
    """Whether it changes no number: its kind never does, or it is a dropout in evaluation mode while others train."""
    return layer.form == "nothing" or (training and not layer.training and layer.kernels.get("evaluate") is None)


@dataclass
class Slot:
    """A parameter's place: where it lies in the flat buffers, and the shape it has outside."""

    parameter: Parameter
    shape: tuple[int, ...]
    at: int
    packed: tuple[int, int, int] | None  # the shape of a packed weight; None for a vector
    copies: int = 1  # how often it lies there, one after the other: a number that all columns share, once for each


class Plan(OfThisProcess):
    """A model lowered to numbers: the plan, the slots of its parameters, the sizes of the buffers.

    room: most rows of a batch. training: whether the kernels of the way back are taken too, which compiles them.
    at_once: most inputs that a batch of sparse rows needs; None where a batch has all of them.
    Error: ValueError for widths that do not fit together, in the layer's words.
    """

    def __init__(
        self, model: Module, features: int, room: int, training: bool = True, at_once: int | None = None
    ) -> None:
        all_layers = flat_layers(model)
        assert all_layers is not None
        self.facts = facts(all_layers, features, training)
        self.places, layers = map(list, zip(*working(all_layers, training), strict=True))
        self.layers: list[Layer] = layers
        self.room, self.training = room, training
        self.dtype = next(model.parameters()).dtype
        self.lanes, self.tiles = kernels.lanes(self.dtype), kernels.tiles(self.dtype)
        self.rows = np.zeros(len(layers), layout.ROW)
        self.numbers = np.zeros((len(layers), max(1, *(len(layer.numbers) for layer in layers))))
        self.slots: list[Slot] = []
        self.sizes = dict.fromkeys(("p", "act", "dact", "state"), 0)
        self.columns = features
        for i in range(len(layers)):
            self._lower(i)
        self.slot_rows = np.zeros(len(self.slots), layout.SLOT)
        for one, slot in zip(self.slot_rows, self.slots, strict=True):
            one["at"], one["columns"] = slot.at, slot.shape[0]
            padded = -(-slot.shape[0] // self.lanes) * self.lanes
            one["width"], one["inputs"] = max(slot.copies, padded), math.prod(slot.shape[1:])
        self._wait_back()
        self.train_only([id(slot.parameter) for slot in self.slots])
        self.at_once = features if at_once is None else min(at_once, features)
        self.is_sparse, self.columns_in = at_once is not None, features
        if self.is_sparse and training:
            self.rows[0]["weights"] = forms.address(kernels.linear_update_columns, "linear_weight", self.dtype)
        self.width_in, self.width_out = -(-self.at_once // self.lanes) * self.lanes, int(self.rows[-1]["width"])
        self.widest = max(self.width_in, int(self.rows["width"].max()))
        self.read_options()

    def take(self, buffer: str, size: int) -> int:
        """A place of `size` numbers in a buffer, rounded up so that the next one starts on a cache line."""
        at = self.sizes[buffer]
        self.sizes[buffer] = at + -(-size // (2 * self.lanes)) * 2 * self.lanes + guard.APART // self.dtype.itemsize
        return at

    def read_options(self) -> None:
        """Take over the layers' options and counters as they are now. Error: ValueError for an option out of range."""
        for i, (row, layer) in enumerate(zip(self.rows, self.layers, strict=True)):
            layer.check()
            self.numbers[i, : len(layer.numbers)] = layer.number_array()
            row["seed"], row["step"], row["layer"] = layer.counters()

    def train_only(self, trained: list[int]) -> None:
        """Say which parameters are trained, by id: no gradient goes further down than the lowest of them.

        Their columns, `counted` of them, count in the norm of all gradients, in the order of the list.
        """
        place, self.counted = {id(slot.parameter): i for i, slot in enumerate(self.slots)}, 0
        self.slot_rows["trained"] = 0
        for parameter in trained:
            one = self.slot_rows[place[parameter]]
            one["trained"], one["first"] = 1, self.counted
            self.counted += int(one["columns"])
        below = False
        for row in self.rows:
            row["trains"] = self.slot_rows["trained"][row["slot"] : row["slot"] + row["parameters"]].any()
            made_on_the_way = row["form"] != layout.LINEAR and not row["weights"]  # its own gradients, by its backward
            row["sends"] = below or bool(row["trains"] and made_on_the_way)
            below = below or bool(row["trains"])

    def fits(self, model: Module) -> bool:
        """Whether the model still has the layers, widths and shapes that it was made from."""
        layers = flat_layers(model)
        return layers is not None and facts(layers, int(self.rows[0]["inputs"]), self.training) == self.facts

    def runs_as(self, other: Plan) -> bool:
        """Whether both call the same kernels on parameters of the same shapes, with whatever numbers and options."""
        rows = self.rows.copy(), other.rows.copy()
        for plan in rows:
            plan["seed"] = plan["step"] = plan["layer"] = 0  # dropout's counters
        shapes = [[slot.shape for slot in plan.slots] for plan in (self, other)]
        return self.dtype == other.dtype and shapes[0] == shapes[1] and np.array_equal(*rows)

    def _lower(self, i: int) -> None:
        """Fill row i of the plan; the columns that came to it are in `self.columns`."""
        row, layer, below = self.rows[i], self.layers[i], self.rows[i - 1] if i else None
        pad, columns, linear = self.lanes, self.columns, layer.form == "linear"
        self.columns = out = layer.columns(columns, self.places[i])
        row["form"], row["by_rows"] = FORMS[layer.form], layer.by_rows
        row["inputs"], row["columns"] = columns, out
        row["width_in"], row["width"] = -(-columns // pad) * pad, -(-out // pad) * pad
        self._kernels(row, layer)
        row["x"] = -1 if below is None else below["y"]
        row["y"] = self.take("act", self.room * int(row["width"]))
        row["dx"] = self.take("dact", first_dx(row, self.room)) if below is None else below["dy"]
        row["dy"] = self.take("dact", self.room * int(row["width"]))
        parameters = layer.engine_parameters()
        if below is not None:
            row["waits"] = linear or bool(row["by_rows"]) != bool(below["by_rows"])
        row["parameters"], row["slot"] = len(parameters), len(self.slots)
        row["tied"] = forms.address(norm.add_columns, "columns", self.dtype) if layer.is_tied() else 0
        row["weight_rows"] = len(layer.weights) if layer.absent else len(parameters)
        self._check_shapes(i, out, columns)
        self._parameters(row, parameters, (out, columns) if linear else None)
        if layer.form == "norm":
            state_width = -(-self.room // pad) * pad if layer.by_rows else int(row["width"])
            row["state_rows"], row["state_width"] = len(layer.state), state_width
            row["state"] = self.take("state", len(layer.state) * state_width)
            row["dweights"] = self.take("state", gradient_rows(row) * int(row["width"]))

    def _wait_back(self) -> None:
        """A layer waits in the backward pass where it reads columns or rows of dy that other threads have made."""
        for row, above in zip(self.rows, [*self.rows[1:], None], strict=True):
            row["waits_back"] = row["form"] == layout.LINEAR or sends_by_rows(above) != row["by_rows"]

    def _kernels(self, row: Any, layer: Layer) -> None:
        """The addresses of the layer's kernels, compiled or loaded now."""
        layer.try_out(self.dtype)
        row["keeps_x"] = isinstance(layer, Elementwise) and "x" in layer.node.keeps
        for what, form in ADDRESSES[layer.form].items():
            kernel = layer.kernels_to_train().get(what)
            if kernel is not None and (self.training or what == "evaluate"):
                row[what] = forms.address(kernel, form, self.dtype)

    def _check_shapes(self, i: int, out: int, columns: int) -> None:
        """Refuse a parameter or a buffer of another shape than the layer's widths say: they are read by address."""
        layer, place = self.layers[i], self.places[i]
        for name in layer.weights:
            parameter = getattr(layer, name)
            wanted = (out, columns) if layer.form == "linear" and name == layer.weights[0] else (out,)
            wanted = (1,) if layer.is_tied() else wanted
            if parameter is not None and parameter.shape != wanted:
                raise ValueError(
                    f"{type(layer).__name__}: {name} of layer {place} is {parameter.shape}; it must be {wanted}"
                )
        for name, array in layer.named_buffers():
            if name in layer.state and array.shape != (out,):
                raise ValueError(
                    f"{type(layer).__name__}: {name} of layer {place} is {array.shape}; it must be {(out,)}"
                )

    def _parameters(self, row: Any, parameters: list[Parameter], shape: tuple[int, int] | None) -> None:
        """Places for the parameters: a weight is packed, with its bias apart; vectors lie one after the other."""
        width = int(row["width"])
        if shape is None:
            row["weight"] = self.take("p", int(row["weight_rows"]) * width)
            copies = width if row["tied"] else 1
            self.slots += [
                Slot(parameter, parameter.shape, int(row["weight"]) + k * width, None, copies)
                for k, parameter in enumerate(parameters)
            ]
            return
        packed = kernels.packed_shape(*shape, self.dtype)
        row["weight"] = self.take("p", math.prod(packed))
        self.slots.append(Slot(parameters[0], parameters[0].shape, int(row["weight"]), packed))
        if len(parameters) > 1:
            row["bias"] = self.take("p", width)
            self.slots.append(Slot(parameters[1], parameters[1].shape, int(row["bias"]), None))


def gradient_rows(row: Any) -> int:
    """A row for each row of weights, and one for its sum over the columns where they share it."""
    return int(row["weight_rows"] * (2 if row["tied"] else 1))


def first_dx(row: Any, room: int) -> int:
    """Numbers of the first layer's dx: nobody wants that of a product, others make their gradients on the way."""
    return 0 if row["form"] == layout.LINEAR else room * int(row["width_in"])


def _leading(layer: Any) -> bool:
    """Whether the parameters that a layer lacks come after those that it has."""
    there = [getattr(layer, name) is not None for name in layer.weights]
    return there == sorted(there, reverse=True)


def sends_by_rows(row: Any) -> bool:
    """Whether each thread makes rows of the gradient that a layer sends down, or columns; None: the loss, of rows."""
    return row is None or bool(row["by_rows"] and row["form"] != layout.LINEAR)


class Weights(OfThisProcess):
    """The parameters and states of a model in the engine's buffers."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.p = kernels.zeros((max(plan.sizes["p"], 1),), plan.dtype)
        self.state = kernels.zeros((max(plan.sizes["state"], 1),), plan.dtype)
        for row, layer in zip(plan.rows, plan.layers, strict=True):  # no slot leads there, so that they stay
            for k in range(int(row["parameters"]), int(row["weight_rows"])):
                at = int(row["weight"] + k * row["width"])
                self.p[at : at + int(row["width"])] = layer.absent[k]

    def read(self) -> None:
        """Take the model's numbers over."""
        self.fill([slot.parameter.data for slot in self.plan.slots], [array for _, array in self._buffers()])

    def fill(self, parameters: list[Array], buffers: list[Array]) -> None:
        """Take over numbers as a model holds them, or as `numbers` gives them."""
        for slot, array in zip(self.plan.slots, parameters, strict=True):
            put(self.p, slot, array)
        for (kept, _), array in zip(self._buffers(), buffers, strict=True):
            kept[...] = array

    def numbers(self) -> tuple[list[Array], list[Array]]:
        """(parameters, buffers) as a model holds them, in fresh arrays: no vector of this machine shows in them."""
        parameters = [np.empty(slot.shape, self.plan.dtype) for slot in self.plan.slots]
        for slot, array in zip(self.plan.slots, parameters, strict=True):
            take(self.p, slot, array)
        return parameters, [kept.copy() for kept, _ in self._buffers()]

    def write(self) -> None:
        """Give the numbers that were trained back, into the model's own arrays."""
        for slot, trained in zip(self.plan.slots, self.plan.slot_rows["trained"], strict=True):
            if trained:
                take(self.p, slot, slot.parameter.data)
        for kept, array in self._buffers():
            array[...] = kept

    def _buffers(self) -> list[tuple[Array, Array]]:
        """(place in the state, array of the model) of each buffer that a layer's kernels keep."""
        found = []
        for row, layer in zip(self.plan.rows, self.plan.layers, strict=True):
            buffers = dict(layer.named_buffers())
            for k, name in enumerate(layer.state):
                if name in buffers:
                    at = int(row["state"] + k * row["state_width"])
                    found.append((self.state[at : at + buffers[name].size], buffers[name]))
        return found


def put(flat: Array, slot: Slot, array: Array) -> None:
    """A parameter-shaped array into its place in a flat buffer, a weight packed."""
    _check_shape(slot, array)
    if slot.packed is None:
        flat[slot.at : slot.at + array.size * slot.copies] = array
    else:
        size = math.prod(slot.packed)
        kernels.pack(kernel_array(array), flat[slot.at : slot.at + size].reshape(slot.packed), 0, len(array))


def _check_shape(slot: Slot, array: Array) -> None:
    """Refuse what somebody has put in a parameter's place while the engine had it: it is read by address."""
    if array.shape != slot.shape:
        raise ValueError(
            f"the engine: an array of a parameter is {array.shape}; it was {slot.shape} when it was planned"
        )


def take(flat: Array, slot: Slot, array: Array) -> None:
    """The way back from `put`, into `array`."""
    _check_shape(slot, array)
    if slot.packed is None:
        array[...] = flat[slot.at : slot.at + array.size]
    else:
        size = math.prod(slot.packed)
        if not (array.dtype == flat.dtype and array.flags.carray):
            raise ValueError(
                f"the engine: an array of a parameter is {array.dtype}; it must be {flat.dtype}, contiguous"
            )
        kernels.unpack(flat[slot.at : slot.at + size].reshape(slot.packed), array, 0, len(array))
