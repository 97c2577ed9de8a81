"""An ONNX graph while it is written: nodes, constants, and a formula's tree as nodes.

A tree becomes a node for each of its functions and operators. What ONNX has no operator for, and what onnxruntime's CPU
has no kernel for in float64, is written as a formula of others. The same node on the same inputs is made once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from ...nn import formula

SIGNS = {  # between two values
    "+": "Add", "-": "Sub", "*": "Mul", "/": "Div", "**": "Pow", "<": "Less", ">": "Greater", "<=": "LessOrEqual",
    ">=": "GreaterOrEqual", "==": "Equal", "&&": "And", "||": "Or",
}  # fmt: skip
BEFORE = {"-": "Neg", "!": "Not"}  # before one
FUNCTIONS = {
    "Math.abs": "Abs", "Math.ceil": "Ceil", "Math.exp": "Exp", "Math.floor": "Floor", "Math.log": "Log",
    "Math.max": "Max", "Math.min": "Min", "Math.pow": "Pow", "Math.sign": "Sign", "Math.sin": "Sin",
    "Math.sqrt": "Sqrt", "Math.tanh": "Tanh",
}  # fmt: skip
SINGLE = {  # onnxruntime has kernels of float32 alone, in 1.20 as in 1.32; of Cos since a version between
    "Math.acos": "Acos", "Math.acosh": "Acosh", "Math.asin": "Asin", "Math.asinh": "Asinh", "Math.atan": "Atan",
    "Math.atanh": "Atanh", "Math.cos": "Cos", "Math.cosh": "Cosh", "Math.sinh": "Sinh", "Math.tan": "Tan",
}  # fmt: skip
COMPOSED = {  # right to a few roundings near 0 and far out
    "Math.cbrt": "Math.sign(v) * Math.abs(v) ** (1 / 3)",
    "Math.expm1": "Math.abs(v) < 1 ? 2 * Math.tanh(v / 2) / (1 - Math.tanh(v / 2)) : Math.exp(v) - 1",
    "Math.log10": "Math.log(v) / Math.LN10",
    "Math.log1p": "v > 1 ? Math.log(1 + v) : 1 + v == 1 ? v : Math.log(1 + v) * (v / (1 + v - 1))",
    "Math.log2": "Math.log(v) / Math.LN2",
    "Math.round": "v - Math.floor(v) < 0.5 ? Math.floor(v) : Math.floor(v) + 1",  # ONNX's Round goes to even numbers
    "Math.trunc": "v < 0 ? Math.ceil(v) : Math.floor(v)",
    # of float64 alone
    "Math.acosh": "Math.log1p(v - 1 + Math.sqrt((v - 1) * (v + 1)))",
    "Math.asinh": "Math.sign(v) * Math.log1p(Math.abs(v) + v * v / (1 + Math.sqrt(v * v + 1)))",
    "Math.atanh": "(Math.log1p(v) - Math.log1p(-v)) / 2",
    "Math.cos": "Math.sin(v + Math.PI / 2)",
    "Math.cosh": "(Math.exp(v) + Math.exp(-v)) / 2",
    "Math.sinh": "Math.abs(v) < 1 ? (Math.expm1(v) - Math.expm1(-v)) / 2 : (Math.exp(v) - Math.exp(-v)) / 2",
    "Math.tan": "Math.sin(v) / Math.cos(v)",
}


def _polynomial(coefficients: list[float], of: str) -> str:
    """As a formula, the lowest power first."""
    text = f"({coefficients[-1]!r})"
    for coefficient in coefficients[-2::-1]:
        text = f"({text}) * {of} + ({coefficient!r})"
    return text


# erf of float64: up to 1 its series, then 1 - t e^(P(u) - v²), t = 2 / (2 + |v|), the form of Press et al., Numerical
# Recipes, 3rd ed., 6.2.2. u is t brought from [1/15, 2/3] to [-1, 1], P interpolates there with 50 digits, at 18
# Chebyshev points; erf is right to 3e-17 beside the roundings.
_SERIES = [(-1) ** n * 2 / math.sqrt(math.pi) / (math.factorial(n) * (2 * n + 1)) for n in range(19)]
_TAIL = [
    -0.84697067089123, 0.3830047129664368, 0.02850119686685474, -0.006726207773206314, -0.0023811734145166388,
    0.00024035745266487492, 0.0002238955970518131, -1.2155401125424441e-05, -2.3909932058918406e-05,
    1.3096044421408437e-06, 2.751116866295261e-06, -2.70080394818381e-07, -3.1736582385688694e-07,
    5.80373497748813e-08, 3.258907215253521e-08, -9.998346155643096e-09, -2.2065095484678584e-09,
    1.0073893139442617e-09,
]  # fmt: skip
_T = "(2 / (2 + Math.abs(v)))"
COMPOSED["erf"] = (
    f"Math.abs(v) < 1 ? v * ({_polynomial(_SERIES, '(v * v)')})"
    f" : Math.sign(v) * (1 - {_T} * Math.exp({_polynomial(_TAIL, f'({_T} / 0.3 - 11 / 9)')} - v * v))"
)


class Whole(NamedTuple):
    """An operator that is a whole formula: one pass over the numbers in place of several.

    takes   what stands for each l.<name>: "attributes", numbers by these names; "numbers" or "arrays", inputs
    double  whether onnxruntime has a kernel of float64
    """

    operator: str
    text: str
    names: tuple[str, ...] = ()
    takes: str = "attributes"
    double: bool = False

    def find(self, tree: formula.Tree) -> dict[str, formula.Tree] | None:
        """What the tree has in the place of each l.<name>; None where it is no such formula."""
        found: dict[str, formula.Tree] = {}
        same = _same(_plain(self.text, self.names), tree, found)
        return found if same and (self.takes == "arrays" or not any(map(_array_in, found.values()))) else None


WHOLE = (
    Whole("Relu", "v < 0 ? 0 : v", double=True),
    Whole("Clip", "v < l.min ? l.min : v > l.max ? l.max : v", ("min", "max"), "numbers", double=True),
    Whole("LeakyRelu", "v > 0 ? v : l.alpha * v", ("alpha",)),
    Whole("PRelu", "v > 0 ? v : l.slope * v", ("slope",), "arrays"),
    Whole("Selu", "v > 0 ? l.gamma * v : l.gamma * l.alpha * Math.expm1(v)", ("gamma", "alpha")),
)


def _same(pattern: formula.Tree, tree: formula.Tree, found: dict[str, formula.Tree]) -> bool:
    """Whether the tree is the pattern with something of its own for each l.<name>, which goes into `found`."""
    if isinstance(pattern, formula.Name) and pattern.name.startswith("l."):
        return "v" not in formula.names(tree) and found.setdefault(pattern.name[2:], tree) == tree
    if isinstance(pattern, formula.Number):
        return isinstance(tree, formula.Number) and float(pattern.text) == float(tree.text)
    if isinstance(pattern, formula.Name) or type(pattern) is not type(tree) or pattern[0] != tree[0]:
        return pattern == tree
    pairs = list(zip(pattern.values, tree.values, strict=False))
    return len(pattern.values) == len(tree.values) and all(_same(*pair, found) for pair in pairs)


def _number(tree: formula.Tree) -> float:
    """The value of a tree of numbers."""
    line = formula.affine(tree, {})
    return float(line[1]) if line else math.nan


def _array_in(tree: formula.Tree) -> bool:
    return any(name.startswith("l.") or name in formula.ROW for name in formula.names(tree))


@cache
def _plain(text: str, names: tuple[str, ...] = ()) -> formula.Tree:
    return formula.plain(formula.parse(text, names))


class Nodes:
    """The nodes and constants of a graph, in the order in which they are computed.

    helper: `onnx.helper`; dtype: of the numbers in formulas
    """

    def __init__(self, helper: Any, dtype: np.dtype[Any]) -> None:
        self.helper, self.dtype = helper, dtype
        self.nodes: list[Any] = []
        self.arrays: dict[str, np.ndarray] = {}  # by the names of tensors
        self._made: dict[Any, str] = {}
        self._counts: dict[str, int] = {}

    def name(self, word: str) -> str:
        """A name that no other tensor of the graph has: no input of a table is called so, either."""
        self._counts[word] = self._counts.get(word, 0) + 1
        return f"fastmlp.{word}.{self._counts[word]}"

    def array(self, word: str, values: Any, dtype: Any = None) -> str:
        """The name of a constant; a single number is kept once."""
        array = np.asarray(values, dtype)
        key = (array.dtype.str, array.shape, repr(array.tolist())) if array.size == 1 else None
        if key is None or key not in self._made:
            made = self.name(word)
            self.arrays[made] = array
            if key is None:
                return made
            self._made[key] = made
        return self._made[key]

    def number(self, value: float) -> str:
        """The name of a constant of the graph's dtype."""
        return self.array("number", value, self.dtype)

    def node(self, operator: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """The name of what the operator makes of these tensors."""
        key = (operator, inputs, repr(attributes))
        if key not in self._made:
            made = self.name(operator.lower())
            self.nodes.append(self.helper.make_node(operator, inputs, [made], name=made, domain=domain, **attributes))
            self._made[key] = made
        return self._made[key]

    def cast(self, tensor: str, dtype: Any) -> str:
        """The tensor as another type."""
        return self.node("Cast", tensor, to=int(self.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))))

    def concat(self, tensors: list[str]) -> str:
        """Tensors (N, C) beside each other; one alone as it is."""
        return tensors[0] if len(tensors) == 1 else self.node("Concat", *tensors, axis=1)

    def gather(self, tensor: str, columns: list[int]) -> str:
        """These columns of a tensor (N, C)."""
        return self.node("Gather", tensor, self.array("columns", columns, np.int64), axis=1)

    def call(self, tensor: str, name: str) -> None:
        """Give what a node makes another name: that of an output of the graph."""
        for node in self.nodes:
            for names in (node.input, node.output):
                for at, known in enumerate(names):
                    if known == tensor:
                        names[at] = name

    def written(self, tree: formula.Tree, v: str, arrays: Mapping[str, str] = {}) -> str:
        """A formula of v (N, C), and of arrays by the names of their tensors.    Error: ValueError names a function."""
        plain, names = formula.plain(tree), {"v": v, **{f"l.{name}": tensor for name, tensor in arrays.items()}}
        for whole in WHOLE:
            found = whole.find(plain) if whole.double or self.dtype == np.float32 else None
            if found is None:
                continue
            if whole.takes == "attributes":
                return self.node(
                    whole.operator, v, **dict[str, Any]((name, _number(found[name])) for name in whole.names)
                )
            return self.node(whole.operator, v, *(self._tree(found[name], names) for name in whole.names))
        made = self._tree(plain, names)
        return made if "v" in formula.names(tree) else self.node("Expand", made, self.node("Shape", v))

    def _tree(self, tree: formula.Tree, names: Mapping[str, str]) -> str:
        """A plain tree, of tensors by the names in it."""
        if isinstance(tree, formula.Number):
            return self.number(float(tree.text))
        if isinstance(tree, formula.Name):
            if tree.name in formula.ROW:
                return self._of_row(tree.name, names["v"])
            return names[tree.name] if tree.name in names else self.number(formula.CONSTANTS[tree.name])
        values = [self._tree(value, names) for value in tree.values]
        if isinstance(tree, formula.Call):
            return self._call(tree.name, values)
        if tree.sign == "?":
            return self.node("Where", *values)
        if len(values) == 1:
            return values[0] if tree.sign == "+" else self.node(BEFORE[tree.sign], *values)
        if tree.sign == "!=":
            return self.node("Not", self.node("Equal", *values))
        return self.node(SIGNS[tree.sign], *values)

    def _of_row(self, name: str, v: str) -> str:
        """The mean of a row (N, 1), or its biased variance."""
        mean = self.node("ReduceMean", v, axes=[-1], keepdims=1)
        if name == "mean":
            return mean
        away = self.node("Sub", v, mean)
        # Not Pow(away, 2): up to 1.26 onnxruntime makes one LayerNormalization of that and what follows, by
        # E[v²] - E[v]²: float32 rows around 1,000 with a spread of 1 are off by 0.6 then, around 10,000 they are NaN.
        return self.node("ReduceMean", self.node("Mul", away, away), axes=[-1], keepdims=1)

    def _call(self, name: str, values: list[str]) -> str:
        """A function of tensors."""
        single = self.dtype == np.float32
        if name == "fmod":
            return self.node("Mod", *values, fmod=1)
        if operator := FUNCTIONS.get(name) or (SINGLE.get(name) if single else None):
            return self.node(operator, *values)
        if name == "erf" and single:
            (v,) = values
            return self.node("Where", self.node("Equal", v, v), self.node("Erf", v), v)  # erf(NaN) is 1 up to 1.26
        if name in COMPOSED:
            return self._tree(_plain(COMPOSED[name]), {"v": values[0]})
        lacks = "ONNX has no operator" if name == "Math.atan2" else f"onnxruntime has no kernel of {self.dtype}"
        raise ValueError(f"{lacks} for {name}")
