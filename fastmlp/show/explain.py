"""The graph in words: `explain` prints what each node knows, `explain_backward` what backward sends from node to node.

Nothing is said here about a single operation; that stands on its node's class (`equation`, `keeps`, `twin`, ...).
Nodes are numbered in the order in which backward runs them: the youngest first, the leaves last.
"""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..graph import AccumulateGrad, Array, Node, Tensor, nodes_of
from ..nn import Module

WIDTH = 96  # columns of a line, where names and equations allow it
DEEPEST = 8  # levels of the tree before it goes on below, at the margin
LEGEND = (
    "A node's number is its turn in backward. [i] is the edge's place in next_functions, the name after it what the "
    "equations call that input. F is torch.nn.functional."
)


def tensor_names(function: str, labels: Any) -> dict[int, str]:
    """id of a tensor -> its name, from a Module (its `named_parameters`) or a mapping of tensors to names.

    Error: TypeError for labels of another kind.
    """
    if labels is None:
        return {}
    if isinstance(labels, Module):
        return {id(parameter): name for name, parameter in labels.named_parameters()}
    if not isinstance(labels, Mapping):
        raise TypeError(f"{function}: labels is {type(labels).__name__}; it must be a Module or a dict tensor -> name")
    for tensor in labels:
        if not isinstance(tensor, Tensor):
            raise TypeError(f"{function}: labels has a key of type {type(tensor).__name__}; each must be a Tensor")
    return {id(tensor): str(name) for tensor, name in labels.items()}


def leaf_names(function: str, nodes: list[Node], labels: Any) -> dict[int, str]:
    """id of each leaf of a graph -> its name: from labels, or "leaf 1", "leaf 2", ... Errors as `tensor_names`."""
    given = tensor_names(function, labels)
    leaves = [node.variable for node in nodes if isinstance(node, AccumulateGrad)]
    return {id(leaf): given.get(id(leaf), f"leaf {i}") for i, leaf in enumerate(leaves, 1)}


def graph_of(function: str, loss: Any) -> list[Node]:
    """The nodes behind a tensor in backward's order. Errors: TypeError for no tensor, ValueError for no graph."""
    if not isinstance(loss, Tensor):
        raise TypeError(f"{function}: loss is {type(loss).__name__}; it must be a Tensor")
    if not loss.requires_grad:
        raise ValueError(f"{function}: the tensor has requires_grad False; it must be made from one that has it")
    return nodes_of(loss)


def shape_text(shape: tuple[int, ...]) -> str:
    """(5, 4), (5,), (): as Python prints it, without NumPy's integers."""
    return str(tuple(int(length) for length in shape))


def number_text(value: float) -> str:
    """Four digits. What is no more than the rounding of sums of order 1 in float64 is ~0."""
    return "~0" if 0 < abs(value) < 1e-13 else f"{value + 0.0:.4g}"  # + 0.0: no -0


class _Names:
    """What the nodes and leaves of one graph are called."""

    def __init__(self, function: str, nodes: list[Node], labels: Any) -> None:
        self.number = {id(node): number for number, node in enumerate(nodes, 1)}
        self.of_tensor = leaf_names(function, nodes, labels)
        leaves = [node.variable for node in nodes if isinstance(node, AccumulateGrad)]
        self.of_array = {id(leaf.data): self.of_tensor[id(leaf)] for leaf in leaves}

    def node(self, node: Node) -> str:
        """AddmmBackward0, or AccumulateGrad with the name of the leaf."""
        leaf = f" {self.of_tensor[id(node.variable)]}" if isinstance(node, AccumulateGrad) else ""
        return node.name() + leaf

    def numbered(self, node: Node) -> str:
        """3 AddmmBackward0."""
        return f"{self.number[id(node)]} {self.node(node)}"


def operand(node: Node, index: int) -> str:
    """What the equations of a node call input number `index`; its number where they have no name for it."""
    return node.operands[index] if index < len(node.operands) else str(index)


