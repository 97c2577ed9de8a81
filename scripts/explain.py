"""Walk through one training step of a small net: parameters, graph, backward, gradients, updates.

Every figure is computed while it runs. Float64, so that four digits are the same on every processor.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import gc
import io
import sys
import textwrap
import unicodedata
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # `python scripts/explain.py` runs the checkout it lies in

try:
    import fastmlp as fm
except ImportError as error:  # the compiler is switched off, or does not fit NumPy: the sentence says so
    print(f"{Path(__file__).name}: error: {error}", file=sys.stderr)
    sys.exit(2)
from fastmlp.commandline import complain, make_parser, run_script  # noqa: E402
from fastmlp.graph import nodes_of  # noqa: E402
from fastmlp.show.explain import explain_node, explain_tree, number_text, shape_text  # noqa: E402

WIDTH, ROWS, FEATURES, CLASSES = 100, 5, 4, 10
BETA1, BETA2, EPS = 0.9, 0.999, 1e-8  # Adam's defaults
SAME = 1e-12  # relative: two ways to one float64 number, a few roundings each


def widths(text: str) -> tuple[int, ...]:
    """Widths from a text: "5" is (5,), an empty text is no hidden layer."""
    parts = [part.strip() for part in text.split(",")] if text.strip() else []
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of widths such as 5 or 8,6")
    return tuple(int(part) for part in parts)


def real(text: str) -> float:
    """A number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def probability(text: str) -> float:
    """A number in [0, 1)."""
    value = 0.0 if text.strip() in ("0", "0.0") else real(text)
    if value >= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number in [0, 1)")
    return value


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line, checked."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--hidden", type=widths, default="5", metavar="W,W,...", help="widths of the hidden layers; '' for none")
    add("--activation", choices=fm.nn.ACTIVATIONS, default="relu", help="activation of the hidden layers")
    add("--batch-norm", action="store_true", help="normalise each hidden layer before its activation")
    add("--dropout", type=probability, default=0.0, metavar="P", help="probability to drop a hidden value")
    add("--seed", type=int, default=0, metavar="N", help="seed of X, the labels, the weights and dropout")
    add("--lr", type=real, default=0.01, metavar="X", help="learning rate of SGD and of Adam")
    add(
        "--out", type=Path, default=None, metavar="DIR", help="write graph.svg, graph.png, graph.dot, explain.txt there"
    )
    options = parser.parse_args(arguments)
    if options.seed < 0:
        parser.error(f"argument --seed: {options.seed} is not a whole number of at least 0")
    return options


def heading(number: int, question: str) -> None:
    """A section is a question."""
    print(f"\n\n{number}. {question}\n{'─' * (len(question) + len(str(number)) + 2)}")


def say(text: str) -> None:
    """A paragraph."""
    print(textwrap.fill(" ".join(text.split()), WIDTH))


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    """Columns of equal width."""

    def seen(cell: str) -> int:  # the hat of m̂ takes no column
        return sum(not unicodedata.combining(letter) for letter in cell)

    wide = [max(seen(row[i]) for row in (head, *rows)) for i in range(len(head))]
    for row in (head, *rows):
        cells = [cell + " " * (width - seen(cell)) for cell, width in zip(row, wide, strict=True)]
        print("  " + "  ".join(cells).rstrip())


def numbers(array: Any, most: int = 4) -> str:
    """The first numbers of an array."""
    flat = np.asarray(array).reshape(-1)
    return "  ".join(number_text(float(v)) for v in flat[:most]) + (" ..." if flat.size > most else "")


def matrix(name: str, array: Any) -> None:
    """All numbers of a small array, a vector in rows of five; the first numbers of a larger one."""
    print(f"  {name} {shape_text(array.shape)}")
    rows = [array[i : i + 5] for i in range(0, len(array), 5)] if array.ndim == 1 else list(array)
    if len(rows) <= 10 and len(rows[0]) <= 8:
        for row in rows:
            print("    " + "  ".join(f"{number_text(float(v)):>10}" for v in row))
    else:
        print("    " + numbers(array, 6))


def same(a: Any, b: Any) -> bool:
    """Equal but for rounding; NaN is not."""
    a, b = np.asarray(a), np.asarray(b)
    return bool((np.abs(a - b) <= SAME * (np.abs(a) + np.abs(b)) + 1e-15).all())


def yes(value: bool) -> str:
    """A truth in words."""
    return "yes" if value else "no"


