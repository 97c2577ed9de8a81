"""`studies.overfitting`: its nets are what it says, its numbers are theirs, and its sentences say what numbers say."""

import numpy as np
import once
import pytest

import fastmlp as fm
from fastmlp.studies import overfitting
from fastmlp.studies.overfitting import ARMS, EPOCHS, SEEDS, SIZES, SMALL, WIDTHS, conclude, table


@pytest.fixture(scope="module")
def study():
    return once.study("overfitting")


def test_every_number_has_a_tolerance_and_is_finite(study):
    assert study.name == "overfitting"
    assert study.tolerances.keys() == study.numbers.keys()
    assert np.isfinite(list(study.numbers.values())).all()
    assert len(study.numbers) == 5 * (len(SIZES) + len(WIDTHS) + len(ARMS)) + 3 * len(ARMS) + 3


def test_the_numbers_are_those_of_the_nets():
    """784-16-10 on the first 1,000 of the shuffled rows, 30 epochs, made here and evaluated in NumPy."""
    train, test = fm.data.mnist()
    rows = train[np.random.default_rng(0).permutation(60_000)[:1_000]]
    fm.manual_seed(0)
    model = fm.nn.Sequential(fm.nn.Linear(784, 16), fm.nn.ReLU(), fm.nn.Linear(16, 10))
    fm.fit(model, rows, None, fm.optim.Adam(model.parameters(), lr=0.002), 30, 100, seed=0, progress=False)
    first, _, last = model.children()
    hidden = np.maximum(test.rows / 255 @ first.weight.data.T + first.bias.data, 0)
    logits = hidden @ last.weight.data.T + last.bias.data
    error = 100 * np.mean(logits.argmax(axis=1) != test.labels)
    again, _ = overfitting._train(rows, 16, EPOCHS, 0)
    found = overfitting._errors("x", again, rows, test)
    assert found["x_test_error"] == pytest.approx(error, abs=0.021)  # float64 here: two near ties of 10,000 rows
    assert found["x_gap"] == pytest.approx(found["x_test_error"] - found["x_train_error"], abs=1e-9)
    z = logits - logits.max(axis=1, keepdims=True)
    loss = np.mean(np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(z)), test.labels])
    assert found["x_test_loss"] == pytest.approx(loss, rel=1e-5)  # float32 sums of 10,000 terms


def test_the_study_holds_what_that_net_gives(study):
    train, test = fm.data.mnist()
    rows = train[np.random.default_rng(0).permutation(60_000)[:SMALL]]
    model, _ = overfitting._train(rows, 16, EPOCHS, 0)
    expected = overfitting._errors("width_16", model, rows, test)
    assert {name: study.numbers[name] for name in expected} == expected  # a seed repeats to the bit


def test_what_everybody_knows_is_seen(study):
    """Coarse facts with room: few rows give a large gap, 60,000 a small one; without a remedy the run overfits."""
    n = study.numbers
    assert n["size_100_gap"] > 15 > 3 > n["size_60000_gap"]
    assert n["size_100_train_error"] == 0
    assert n["width_8_train_error"] > n["width_1024_train_error"]
    assert n["plain_overfits"] == SEEDS
    assert n["plain_rise"] > 0
    assert n["stopping_test_loss"] < n["plain_test_loss"]
    assert n["stopping_epochs"] < n["plain_epochs"] == EPOCHS


def test_the_remedies_are_what_they_are_called(monkeypatch):
    seen = {}

    def fit(model, rows, held, optimizer, epochs, batch, seed, progress, callbacks):
        seen[arm] = model, optimizer, callbacks
        return fm.History()

    monkeypatch.setattr(overfitting, "fit", fit)
    rows = fm.Dataset(np.zeros((4, 3), np.float32), np.array([0, 1, 0, 1]))
    for arm in ARMS:
        overfitting._train(rows, 5, 1, 0, arm)
    for arm, (model, optimizer, callbacks) in seen.items():
        p = [layer.p for layer in model.modules() if isinstance(layer, fm.nn.Dropout)]
        assert p == ([0.5] if arm in ("dropout", "all") else [])
        assert optimizer.param_groups[0]["weight_decay"] == (1.0 if arm in ("decay", "all") else 0)
        assert isinstance(optimizer, fm.optim.AdamW) == (arm in ("decay", "all"))
        assert [type(c) for c in callbacks] == ([fm.EarlyStopping] if arm in ("stopping", "all") else [])


def test_the_table_has_every_number_of_a_line(study):
    lines = study.table.splitlines()
    assert max(map(len, lines)) <= 100
    line = next(line for line in lines if line.split()[:1] == ["60,000"])
    n = study.numbers
    for what, form in (("train_error", ".2f"), ("test_error", ".2f"), ("gap", ".2f"), ("test_loss", ".4f")):
        assert format(n[f"size_60000_{what}"], form) in line.split()
    assert table(n) == study.table


