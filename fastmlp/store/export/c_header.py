"""A model as a header of C99: static arrays and static functions, no allocation, no library but libm.

A layer's weights lie input after input, (inputs, outputs): the loop over the outputs adds four inputs at once, each to
its own sum, so that every compiler makes vector code of it without being allowed to change the order of a sum. Inputs
that are 0 are left out, most of a picture and half of what ReLU makes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from ... import check
from ...files import write
from ...nn import formula, recipe
from .c_words import Numbers, comment, identifier, members, text, wrapped
from .source import Source, place, source, title

LANES = 4  # outputs are padded to a multiple of so many floats, that a vector loop has no rest
AT_ONCE = 8  # inputs that one pass over the outputs adds


def c(model: Any, path: str | os.PathLike[str], *, scale: float = 1.0, name: str | None = None) -> None:
    """Write a model as a header of C99 with functions that take one row.

        NAME_logits(x, z)     the outputs        NAME_proba(x, p)  the probabilities, of classes and labels
        NAME_predict(x)       the class, or the number; (x, y) of labels, and of several numbers

    x: float (double of a float64 model), NAME_FEATURES raw features, which are multiplied by `scale`; of a model that
    was trained on a table a `NAME_row`, a struct of columns: numbers and booleans are doubles, NAN where missing,
    categories UTF-8 texts, NULL where missing. Classes are int64_t, texts, or int for truths.

    model  a Sequential of declared layers, or a fitted estimator of `fastmlp.sklearn`
    path   of the header, which is written in one piece; name: before all its names, of the file's name where None
    scale  what the rows are multiplied by, as the model was trained: `Dataset.scale`

    It allocates nothing, has no state and may be called by many threads. -ffast-math takes NAN away, and with it what
    is missing.
    Errors: TypeError for what is no model; ValueError for a layer or a loss without a formula, for numbers that are not
    finite, for a `name` that C does not have, and for texts of more than 4,095 bytes or with a zero byte.
    """
    target, made = place("export.c: path", path), source(model, "export.c", scale)
    if name is not None and not (isinstance(name, str) and re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,39}", name)):
        raise ValueError(
            f"export.c: name is {check.shown(name)}; it must be at most 40 letters, digits and _, a letter first"
        )
    write(target, header(made, name or identifier(target.name.split(".")[0], "model")))


CALLS = {  # what is called otherwise than in JavaScript
    "erf": "erf", "fmod": "fmod", "Math.abs": "fabs", **{f"Math.{name}": "NAME_" + name for name in (
        "max", "min", "pow", "round", "sign")},
}  # fmt: skip
HELPERS = {  # C's own treat NaN, or a half, otherwise
    "max": "(double a, double b) { return a > b || a != a ? a : b; }",
    "min": "(double a, double b) { return a < b || a != a ? a : b; }",
    "pow": "(double a, double b) { return b != b || (fabs(a) == 1 && isinf(b)) ? NAN : pow(a, b); }",
    "round": "(double a) { return floor(a) + (a - floor(a) >= 0.5); }",
    "sign": "(double a) { return a > 0 ? 1 : a < 0 ? -1 : a; }",
}


def expression(tree: formula.Tree, numbers: Numbers, arrays: dict[str, str]) -> tuple[str, bool]:
    """(what a formula is in C, whether it is of doubles).    arrays: the name of each in C"""
    tree = formula.plain(tree)
    wide = formula.calls(tree) or formula.of_row(tree) or not numbers.single

    def name(given: str) -> str:
        if given.startswith("l."):
            return f"{arrays[given[2:]]}[c]"
        if given in formula.CONSTANTS:
            value = formula.CONSTANTS[given]
            return {"Infinity": "INFINITY", "NaN": "NAN"}.get(given) or repr(value) + "f" * (not wide)
        return given

    def call(called: str, values: list[str]) -> str:
        made = CALLS.get(called, called.removeprefix("Math."))
        return f"{made}({', '.join(values)})"

    def number(written: str) -> str:
        return repr(float(written)) if wide else numbers(float(written))

    return formula.infix(tree, name, call, number, full=True), wide


def header(made: Source, name: str) -> str:
    """The text of the header."""
    numbers = Numbers(made.dtype)
    parts = [*_layers(made, numbers), *_ends(made, numbers)]
    if made.encoding is not None:
        parts.insert(0, _table(made, numbers))
    body = "\n".join(parts)
    helpers = [f"static inline double NAME_{of}{does}\n" for of, does in HELPERS.items() if f"NAME_{of}(" in body]
    features = "NAME_row, a struct of the columns of a table" if made.encoding else (
        f"{made.features} raw features" + f", which are multiplied by {made.scale:g}" * (made.scale != 1))  # fmt: skip
    top = f"""/* {comment(title(made))}: C99, nothing but libm (-lm).
   A row is {features}.
   No function keeps, allocates or writes anything but its result; many threads may call them.
   -ffast-math takes NAN away, and with it what is missing. */