class Walk:
    """The net, its batch, and a section for each question."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.lr = options, options.lr
        fm.manual_seed(options.seed)
        form = (options.activation, options.dropout, options.batch_norm)
        self.model = fm.nn.MLP(FEATURES, options.hidden, CLASSES, *form).double()
        rng = np.random.default_rng(options.seed)
        self.x = np.round(rng.normal(size=(ROWS, FEATURES)), 1)
        self.labels = rng.integers(0, CLASSES, ROWS)
        self.untouched = copy.deepcopy(self.model)
        self.name = "0.weight"  # of its numbers the one whose gradient is largest, so that there is something to see
        trial = copy.deepcopy(self.model)
        self.loss_of(trial).backward()
        g = self.weight(trial).grad
        assert g is not None
        row, column = np.unravel_index(int(np.abs(g).argmax()), g.shape)
        self.at = int(row), int(column)

    def loss_of(self, model: fm.nn.Module) -> fm.Tensor:
        """Cross-entropy of the batch."""
        return fm.ops.cross_entropy(model(fm.Tensor(self.x)), self.labels)

    def weight(self, model: fm.nn.Module) -> fm.Parameter:
        """The named weight's parameter in this model."""
        return dict(model.named_parameters())[self.name]

    def parameters(self) -> None:
        """Before anything ran."""
        heading(1, "What does the net hold before it has seen anything? What is model.parameters()?")
        print(self.model)
        rows = [
            (
                name,
                shape_text(p.shape),
                str(p.is_leaf),
                str(p.requires_grad),
                str(p.grad_fn),
                str(p.grad),
                numbers(p.data, 3),
            )
            for name, p in self.model.named_parameters()
        ]
        table(("parameter", "shape", "is_leaf", "requires_grad", "grad_fn", "grad", "first numbers"), rows)
        generator = self.model.parameters()
        first, second = len(list(generator)), len(list(generator))
        say(f"""model.parameters() is a {type(generator).__name__}: it gave {first} parameters, and {second} when asked
            again. Make a new one each time. No operation made a parameter: it is a leaf, and grad_fn is None.""")
        print()
        matrix("X", self.x)
        print(f"  labels {shape_text(self.labels.shape)}: {numbers(self.labels, ROWS)}")

    def forward(self) -> None:
        """Layer by layer."""
        heading(2, "What is grad_fn? What does a node keep, and why?")
        say(
            "Each operation makes a tensor and a node. The tensor holds its node as grad_fn. The node keeps what its "
            "backward equation needs."
        )
        self.hidden: list[fm.Tensor] = []
        h = fm.Tensor(self.x)
        for index, layer in enumerate(self.model):
            h = layer(h)
            self.show(f"layer {index}, {layer!r}", h)
            self.hidden.append(h)
        self.hidden[0].retain_grad()
        y = fm.ops.log_softmax(h)
        self.show("log_softmax, the first half of cross-entropy", y)
        self.loss = fm.ops.nll_loss(y, self.labels)
        self.show(f"nll_loss, the second half: the loss, {number_text(self.loss.item())}", self.loss)

    def show(self, title: str, tensor: fm.Tensor) -> None:
        """A tensor and its node."""
        print(f"\n  {title}: a tensor of shape {shape_text(tensor.shape)}, grad_fn:")
        assert tensor.grad_fn is not None
        print(textwrap.indent(explain_node(tensor.grad_fn, self.model), "  "))

    def graph(self) -> None:
        """The tree, and who keeps it alive."""
        heading(3, "Where does the graph live? Is it a linked list?")
        say(
            "In the nodes themselves. Each has next_functions, a tuple with a pair (node, index) for each input. A "
            "node may have several inputs and serve several outputs: a directed acyclic graph, no list. It ends in an "
            "AccumulateGrad for each parameter. The number is the node's turn in backward."
        )
        print()
        print(explain_tree(self.loss, self.model))
        other = self.loss_of(copy.deepcopy(self.model))
        node = weakref.ref(nodes_of(other)[1])
        before = node() is not None
        del other
        gc.collect()
        print()
        say(
            f"The tensor at its end holds the graph. Of another loss, a node is there: {yes(before)}; after "
            f"`del loss`: {yes(node() is not None)}."
        )

    def backward(self) -> None:
        """Node by node."""
        heading(4, "I passed no gradient: why is .grad filled?")
        say(
            "loss.backward() starts with d(loss) / d(loss) = 1. Each node turns the gradient of its output into those "
            "of its inputs and sends them on. A leaf adds what arrives to .grad."
        )
        print()
        print(fm.explain_backward(self.loss, self.model))

    def gradients(self) -> None:
        """Each .grad, and one entry by a difference."""
        heading(5, "What is .grad, of what with respect to what?")
        say("An array of the parameter's shape. Each entry is d(loss) / d(that entry of the parameter).")
        for name, p in self.model.named_parameters():
            matrix(f"{name}.grad", p.grad)
        grad, h, ends = self.weight(self.model).grad, 1e-5, []
        assert grad is not None
        for sign in (1, -1):
            twin = copy.deepcopy(self.untouched)  # with its dropout counters: the same numbers are dropped
            self.weight(twin).data[self.at] += sign * h
            ends.append(self.loss_of(twin).item())
        slope = (ends[0] - ends[1]) / (2 * h)
        print()
        say("Try it: make one weight a little larger and a little smaller, and look at the loss.")
        table((f"p = {self.spot()}, h = {h:g}", ""), [
            ("(loss(p + h) - loss(p - h)) / 2h", f"{slope:.6f}"),
            (f"{self.name}.grad{list(self.at)}", f"{grad[self.at]:.6f}"),
        ])  # fmt: skip
        kept, last = self.hidden[0], self.hidden[-1]
        say(
            f"A tensor between has no .grad, unless retain_grad() asked for it before: layer 0, asked, has "
            f"{'none' if kept.grad is None else shape_text(kept.grad.shape)}"
            + (f"; layer {len(self.hidden) - 1}, not asked, has {last.grad}." if last is not kept else ".")
        )

    def spot(self) -> str:
        """0.weight[1, 2]."""
        return f"{self.name}[{self.at[0]}, {self.at[1]}]"

    def sgd(self) -> None:
        """By hand beside the optimizer; what step leaves."""
        heading(6, "What does a step of SGD change? Does it clear the gradients? Is the array the same?")
        self.adam_model = copy.deepcopy(self.model)  # with .grad: Adam starts from here, too
        p = self.weight(self.model)
        assert p.grad is not None
        array, grad = p.data, p.grad
        value, g, copied = array[self.at], grad[self.at], array.copy()
        gradients = [q.grad.copy() for q in self.model.parameters() if q.grad is not None]
        by_hand = [q.data - self.lr * q.grad for q in self.model.parameters() if q.grad is not None]
        fm.optim.SGD(self.model.parameters(), lr=self.lr).step()
        print(f"  rule       p ← p - lr g,  for p = {self.spot()}")
        print(f"  by hand    {value:.6f} - {self.lr:g} · {g:.6f} = {value - self.lr * g:.6f}")
        print(f"  SGD.step   {p.data[self.at]:.6f}")
        agree = all(same(a, q.data) for a, q in zip(by_hand, self.model.parameters(), strict=True))
        left = all(
            np.array_equal(a, np.asarray(q.grad)) for a, q in zip(gradients, self.model.parameters(), strict=True)
        )
        print(f"  all parameters as by hand: {yes(agree)}")
        print(f"  .grad is as it was after step(): {yes(left)}; zero_grad() is what clears it")
        kept = yes(p.data is array), yes(p.grad is grad)
        print(f"  {self.name}.data is the same array object: {kept[0]}; so is its .grad: {kept[1]}")
        print(f"  a name bound to the array before the step sees the new number: {array[self.at]:.6f}")
        print(f"  a copy made before the step keeps the old one:                 {copied[self.at]:.6f}")
        array = array + 1.0
        print(
            f"  after `array = array + 1` the name is bound to a new array; the model has {p.data[self.at]:.6f} still"
        )

    def adam(self) -> None:
        """Two steps with each intermediate."""
        heading(7, "How does Adam differ from SGD, at the root?")
        say(
            "SGD uses the gradient of now. Adam keeps two running means for each number, m of g and v of g², and "
            "divides: the size of its step hardly depends on the scale of g. m and v start at 0; m̂ and v̂ undo that."
        )
        model = self.adam_model
        p, optimizer = self.weight(model), fm.optim.Adam(model.parameters(), lr=self.lr)
        m = v = 0.0
        for t in (1, 2):
            if t > 1:
                optimizer.zero_grad()
                self.loss_of(model).backward()
            assert p.grad is not None
            value, g = float(p.data[self.at]), float(p.grad[self.at])
            m, v = BETA1 * m + (1 - BETA1) * g, BETA2 * v + (1 - BETA2) * g * g
            m_hat, v_hat = m / (1 - BETA1**t), v / (1 - BETA2**t)
            move = self.lr * m_hat / (v_hat**0.5 + EPS)
            optimizer.step()
            state = optimizer.state[[q is p for q in model.parameters()].index(True)]
            print(f"\n  step t = {t}, for p = {self.spot()}")
            rows = [
                ("g", "the gradient now", f"{g:.6f}", ""),
                ("m", f"{BETA1:g} m + {1 - BETA1:.1g} g", f"{m:.6f}", f"{state['exp_avg'][self.at]:.6f}"),
                ("v", f"{BETA2:g} v + {1 - BETA2:.1g} g²", f"{v:.4e}", f"{state['exp_avg_sq'][self.at]:.4e}"),
                ("m̂", f"m / (1 - {BETA1:g}^{t})", f"{m_hat:.6f}", ""),
                ("v̂", f"v / (1 - {BETA2:g}^{t})", f"{v_hat:.4e}", ""),
                ("step", "lr m̂ / (√v̂ + ε)", f"{move:.6f}", f"{value - p.data[self.at]:.6f}"),
                ("p", "p - step", f"{value - move:.6f}", f"{p.data[self.at]:.6f}"),
            ]
            table(("", "rule", "by hand", "Adam"), rows)
            raw = self.lr * m / (v**0.5 + EPS)
            print(f"  without bias correction the step were {raw:.6f}; SGD's is lr g = {self.lr * g:.6f}")

    def again(self) -> None:
        """A second backward; a missing zero_grad."""
        heading(8, "What does a second backward do?")
        try:
            self.loss.backward()
        except RuntimeError as error:
            print(textwrap.fill(f"RuntimeError: {error}", WIDTH, initial_indent="  ", subsequent_indent="  "))
        model = copy.deepcopy(self.untouched)
        loss, p = self.loss_of(model), self.weight(model)
        loss.backward(retain_graph=True)
        assert p.grad is not None
        once = p.grad.copy()
        loss.backward()
        say(
            f"After backward(retain_graph=True) a second one runs, and adds: {self.spot()} has .grad "
            f"{number_text(once[self.at])} after the first, {number_text(p.grad[self.at])} after the second."
        )
        heading(9, "What happens if I forget zero_grad()?")
        fresh, forgot = copy.deepcopy(self.untouched), copy.deepcopy(self.untouched)
        self.loss_of(fresh).backward()
        one = self.weight(fresh).grad
        assert one is not None
        counters = copy.deepcopy(self.untouched).state_dict()
        self.loss_of(forgot).backward()
        forgot.load_state_dict(counters)
        for module, start in zip(forgot.modules(), self.untouched.modules(), strict=True):
            if isinstance(module, fm.nn.Dropout) and isinstance(start, fm.nn.Dropout):
                module.step = start.step  # the same mask again
        self.loss_of(forgot).backward()
        two = self.weight(forgot).grad
        assert two is not None
        say(
            f"The next gradient is added on top. The same batch twice: {number_text(one[self.at])} becomes "
            f"{number_text(two[self.at])}, and every entry is twice its value: {yes(same(two, 2 * one))}."
        )
        fm.optim.SGD(forgot.parameters()).zero_grad()
        print(f"  after zero_grad(): {self.name}.grad is {self.weight(forgot).grad}")

    def twins(self) -> None:
        """The table of names."""
        heading(10, "Which node is which in PyTorch?")
        kept: dict[tuple[str, str], dict[str, tuple[str, str]]] = {}
        notes = {}
        for node in nodes_of(self.loss):
            own = kept.setdefault((node.name(), node.twin), {})
            own |= {
                ours: (f"_saved_{theirs}", node.twin_holds.get(ours, ours))
                for ours, theirs in node.twin_saved.items()
                if ours in node.saved_shapes()
            }
            notes[node.name()] = node.twin_note
        rows = []
        for (name, twin), own in kept.items():
            found = [(ours, *there) for ours, there in own.items()] or [("", "", "")]
            rows += [(name, twin, *found[0]), *(("", "", *more) for more in found[1:])]
        table(("node, here and there", "PyTorch's function", "keeps", "in its grad_fn", "which is"), rows)
        for name, note in notes.items():
            if note:
                print(textwrap.fill(f"{name}: {note}.", WIDTH, initial_indent="  ", subsequent_indent="  "))

    def run(self) -> None:
        """All sections in order."""
        options = self.options
        sizes = "-".join(str(n) for n in (FEATURES, *options.hidden, CLASSES))
        print(f"One training step of {sizes} on a batch of {ROWS}, seed {options.seed}, float64")
        for section in (self.parameters, self.forward, self.graph, self.backward, self.gradients, self.sgd, self.adam,
                        self.again, self.twins):  # fmt: skip
            section()


def main(arguments: list[str] | None = None) -> None:
    """Walk through; write the files where --out names a folder."""
    options = parse_arguments(arguments)
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
    walk, text = Walk(options), io.StringIO()
    with contextlib.redirect_stdout(text):
        walk.run()
    print(text.getvalue(), end="")
    if options.out is not None:
        (options.out / "explain.txt").write_text(text.getvalue(), encoding="utf-8")
        drawing, written = fm.draw(walk.loss_of(walk.untouched), walk.untouched), ["explain.txt"]
        for ending in ("dot", "svg", "png"):  # a graph of any size has its .dot
            try:
                drawing.save(options.out / f"graph.{ending}")
                written.append(f"graph.{ending}")
            except ValueError as error:
                complain(f"no graph.{ending}: {error}")
        print(f"\nwrote {options.out}/: {', '.join(written)}")


if __name__ == "__main__":
    run_script(main)
