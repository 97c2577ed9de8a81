"""The same jobs in fastmlp, PyTorch, JAX and scikit-learn, each as that library does it fast; run by `benchmark.py`.

As a program it is a worker: `rivals.py SYSTEM CASE` gets ready, then runs the job once for each line it reads, and
answers with the seconds it took. Every system has a process of its own, so that no thread pool disturbs another.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
Job = Callable[[], Any]


@dataclass(frozen=True)
class Case:
    """One epoch of MNIST with Adam, 784 inputs and 10 classes; or a prediction of `rows` rows."""

    hidden: tuple[int, ...]
    batch: int
    regularised: bool = False  # batch norm and dropout 0.2 in each hidden layer
    rows: int = 60_000
    threads: int = 0  # 0: all
    repeat: int = 1  # calls of a prediction

    @property
    def name(self) -> str:
        """Widths and batch."""
        return "-".join(map(str, (784, *self.hidden, 10)))


CASES = {
    "small": Case((128, 64), 64),
    "tiny": Case((32,), 32),
    "medium": Case((256, 128), 256),
    "large": Case((1024, 1024), 128),
    "regularised": Case((128, 64), 64, regularised=True),
    "one row": Case((128, 64), 1, rows=1, repeat=2000),
    "10,000 rows": Case((128, 64), 1, rows=10_000, repeat=5),
}


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def images(rows: int) -> tuple[np.ndarray, np.ndarray]:
    """The first rows of MNIST's training set (repeated where it has fewer): uint8 pixels and labels."""
    import fastmlp as fm

    train, _ = fm.data.mnist()
    index = np.arange(rows) % len(train)
    return train.rows[index], train.labels[index]


def orders(rows: int) -> Callable[[], np.ndarray]:
    """A new order of the rows at each call."""
    generator = np.random.default_rng(0)
    return lambda: generator.permutation(rows)


def fastmlp(case: Case) -> Job:
    """`fit`'s engine, or the predictor."""
    import fastmlp as fm
    from fastmlp.engine import Engine
    from fastmlp.train import _batch_sizes

    fm.manual_seed(0)
    model = fm.nn.MLP(784, case.hidden, 10, dropout=0.2 * case.regularised, batch_norm=case.regularised)
    pixels, labels = images(case.rows)
    if case.repeat > 1:
        predictor = fm.Predictor(model, case.threads or cores())
        x = (pixels / np.float32(255)).astype(np.float32)
        x = x[0] if case.rows == 1 else x
        return lambda: [predictor(x) for _ in range(case.repeat)]
    data, order, sizes = fm.data.Dataset(pixels, labels, 10), orders(case.rows), _batch_sizes(case.rows, case.batch)
    engine = Engine(model, fm.optim.Adam(model.parameters()), 784, max(sizes), case.threads or cores())
    return lambda: engine.epoch(data, order(), sizes)


def fastmlp_graph(case: Case) -> Job:
    """The graph, node by node, on one thread."""
    import fastmlp as fm
    from fastmlp.train import _batch_sizes, _graph_epoch, _Report

    fm.manual_seed(0)
    model = fm.nn.MLP(784, case.hidden, 10)
    optimizer, order = fm.optim.Adam(model.parameters()), orders(case.rows)
    data, sizes = fm.data.Dataset(*images(case.rows), 10), _batch_sizes(case.rows, case.batch)
    return lambda: _graph_epoch(model, data, order(), sizes, optimizer, _Report(False, 1, case.rows))


def _torch_net(case: Case) -> Any:
    import torch

    layers: list[Any] = []
    widths = (784, *case.hidden, 10)
    for i, (inputs, outputs) in enumerate(zip(widths, widths[1:], strict=False)):
        layers.append(torch.nn.Linear(inputs, outputs))
        if i < len(case.hidden):
            layers += [torch.nn.BatchNorm1d(outputs)] if case.regularised else []
            layers += [torch.nn.ReLU()] + ([torch.nn.Dropout(0.2)] if case.regularised else [])
    return torch.nn.Sequential(*layers)