def test_the_figures_draw_the_numbers(study):
    sizes, widths = study.figures["overfitting-size-width"].axes
    for ax, name, values in ((sizes, "size", SIZES), (widths, "width", WIDTHS)):
        lines = {line.get_label(): line for line in ax.lines}
        for what, label in (("train", "training"), ("test", "test")):
            expected = [study.numbers[f"{name}_{v}_{what}_error"] for v in values]
            assert list(lines[label].get_xdata()) == list(values)
            assert list(lines[label].get_ydata()) == expected
    above, below = study.figures["overfitting-remedies"].axes
    plain = next(line for line in above.lines if line.get_label() == "no remedy").get_ydata()
    ring = next(line for line in above.lines if line.get_marker() == "o" and len(line.get_xdata()))
    assert (ring.get_xdata()[0], ring.get_ydata()[0]) == (np.argmin(plain) + 1, min(plain))
    means = [line.get_xdata()[0] for line in below.lines if line.get_marker() == "|"]
    assert means == [study.numbers[f"{arm}_test_error"] for arm in reversed(ARMS)]
    assert [label.get_text() for label in below.get_yticklabels()] == list(ARMS.values())[::-1]


# --- sentences on made numbers ---------------------------------------------------------------------------------------


def made(**changes: float) -> dict[str, float]:
    """Numbers as they are expected: gaps shrink, the widest is the best, every remedy helps for every seed."""
    n: dict[str, float] = {}
    for i, size in enumerate(SIZES):
        n |= {f"size_{size}_gap": 30.0 - 4 * i, f"size_{size}_test_error": 31.0 - 4 * i}
    for i, width in enumerate(WIDTHS):
        n |= {f"width_{width}_train_error": 7.0 - i, f"width_{width}_test_error": 16.0 - i}
    for i, arm in enumerate(ARMS):
        n |= {f"{arm}_test_loss": 0.5 - 0.05 * i, f"{arm}_test_error": 11 - 0.25 * i}
        n |= {f"{arm}_test_loss_better": 3.0 * (i > 0), f"{arm}_test_error_better": 3.0 * (i > 0)}
    return n | {"plain_overfits": 3.0} | changes


def test_more_data_is_less_overfitting_where_the_gaps_say_so():
    assert conclude(made())[0] == (
        "From 100 to 60,000 training rows test error goes from 31.0 to 7.0 %, and the gap to training error shrinks "
        "with every step, from 30.0 to 6.0 points: more data is less overfitting."
    )
    assert "though not with every step" in conclude(made(size_3000_gap=29.0))[0]
    opposite = conclude(made(size_60000_gap=35.0))[0]
    assert "does not shrink, from 30.0 to 35.0 points" in opposite
    assert "more data is less" not in opposite


def test_a_wider_net_is_worse_where_the_errors_say_so():
    assert "9.0 %, the lowest of all: a wider net" in conclude(made())[1]
    assert "within 0.5 points of the lowest" in conclude(made(width_1024_test_error=10.4))[1]
    opposite = conclude(made(width_1024_test_error=12.0))[1]
    assert "test error is lowest at width 512, 10.0 %, and 12.0 % at the widest: beyond" in opposite
    assert "no worse" not in opposite
    assert opposite.endswith("beyond that width the net overfits more.")
    assert "a wider net learns the rows by heart and is no worse" in conclude(made())[1]
    bad = {f"width_{width}_train_error": 40.0 for width in WIDTHS}
    assert "a wider net is no worse on new ones" in conclude(made(**bad))[1]
    broken = conclude(made(width_1024_test_error=90.0, width_1024_train_error=90.0))[1]
    assert broken.endswith("beyond that width the net trains worse.")


def test_a_remedy_is_named_only_where_every_seed_agrees():
    said = conclude(made())[2]
    assert said.startswith("3 of 3 runs of 30 epochs on 1,000 rows are diagnosed as overfitting")
    assert "early stopping by -0.05 and -0.25" in said
    everything = "early stopping, weight decay, dropout and all three"
    assert said.endswith(f"every seed has a lower loss with {everything}, a lower error with {everything}.")
    two = conclude(made(stopping_test_error=11.5, stopping_test_error_better=0.0, decay_test_error_better=2.0))[2]
    assert "early stopping by -0.05 and +0.50" in two
    assert two.endswith("a lower error with dropout and all three.")
    none = {f"{arm}_{what}_better": 1.0 for arm in ARMS for what in ("test_loss", "test_error")}
    assert conclude(made(**none, plain_overfits=0.0))[2].startswith("0 of 3 runs")
    assert conclude(made(**none))[2].endswith("a lower loss with none of them, a lower error with none of them.")


def test_the_pages_still_quote_it():
    once.pages_hold("overfitting")
