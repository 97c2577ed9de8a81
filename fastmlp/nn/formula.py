"""A formula in JavaScript: whether it is one, and names nothing but what the report's page knows."""

from __future__ import annotations

import re

TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)|(?P<name>[A-Za-z_$][\w$]*(?:\.[A-Za-z_$][\w$]*)*)"
    r"|(?P<operator>===|!==|\*\*|<=|>=|==|!=|&&|\|\||[-+*/%<>!?:(),])|(?P<other>\S))"
)
MATH = """
    E LN10 LN2 LOG10E LOG2E PI SQRT1_2 SQRT2 abs acos acosh asin asinh atan atan2 atanh cbrt ceil clz32 cos cosh exp
    expm1 floor fround hypot imul log log10 log1p log2 max min pow round sign sin sinh sqrt tan tanh trunc
"""
OWN = {"erf"}  # functions of the page's own, in show/report/net.js
KNOWN = {"v", "Infinity", "NaN", *OWN, *(f"Math.{name}" for name in MATH.split())}
SIGNS = {"+", "-", "!"}  # they may stand before a value


def fault(formula: str, options: tuple[str, ...]) -> str:
    """What is wrong with a formula of v and of the options as l.<option>, in a few words; empty where nothing is.

    It reads values and operators in turn and counts brackets, no more: it knows nothing of precedence.
    """
    known, value_due, open_, before = KNOWN | {f"l.{option}" for option in options}, True, "", ""
    for match in TOKEN.finditer(formula):
        kind, token = match.lastgroup, match.group().strip()
        if kind in ("number", "name"):
            if not value_due:
                return f"has {token} where an operator is due"
            if kind == "name" and token not in known:
                return f"names {token}"
            value_due = False
        elif kind == "other":
            return f"has {token}"
        elif token == "(":
            if not value_due and not before.startswith("Math.") and before not in OWN:
                return f"calls {before or 'a value'}"
            value_due, open_ = True, open_ + "("
        elif value_due and token not in SIGNS:
            return f"has {token} where a value is due"
        elif token in (")", ":"):
            if not open_.endswith("(" if token == ")" else "?"):
                return f"has {token} where nothing is open"
            value_due, open_ = token == ":", open_[:-1]
        elif token == "," and not open_.endswith("("):
            return "has , outside brackets"
        else:
            value_due, open_ = True, open_ + "?" * (token == "?")
        before = token
    if value_due or open_:
        return "ends where a value is due" if value_due else f"leaves {open_[-1]} open"
    return ""
