"""What all pictures share: colours, sizes, the frame of an axes. Nothing else in this package names a colour.

The colours are Okabe and Ito's, told apart with any colour vision. Letters are large for the figure, so that they can
be read where it is shown 300 pixels wide.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar

from ...check import NotInstalledError, flag
from .letters import lettered

WIDTH, DPI, LETTERS = 5.0, 160, 12.0  # inches, pixels an inch, points

KINDS = {  # an argument that is annotated so -> what it must have, what it must be; this package imports none of them
    "History": ("score_name", "the History that fit returned"),
    "Evaluation": ("confusion", "the Evaluation that evaluate returned"),
    "RegressionEvaluation": (
        "residuals",
        "the RegressionEvaluation that evaluate returned, of targets that are numbers",
    ),
    "MultilabelEvaluation": ("f1", "the MultilabelEvaluation that evaluate returned, of targets that are labels"),
    "Dataset": ("features", "a fastmlp.data.Dataset"),
    "Watch": ("epochs", "the Watch that was given to fit(callbacks=[watch])"),
    "LRFind": ("smoothed", "what lr_find returned"),
    "Sweep": ("ranked", "what fastmlp.scale.sweep returned"),
    "Module": ("modules", "a fastmlp.nn.Module"),
}

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Palette:
    """The colours of a style. Gradients are lists from low to high."""

    background: str
    ink: str
    muted: str
    grid: str
    train: str
    held_out: str
    wrong: str
    right: str
    layers: tuple[str, ...]
    density: tuple[str, ...]
    errors: tuple[str, ...]
    signed: tuple[str, ...]
    image: str  # matplotlib's name of the map for pictures of digits


LIGHT = Palette(
    background="#ffffff",
    ink="#1a1a1a",
    muted="#6a6a6a",
    grid="#d8d8d8",
    train="#0072b2",
    held_out="#d55e00",
    wrong="#c1121f",
    right="#cfe6f5",
    layers=("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#1a1a1a"),
    density=("#ffffff", "#9fd0ee", "#0072b2", "#00304d"),
    errors=("#fdebcf", "#e69f00", "#d55e00", "#8a3d00"),
    signed=("#0a5c8f", "#56a4d4", "#ffffff", "#ee9a5b", "#964000"),
    image="gray_r",
)
DARK = Palette(
    background="#16181d",
    ink="#ececec",
    muted="#a0a4ab",
    grid="#3a3e46",
    train="#56b4e9",
    held_out="#e69f00",
    wrong="#ff7b6b",
    right="#1d435c",
    layers=("#56b4e9", "#e69f00", "#2fc79a", "#e39bc4", "#f0e442", "#d55e00", "#ececec"),
    density=("#16181d", "#0b5c8c", "#56b4e9", "#f2fbff"),
    errors=("#4a2c06", "#b5560a", "#e69f00", "#ffe08a"),
    signed=("#8fd0f7", "#2b7db3", "#16181d", "#c4631c", "#ffb375"),
    image="gray",
)

_palette: ContextVar[Palette] = ContextVar("palette", default=LIGHT)


@contextmanager
def style(dark: bool = False) -> Iterator[None]:
    """Within the block, new figures are for a dark background, or for a light one."""
    flag("style: dark", dark)
    before = _palette.get()
    try:
        _palette.set(DARK if dark else LIGHT)
        yield
    finally:
        _palette.set(before)


def palette() -> Palette:
    """The colours in use."""
    return _palette.get()


def need_matplotlib(caller: str, otherwise: str = "") -> None:
    """NotInstalledError, in one sentence, where matplotlib cannot be imported. otherwise: what can be done without."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        what = f"matplotlib is not installed ({error}); it must be: pip install matplotlib{otherwise}"
        raise NotInstalledError(f"{caller}: {what}") from error


def styled(function: F) -> F:
    """Draw within matplotlib settings of our own; those of the caller are as before afterwards.

    Before that, an argument that is annotated as one of KINDS and is not gets a TypeError.
    """
    signature = inspect.signature(function)
    said = {name: str(p.annotation).removesuffix(" | None") for name, p in signature.parameters.items()}
    kinds = {name: KINDS[kind] for name, kind in said.items() if kind in KINDS}

    @functools.wraps(function)
    def draw(*args: Any, **kwargs: Any) -> Any:
        need_matplotlib(function.__name__)
        import matplotlib

        for name, value in signature.bind(*args, **kwargs).arguments.items():
            if value is None and signature.parameters[name].default is None:
                continue
            if name in kinds and (isinstance(value, type) or not hasattr(value, kinds[name][0])):
                given = f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__
                raise TypeError(f"{function.__name__}: {name} is {given}; it must be {kinds[name][1]}")
        colours = palette()
        settings: Any = {"font.size": LETTERS, "axes.titlesize": LETTERS, "axes.titleweight": "normal"}
        settings |= {"axes.labelsize": LETTERS, "legend.fontsize": LETTERS - 1.5}
        settings |= {"legend.frameon": True, "legend.facecolor": colours.background, "legend.edgecolor": "none"}
        settings |= {"figure.facecolor": colours.background, "axes.facecolor": colours.background}
        settings |= {"axes.edgecolor": colours.muted, "axes.linewidth": 0.8, "axes.grid": False, "text.usetex": False}
        settings |= dict.fromkeys(
            ("text.color", "axes.labelcolor", "axes.titlecolor", "xtick.color", "ytick.color"), colours.ink
        )
        with lettered([*args, *kwargs.values()]) as families:
            settings |= {"font.family": families, "text.parse_math": True}
            with matplotlib.rc_context(settings):
                return function(*args, **kwargs)

    return draw  # type: ignore[return-value]


def new_figure(height: float, arrange: bool = True) -> Any:
    """An empty figure of so many inches. arrange: whether matplotlib makes room for the letters."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08) if arrange else None
    return Figure(figsize=(WIDTH, height), dpi=DPI, layout=layout)


def canvas(ax: Any, height: float = 3.4) -> tuple[Any, Any]:
    """The figure and axes to draw on: the given ones with the colours they have, or new ones."""
    if ax is not None:
        if not hasattr(ax, "figure"):
            raise TypeError(f"plots: ax is {type(ax).__name__}; it must be a matplotlib Axes, or None")
        return ax.figure, ax
    figure = new_figure(height)
    return figure, frame(figure.subplots())


def frame(ax: Any, grid: bool = True) -> Any:
    """Dress an axes of our own. Ticks are made when it is drawn, so their colours are set here for then."""
    colours = palette()
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(colors=colours.ink, labelsize=LETTERS - 1, color=colours.muted)
    if grid:
        ax.grid(color=colours.grid, lw=0.7)
        ax.set_axisbelow(True)
    return ax


def ink(ax: Any) -> Any:
    """The colour of letters on this axes, which may be the caller's."""
    return ax.xaxis.label.get_color()


def colour_map(colours: tuple[str, ...]) -> Any:
    """A matplotlib map through these colours, at equal distances."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("fastmlp", list(colours))


def luminance(colour: Any) -> float:
    """Relative luminance of a colour, 0 black to 1 white. Source: W3C, WCAG 2.2 (2023)."""
    from matplotlib.colors import to_rgb

    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: Any, b: Any) -> float:
    """(lighter + 0.05) / (darker + 0.05): 1 for equal colours, 21 for black on white. Source: W3C, WCAG 2.2 (2023)."""
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


def letters_on(colour: Any) -> str:
    """Black or white, whichever can be read on this colour."""
    return max("#000000", "#ffffff", key=lambda letters: contrast(letters, colour))
