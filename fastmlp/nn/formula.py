"""A formula in JavaScript as a tree: the report's page and the exports write it in their own languages.

It says what a layer makes of a number v of a row in prediction. It may name the layer's numbers and arrays as
l.<name>, an array standing for its entry of v's column; the `mean` and the biased `variance` of the row; `Math`; `erf`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from ..graph import Array

TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)|(?P<name>[A-Za-z_$][\w$]*(?:\.[A-Za-z_$][\w$]*)*)"
    r"|(?P<operator>===|!==|\*\*|<=|>=|==|!=|&&|\|\||[-+*/%<>!?:(),])|(?P<other>\S))"
)
CONSTANTS = {
    "Infinity": math.inf, "NaN": math.nan, "Math.E": math.e, "Math.LN10": math.log(10), "Math.LN2": math.log(2),
    "Math.LOG10E": 1 / math.log(10), "Math.LOG2E": 1 / math.log(2), "Math.PI": math.pi, "Math.SQRT1_2": math.sqrt(0.5),
    "Math.SQRT2": math.sqrt(2),
}  # fmt: skip
ROW = ("mean", "variance")  # what a formula may know of the whole row
_ONE = """abs acos acosh asin asinh atan atanh cbrt ceil cos cosh exp expm1 floor log log10 log1p log2 round sign sin
sinh sqrt tan tanh trunc"""
FUNCTIONS: dict[str, int | None] = {  # how many values each takes; None: one or more
    "erf": 1, **{f"Math.{name}": 1 for name in _ONE.split()}, "Math.atan2": 2, "Math.pow": 2, "Math.max": None,
    "Math.min": None,
}  # fmt: skip
STRENGTH = {  # of the operators between two values, loosest first
    sign: strength
    for strength, signs in enumerate(("||", "&&", "=== !== == !=", "< <= > >=", "+ -", "* / %", "**"), 1)
    for sign in signs.split()
}
TRUTHS = {"||", "&&", "===", "!==", "==", "!=", "<", "<=", ">", ">=", "!"}  # operators that make a truth of values
SIGNS = {"+", "-", "!"}  # they may stand before a value


class Number(NamedTuple):
    """A number as it is written."""

    text: str


class Name(NamedTuple):
    """v, mean, variance, a constant, or l.<name>."""

    name: str


class Call(NamedTuple):
    """A function of values."""

    name: str
    values: tuple[Tree, ...]


class Sign(NamedTuple):
    """An operator: of one value, of two, or "?" of three, the truth first."""

    sign: str
    values: tuple[Tree, ...]


Tree = Number | Name | Call | Sign


def parse(formula: str, names: tuple[str, ...]) -> Tree:
    """The tree of a formula of v and of l.<name>. Error: ValueError says in a few words what is wrong with it."""
    reader = _Reader(formula, {"v", *ROW, *CONSTANTS, *(f"l.{name}" for name in names)})
    tree = reader.choice()
    kind, token = reader.next()
    if kind in ("number", "name"):
        raise ValueError(f"has {token} where an operator is due")
    if token == ",":
        raise ValueError("has , outside the brackets of a function")
    if kind:
        raise ValueError(f"has {token}" + " where nothing is open" * (kind == "operator"))
    return tree


class _Reader:
    """Reads the tokens of a formula one after the other; a method for each strength of binding."""

    def __init__(self, formula: str, known: set[str]) -> None:
        found = ((str(match.lastgroup), match.group().strip()) for match in TOKEN.finditer(formula))
        self.tokens, self.known, self.at = [*found, ("", "")], known, 0

    def next(self) -> tuple[str, str]:
        """(kind, token), ("", "") at the end; it is read again until `take` passes it."""
        return self.tokens[self.at]

    def take(self, token: str) -> bool:
        """Pass the token where it is the next."""
        found = self.next()[1] == token
        self.at += found
        return found

    def choice(self) -> Tree:
        """A value, or truth ? a : b."""
        truth = self.between(1)
        if not self.take("?"):
            return truth
        first = self.choice()
        if not self.take(":"):
            raise ValueError(self.stray("?"))
        return Sign("?", (truth, first, self.choice()))

    def between(self, least: int) -> Tree:
        """Values with operators of at least this strength between them."""
        begins, left = self.next()[1], self.signed()
        while (strength := STRENGTH.get(self.next()[1], 0)) >= least:
            sign = self.next()[1]
            if sign == "**" and begins in SIGNS:
                raise ValueError(f"has {sign} behind {begins}; brackets must say which of them comes first")
            self.at += 1
            left = Sign(sign, (left, self.between(strength + (sign != "**"))))
        return left

    def signed(self) -> Tree:
        """A value behind its signs."""
        sign = self.next()[1]
        if sign in SIGNS:
            self.at += 1
            return Sign(sign, (self.signed(),))
        return self.value()

    def value(self) -> Tree:
        """A number, a name, a call, or what stands in brackets."""
        kind, token = self.next()
        if kind == "other":
            raise ValueError(f"has {token}")
        if token == "(":
            self.at += 1
            tree: Tree = self.choice()
            if not self.take(")"):
                raise ValueError(self.stray("("))
            called = "a value"
        elif kind == "operator":
            raise ValueError(f"has {token} where a value is due")
        elif not kind:
            raise ValueError("ends where a value is due")
        else:
            self.at += 1
            if kind == "name" and token in FUNCTIONS and self.take("("):
                tree, called = self.call(token), "a value"
            elif kind == "name" and token not in self.known:
                raise ValueError(f"names {token}")
            else:
                tree, called = Number(token) if kind == "number" else Name(token), token
        if self.next()[1] == "(":
            raise ValueError(f"calls {called}")
        return tree

    def call(self, name: str) -> Tree:
        """The values of a function, whose bracket is open."""
        values = [self.choice()]
        while self.take(","):
            values.append(self.choice())
        if not self.take(")"):
            raise ValueError(self.stray("("))
        if FUNCTIONS[name] not in (None, len(values)):
            raise ValueError(f"gives {name} {len(values)} value{'s' * (len(values) > 1)}")
        return Call(name, tuple(values))

    def stray(self, open_: str) -> str:
        """What stands where a bracket, or a "?", that is open should be closed."""
        kind, token = self.next()
        if kind in ("number", "name"):
            return f"has {token} where an operator is due"
        if kind == "other" or token == ",":
            return f"has {token}" + " outside the brackets of a function" * (token == ",")
        other = {"(": ":", "?": ")"}[open_]
        return f"has {token} where nothing is open" if token == other and open_ == "(" else f"leaves {open_} open"


def is_truth(tree: Tree) -> bool:
    """Whether its value is true or false, not a number."""
    return isinstance(tree, Sign) and tree.sign in TRUTHS


def names(tree: Tree) -> Iterator[str]:
    """The names in it, as they stand, those of functions too."""
    if isinstance(tree, Name | Call):
        yield tree.name
    for value in tree.values if isinstance(tree, Call | Sign) else ():
        yield from names(value)


def of_row(tree: Tree) -> bool:
    """Whether it needs the whole row."""
    return any(name in ROW for name in names(tree))


def calls(tree: Tree) -> bool:
    """Whether it calls a function or takes a power: the exports compute it in float64, whatever the model is."""
    return any(name in FUNCTIONS for name in names(tree)) or any(sign == "**" for sign in _signs(tree))


def _signs(tree: Tree) -> Iterator[str]:
    if isinstance(tree, Sign):
        yield tree.sign
    for value in tree.values if isinstance(tree, Call | Sign) else ():
        yield from _signs(value)


def plain(tree: Tree, truth: bool = False) -> Tree:
    """The same without what is JavaScript's own: truths stand where truths are due, and numbers where numbers are.

    A number in the place of a truth is compared with 0, as NaN is false too; a truth in the place of a number chooses 1
    or 0; && and || stand between truths alone; === is ==; a remainder is the call fmod; v ** 3 is a product; max and
    min are of two numbers.
    truth: whether a truth is due
    """
    made: Tree = tree
    if isinstance(tree, Call):
        made, *rest = (plain(value) for value in tree.values)
        if FUNCTIONS.get(tree.name, 1) is None:
            for value in rest:
                made = Call(tree.name, (made, value))
        else:
            made = Call(tree.name, (made, *rest))
    elif isinstance(tree, Sign):
        sign, values = tree.sign, tree.values
        if sign == "?":
            return _as(truth, Sign("?", (plain(values[0], True), plain(values[1]), plain(values[2]))))
        if sign in ("&&", "||") and not (truth or _is_plain_truth(tree)):
            value = plain(values[0])
            chosen = (plain(values[1]), value) if sign == "&&" else (value, plain(values[1]))
            return Sign("?", (plain(values[0], True), *chosen))
        made = Sign(sign.replace("===", "==").replace("!==", "!="),
                    tuple(plain(value, sign in ("&&", "||", "!")) for value in values))  # fmt: skip
        if sign == "%":
            made = Call("fmod", made.values)
        elif sign == "**" and isinstance(values[0], Name) and values[1] in _PRODUCTS:
            made = values[0]
            for _ in range(_PRODUCTS[values[1]] - 1):
                made = Sign("*", (made, values[0]))
    return _as(truth, made)


_PRODUCTS: dict[Tree, int] = {Number(text): power for power in (2, 3, 4) for text in (f"{power}", f"{power}.0")}


def _is_plain_truth(tree: Tree) -> bool:
    """Whether it is a truth by all it is made of: 0 || 1 is a number."""
    if isinstance(tree, Sign) and tree.sign in ("&&", "||"):
        return all(_is_plain_truth(value) for value in tree.values)
    return is_truth(tree)


def _as(truth: bool, tree: Tree) -> Tree:
    """A plain tree as a truth, or as a number."""
    if truth and not is_truth(tree):
        return Sign("&&", (Sign("!=", (tree, Number("0"))), Sign("==", (tree, tree))))
    return Sign("?", (tree, Number("1"), Number("0"))) if is_truth(tree) and not truth else tree


def infix(
    tree: Tree,
    name: Callable[[str], str],
    call: Callable[[str, list[str]], str] | None = None,
    number: Callable[[str], str] | None = None,
    full: bool = False,
) -> str:
    """The formula as JavaScript has it, and much of C: operators between values, no more brackets than needed.

    name: writes a name, call: a function and its values, number: a number; as they stand where None. `**` becomes a
    call of Math.pow where `call` is given.    full: brackets around all that stands beside an operator, but for signs
    """

    def written(tree: Tree, least: int = 0) -> str:
        if isinstance(tree, Number):
            return number(tree.text) if number else tree.text if call is None else repr(float(tree.text))
        if isinstance(tree, Name):
            return name(tree.name)
        if isinstance(tree, Call):
            values = [written(value) for value in tree.values]
            return call(tree.name, values) if call else f"{tree.name}({', '.join(values)})"
        sign, values_ = tree.sign, tree.values
        if sign == "?":
            text, strength = f"{written(values_[0], 1)} ? {written(values_[1])} : {written(values_[2])}", 0
        elif len(values_) == 1:  # nothing binds tighter, so two signs never meet
            text, strength = f"{sign}{written(values_[0], 9)}", 7
        elif sign == "**" and call:
            return call("Math.pow", [written(value) for value in values_])
        else:
            strength = STRENGTH[sign]
            right = sign == "**"  # 2 ** 3 ** 2 is 2 ** (3 ** 2)
            own = sign if call is None else sign.replace("===", "==").replace("!==", "!=")
            text = f"{written(values_[0], strength + right)} {own} {written(values_[1], strength + (not right))}"
        return f"({text})" if strength < (9 if full and least else least) else text

    return written(tree)


def javascript(kind: str, tree: Tree, entries: Mapping[str, str]) -> str:
    """A property of an object, (l, x) => y, for a layer l and a row x.    entries: what stands for l.<name>"""
    text = infix(tree, lambda name: entries.get(name, name))
    if of_row(tree):
        return (
            f"{kind}(l, x) {{\n    const {{ mean, variance }} = moments(x);\n    return x.map((v, i) => {text});\n  }}"
        )
    arguments = "(v, i)" if any(f"l.{name}" in entries for name in _entries(tree)) else "(v)"
    return f"{kind}: (l, x) => x.map({arguments} => {text})"


def _entries(tree: Tree) -> Iterator[str]:
    return (name.removeprefix("l.") for name in names(tree) if name.startswith("l."))


def bound(tree: Tree, numbers: Mapping[str, float]) -> Tree:
    """The tree with numbers in place of l.<name>; of a choice by a number that is known, what it chooses."""
    if isinstance(tree, Name) and (value := numbers.get(tree.name.removeprefix("l."))) is not None:
        return number(float(value))
    if isinstance(tree, Call):
        return Call(tree.name, tuple(bound(value, numbers) for value in tree.values))
    if isinstance(tree, Sign):
        values = tuple(bound(value, numbers) for value in tree.values)
        if tree.sign == "?" and isinstance(values[0], Number):
            return values[1] if float(values[0].text) else values[2]
        return Sign(tree.sign, values)
    return tree


def number(value: float) -> Tree:
    """A number of any kind as a tree."""
    if math.isnan(value):
        return Name("NaN")
    size: Tree = Name("Infinity") if math.isinf(value) else Number(repr(abs(value)))
    return Sign("-", (size,)) if math.copysign(1, value) < 0 else size


def affine(tree: Tree, values: Mapping[str, Any]) -> tuple[Array, Array] | None:
    """(a, b) where the formula is a v + b for every v; None where it is not, as far as can be seen.

    values: the arrays by their names, without "l.". a, b: float64, of the shape of the arrays or ()
    """
    if isinstance(tree, Number):
        return np.zeros(()), np.array(float(tree.text))
    if isinstance(tree, Name):
        if tree.name in ROW:
            return None
        given = values.get(tree.name.removeprefix("l."), CONSTANTS.get(tree.name))
        return (np.ones(()), np.zeros(())) if tree.name == "v" else (np.zeros(()), np.asarray(given, np.float64))
    parts = [affine(value, values) for value in tree.values]
    if any(part is None for part in parts):
        return None
    known: list[tuple[Array, Array]] = [part for part in parts if part is not None]
    sign = tree.sign if isinstance(tree, Sign) else ""
    (a, b), (c, d) = known[0], known[-1]
    if sign in ("+", "-"):
        to = 1.0 if sign == "+" else -1.0
        return (to * a, to * b) if len(known) == 1 else (a + to * c, b + to * d)
    if sign == "*" and not (np.any(a) and np.any(c)):
        return a * d + b * c, b * d
    if sign == "/" and not np.any(c):
        return a / d, b / d
    if isinstance(tree, Call) and tree.name == "Math.sqrt" and not np.any(a):
        return np.zeros(()), np.sqrt(b)
    return None
