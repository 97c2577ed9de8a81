"""The report of a run: one HTML file with its numbers, plots and configuration, and the network itself to play with.

    write_report("report.html", model, history, evaluation, test, config, diagnosis, figures=figures)

`numbers` and `plates` write the page's tables and pictures, `network` draws the layers, `embed` packs what the page's
own code needs. That code lies beside them: `template.html`, `style.css` and the scripts, joined by `write_report`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from ... import check
from ...files import write
from ...nn import Module
from . import embed, encoding, network, numbers, plates, targets, trials
from .embed import MOST_PARAMETERS as MOST_PARAMETERS
from .embed import MOST_WRONG as MOST_WRONG

if TYPE_CHECKING:
    from ...data import Dataset
    from ...scale.sweep import Sweep
    from ...training.diagnosis import Diagnosis
    from ...training.evaluation import Evaluation
    from ...training.history import History
    from ...training.multilabel import MultilabelEvaluation
    from ...training.regression import RegressionEvaluation
    from ...training.watch import Watch

Sections = list[tuple[str, str, str]]  # name, title and HTML of each; one without HTML is left out
CONSOLE = " Its network answers in the console too: <code>fastmlp.predict(pixels)</code>."
SCRIPTS = ("forward.js", "net.js", "prepare.js", "draw.js", "wrong.js", "page.js")  # one scope, in this order


def write_report(
    path: str | os.PathLike[str],
    model: Module,
    history: History,
    evaluation: Evaluation | RegressionEvaluation | MultilabelEvaluation | None,
    data: Dataset | None,
    config: Mapping[str, Any],
    diagnosis: Diagnosis | None,
    watch: Watch | None = None,
    figures: Mapping[str, tuple[str, bytes, bytes]] | None = None,
) -> Path:
    """Write the report of a run to `path`, a file or a folder that gets `report.html`; returns the file.

    model       the trained network. One of fastmlp's own layers up to MOST_PARAMETERS numbers is embedded and
                predicts in the page; for another the page says why it does not
    history     what `fit` returned
    evaluation  of the test set, what `evaluate` returned; or None where there is none
    data        the Dataset that was evaluated; without a test set the one trained on, or None. Its rows are drawn
                where they are images; the canvas is there where they are square
    config      name -> value, shown as it is
    diagnosis   has `sentence`, `advice` and `kind`, and may have `best_epoch`; or None
    watch       the Watch of the run, or None; its plots come in `figures`, and without it the page says what is missing
    figures     name -> (title, PNG for a light page, PNG for a dark page), in the order shown. A name of a function
                of `plots` gets a caption that says how to read it

    The file is whole: it loads nothing. Of the wrong rows the worst MOST_WRONG are embedded. It is replaced in one
    piece, so a reader never meets half a page.
    Errors: TypeError for an argument of another kind; ValueError for a figure that is not a PNG, or for an evaluation
    that is not of `data`.
    """
    if not isinstance(model, Module):
        raise TypeError(f"write_report: model is {type(model).__name__}; it must be a fastmlp.nn.Module")
    for argument, value, needed, kind in (
        ("history", history, "column", "the History that fit returned"),
        ("evaluation", evaluation, "loss", "the Evaluation that evaluate returned, or None"),
        ("data", data, "features", "a fastmlp.data.Dataset, or None"),
        ("config", config, "items", "names with their values"),
        ("diagnosis", diagnosis, "sentence", "what diagnose returned, or None"),
    ):
        if not hasattr(value, needed) and not (value is None and kind.endswith("None")):
            raise TypeError(f"write_report: {argument} is {type(value).__name__}; it must be {kind}")
    if not hasattr(history, "epochs"):
        raise TypeError(f"write_report: history is {type(history).__name__}; it must be the History that fit returned")
    if evaluation is not None and data is not None and evaluation.rows != len(data):
        raise ValueError(
            f"write_report: evaluation has {evaluation.rows} rows, data has {len(data)}; it must be of this data"
        )
    target = check.path("write_report: path", path)
    if not isinstance(figures, Mapping | None) or any(
        not isinstance(figure, tuple | list) or len(figure) != 3 for figure in (figures or {}).values()
    ):
        raise TypeError(
            f"write_report: figures is {check.shown(figures)}; it must be names with (title, PNG, PNG), or None"
        )
    if target.is_dir():
        target = target / "report.html"
    e: Any = evaluation
    kind = getattr(data if e is None else e, "kind", "classes")
    page = embed.contents(model, e, data)
    rows = network.rows(model)
    heading = numbers.title(rows, config, data)
    tested: list[numbers.Tile] = []
    each: list[tuple[str, str, str]] = []
    if e is not None and kind == "numbers":
        tested = targets.number_tiles(e)
        each = [("columns", "Columns", targets.columns(e)), ("residuals", "Residuals", targets.worst_numbers(e))]
    elif e is not None and kind == "labels":
        tested = targets.label_tiles(e)
        each = [("labels", "Labels", targets.labels(e)), ("wrong", "Wrong rows", targets.worst_labels(e))]
    elif e is not None:
        tested = numbers.class_tiles(e)
        each = [("classes", "Classes", numbers.classes(e))]
        each.append(("wrong", f"Wrong {plates.things(page)}", plates.wrong(page, e)))
    sections = [
        ("numbers", "Numbers", numbers.tiles(history, tested)),
        ("draw", "Draw", plates.canvas(page)),
        ("plots", "Plots", plates.plots(figures or {}, history, e, watch)),
        *each,
        ("table", "Table", encoding.section(model.encoding_)),
        ("network", "Network", network.section(rows, data, kind)),
        ("epochs", "Epochs", numbers.epochs(history, diagnosis)),
        ("configuration", "Configuration", numbers.configuration(config)),
    ]
    own = files(__name__)
    script = "\n".join([embed.forward_script(model), *((own / name).read_text("utf-8") for name in SCRIPTS)])
    summary, verdict = numbers.summary(history, config, e), numbers.verdict(diagnosis)
    text = joined(
        heading, summary, verdict, sections, script, embed.json_text(page), CONSOLE * (page["net"] is not None)
    )
    write(target, text.encode("utf-8", "replace"))  # half a character, of a file's name, has no bytes
    return target


def joined(
    heading: str, summary: str, verdict: str, sections: Sections, script: str, run: str, footer: str = ""
) -> str:
    """A page of these parts, HTML each."""
    own, shown = files(__name__), [(name, title, html) for name, title, html in sections if html]
    return Template((own / "template.html").read_text("utf-8")).substitute(
        title=heading,
        style=(own / "style.css").read_text("utf-8"),
        script=script,
        navigation="".join(f'<li><a href="#{name}">{title}</a></li>' for name, title, _ in shown),
        summary=summary,
        diagnosis=verdict,
        sections="\n".join(f'<section id="{name}" tabindex="-1">\n{html}\n</section>' for name, _, html in shown),
        footer=footer,
        run=run,
    )


def write_sweep(path: str | os.PathLike[str], sweep: Sweep, figures: Mapping[str, tuple[str, bytes, bytes]]) -> Path:
    """Write the page of a sweep to `path`, a file or a folder that gets `sweep.html`; returns the file.

    figures: name -> (title, PNG for a light page, PNG for a dark page), in the order shown
    """
    target = check.path("write_sweep: path", path)
    target = target / "sweep.html" if target.is_dir() else target
    sections = [
        ("numbers", "Numbers", trials.tiles(sweep)),
        ("plots", "Plots", plates.pictured(figures, trials.CAPTIONS)),
        ("trials", "Trials", trials.table(sweep)),
    ]
    script = "const byId = (id) => document.getElementById(id);\n" + (files(__name__) / "page.js").read_text("utf-8")
    text = joined("Sweep", trials.summary(sweep), "", sections, script, "null")
    write(target, text.encode("utf-8", "replace"))
    return target