def explain(loss: Tensor, labels: Any = None) -> str:
    """The graph behind a tensor in words: a tree from it to every leaf, then each node with all that it knows.

    loss    a tensor that requires grad, before or after its backward
    labels  names of the leaves: a Module, whose parameters' names are taken, or a dict tensor -> name

    The tree names a node that several others lead to once; then it is referred to by its number. A node is shown
    with the shape of its output, both equations, what it saved and why, its `next_functions`, and the function that
    makes the same node in PyTorch.

    Errors: TypeError for what is no Tensor and for labels of another kind, ValueError for a tensor without a graph.
    """
    nodes = graph_of("explain", loss)
    names = _Names("explain", nodes, labels)
    leaves = sum(isinstance(node, AccumulateGrad) for node in nodes)
    head = f"a tensor of shape {shape_text(loss.shape)}: {_count(len(nodes) - leaves, 'operation')}, "
    lines = [head + _count(leaves, "leaf", "leaves"), "", *textwrap.wrap(LEGEND, WIDTH), "", *tree(nodes, names)]
    for node in nodes:
        lines += ["", *describe(node, names)]
    return "\n".join(lines)


def explain_tree(loss: Tensor, labels: Any = None) -> str:
    """The first part of `explain`: the tree alone. Arguments and errors are those of `explain`."""
    nodes = graph_of("explain_tree", loss)
    return "\n".join(tree(nodes, _Names("explain_tree", nodes, labels)))


def explain_node(node: Node, labels: Any = None) -> str:
    """One node in words: its equations, its shapes, what it saved and why, its next_functions, its PyTorch twin.

    labels as in `explain`. Error: TypeError for what is no Node.
    """
    if not isinstance(node, Node):
        raise TypeError(f"explain_node: node is {type(node).__name__}; it must be a Node, such as tensor.grad_fn")
    names = _Names("explain_node", nodes_below(node), labels)
    return "\n".join(describe(node, names, numbers=False))


def nodes_below(node: Node) -> list[Node]:
    """The node, and every node that it leads to, in backward's order."""
    if isinstance(node, AccumulateGrad):
        return [node]
    end = Tensor(np.zeros(()))
    end.grad_fn, end._requires_grad = node, True
    return nodes_of(end)


def tree(nodes: list[Node], names: _Names) -> list[str]:
    """Lines of the tree: number, branches and name, output's shape, PyTorch's function.

    A part deeper than DEEPEST levels follows at the margin, so that a graph of any depth stays readable.
    """
    rows: list[tuple[str, str, str, str]] = []
    roots, shown = [nodes[0]], set()
    while roots:
        root = roots.pop(0)
        if id(root) in shown:
            continue
        if rows:
            rows.append(("", "", "", ""))
        # (node, what leads to it, branches before it, branches before what is below it, level)
        waiting: list[tuple[Node | None, str, str, str, int]] = [(root, "", "", "", 0)]
        while waiting:
            node, edge, before, below, level = waiting.pop()
            if node is None:
                rows.append(("", f"{before}{edge}None", "", "wants no gradient"))
                continue
            number = str(names.number[id(node)])
            if id(node) in shown:
                rows.append((number, f"{before}{edge}{names.node(node)}", "", "as above"))
                continue
            edges = [index for index, _ in enumerate(node.next_functions)]
            if level >= DEEPEST and any(under is not None for under, _ in node.next_functions):
                roots.append(node)
                rows.append((number, f"{before}{edge}{names.node(node)} ...", "", "goes on below"))
                continue
            shown.add(id(node))
            twin = node.twin.replace("torch.nn.functional.", "F.")
            rows.append((number, f"{before}{edge}{names.node(node)}", shape_text(node.output_shape), twin))
            for index in reversed(edges):
                last = index == edges[-1]
                branch, rest = ("└─", "   ") if last else ("├─", "│  ")
                label = f"[{index}] {operand(node, index)} ─ "
                waiting.append((node.next_functions[index][0], label, below + branch, below + rest, level + 1))
    return _columns([("", "node", "output", "PyTorch"), *rows], right_first=True)


def describe(node: Node, names: _Names, numbers: bool = True) -> list[str]:
    """Lines on one node. Without numbers, nodes are called by their names alone."""
    title = names.numbered(node) if numbers else names.node(node)
    lines = [title]
    if isinstance(node, AccumulateGrad):
        leaf = node.variable
        filled = "None" if leaf.grad is None else shape_text(leaf.grad.shape)
        facts = [("leaf", f"{shape_text(leaf.shape)} {leaf.dtype}; its .grad is {filled}")]
        facts.append(("backward", _applied(node, names)))
    else:
        facts = [("output", shape_text(node.output_shape)), ("forward", node.formula()), ("backward", node.equation)]
        facts += [("" if i else "keeps", text) for i, text in enumerate(_kept(node, names))]
    edges = [
        "(None, 0)" if below is None else f"({names.numbered(below) if numbers else names.node(below)}, {index})"
        for below, index in node.next_functions
    ]
    facts.append(("next", ", ".join(edges) or "nothing: the path ends here"))
    if node.twin and edges:
        own = [
            f"_saved_{theirs} is {node.twin_holds.get(name, name)}"
            for name, theirs in node.twin_saved.items()
            if name in node.saved_shapes()
        ]
        facts.append(("PyTorch", "; ".join([node.twin, *([f"there {', '.join(own)}"] if own else [])])))
        facts.append(("", node.twin_note))
    for name, text in facts:
        first = f"    {name:<9} "
        lines += textwrap.wrap(text, WIDTH, initial_indent=first, subsequent_indent=" " * len(first)) if text else []
    return lines