def torch_resident(case: Case, threads: int, fused: bool = True) -> Job:
    """PyTorch with the data set in memory as a float tensor, and its fused Adam."""
    import torch

    torch.set_num_threads(threads)
    pixels, labels = images(case.rows)
    x, y, order = torch.tensor(pixels).float() / 255, torch.tensor(labels), orders(case.rows)
    net = _torch_net(case)
    if case.repeat > 1:
        net.eval()
        array = (x[0] if case.rows == 1 else x).numpy()

        def predict() -> None:
            with torch.inference_mode():
                for _ in range(case.repeat):
                    net(torch.from_numpy(array)).numpy()

        return predict
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
    pixels, labels = images(case.rows)
    data = torch.utils.data.TensorDataset(torch.tensor(pixels).float() / 255, torch.tensor(labels))
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
    import jax
    import jax.numpy as jnp

    generator = np.random.default_rng(0)
    widths = (784, *case.hidden, 10)
    params = []
    for inputs, outputs in zip(widths, widths[1:], strict=False):
        bound = 1 / np.sqrt(inputs)
        params.append(
            tuple(
                jnp.asarray(generator.uniform(-bound, bound, shape).astype(np.float32))
                for shape in ((inputs, outputs), (outputs,))
            )
        )
    pixels, labels = images(case.rows)
    x, y = jnp.asarray(pixels.astype(np.float32) / 255), jnp.asarray(labels)

    def logits(params: Any, x: Any) -> Any:
        for w, b in params[:-1]:
            x = jax.nn.relu(x @ w + b)
        return x @ params[-1][0] + params[-1][1]

    if case.repeat > 1:
        forward, array = jax.jit(logits), np.asarray(x[0] if case.rows == 1 else x)
        return lambda: [np.asarray(forward(params, array)) for _ in range(case.repeat)]

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

    from sklearn.neural_network import MLPClassifier

    warnings.simplefilter("ignore")  # "did not converge" after one epoch
    pixels, labels = images(max(case.rows, 1000))
    x = (pixels / np.float32(255)).astype(np.float32)
    net = MLPClassifier(case.hidden, batch_size=case.batch if case.repeat == 1 else 200, max_iter=1, random_state=0)
    if case.repeat > 1:
        net.fit(x[:1000], labels[:1000])
        array = x[: case.rows]
        return lambda: [net.predict_proba(array) for _ in range(case.repeat)]
    return lambda: net.fit(x, labels)


SYSTEMS: dict[str, Callable[[Case], Job]] = {
    "fastmlp": fastmlp,
    "fastmlp graph": fastmlp_graph,
    "JAX": jax_scan,
    "PyTorch, 1 thread": lambda case: torch_resident(case, 1),
    "PyTorch": lambda case: torch_resident(case, cores()),
    "PyTorch, default Adam": lambda case: torch_resident(case, cores(), fused=False),
    "PyTorch, default Adam, 1 thread": lambda case: torch_resident(case, 1, fused=False),
    "PyTorch DataLoader": lambda case: torch_loader(case, cores()),
    "scikit-learn": sklearn,
}


def work(system: str, case: Case) -> None:
    """Answer each line of standard input with the seconds of one run."""
    job = SYSTEMS[system](case)
    job()  # whatever is compiled or allocated at first
    print("ready", flush=True)
    for _ in sys.stdin:
        start = perf_counter()
        job()
        print((perf_counter() - start) / case.repeat, flush=True)


if __name__ == "__main__":
    name, case, changes = sys.argv[1], CASES[sys.argv[2]], dict(part.split("=") for part in sys.argv[3:])
    kept = {key: value for key, value in vars(case).items() if key not in changes}
    if "hidden" in changes:
        kept["hidden"] = tuple(int(width) for width in changes.pop("hidden").split(","))
    work(name, Case(**kept, **{key: int(value) for key, value in changes.items()}))
