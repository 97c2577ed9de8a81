"""`fastmlp.explain` and `scripts/explain.py`: the whole text, its figures against PyTorch and finite differences.

The text of the script with its defaults stands in `tests/explain.txt`. After a change that is meant, write it anew:
`python scripts/explain.py > tests/explain.txt`.
"""

import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

import fastmlp as fm
from fastmlp.graph import Operation, nodes_of
from fastmlp.show import drawing
from fastmlp.show.explain import explain_node, number_text

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "scripts" / "explain.py"


@pytest.fixture(scope="module")
def script() -> dict:
    path = list(sys.path)
    names = runpy.run_path(str(SCRIPT))
    sys.path[:] = path
    return names


@pytest.fixture
def walk(script, capsys):
    """The text that the script prints with these arguments, line by line."""

    def run(*arguments: str) -> list[str]:
        script["main"](list(arguments))
        return capsys.readouterr().out.splitlines()

    return run


def test_the_whole_text_is_the_stored_one(walk):
    stored = (ROOT / "tests" / "explain.txt").read_text("utf-8").splitlines()
    for number, (line, expected) in enumerate(zip(walk(), stored, strict=True), 1):
        assert line == expected, f"line {number}"


def test_rounding_does_not_show_in_the_text(script, capsys):
    """Float64 sums in another order differ by 1e-15: the text is the same also where the input moves by 1e-13."""
    options = script["parse_arguments"]([])
    script["Walk"](options).run()
    before = capsys.readouterr().out
    walk = script["Walk"](options)
    walk.x *= 1 + 1e-13
    walk.run()
    assert capsys.readouterr().out == before
    walk = script["Walk"](options)
    walk.x *= 1 + 1e-3  # planted: a change that must show
    walk.run()
    assert capsys.readouterr().out != before


VARIANTS = [
    ("--hidden", ""),
    ("--hidden", "8,6", "--batch-norm", "--dropout", "0.3", "--activation", "tanh", "--seed", "3"),
    ("--hidden", "64,32", "--activation", "sigmoid", "--lr", "0.1"),
]


@pytest.mark.parametrize("arguments", VARIANTS, ids=" ".join)
def test_any_net_is_walked_through_in_100_columns(walk, arguments):
    lines = walk(*arguments)
    assert max(map(len, lines)) <= 100
    text = " ".join(lines)
    assert "all parameters as by hand: yes" in text
    assert re.search(r"every\s+entry\s+is\s+twice\s+its\s+value: yes", text)
    by_hand = re.search(r"by hand +.* = (\S+)", "\n".join(lines))[1]
    assert by_hand == re.search(r"SGD.step +(\S+)", "\n".join(lines))[1]
    for row in re.findall(r"^  (?:m|v|step|p) {2,}.*?  (\S+)  +(\S+)$", "\n".join(lines), re.MULTILINE):
        assert row[0] == row[1]
    slope = float(re.search(r"/ 2h +(\S+)", text)[1])
    assert float(re.search(r"0\.weight\.grad\[\d+, \d+\] +(\S+)", text)[1]) == pytest.approx(
        slope, abs=2e-6
    )  # 6 digits


def printed_gradients(lines: list[str]) -> dict[str, np.ndarray]:
    """The matrices of section 5."""
    found, name = {}, ""
    for line in lines:
        if match := re.match(r"  (\S+)\.grad \(", line):
            name = match[1]
            found[name] = []
        elif name and re.match(r"    ", line) and "..." not in line:
            found[name].append([float(number) for number in line.replace("~0", "0").split()])
        else:
            name = ""
    return {name: np.concatenate(rows) for name, rows in found.items() if rows}


def net_of(script, *arguments: str):
    return script["Walk"](script["parse_arguments"](list(arguments)))


def test_the_gradients_that_it_prints_are_those_of_pytorch(script, walk):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed; `make test-peers` installs it")
    ours = net_of(script)
    twin = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.ReLU(), torch.nn.Linear(5, 10)).double()
    twin.load_state_dict({name: torch.tensor(array) for name, array in ours.untouched.state_dict().items()})
    torch.nn.functional.cross_entropy(twin(torch.tensor(ours.x)), torch.tensor(ours.labels)).backward()
    expected = {name: p.grad.numpy() for name, p in twin.named_parameters()}
    printed = printed_gradients(walk())
    assert printed.keys() == expected.keys()
    for name, array in printed.items():
        np.testing.assert_allclose(array, expected[name].ravel(), rtol=6e-4, atol=1e-15)  # four digits are printed
    assert not np.allclose(printed["2.weight"] * 1.01, expected["2.weight"].ravel(), rtol=6e-4)  # a planted fault shows


