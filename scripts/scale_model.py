"""When several machines train faster than one: the formula of docs/scale.md, its picture, and a simulation of the tree.

    T(p) = C ceil(B / p) / B + U + A(p)        a step on p machines; the block's share, the update, the exchange
    A(p) = 2 log2(p) L + 2 (p - 1) / p S / W   S bytes of gradients, L seconds a message, W bytes a second

p machines pay where C (1 - 1 / p) > A(p). C and U are measured here; `--write` brings docs/scale.md up to date.
"""

from __future__ import annotations

import io
import math
import re
import sys
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # `python scripts/scale_model.py` runs the checkout it lies in

import numpy as np  # noqa: E402

import fastmlp as fm  # noqa: E402
from fastmlp.commandline import make_parser, run_script  # noqa: E402
from fastmlp.files import write  # noqa: E402
from fastmlp.scale.tree import Tree  # noqa: E402

PAGE = ROOT / "docs" / "scale.md"
TABLE = re.compile(r"\| net \| step of `fit`.*?\n\n", re.DOTALL)  # in the page
MACHINES = [2**k for k in range(1, 11)]


class Net(NamedTuple):
    """A net and its step: sizes, batch; C seconds for all blocks of a batch, U seconds for the update, one thread."""

    sizes: tuple[int, ...]
    batch: int
    C: float = math.nan
    U: float = math.nan
    fit: float = math.nan  # a step of `fit`, one thread

    @property
    def name(self) -> str:
        """As 784-128-64-10."""
        return "-".join(map(str, self.sizes)) + f", batch {self.batch}"

    @property
    def bytes(self) -> int:
        """S: of all gradients, float32."""
        return 4 * sum((inputs + 1) * outputs for inputs, outputs in zip(self.sizes, self.sizes[1:], strict=False))


class Network(NamedTuple):
    """L seconds a message, W bytes a second: of cards as they are sold, 90 % of the line rate."""

    name: str
    L: float
    W: float


NETWORKS = [
    Network("1 GbE", 50e-6, 0.9 * 1e9 / 8),
    Network("10 GbE", 20e-6, 0.9 * 1e10 / 8),
    Network("100 GbE", 5e-6, 0.9 * 1e11 / 8),
]
NETS = [
    Net((784, 128, 64, 10), 64),
    Net((784, 1024, 1024, 10), 512),
    Net((784, 1024, 1024, 10), 8192),
]


def exchange(net: Net, network: Network, p: int) -> float:
    """A(p), for a power of two of machines: up the tree and down again, log2(p) messages one after another each."""
    return 2 * math.log2(p) * network.L + 2 * (p - 1) / p * net.bytes / network.W


def step(net: Net, network: Network, p: int) -> float:
    """T(p), with as many blocks as rows allow."""
    return net.C / p + net.U + (exchange(net, network, p) if p > 1 else 0.0)


def simulated(p: int, size: float, L: float, W: float) -> float:
    """Seconds of the messages of `Tree(p, p)` for a sum of so many bytes, each machine sending one at a time.

    Pieces that go the same way at the same height travel together, as one message.
    """
    tree = Tree(p, p)
    pieces, clock = tree.pieces, [0.0] * p
    moves: dict[tuple[int, int, int], int] = {}
    height = {node: k for k, node in enumerate(tree.crossing)}
    level = {node: (node[1] - node[0] - 1).bit_length() for node in height}
    for piece in range(pieces):
        for up in tree.ups(piece):
            source = up.right_at if up.at == up.left_at else up.left_at
            key = level[up.node], source, up.at
            moves[key] = moves.get(key, 0) + 1
    for backwards in (False, True):
        for height_now in sorted({key[0] for key in moves}, reverse=backwards):
            ends = list(clock)
            for (at, source, target), count in moves.items():
                if at != height_now:
                    continue
                one, other = (target, source) if backwards else (source, target)
                end = max(clock[one], clock[other]) + L + count * size / pieces / W
                ends[one], ends[other] = max(ends[one], end), max(ends[other], end)
            clock = ends
    return max(clock)


