"""A net asked a row of MNIST at a time, and 10,000 at once: as ONNX, in PyTorch, in NumPy, and by `Predictor`.

One thread each. All are asked in turn, round after round, so that what else the machine does meets all of them; a
figure is the best round. The answers are compared first.

    python scripts/benchmark_exports.py      needs onnx, onnxruntime and torch
"""

from __future__ import annotations

import os
import platform
import sys
import tempfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from time import perf_counter
from typing import Any

for _library in ("OMP", "OPENBLAS", "MKL"):  # read when NumPy is loaded
    os.environ[f"{_library}_NUM_THREADS"] = "1"

import numpy as np  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import fastmlp  # noqa: E402
from fastmlp.commandline import make_parser, run_script  # noqa: E402

ROUNDS, CALLS = 12, 300
WIDTHS = (784, 128, 64, 10)
Ask = Callable[[Any], Any]


def in_onnxruntime(model: Any, folder: Path) -> tuple[Ask, int]:
    """(what it takes, the bytes of the file)."""
    runtime, path = import_module("onnxruntime"), folder / "model.onnx"
    fastmlp.export.onnx(model, path)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda x: session.run(["logits"], {"x": x})[0], path.stat().st_size


def in_pytorch(model: Any, folder: Path) -> tuple[Ask, int]:
    """The same layers with the same numbers; its file is the state dict."""
    torch = import_module("torch")
    torch.set_num_threads(1)
    linear, relu, (a, b, c, d) = torch.nn.Linear, torch.nn.ReLU, WIDTHS
    net = torch.nn.Sequential(linear(a, b), relu(), linear(b, c), relu(), linear(c, d)).eval()
    arrays = list(model.state_dict().values())
    net.load_state_dict({name: torch.from_numpy(array) for name, array in zip(net.state_dict(), arrays, strict=True)})
    torch.save(net.state_dict(), folder / "model.pt")

    def ask(x: Any) -> Any:
        with torch.inference_mode():
            return net(torch.from_numpy(x)).numpy()

    return ask, (folder / "model.pt").stat().st_size


def in_numpy(model: Any, folder: Path) -> tuple[Ask, int]:
    """Products and maxima, as people write them by hand; its file is the weights."""
    arrays = [array.T.copy() if array.ndim == 2 else array for array in model.state_dict().values()]
    np.savez(folder / "model.npz", *arrays)
    w0, b0, w1, b1, w2, b2 = arrays

    def ask(x: Any) -> Any:
        return np.maximum(np.maximum(x @ w0 + b0, 0) @ w1 + b1, 0) @ w2 + b2

    return ask, (folder / "model.npz").stat().st_size


def in_predictor(model: Any, folder: Path) -> tuple[Ask, int]:
    """fastmlp itself, which takes a single row without an axis; its file is that of `save`."""
    predictor = fastmlp.Predictor(model)
    fastmlp.save(model, folder / "model.safetensors")
    return lambda x: predictor(x[0] if len(x) == 1 else x), (folder / "model.safetensors").stat().st_size


SYSTEMS = {"Predictor": in_predictor, "onnxruntime": in_onnxruntime, "PyTorch": in_pytorch, "NumPy": in_numpy}


def measured() -> dict[str, tuple[float, float, int]]:
    """(seconds of one row, seconds of 10,000 rows, bytes of the file) by system.

    Error: RuntimeError where a system answers otherwise by more than 1e-4.
    """
    fastmlp.manual_seed(0)
    model = fastmlp.nn.MLP(WIDTHS[0], WIDTHS[1:-1], WIDTHS[-1]).eval()
    rows = fastmlp.data.mnist()[1].rows.reshape(-1, WIDTHS[0]).astype(np.float32) / np.float32(255)
    row, expected = rows[:1].copy(), fastmlp.Predictor(model)(rows)
    with tempfile.TemporaryDirectory() as folder:
        asked = {name: make(model, Path(folder)) for name, make in SYSTEMS.items()}
    for name, (ask, _) in asked.items():
        if not np.abs(ask(rows) - expected).max() <= 1e-4:
            raise RuntimeError(f"{name} answers otherwise by {np.abs(ask(rows) - expected).max():.2g}")
    one, many = (dict.fromkeys(asked, np.inf) for _ in range(2))
    for _ in range(ROUNDS):
        for name, (ask, _) in asked.items():
            start = perf_counter()
            for _ in range(CALLS):
                ask(row)
            one[name] = min(one[name], (perf_counter() - start) / CALLS)
            start = perf_counter()
            ask(rows)
            many[name] = min(many[name], perf_counter() - start)
    return {name: (one[name], many[name], size) for name, (_, size) in asked.items()}


def main() -> None:
    """Print a table as Markdown has it."""
    make_parser(__doc__).parse_args()
    versions = ", ".join(f"{name} {import_module(name).__version__}" for name in ("onnxruntime", "torch", "numpy"))
    print(f"{'-'.join(map(str, WIDTHS))}, ReLU, one thread; {versions}, Python {platform.python_version()}\n")
    print("| | one row, µs | 10,000 rows, ms | file, bytes |\n|---|---|---|---|")
    for name, (one, many, size) in measured().items():
        print(f"| {name} | {one * 1e6:.1f} | {many * 1e3:.1f} | {size:,} |")


if __name__ == "__main__":
    run_script(main)