def _kept(node: Node, names: _Names) -> list[str]:
    """A line for each array that the node saved: name, shape, why; whether it is a leaf's own array, or freed."""
    lines = []
    for name, shape in node.saved_shapes().items():
        own = names.of_array.get(id(node.saved.get(name)))
        state = ", freed by backward" if node.freed else f", the array of {own} itself" if own else ""
        why = f": {node.keeps[name]}" if name in node.keeps else ""
        lines.append(f"{name} {shape_text(shape)}{state}{why}")
    if not lines:
        lines = ["nothing" + (f": {node.keeps_nothing}" if node.keeps_nothing else "")]
    return lines


def explain_backward(loss: Tensor, labels: Any = None, gradient: Any = None, retain_graph: bool = False) -> str:
    """Run `loss.backward(gradient, retain_graph)` and tell what happens, node by node.

    For each node: the gradient that has arrived, the equation, and the gradients that it sends on, each with its
    shape, its norm √Σ g² and its first number. `labels` and errors as in `explain`, and those of `Tensor.backward`.
    """
    nodes = graph_of("explain_backward", loss)
    names = _Names("explain_backward", nodes, labels)
    arrivals = dict.fromkeys(names.number, 0)
    arrivals[id(nodes[0])] = 1
    lines: list[str] = []

    def watch(node: Node) -> Any:
        def hook(grad_inputs: tuple[Array | None, ...], grad_outputs: tuple[Array]) -> None:
            (dy,) = grad_outputs
            many = arrivals[id(node)]
            added = f", {many} gradients added up" if many > 1 else ""
            lines.append(f"{names.numbered(node)}: {_gradient(dy, node)} has arrived{added}")
            lines.extend(f"      {part}" for part in textwrap.wrap(_applied(node, names), WIDTH - 6))
            for index, dx in enumerate(grad_inputs):
                below = node.next_functions[index][0]
                if below is not None and dx is not None:
                    arrivals[id(below)] += 1
                    lines.append(f"      d{operand(node, index)} {_gradient(dx, below)} → {names.numbered(below)}")

        return node.register_hook(hook)

    handles = [watch(node) for node in nodes]
    try:
        loss.backward(gradient, retain_graph)
    finally:
        for handle in handles:
            handle.remove()
    return "\n".join(lines)


def _applied(node: Node, names: _Names) -> str:
    if isinstance(node, AccumulateGrad):
        return node.equation.replace("variable", names.of_tensor[id(node.variable)])
    return node.equation


def _gradient(array: Array, node: Node) -> str:
    """Shape, norm and first number of a gradient of what `node` made. Blocks of columns are named as the matrix."""
    shape = shape_text(node.output_shape)
    packed = "" if array.shape == node.output_shape else " in blocks"
    if array.size == 1:
        return f"{shape}{packed} = {number_text(float(array.reshape(-1)[0]))}"
    first = f", first {number_text(float(array.reshape(-1)[0]))}" if array.size else ""
    return f"{shape}{packed}, norm {number_text(float(np.sqrt((array * array).sum())))}{first}"


def _count(count: int, one: str, many: str | None = None) -> str:
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def _seen(text: str) -> int:
    """The columns that a text takes in a terminal: two for a letter of Chinese, none for a hat."""
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in text)
    return len(text) + wide - sum(map(bool, map(unicodedata.combining, text)))


def _columns(rows: list[tuple[str, ...]], right_first: bool = False) -> list[str]:
    """Rows of texts as lines with columns of equal width; the first column to the right where asked."""
    widths = [max(_seen(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [text + " " * (width - _seen(text)) for text, width in zip(row, widths, strict=True)]
        if right_first:
            cells[0] = row[0].rjust(widths[0])
        lines.append("  ".join(cells).rstrip())
    return lines