def measured(net: Net, repeats: int = 4) -> Net:
    """The net with C, U and a step of `fit`, the best of some runs of one thread here."""
    from fastmlp.scale.ranks import Alone

    rows = net.batch * (2 if net.batch > 1000 else 8)
    draw = np.random.default_rng(0)
    data = fm.Dataset(draw.random((rows, net.sizes[0]), np.float32), draw.integers(0, net.sizes[-1], rows))

    def of(train: object, **more: object) -> float:
        fm.manual_seed(0)
        model = fm.nn.MLP(net.sizes[0], net.sizes[1:-1], net.sizes[-1])
        options = {"epochs": repeats, "batch_size": net.batch, "n_threads": 1, "progress": False, **more}
        history = train(model, data, **options)  # type: ignore[operator]
        return min(history.column("seconds")[1:]) / (rows // net.batch)

    model = fm.nn.MLP(net.sizes[0], net.sizes[1:-1], net.sizes[-1])
    rule = fm.optim.Adam(model.parameters())
    times = []
    for _ in range(20):
        for parameter in model.parameters():
            parameter.grad = np.ones_like(parameter.data)
        start = perf_counter()
        rule.step()
        times.append(perf_counter() - start)
    blocks = of(fm.scale.fit_parallel, comm=Alone())
    return net._replace(C=blocks - min(times), U=min(times), fit=of(fm.fit))


def pays(net: Net, network: Network) -> tuple[int, float] | None:
    """(fewest machines, most times as fast as one) where any of MACHINES are faster than one of one thread by `fit`."""
    speeds = {p: net.fit / step(net, network, p) for p in MACHINES if p <= net.batch}
    faster = [p for p, speed in speeds.items() if speed > 1]
    return (faster[0], max(speeds.values())) if faster else None


def table(nets: list[Net]) -> str:
    """A row a net: its constants, and on each network where several machines pay."""
    head = "| net | step of `fit` | C | U | S | " + " | ".join(n.name for n in NETWORKS) + " |"
    lines = [head, "|" + "---|" * (5 + len(NETWORKS))]
    for net in nets:
        cells = [f"{1e3 * x:.2f} ms" for x in (net.fit, net.C, net.U)] + [f"{net.bytes / 1e6:.2f} MB"]
        for network in NETWORKS:
            found = pays(net, network)
            cells.append("one machine" if found is None else f"from {found[0]} on; up to {found[1]:.1f}×")
        lines.append(f"| {net.name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def draw(nets: list[Net]) -> bytes:
    """How many times as fast p machines are as one, by machines; a panel a net, a line a network. PNG."""
    from fastmlp.show.plots.style import need_matplotlib

    need_matplotlib("scale_model")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, len(nets), figsize=(12, 4.2), sharey=True, layout="constrained")
    for net, axes in zip(nets, panels, strict=True):
        p = [m for m in MACHINES if m <= net.batch]
        for network, color in zip(NETWORKS, ("#b04a3a", "#c8932c", "#2a6f97"), strict=True):
            axes.plot(p, [net.fit / step(net, network, m) for m in p], "o-", color=color, label=network.name, ms=4)
        axes.axhline(1, color="#444444", lw=1)
        axes.annotate("one machine", (p[0], 1), xytext=(0, 4), textcoords="offset points", fontsize=9)
        axes.set(xscale="log", yscale="log", title=net.name, xlabel="machines of one thread")
        axes.set_xticks([2, 8, 32, 128, 1024][: sum(x <= p[-1] for x in (2, 8, 32, 128, 1024))])
        axes.get_xaxis().set_major_formatter(lambda x, _: f"{x:,.0f}")
        axes.get_yaxis().set_major_formatter(lambda x, _: f"{x:g}×")
        axes.minorticks_off()
        axes.grid(alpha=0.25)
    panels[0].set_ylabel("times as fast as fit on one")
    panels[-1].legend(frameon=False)
    figure.savefig(picture := io.BytesIO(), format="png", dpi=120)
    plt.close(figure)
    return picture.getvalue()


def main(arguments: list[str] | None = None) -> None:
    """Measure, print the table, draw."""
    parser = make_parser((__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--write", action="store_true", help="write the table into docs/scale.md, and draw docs/scale.png"
    )
    options = parser.parse_args(arguments)
    nets = [measured(net) for net in NETS]
    print(table(nets))
    if options.write:
        write(PAGE, TABLE.sub(lambda _: f"{table(nets)}\n\n", PAGE.read_text("utf-8"), count=1))
        write(PAGE.with_suffix(".png"), draw(nets))


if __name__ == "__main__":
    run_script(main, fm.check.NotInstalledError)