#ifndef NAME_H_
#define NAME_H_

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__cplusplus) || defined(_MSC_VER)
#define NAME_RESTRICT __restrict
#else
#define NAME_RESTRICT restrict
#endif

#define NAME_FEATURES {made.features}
#define NAME_OUTPUTS {made.columns}

"""
    return re.sub(r"\bNAME_", f"{name}_", top + "".join(helpers) + body + f"\n#endif /* {name}_H_ */\n")


def _layers(made: Source, numbers: Numbers) -> Iterator[str]:
    """The arrays and a function for each step, then NAME_forward."""
    kind, widths, calls = numbers.type, [made.features], []
    for at, step in enumerate(made.steps):
        if isinstance(step, recipe.Dense):
            yield from _dense(at, step, numbers)
            widths.append(_padded(step.columns))
        else:
            yield from _formula(at, step, numbers)
            widths.append(step.columns)
    scaled = made.scale != 1
    here = "x"
    lines = []
    if scaled:
        lines.append(f"    for (i = 0; i < {made.features}; i++) h[i] = {numbers(made.scale)} * x[i];")
        here = "h"
    declared = [f"    {kind} h[{made.features}];\n    int i;"] if scaled else []
    for at in range(len(made.steps)):
        declared.append(f"    {kind} h{at}[{widths[at + 1]}];")
        calls.append(f"    NAME_layer{at}({here}, h{at});")
        here = f"h{at}"
    size = made.dtype.itemsize
    stack = (sum(widths) * size + 4 * max(widths)) // 1024 + 1
    yield (
        f"/* all layers; it takes some {stack} KiB of stack */\n"
        f"static inline void NAME_forward(const {kind} *x, {kind} *z) {{\n"
        + "\n".join([*declared, *lines, *calls])
        + f"\n    memcpy(z, {here}, {made.columns} * sizeof({kind}));\n}}\n"
    )


def _padded(columns: int) -> int:
    return columns if columns < LANES - 1 else -(-columns // LANES) * LANES


def _dense(at: int, step: recipe.Dense, numbers: Numbers) -> Iterator[str]:
    inputs, outputs, kind = step.weight.shape[1], _padded(step.columns), numbers.type
    weight, bias = np.zeros((inputs, outputs), step.weight.dtype), np.zeros(outputs, step.bias.dtype)
    weight[:, : step.columns], bias[: step.columns] = step.weight.T, step.bias
    yield f"/* y = x w + b, {inputs} to {step.columns}: w input after input */"
    yield numbers.array(f"NAME_w{at}", weight)
    yield numbers.array(f"NAME_b{at}", bias)
    each = range(AT_ONCE)
    rows = "\n".join(
        f"        const {kind} *w{k} = NAME_w{at} + (size_t){outputs} * at[n + {k}], x{k} = x[at[n + {k}]];"
        for k in each
    )
    total = " + ".join(f"x{k} * w{k}[o]" for k in each)
    yield f"""static inline void NAME_layer{at}(const {kind} *NAME_RESTRICT x, {kind} *NAME_RESTRICT y) {{
    int at[{inputs + AT_ONCE}], count = 0, n, o;
    for (n = 0; n < {inputs}; n++) {{
        at[count] = n;
        count += x[n] != 0;
    }}
    for (n = 0; n < {AT_ONCE}; n++) at[count + n] = -1;
    for (o = 0; o < {outputs}; o++) y[o] = NAME_b{at}[o];
    for (n = 0; at[n + {AT_ONCE - 1}] >= 0; n += {AT_ONCE}) {{
{rows}
        for (o = 0; o < {outputs}; o++) y[o] += {total};
    }}
    for (; at[n] >= 0; n++) {{
        const {kind} *w0 = NAME_w{at} + (size_t){outputs} * at[n], x0 = x[at[n]];
        for (o = 0; o < {outputs}; o++) y[o] += x0 * w0[o];
    }}
}}
"""


def _formula(at: int, step: recipe.Formula, numbers: Numbers) -> Iterator[str]:
    kind, arrays = numbers.type, {name: f"NAME_{identifier(name, 'a')}{at}" for name in step.arrays}
    if len(set(arrays.values())) < len(arrays):  # names of an own layer that differ in what ASCII lacks
        arrays = {name: f"NAME_a{number}_{at}" for number, name in enumerate(step.arrays)}
    yield f"/* {comment(step.kind)}: {comment(formula.infix(step.tree, str))} */"
    for name, array in step.arrays.items():
        yield numbers.array(arrays[name], array)
    said, wide = expression(step.tree, numbers, arrays)
    own = "double" if wide else kind
    before = ""
    if step.of_row:
        before = f"""    double mean = 0, variance = 0;
    for (c = 0; c < {step.columns}; c++) mean += x[c];
    mean /= {step.columns};
    for (c = 0; c < {step.columns}; c++) variance += (x[c] - mean) * (x[c] - mean);
    variance /= {step.columns};