def test_the_gradients_that_it_prints_are_finite_differences(script, walk):
    printed, ours = printed_gradients(walk()), net_of(script)
    for name, array in printed.items():
        p = dict(ours.model.named_parameters())[name]
        slopes = np.empty(p.shape)
        for at in np.ndindex(p.shape):
            before, ends = p.data[at], []
            for h in (1e-6, -1e-6):
                p.data[at] = before + h
                ends.append(ours.loss_of(ours.model).item())
            p.data[at] = before
            slopes[at] = (ends[0] - ends[1]) / 2e-6
        np.testing.assert_allclose(array, slopes.ravel(), rtol=6e-4, atol=1e-8)  # four digits; rounding 1e-16 / 1e-6


def test_files(script, walk, tmp_path):
    lines = walk("--out", str(tmp_path / "out"))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "explain.txt", "graph.dot", "graph.png", "graph.svg",
    ]  # fmt: skip
    assert (tmp_path / "out" / "explain.txt").read_text("utf-8").splitlines() == lines[:-2]


def test_a_graph_too_large_for_a_picture_has_its_dot(script, walk, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(drawing, "MOST_BOXES", 5)
    lines = walk("--out", str(tmp_path / "out"))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["explain.txt", "graph.dot"]
    assert lines[-1].endswith("out/: explain.txt, graph.dot")


@pytest.mark.parametrize("arguments", [("--hidden", "5,x"), ("--lr", "0"), ("--dropout", "1"), ("--seed", "-1")])
def test_a_wrong_value_gets_one_line(script, capsys, arguments):
    with pytest.raises(SystemExit) as exit:
        script["main"](list(arguments))
    assert exit.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


# --- explain ---------------------------------------------------------------------------------------------------------


def below(kind: type) -> set[type]:
    """All subclasses, and theirs."""
    return {k for child in kind.__subclasses__() for k in (child, *below(child))}


def test_every_operation_explains_itself():
    """Each node class says its equations, why it keeps what it keeps, and its twin."""
    kinds = [
        kind
        for kind in below(Operation)
        if kind.__module__.startswith("fastmlp.") and not kind.__subclasses__()  # those are bases of a family
    ]
    assert len(kinds) > 15
    for kind in kinds:
        assert kind.equation, kind
        assert kind.operands, kind
        assert kind.keeps or kind.keeps_nothing, kind
        assert kind.twin.startswith("torch.") or kind.twin_note.startswith("PyTorch has no"), kind
        assert set(kind.twin_saved) <= set(kind.keeps), kind


def value(k: int, shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(k).normal(1, 0.3, shape)


LABELS = np.array([[0.0, 1, 1, 0], [1, 0, 1, 0], [0, 0, 0, 1]])


X, Y, V, W, B = (value(k, shape) for k, shape in enumerate(((3, 4), (3, 4), (4,), (2, 4), (2,))))
# name -> the operation, of the leaves x, y and v; nothing runs before a test asks
TWINS = {
    "linear": lambda x, y, v: fm.ops.linear(x, fm.Parameter(W), fm.Parameter(B)),
    "no bias": lambda x, y, v: fm.ops.linear(x, fm.Parameter(W)),
    "relu": lambda x, y, v: fm.ops.relu(x),
    "tanh": lambda x, y, v: fm.ops.tanh(x),
    "sigmoid": lambda x, y, v: fm.ops.sigmoid(x),
    "dropout": lambda x, y, v: fm.ops.dropout(x, 0.5, seed=0),
    "silu": lambda x, y, v: fm.ops.silu(x),
    "mish": lambda x, y, v: fm.ops.mish(x),
    "gelu": lambda x, y, v: fm.ops.gelu(x),
    "elu": lambda x, y, v: fm.ops.elu(x),
    "selu": lambda x, y, v: fm.ops.selu(x),
    "softplus": lambda x, y, v: fm.ops.softplus(x),
    "hardtanh": lambda x, y, v: fm.ops.hardtanh(x),
    "bn": lambda x, y, v: fm.ops.batch_norm(x, np.zeros(4), np.ones(4), v, v, training=True),
    "bn eval": lambda x, y, v: fm.ops.batch_norm(x, np.zeros(4), np.ones(4), v, v),
    "log_softmax": lambda x, y, v: fm.ops.log_softmax(x),
    "nll": lambda x, y, v: fm.ops.nll_loss(x, [0, 1, 2]),
    "mse": lambda x, y, v: fm.ops.mse_loss(x, y.data),
    "huber": lambda x, y, v: fm.ops.huber_loss(x, y.data),
    "smooth l1": lambda x, y, v: fm.ops.smooth_l1_loss(x, y.data),
    "binary": lambda x, y, v: fm.ops.binary_cross_entropy_with_logits(x, LABELS),
    "add": lambda x, y, v: x + y,
    "sub": lambda x, y, v: x - y,
    "mul": lambda x, y, v: x * y,
    "div": lambda x, y, v: x / y,
    "neg": lambda x, y, v: -x,
    "pow": lambda x, y, v: x**3,
    "sum": lambda x, y, v: x.sum(),
    "sum dim": lambda x, y, v: x.sum(0),
    "mean": lambda x, y, v: x.mean(),
    "t": lambda x, y, v: x.T,
    "mm": lambda x, y, v: x @ y.T,
    "mv": lambda x, y, v: x @ v,
    "dot": lambda x, y, v: v @ v,
}


@pytest.mark.parametrize("name", TWINS)
def test_the_twin_has_this_name_and_keeps_this(name):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed; `make test-peers` installs it")
    x, y, v, w, b = (torch.tensor(array, requires_grad=True) for array in (X, Y, V, W, B))
    zeros, ones = torch.zeros(4, dtype=torch.float64), torch.ones(4, dtype=torch.float64)
    arguments = {
        "linear": (b, x, w.t()), "no bias": (x, w.t()), "dropout": (x, 0.5, True), "bn": (x, zeros, ones, v, v, True),
        "bn eval": (x, zeros, ones, v, v), "log_softmax": (x, 1), "nll": (x, torch.tensor([0, 1, 2])),
        "pow": (x, 3), "sum dim": (x, 0), "mm": (x, y.t()), "mv": (x, v), "dot": (v, v),
        **dict.fromkeys(("add", "sub", "mul", "div"), (x, y)),
        **dict.fromkeys(("mse", "huber", "smooth l1"), (x, y.detach())), "binary": (x, torch.tensor(LABELS)),
    }.get(name, (x,))  # fmt: skip
    node = TWINS[name](*(fm.Tensor(array, requires_grad=True) for array in (X, Y, V))).grad_fn
    function = torch
    for part in node.twin.split(".")[1:]:
        function = getattr(function, part)
    made = function(*arguments)
    twin = (made[0] if isinstance(made, tuple) else made).grad_fn
    assert twin.name() == node.name()
    what_is_held = {"the matrix in w": lambda w: np.concatenate(list(w), axis=1)[:, :2], "y = log p": np.log}
    for ours, theirs in node.twin_saved.items():
        there, here = getattr(twin, f"_saved_{theirs}").detach().numpy(), np.asarray(node.saved[ours])
        here = what_is_held[node.twin_holds[ours]](here) if ours in node.twin_holds else here
        np.testing.assert_allclose(here, there, rtol=1e-12)  # float64, sums in another order
    assert set(node.twin_holds) <= set(node.twin_saved)


def test_the_tree_refers_to_a_shared_node_by_its_number():
    x = fm.Tensor(2.0, requires_grad=True)
    lines = fm.explain(x * x + x, {x: "x"}).splitlines()
    assert [line.split("  ")[-1].strip() for line in lines[6:11]] == [
        "torch.add", "torch.mul", "a leaf", "as above", "as above",
    ]  # fmt: skip
    assert sum(line == "3 AccumulateGrad x" for line in lines) == 1
    assert "    next      (3 AccumulateGrad x, 0), (3 AccumulateGrad x, 0)" in lines


def test_before_and_after_backward():
    fm.manual_seed(0)
    model = fm.nn.MLP(4, (5,), 3, batch_norm=True)
    loss = fm.ops.cross_entropy(model(fm.Tensor(np.arange(8, dtype=np.float32).reshape(2, 4))), [0, 1])
    arrays = sum(len(node.saved) for node in nodes_of(loss))
    before = fm.explain(loss, model)
    assert before.count("its .grad is None") == 6
    assert "weight (3, 5), the array of 3.weight itself" in before
    loss.backward(retain_graph=True)
    kept = fm.explain(loss, model)
    assert re.sub(r"its \.grad is \(.*\)", "its .grad is None", kept) == before
    assert kept != before
    loss.backward()
    after = fm.explain(loss, model)
    assert "freed" not in kept
    assert after.count(", freed by backward") == arrays > 5
    assert re.sub(r", freed by backward|, the array of \S+ itself|\s", "", after) == re.sub(
        r", the array of \S+ itself|\s", "", kept
    )


def test_a_graph_of_depth_10_000():
    x = fm.Tensor(1.0, requires_grad=True)
    y = x
    for i in range(10_000):
        y = y + x if i % 2 else y * 1.0
    text = fm.explain(y, {x: "x"})
    lines = text.splitlines()
    assert max(map(len, lines)) <= 100
    assert sum(line.startswith("    output") for line in lines) == 10_000
    told = fm.explain_backward(y, {x: "x"})
    assert "10001 AccumulateGrad x: () = 5001 has arrived, 5001 gradients added up" in told


def test_backward_is_told_as_it_happens_and_leaves_no_hook():
    x = fm.Tensor(3.0, requires_grad=True)
    y = x * x
    assert fm.explain_backward(y, {x: "x"}).splitlines() == [
        "1 MulBackward0: () = 1 has arrived",
        "      da = dc * b,  db = dc * a, summed over broadcast axes",
        "      da () = 3 → 2 AccumulateGrad x",
        "      db () = 3 → 2 AccumulateGrad x",
        "2 AccumulateGrad x: () = 6 has arrived, 2 gradients added up",
        "      x.grad += dy",
    ]
    assert x.grad == 6
    assert not any(node.hooks for node in nodes_of(y))
    with pytest.raises(RuntimeError, match="freed"):
        fm.explain_backward(y)
    assert not any(node.hooks for node in nodes_of(y))


@pytest.mark.parametrize(
    "options", [{}, {"label_smoothing": 0.1}, {"sample_weight": [1, 2, 3]}, {"reduction": "sum"}], ids=str
)
def test_the_loss_shows_the_equation_that_it_has(options):
    """The short one where no row has a weight of its own and nothing is smoothed; the short one gives the gradient."""
    rows, labels = value(0, (3, 4)), [2, 0, 3]
    y = fm.Tensor(rows, requires_grad=True)
    loss = fm.ops.nll_loss(y, labels, **options)
    text = explain_node(loss.grad_fn)
    assert ("forward   loss = -Σₙ y[n, labels[n]] / N" in text) == (not options)
    assert ("dy[n, c] = -dloss / N where c is labels[n], else 0" in text) == (not options)
    loss.backward()
    short = np.where(np.arange(4) == np.array(labels)[:, np.newaxis], -1 / 3, 0)
    assert np.allclose(y.grad, short, rtol=1e-12) == (not options)  # rtol: a rounding or two of float64
    for general in ("Σ_c q[n, c] y[n, c]", "q = s / C, and 1 - s more where c is labels[n]"):
        assert (general in text) == bool(options)


def test_a_hook_sees_the_gradients_and_may_replace_them():
    x = fm.Tensor(3.0, requires_grad=True)
    y, seen = x * 2, []
    handle = y.grad_fn.register_hook(lambda sent, arrived: seen.append((sent[0].item(), arrived[0].item())))
    y.backward(retain_graph=True)
    handle.remove()
    handle.remove()
    y.grad_fn.register_hook(lambda sent, arrived: (sent[0] * 10, None))
    y.backward()
    assert seen == [(2.0, 1.0)]
    assert x.grad == 2 + 20


def test_a_node_of_the_users_own_is_explained():
    from fastmlp.graph.operation import Operation, output

    class DoubleBackward(Operation):
        def run(self, dy):
            return (2 * dy,)

    x = fm.Tensor(3.0, requires_grad=True)
    text = fm.explain(output(DoubleBackward, (x,), x.data * 2, {"y": x.data}))
    assert "1 DoubleBackward" in text
    assert "keeps     y (), the array of leaf 1 itself" in text
    assert "[0] 0 ─ AccumulateGrad leaf 1" in text


@pytest.mark.parametrize(("name", "columns"), [("输入", 4), ("m̂", 1), ("x", 1)])
def test_names_in_chinese_leave_the_columns_straight(name, columns):
    """A terminal gives such a letter two columns and a hat none: the shapes of two leaves stand below each other."""
    x, y = (fm.Tensor(np.ones((2, 3)), requires_grad=True) for _ in range(2))
    text = fm.explain((x * y).sum(), {x: name, y: "a longer name"}).splitlines()
    (first,) = (line for line in text if f"Grad {name} " in line)
    (second,) = (line for line in text if "Grad a longer name " in line)
    assert first.index("(2, 3)") - len(name) + columns == second.index("(2, 3)")


def test_numbers():
    assert [number_text(v) for v in (-0.0, 1e-17, 0.123456, np.nan)] == ["0", "~0", "0.1235", "nan"]


def test_what_is_no_graph_is_refused():
    with pytest.raises(TypeError, match="explain: loss is int"):
        fm.explain(3)
    with pytest.raises(ValueError, match="requires_grad False"):
        fm.explain(fm.Tensor(1.0))
    with pytest.raises(TypeError, match="explain_node: node is NoneType"):
        explain_node(None)
