"""What a person sees of a sweep: its plots, its page, the script."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import sweeps

import fastmlp as fm
from fastmlp import plots, scale
from fastmlp.show.plots.sweeps import importances

ROOT = Path(__file__).parent.parent


class Made(scale.Sweep):
    """A sweep of made scores."""

    def __init__(self, rows, folder=Path()):
        trials = []
        for n, (parameters, score, *epochs) in enumerate(rows):
            trial = scale.Trial(parameters, [str(n)])
            count = epochs[0] if epochs else 2
            trial.lines = [{
                "epochs": count, "score": score, "history": [] if score is None else [score] * count, "seconds": 1.0,
                "ended": "failed" if score is None else "finished", "error": "ValueError: <b>bad</b>" if score is None
                else None, "rises": True, "machine": "one", "process": n % 2,
            }]  # fmt: skip
            trials.append(trial)
        plan = type("Plan", (), {"folder": folder, "metric": "validation_score"})()
        super().__init__(trials, plan)


def of_one(count=40):
    """Scores that hang on the rate alone, with a little noise."""
    rng = np.random.default_rng(0)
    rates, widths = rng.permutation(count) / count, rng.integers(1, 4, count)
    return Made(
        [
            ({"lr": float(r), "hidden": (int(w),)}, float(r + 0.02 * rng.normal()))
            for r, w in zip(rates, widths, strict=True)
        ]
    )


def test_importance_finds_what_the_score_hangs_on():
    found = importances(of_one())
    assert found["lr"] > 0.9  # four groups hold all but the spread within a quarter, 1 / 16
    assert found["hidden"] < 0.15  # of three groups of noise: 0 but for chance


def test_importance_of_few_trials_is_no_more_than_chance():
    rng = np.random.default_rng(1)
    shares = [
        importances(Made([({"a": int(rng.integers(3))}, float(rng.normal())) for _ in range(8)]))["a"]
        for _ in range(200)
    ]
    assert np.mean(shares) < 0.15  # η², the plain ratio, would be 2 / 7 on average


@pytest.mark.parametrize("name", ["sweep_parallel", "sweep_best", "sweep_importance"])
@pytest.mark.parametrize("dark", [False, True])
def test_a_plot_draws(name, dark, tmp_path):
    with plots.style(dark=dark):
        figure = getattr(plots, name)(of_one())
    figure.savefig(tmp_path / "plot.png")
    texts = {text.get_text() for ax in figure.axes for text in [*ax.get_xticklabels(), *ax.get_yticklabels()]}
    assert texts & {"lr", "validation score", "0.0", "0"}


def test_the_best_line_is_the_best_trial():
    sweep = of_one()
    lines = plots.sweep_parallel(sweep).axes[0].lines
    thick = [line for line in lines if line.get_linewidth() == 3]
    assert len(thick) == 1
    assert thick[0].get_ydata()[-1] == 1.0  # the score's axis ends at the best
    rates = [trial.parameters["lr"] for trial in sweep]
    share = (sweep.best.parameters["lr"] - min(rates)) / (max(rates) - min(rates))
    assert thick[0].get_ydata()[0] == pytest.approx(share)


def test_the_curve_of_the_best_never_falls():
    sweep = of_one()
    curve = next(line for line in plots.sweep_best(sweep).axes[0].lines if line.get_drawstyle().startswith("steps"))
    assert np.all(np.diff(curve.get_ydata()) >= 0)
    assert curve.get_ydata()[-1] == sweep.best.score
    assert curve.get_xdata()[-1] == 2 * len(sweep)  # epochs of all


def texts_of(figure):
    return [text.get_text() for ax in figure.axes for text in ax.texts]


@pytest.mark.parametrize("rises", [True, False])
def test_an_outlier_hides_nothing(rises):
    """One score far off does not press the others into a line; how many lie outside is said."""
    sign = 1 if rises else -1
    sweep = Made([({"lr": n / 20}, sign * (-3e5 if n == 3 else n / 20)) for n in range(1, 20)])
    sweep.rises = rises
    figure = plots.sweep_parallel(sweep)
    ends = sorted(line.get_ydata()[-1] for line in figure.axes[0].lines if len(line.get_ydata()) == 2)
    assert np.ptp(ends[3:-3]) > 0.3
    assert any(text.endswith("1 below" if rises else "1 above") for text in texts_of(figure))
    best = plots.sweep_best(sweep)
    assert max(map(abs, best.axes[0].get_ylim())) < 2
    assert best.axes[0].get_title().endswith("1 below" if rises else "1 above")
    usual = plots.sweep_parallel(of_one())  # nothing is left out where no score is far
    assert not any(text.endswith("below") for text in texts_of(usual))


def test_numbers_are_written_as_people_write_them():
    rng = np.random.default_rng(0)
    rows = [({"batch_size": int(b), "dropout": float(d)}, float(d)) for b, d in
            zip(rng.integers(16, 513, 60), rng.uniform(1e-4, 0.5, 60), strict=True)]  # fmt: skip
    sizes = [trial["batch_size"] for trial, *_ in rows]
    found = texts_of(plots.sweep_parallel(Made(rows)))
    assert str(max(sizes)) in found
    assert not any("e+" in text for text in found)
    assert "0.26" in found  # even numbers that begin near 0 are no matter of logarithms


def test_one_trial_has_plots(tmp_path):
    sweep = Made([({"lr": 0.1}, 0.5)], tmp_path)
    assert texts_of(plots.sweep_parallel(sweep)).count("0.5") == 1
    assert "no argument has two values" in texts_of(plots.sweep_importance(sweep))


def test_none_is_a_value_and_a_missing_one_is_not(tmp_path):
    text = Made([({"norm": None, "lr": 0.1}, 0.5), ({"lr": 0.2}, 0.6)], tmp_path).page().read_text("utf-8")
    assert text.count(">None<") == 1
    assert "&quot;&quot;" not in text


def test_a_sweep_without_a_score_is_refused():
    with pytest.raises(ValueError, match="sweep_best: no trial of the sweep has a score"):
        plots.sweep_best(Made([({"lr": 1}, None)]))
    with pytest.raises(TypeError, match=re.escape("what fastmlp.scale.sweep returned")):
        plots.sweep_best(1)


def test_the_page_is_whole(tmp_path):
    rows = [({"lr": 0.1, "name": "<i>&"}, 0.5), ({"lr": 0.2, "name": "b"}, 0.75), ({"lr": 0.3, "name": "c"}, None)]
    page = Made(rows, tmp_path).page()
    text = page.read_text("utf-8")
    assert page == tmp_path / "sweep.html"
    assert text.index(">0.75<") < text.index(">0.5<")  # the best first
    assert "&lt;i&gt;&amp;" in text
    assert "&lt;b&gt;bad&lt;/b&gt;" in text
    assert "<b>bad" not in text
    assert text.count('class="on-dark"') == 3
    assert "http:" not in text
    assert "https:" not in re.sub(r"base64,[^\"]*", "", text)
    assert "1 of the configurations without a score" in text
    none = Made([({"lr": 0.1}, None)], tmp_path).page(tmp_path / "none.html")
    assert "base64" not in none.read_text("utf-8").replace("data:,", "")


def run(*arguments, cwd):
    return subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "sweep.py"), *arguments], capture_output=True, text=True, cwd=cwd
    )


def test_the_script_sweeps_and_goes_on(tmp_path):
    data = sweeps.data()
    np.savez(tmp_path / "data.npz", x=data.features, y=data.targets)
    options = ["--data", "data.npz", "--try", "lr=1e-3:1e-1:log", "--try", "hidden=8/8,8", "--epochs", "2"]
    first = run(*options, "--trials", "2", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    assert len(sweeps.lines(tmp_path / "runs" / "sweep")) == 2
    second = run(*options, "--trials", "3", cwd=tmp_path)
    assert len(sweeps.weights(tmp_path / "runs" / "sweep")) == 3
    assert "wrote runs/sweep/sweep.html" in second.stdout
    assert "lr=" in second.stdout
    assert "hidden=(8" in second.stdout


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--try", "lr"], "argument --try: 'lr': it must be NAME=VALUE/VALUE or NAME=LOW:HIGH[:log]"),
        (["--try", "lr=a:1"], "argument --try: 'lr=a:1': it must be NAME=LOW:HIGH or NAME=LOW:HIGH:log, of numbers"),
        (["--try", "lr=2:1"], "argument --try: 'lr=2:1': Range: low is 2 and high is 1; low must be below high"),
        (["--try", "lr=1", "--try", "lr=2"], "argument --try: lr is given twice; give all its values in one"),
        (["--try", "rate=1"], "sweep: rate is an argument of nobody; it must be one of the model ("),
        ([], "the following arguments are required: --try"),
    ],
)
def test_the_script_says_what_is_wrong_in_a_line(given, said, tmp_path):
    ended = run(*given, cwd=tmp_path)
    assert ended.returncode == 2
    assert said in ended.stderr
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-3", 1e-3), ("3", 3), ("none", None), ("True", True), ("64,32", (64, 32)), ("8,", (8,)), ("adam", "adam")],
)
def test_values_are_read_as_they_are_typed(text, value):
    import importlib.util

    spec = importlib.util.spec_from_file_location("script_sweep", ROOT / "scripts" / "sweep.py")
    module = importlib.util.module_from_spec(spec)
    path = list(sys.path)
    spec.loader.exec_module(module)
    sys.path[:] = path
    assert module.value_of(text) == value
    assert module.argument("hidden=8/4,4") == ("hidden", [(8,), (4, 4)])
    assert module.argument("n=1:4")[1] == scale.integers(1, 4)
    assert fm.scale.log_uniform(1e-3, 1.0) == module.argument("lr=1e-3:1.0:log")[1]


def test_a_metric_that_there_is_not_is_refused_before_a_trial(tmp_path):
    rows = fm.Dataset(np.zeros((20, 2), np.float32), np.arange(20.0)[:, None])
    with pytest.raises(ValueError, match=r"sweep: metric is 'validation_accuracy'; the targets are numbers"):
        fm.scale.sweep(rows, {"lr": [0.1]}, tmp_path / "sweep", metric="validation_accuracy", progress=False)
    assert not (tmp_path / "sweep").exists()


def test_where_all_trials_fail_the_script_says_why_and_ends_with_2(tmp_path):
    np.savez(tmp_path / "rows.npz", features=np.zeros((20, 2), np.float32), labels=np.arange(20) % 2)
    words = ["--data", "rows.npz", "--try", "lr=abc", "--epochs", "1", "--out", "sweep"]
    ended = run(*words, cwd=tmp_path)
    assert ended.returncode == 2, ended.stdout
    assert "lr is 'abc'" in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert (tmp_path / "sweep" / "sweep.html").exists()
