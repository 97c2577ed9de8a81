"""The same jobs in fastmlp, NumPy, PyTorch, JAX and scikit-learn, each as that library does it fast.

As a program it is a worker of `benchmark.py`: `rivals.py SYSTEM CASE [FIELD=VALUE ...]` gets ready and prints "ready",
then makes a run for each line it reads, and answers with the seconds an epoch, a step or a prediction took. Every
system has a process of its own, so that no thread pool disturbs another. Without arguments it lists the cases, a JSON
object a line. `rivals_whole.py` and `rivals_sparse.py` are workers of the same form. FASTMLP_TREE in the environment is
another source tree to import fastmlp from, also an older one.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

ROOT = Path(os.environ.get("FASTMLP_TREE") or Path(__file__).resolve().parent.parent)
sys.path.insert(0, str(ROOT))
Job = Callable[[], Any]
RUN_SECONDS = 0.5
MANY_CORES = 8  # from so many on, the growth with threads is measured of each net


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class Case:
    """One epoch with Adam, of MNIST where nothing else is said; or, with `repeat`, a prediction of `rows` rows."""

    hidden: tuple[int, ...]
    batch: int
    regularised: bool = False  # batch norm and dropout 0.2 in each hidden layer
    rows: int = 60_000
    threads: int = 0  # of fastmlp; 0: all
    repeat: int = 0  # predictions a run; 0: a run is an epoch
    data: str = "pixels"  # uint8; "standardised": float32 pixels without a zero; "table": made numbers
    inputs: int = 784
    classes: int = 10

    @property
    def widths(self) -> tuple[int, ...]:
        """Columns of the inputs, of each hidden layer and of the output."""
        return self.inputs, *self.hidden, self.classes

    @property
    def title(self) -> str:
        """Widths, and what else a reader must know to do the same."""
        parts = ["-".join(map(str, self.widths))]
        parts += [] if self.repeat else [f"batch {self.batch}"]
        parts += ["batch norm, dropout 0.2"] if self.regularised else []
        parts += {"standardised": ["standardised pixels"], "table": ["a made table"]}.get(self.data, [])
        return ", ".join(parts)

    @property
    def what(self) -> str:
        """What a figure is the time of."""
        return "a prediction" if self.repeat else "a step" if self.data == "table" else "an epoch"

    @property
    def count(self) -> int:
        """How many of these a call of the job makes."""
        return self.repeat or (len(self.sizes) if self.data == "table" else 1)

    @property
    def flops_a_row(self) -> int:
        """Floating-point operations of y = x w, and in training of dw = xT dy, and dx = dy wT but for the inputs."""
        weights = [i * o for i, o in zip(self.widths, self.widths[1:], strict=False)]
        return 2 * sum(weights) if self.repeat else 6 * sum(weights) - 2 * weights[0]

    @property
    def sizes(self) -> list[int]:
        """Rows of each batch of an epoch; the last may be short."""
        return [min(self.batch, self.rows - start) for start in range(0, self.rows, self.batch)]


NETS = {"small": Case((128, 64), 64), "tiny": Case((32,), 32)}
NETS |= {"medium": Case((256, 128), 256), "large": Case((1024, 1024), 128)}
CASES = NETS | {
    "regularised": Case((128, 64), 64, regularised=True),
    "standardised": Case((128, 64), 64, data="standardised"),
    "one row": Case((128, 64), 1, rows=1, repeat=2000),
    "10,000 rows": Case((128, 64), 1, rows=10_000, repeat=5),
}
for widths, batch in {"16-100-26": 200, "36-100-6": 200, "8-16-3": 32, "40-256-128-2": 256}.items():
    inputs, *hidden, classes = map(int, widths.split("-"))  # in whole batches: JAX's scan leaves a short one out
    one = Case(tuple(hidden), batch, rows=20_000 // batch * batch, data="table", inputs=inputs, classes=classes)
    CASES[f"table {widths}"] = one
# How fastmlp's epoch grows. Threads: powers of two, and all; of the other nets where there are many.
CASES |= {f"width {width}": Case((width,), 64, rows=10_000) for width in (16, 64, 256, 1024)}
CASES |= {f"batch {batch}": Case((128, 64), batch) for batch in (16, 64, 256, 1024)}
CASES |= {f"rows {rows}": Case((128, 64), 64, rows=rows) for rows in (1_000, 4_000, 15_000, 60_000)}
for net in NETS if cores() >= MANY_CORES else ("small",):
    counts = sorted(n for n in {cores(), *(1 << k for k in range(cores().bit_length()))} if n <= cores())
    CASES |= {f"threads{f' of {net}' * (net != 'small')} {n}": replace(NETS[net], threads=n) for n in counts}


def listing() -> list[dict[str, Any]]:
    """What the driver needs to know of each case; `flops` are those of one epoch, step or prediction."""
    return [
        {"name": name, "title": case.title, "what": case.what, "rows": case.rows,
         "flops": case.flops_a_row * case.rows // (1 if case.repeat else case.count)}
        for name, case in CASES.items()
    ]  # fmt: skip


def images(rows: int) -> tuple[np.ndarray, np.ndarray]:
    """The first rows of MNIST's training set (repeated where it has fewer): uint8 pixels and labels."""
    import fastmlp as fm

    train, _ = fm.data.mnist()
    index = np.arange(rows) % len(train)
    return train.rows[index], train.labels[index]