"""
        unused = {"mean", "variance"} - set(formula.names(step.tree))
        before += "".join(f"    (void){name};\n" for name in sorted(unused))
    value = f"({kind})({said})" if own != kind else said
    yield f"""static inline void NAME_layer{at}(const {kind} *NAME_RESTRICT x, {kind} *NAME_RESTRICT y) {{
    int c;
{before}    for (c = 0; c < {step.columns}; c++) {{
        const {own} v = x[c];
        y[c] = {value};
    }}
}}
"""


def _table(made: Source, numbers: Numbers) -> str:
    """The struct of the columns, and NAME_encode."""
    assert made.encoding is not None
    kind, fields, lines, arrays, at = numbers.type, [], [], [], 0
    columns = made.encoding.columns
    for column, member in zip(columns, members(column.name for column in columns), strict=True):
        category = column.kind == "category"
        said = "category, NULL where missing" if category else f"{column.kind}, NAN where missing"
        what = "const char *" if category else "double "
        fields.append(f"    {what}{member}; /* {comment(column.name)}: {said} */")
        if category:
            values = [text(value, f"a category of column {check.short(column.name)}") for value in column.values]
            arrays.append(
                f"static const char *const NAME_values_{member}[{max(len(values), 1)}] = {{\n"
                f"{wrapped(values or ['0'])}\n}};\n"
            )
            lines.append(f"    k = NAME_find(NAME_values_{member}, {len(values)}, row->{member});")
            lines.append(f"    if (k >= 0) x[{at} + k] = 1;")
            missing = f"row->{member} == NULL"
        else:
            missing, value = f"isnan(row->{member})", f"row->{member}"
            if column.kind == "boolean":
                value = f"(row->{member} != 0)"
            filled = f"{missing} ? {column.fill!r} : {value}"
            lines.append(f"    x[{at}] = (float)((({filled}) - {column.mean!r}) / {column.std!r});")
        at += len(column.names)
        if column.missing:
            lines.append(f"    x[{at - 1}] = {missing};")
    find = ""
    index = ""
    if arrays:
        index = "    int k;\n"
        find = """/* the place of a text among sorted ones, -1 where it is not there */
static inline int NAME_find(const char *const *values, int count, const char *text) {
    int low = 0, high = count - 1;
    while (text != NULL && low <= high) {
        const int middle = low + (high - low) / 2, order = strcmp(values[middle], text);
        if (order == 0) return middle;
        if (order < 0) low = middle + 1;
        else high = middle - 1;
    }
    return -1;
}

"""
    body = "\n".join(lines)
    return (
        "typedef struct {\n" + "\n".join(fields) + "\n} NAME_row;\n\n" + "\n".join(arrays) + find
        + f"/* the features of a row; a category that the training did not have is none */\n"
        f"static inline void NAME_encode(const NAME_row *row, {kind} *x) {{\n{index}"
        f"    memset(x, 0, {made.features} * sizeof({kind}));\n{body}\n}}\n"
    )  # fmt: skip


def _ends(made: Source, numbers: Numbers) -> Iterator[str]:
    """NAME_logits, NAME_proba and NAME_predict."""
    kind, C = numbers.type, made.columns
    row = f"const {kind} *x" if made.encoding is None else "const NAME_row *x"
    inside = "" if made.encoding is None else f"    {kind} features[NAME_FEATURES];\n    NAME_encode(x, features);\n"
    given = "x" if made.encoding is None else "features"
    yield f"""/* z: NAME_OUTPUTS */
static inline void NAME_logits({row}, {kind} *z) {{
{inside}    NAME_forward({given}, z);
}}
"""
    if made.kind == "classes":
        yield from _classes(made, numbers, row)
        return
    T = repr(made.temperature)
    if made.kind == "labels":
        yield f"""/* p: NAME_OUTPUTS, the probability of each label */
static inline void NAME_proba({row}, {kind} *p) {{
    int c;
    NAME_logits(x, p);
    for (c = 0; c < {C}; c++) p[c] = ({kind})(1 / (1 + exp(-p[c] / {T})));
}}
"""
        yield f"""/* y: NAME_OUTPUTS, 1 where the label is more likely than not, else 0 */
static inline void NAME_predict({row}, int *y) {{
    {kind} z[NAME_OUTPUTS];
    int c;
    NAME_logits(x, z);
    for (c = 0; c < {C}; c++) y[c] = z[c] > 0;
}}
"""
        return
    said, wide = expression(made.predicted, numbers, {})
    own = "double" if wide else kind
    value = f"({kind})({said})" if own != kind else said
    if len(made.picked) == 1:
        yield f"""static inline {kind} NAME_predict({row}) {{
    {kind} z[NAME_OUTPUTS];
    {own} v;
    NAME_logits(x, z);
    v = z[{made.picked[0]}];
    return {value};
}}
"""
        return
    step = made.picked[1] - made.picked[0]
    yield f"""/* y: {len(made.picked)} numbers */
static inline void NAME_predict({row}, {kind} *y) {{
    {kind} z[NAME_OUTPUTS];
    int c;
    NAME_logits(x, z);
    for (c = 0; c < {len(made.picked)}; c++) {{
        const {own} v = z[{made.picked[0]} + {step} * c];
        y[c] = {value};
    }}
}}
"""


def _classes(made: Source, numbers: Numbers, row: str) -> Iterator[str]:
    kind, C, values = numbers.type, made.columns, made.labels
    if all(isinstance(value, bool) for value in values):
        type_, items = "int ", [str(int(value)) for value in values]
    elif all(isinstance(value, int) for value in values) and all(-(2**63) <= value < 2**63 for value in values):
        least = "(-INT64_C(9223372036854775807) - 1)"
        type_, items = (
            "int64_t ",
            [least if v == -(2**63) else f"INT64_C({v})" if v >= 0 else f"-INT64_C({-v})" for v in values],
        )
    elif all(isinstance(value, int) for value in values):
        type_, items = "uint64_t ", [f"UINT64_C({value})" for value in values]
    elif all(isinstance(value, float) for value in values):
        type_, items = "double ", [repr(value) for value in values]
    else:
        type_, items = "const char *", [text(str(value), "the class") for value in values]
    const = "const " if type_.endswith("*") else ""
    yield f"static {'' if const else 'const '}{type_}{const}NAME_classes[NAME_OUTPUTS] = {{\n{wrapped(items)}\n}};\n"
    yield f"""/* p: NAME_OUTPUTS, the softmax of z / {made.temperature!r} */
static inline void NAME_proba({row}, {kind} *p) {{
    {kind} z[NAME_OUTPUTS];
    double most, sum = 0, e[NAME_OUTPUTS];
    int c;
    NAME_logits(x, z);
    most = z[0];
    for (c = 1; c < {C}; c++) most = z[c] > most ? z[c] : most;
    for (c = 0; c < {C}; c++) sum += e[c] = exp((z[c] - most) / {made.temperature!r});
    for (c = 0; c < {C}; c++) p[c] = ({kind})(e[c] / sum);
}}
"""
    yield f"""/* the class of the largest output */
static inline {type_}NAME_predict({row}) {{
    {kind} z[NAME_OUTPUTS];
    int c, k = 0;
    NAME_logits(x, z);
    for (c = 1; c < {C}; c++) k = z[c] > z[k] ? c : k;
    return NAME_classes[k];
}}
"""