def table(rows: int, inputs: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """A made table, the same at each call: x ~ N(0, 1), and the class is the largest of x a + noise, a ~ N(0, 1)."""
    rng = np.random.default_rng(14)
    x = rng.standard_normal((rows, inputs), np.float32)
    a = rng.standard_normal((inputs, classes), np.float32)
    return x, (x @ a + rng.standard_normal((rows, classes), np.float32)).argmax(1)


def features(case: Case, rows: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(rows, inputs) and the labels. Standardised: (x - mean) / deviation, those of all pixels together."""
    if case.data == "table":
        return table(rows or case.rows, case.inputs, case.classes)
    pixels, labels = images(rows or case.rows)
    if case.data == "standardised":
        pixels = ((pixels - pixels.mean()) / pixels.std()).astype(np.float32)
    return pixels, labels


def orders(rows: int) -> Callable[[], np.ndarray]:
    """A new order of the rows at each call."""
    generator = np.random.default_rng(0)
    return lambda: generator.permutation(rows)


def floats(case: Case, x: np.ndarray) -> np.ndarray:
    """What a prediction is given: a float32 array, of one dimension for one row."""
    if x.dtype == np.uint8:
        x = (x / np.float32(255)).astype(np.float32)
    return x[0] if case.rows == 1 else x


def fastmlp(case: Case, threads: int = 0, always: bool = False) -> Job:
    """`fit`'s engine, or the predictor, with at most so many threads, or always so many; 0: as the case says."""
    import fastmlp as fm

    assert Path(fm.__file__).is_relative_to(ROOT), fm.__file__
    new = (ROOT / "fastmlp" / "running").is_dir()  # not `find_spec`: it sees an installed build too
    room = import_module("fastmlp.running.engine" if new else "fastmlp.engine")
    pace = import_module("fastmlp.running.pace") if new else room
    fm.manual_seed(0)
    layers: dict[str, Any] = {"dropout": 0.2 * case.regularised, "batch_norm": case.regularised}
    model = fm.nn.MLP(case.inputs, case.hidden, case.classes, **layers)
    (x, labels), threads = features(case), threads or case.threads or cores()
    if case.repeat:
        predictor, rows = fm.Predictor(model, threads), floats(case, x)
        return lambda: [predictor(rows) for _ in range(case.repeat)]
    data, order = fm.data.Dataset(x, labels, case.classes), orders(case.rows)
    fixed = pace.Fixed(threads) if always else None
    engine = room.Engine(model, fm.optim.Adam(model.parameters()), case.inputs, case.batch, threads, fixed)
    engine.prepare(data)  # as fit does: a first chunk that compiles would misinform the choice of threads

    def epoch() -> None:
        engine.refresh()  # as fit does before each epoch
        engine.epoch(data, order(), case.sizes)

    return epoch


def fastmlp_graph(case: Case) -> Job:
    """The graph, node by node, on one thread."""
    import fastmlp as fm

    fm.manual_seed(0)
    model = fm.nn.MLP(case.inputs, case.hidden, case.classes)
    optimizer, order = fm.optim.Adam(model.parameters()), orders(case.rows)
    data = fm.data.Dataset(*features(case), case.classes)

    def epoch() -> None:
        for x, labels in fm.running.rows.batches(data, order(), case.sizes, np.float32):
            loss = fm.ops.cross_entropy(model(x), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss.item()

    return epoch


def numpy_by_hand(case: Case) -> Job:
    """A prediction in NumPy: x @ w + b, and the larger of that and 0."""
    rng = np.random.default_rng(0)
    pairs = zip(case.widths, case.widths[1:], strict=False)
    layers = [(rng.standard_normal((i, o), np.float32) / np.float32(i**0.5), np.zeros(o, np.float32)) for i, o in pairs]
    x = floats(case, features(case)[0])

    def predict() -> None:
        for _ in range(case.repeat):
            y = x
            for w, b in layers[:-1]:
                y = y @ w
                y += b
                np.maximum(y, 0, out=y)
            y = y @ layers[-1][0] + layers[-1][1]

    return predict


def _torch_net(case: Case) -> Any:
    import torch

    layers: list[Any] = []
    for i, (inputs, outputs) in enumerate(zip(case.widths, case.widths[1:], strict=False)):
        layers.append(torch.nn.Linear(inputs, outputs))
        if i < len(case.hidden):
            layers += [torch.nn.BatchNorm1d(outputs)] if case.regularised else []
            layers += [torch.nn.ReLU()] + ([torch.nn.Dropout(0.2)] if case.regularised else [])
    return torch.nn.Sequential(*layers)


def torch_resident(case: Case, threads: int, fused: bool = True) -> Job:
    """PyTorch with the data set in memory as a float tensor, and its fused Adam."""
    import torch

    torch.set_num_threads(threads)
    pixels, labels = features(case)
    net = _torch_net(case)
    if case.repeat:
        net.eval()
        array = floats(case, pixels)

        def predict() -> None:
            with torch.inference_mode():
                for _ in range(case.repeat):
                    net(torch.from_numpy(array)).numpy()

        return predict
    x, y, order = torch.from_numpy(floats(case, pixels)), torch.tensor(labels), orders(case.rows)
    adam = torch.optim.Adam(net.parameters(), fused=fused)

    def epoch() -> None:
        index = torch.from_numpy(order())
        for start in range(0, case.rows, case.batch):
            rows = index[start : start + case.batch]
            loss = torch.nn.functional.cross_entropy(net(x[rows]), y[rows])
            adam.zero_grad()
            loss.backward()
            adam.step()

    return epoch


def torch_loader(case: Case, threads: int) -> Job:
    """PyTorch's usual loop: a DataLoader over a TensorDataset, Adam with its defaults."""
    import torch

    torch.set_num_threads(threads)
    pixels, labels = features(case)
    data = torch.utils.data.TensorDataset(torch.from_numpy(floats(case, pixels)), torch.tensor(labels))
    loader = torch.utils.data.DataLoader(data, batch_size=case.batch, shuffle=True)
    net = _torch_net(case)
    adam = torch.optim.Adam(net.parameters())

    def epoch() -> None:
        for x, y in loader:
            loss = torch.nn.functional.cross_entropy(net(x), y)
            adam.zero_grad()
            loss.backward()
            adam.step()

    return epoch


def jax_scan(case: Case) -> Job:
    """JAX: a whole epoch as one jitted scan, the data set on the device; a last short batch is left out."""
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    jax, jnp = import_module("jax"), import_module("jax.numpy")  # not `import`: the type checker may lack them
    generator = np.random.default_rng(0)
    params = []
    for inputs, outputs in zip(case.widths, case.widths[1:], strict=False):
        bound = 1 / np.sqrt(inputs)
        shapes = (inputs, outputs), (outputs,)
        params.append(tuple(jnp.asarray(generator.uniform(-bound, bound, s).astype(np.float32)) for s in shapes))
    pixels, labels = features(case)

    def logits(params: Any, x: Any) -> Any:
        for w, b in params[:-1]:
            x = jax.nn.relu(x @ w + b)
        return x @ params[-1][0] + params[-1][1]

    if case.repeat:
        forward, array = jax.jit(logits), floats(case, pixels)
        return lambda: [np.asarray(forward(params, array)) for _ in range(case.repeat)]
    x, y = jnp.asarray(floats(case, pixels)), jnp.asarray(labels)

    def loss(params: Any, x: Any, y: Any) -> Any:
        return -jnp.take_along_axis(jax.nn.log_softmax(logits(params, x)), y[:, None], 1).mean()

    def step(carry: Any, rows: Any) -> Any:
        params, m, v, t = carry
        gradient = jax.grad(loss)(params, x[rows], y[rows])
        t += 1
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, gradient)
        v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, gradient)
        params = jax.tree.map(
            lambda p, m, v: p - 1e-3 * (m / (1 - 0.9**t)) / (jnp.sqrt(v / (1 - 0.999**t)) + 1e-8), params, m, v
        )
        return (params, m, v, t), 0.0

    scan = jax.jit(lambda carry, order: jax.lax.scan(step, carry, order)[0], donate_argnums=0)
    zeros = jax.tree.map(jnp.zeros_like, params)
    state = [(params, zeros, jax.tree.map(jnp.zeros_like, params), jnp.float32(0))]
    order, batches = orders(case.rows), case.rows // case.batch

    def epoch() -> None:
        rows = jnp.asarray(order()[: batches * case.batch].reshape(batches, case.batch))
        state[0] = jax.block_until_ready(scan(state[0], rows))

    return epoch


def sklearn(case: Case) -> Job:
    """scikit-learn's MLPClassifier in float32."""
    import warnings

    warnings.simplefilter("ignore")  # "did not converge" after one epoch
    classifier = import_module("sklearn.neural_network").MLPClassifier
    pixels, labels = features(case, max(case.rows, 1000))
    x = (pixels / np.float32(255)).astype(np.float32)
    net = classifier(case.hidden, batch_size=200 if case.repeat else case.batch, max_iter=1, random_state=0)
    if case.repeat:
        net.fit(x[:1000], labels[:1000])
        array = x[: case.rows]
        return lambda: [net.predict_proba(array) for _ in range(case.repeat)]
    return lambda: net.fit(x, labels)


SYSTEMS: dict[str, Callable[[Case], Job]] = {
    "fastmlp": fastmlp,
    "fastmlp, 1 thread": lambda case: fastmlp(case, 1),
    "fastmlp, 2 threads": lambda case: fastmlp(case, 2),
    "fastmlp, always 2 threads": lambda case: fastmlp(case, 2, always=True),
    "fastmlp graph": fastmlp_graph,
    "NumPy": numpy_by_hand,
    "JAX": jax_scan,
    "PyTorch, 1 thread": lambda case: torch_resident(case, 1),
    "PyTorch, 2 threads": lambda case: torch_resident(case, 2),
    "PyTorch": lambda case: torch_resident(case, cores()),
    "PyTorch, default Adam": lambda case: torch_resident(case, cores(), fused=False),
    "PyTorch, default Adam, 1 thread": lambda case: torch_resident(case, 1, fused=False),
    "PyTorch DataLoader": lambda case: torch_loader(case, cores()),
    "scikit-learn": sklearn,
}


def changed(case: Case, changes: list[str]) -> Case:
    """The case with other numbers: ["rows=1000", "hidden=32,16"]."""
    values: dict[str, Any] = {}
    for field, _, value in (change.partition("=") for change in changes):
        values[field] = tuple(map(int, value.split(","))) if field == "hidden" else int(value)
    return replace(case, **values)


def work(system: str, case: Case) -> None:
    """Answer each line of standard input with the seconds of one epoch, step or prediction: the mean of a run.

    A run is as many epochs as fill RUN_SECONDS, for every system: one that adapts to the machine, as fastmlp chooses
    its threads anew after a rest, would else be timed at nothing but that.
    """
    job = SYSTEMS[system](case)
    job()  # whatever is compiled or allocated at first
    print("ready", flush=True)
    for _ in sys.stdin:
        start, done = perf_counter(), 0
        while not done or (not case.repeat and perf_counter() - start < RUN_SECONDS):
            job()
            done += 1
        print((perf_counter() - start) / done / case.count, flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 2:
        work(sys.argv[1], changed(CASES[sys.argv[2]], sys.argv[3:]))
    else:
        print(*map(json.dumps, listing()), sep="\n")
