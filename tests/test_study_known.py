"""`studies.known`: the recipes are the sources', on little data; the verdicts say what made numbers say.

The whole study takes a minute, so it is not run here.
"""

import math

import numpy as np
import pytest

import fastmlp as fm
from fastmlp import nn, optim, studies
from fastmlp.studies import known
from fastmlp.studies.known import FULL, RECIPES, Decay, MaxNorm, conclude, table, within


def digits(rows: int, seed: int) -> fm.Dataset:
    """Rows of 12 pixels, the brightest at the class, of 3."""
    rng = np.random.default_rng(seed)
    labels = np.r_[0, 1, 2, rng.integers(0, 3, rows - 3)]
    pixels = rng.integers(0, 120, (rows, 12))
    pixels[np.arange(rows), labels] += 130
    return fm.Dataset(pixels.astype(np.uint8), labels)


TRAIN, TEST = digits(500, 0), digits(200, 1)


@pytest.fixture
def small(monkeypatch):
    """Two or three epochs, 500 rows."""
    monkeypatch.setattr(fm.data, "mnist", lambda: (TRAIN, TEST))
    for name, value in (("GORNER_EPOCHS", 3), ("KERAS_EPOCHS", 2), ("PLAIN_EPOCHS", 2), ("DROPOUT_EPOCHS", 3)):
        monkeypatch.setattr(known, name, value)


@pytest.mark.parametrize("full", [False, True])
def test_a_small_study_is_whole(small, full):
    study = studies.run("known", 3, full=full)
    names = [*RECIPES, *FULL] if full else list(RECIPES)
    assert study.tolerances.keys() == study.numbers.keys()
    assert [name[: -len("_accuracy")] for name in study.numbers if name.endswith("_accuracy")] == names
    assert [study.numbers[f"{name}_seeds"] for name in names] == ([3, 3, 3, 2, 1, 1] if full else [1, 1, 1])
    assert len(study.conclusions) == len(names) + full
    assert max(map(len, study.table.splitlines())) <= 100
    assert len(study.table.splitlines()) == 1 + len(names)
    for name in names:
        n = {key: study.numbers[f"{name}_{key}"] for key in ("accuracy", "lowest", "highest", "deviation", "source")}
        p = n["accuracy"] / 100
        assert n["lowest"] <= n["accuracy"] <= n["highest"]
        assert n["deviation"] == pytest.approx(100 * math.sqrt(p * (1 - p) / 200), rel=1e-12)
        assert n["source"] == (RECIPES | FULL)[name].accuracy
        assert study.numbers[f"{name}_within"] == (abs(n["source"] - n["accuracy"]) <= 2 * n["deviation"])
    _, below = study.figures["known"].axes
    sources = [line.get_xdata()[0] for line in below.lines if line.get_marker() == "D"]
    assert sources == [study.numbers[f"{name}_source"] for name in names]


def test_the_known_study_is_marked_as_slow():
    assert studies.SLOW == ("known",)
    assert set(studies.SLOW) <= set(studies.NAMES)


def test_steps_are_made_at_the_rates_of_the_schedule():
    """Step by step on the graph, each at its rate: the same net."""
    nn.manual_seed(0)
    fast = nn.MLP(12, (8,), 3)
    curve = known.train_epochs(fast, TRAIN, TEST, 3, 7, 100, 0.0301, Decay(20))
    assert [at for at, _ in curve] == [1, 2, 3]

    nn.manual_seed(0)
    slow = nn.MLP(12, (8,), 3)
    optimizer = optim.Adam(slow.parameters())
    for step in range(15):
        rows = np.random.default_rng((7, step // 5 + 1)).permutation(500)[step % 5 * 100 :][:100]
        optimizer.param_groups[0]["lr"] = 1e-4 + 0.03 * math.exp(-step / 20)
        x = fm.Tensor((TRAIN.rows[rows] / 255).astype(np.float32))
        optimizer.zero_grad()
        fm.ops.cross_entropy(slow(x), TRAIN.labels[rows]).backward()
        optimizer.step()
    for a, b in zip(fast.parameters(), slow.parameters(), strict=True):
        np.testing.assert_allclose(a.data, b.data, rtol=1e-4, atol=1e-5)  # pixels are scaled in another way here


@pytest.mark.parametrize("name", [*RECIPES, *FULL])
def test_each_recipe_is_one_call_with_the_rates_of_its_source(small, monkeypatch, name):
    seen, rates, fit = [], [], known.fit

    def looking(model, train, test, optimizer, epochs, batch, *others, schedule, callbacks, **options):
        steps = -(-len(train) // batch)
        of_fit = optim.Rates(optimizer, schedule, None, epochs, steps)
        first = optimizer.param_groups[0]["lr"]
        for epoch in range(1, epochs + 1):
            made = of_fit.of_epoch(epoch)
            rates.extend([optimizer.param_groups[0]["lr"]] if made is None or len(made) == 1 else made[:, 0])
        optimizer.param_groups[0]["lr"], optimizer.schedule_rates = first, []
        seen.append(batch)
        return fit(
            model, train, test, optimizer, epochs, batch, *others, schedule=schedule, callbacks=callbacks, **options
        )

    monkeypatch.setattr(known, "fit", looking)
    known.train_one(name, TRAIN, TEST, 0)
    if name in ("relu", "batchnorm"):
        first, speed = (0.003, 2000) if name == "relu" else (0.03, 1000)
        assert seen == [100]
        assert rates == pytest.approx([1e-4 + first * math.exp(-t / speed) for t in range(15)], rel=1e-12)
    else:
        epochs = {"keras": 2, "plain": 2}.get(name, 3)
        assert seen == [128]
        assert rates == pytest.approx([0.001 * (1 - t / epochs * (name != "keras")) for t in range(epochs)], rel=1e-12)


def test_max_norm_shortens_the_rows_that_are_too_long_and_no_others():
    model = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 2))
    array = model[0].weight.data
    array[...] = [[3, 4, 0], [0.3, 0.4, 0]]
    model[2].weight.data[...] = [[0, 0], [2, 0]]
    bias = model[0].bias.data.copy()
    MaxNorm(2.0)(model, fm.History())
    assert model[0].weight.data is array
    np.testing.assert_allclose(array, [[1.2, 1.6, 0], [0.3, 0.4, 0]], rtol=1e-6)  # float32
    np.testing.assert_array_equal(model[2].weight.data, [[0, 0], [2, 0]])
    np.testing.assert_array_equal(model[0].bias.data, bias)


def test_max_norm_is_the_papers_for_weights_that_dropout_scales():
    """In training, this net is the paper's with weights w / (1 - p), which keep to a norm of c."""
    model = nn.Sequential(
        nn.Dropout(0.2), nn.Linear(3, 1), nn.ReLU(), nn.Dropout(0.5), nn.Linear(2, 1), nn.Linear(2, 1)
    )
    for layer in (model[1], model[4], model[5]):
        layer.weight.data[...] = 9
    MaxNorm(2.0)(model, fm.History())
    norms = [float(np.linalg.norm(model[at].weight.data)) for at in (1, 4, 5)]
    assert norms == pytest.approx([1.6, 1.0, 2.0], rel=1e-6)  # float32


def test_a_long_study_says_what_it_has_found_so_far(small, caplog):
    with caplog.at_level("INFO", logger="fastmlp"):
        study = studies.run("known", 3)
    assert [record.getMessage() for record in caplog.records] == [
        f"{recipe.net}, seed 3: {study.numbers[f'{name}_accuracy']:.2f} %" for name, recipe in RECIPES.items()
    ]


def test_the_large_net_drops_inputs_and_hidden_values():
    net = known.large(784, 10, dropout=True)
    kinds = [type(layer).__name__ for layer in net.children()]
    assert kinds == ["Dropout", "Linear", "ReLU", "Dropout", "Linear", "ReLU", "Dropout", "Linear"]
    assert [layer.p for layer in net.children() if isinstance(layer, nn.Dropout)] == [0.2, 0.5, 0.5]
    widths = [layer.weight.shape for layer in net.children() if isinstance(layer, nn.Linear)]
    assert widths == [(800, 784), (800, 800), (10, 800)]
    assert not any(isinstance(layer, nn.Dropout) for layer in known.large(784, 10, dropout=False).children())


# --- sentences on made numbers ---------------------------------------------------------------------------------------


def made(seeds: float = 1.0, **accuracies: float) -> dict[str, float]:
    n: dict[str, float] = {}
    for name, accuracy in accuracies.items():
        n |= {f"{name}_accuracy": accuracy, f"{name}_lowest": accuracy - 0.05, f"{name}_highest": accuracy + 0.05}
        n |= {f"{name}_deviation": 0.125, f"{name}_seeds": seeds, f"{name}_source": (RECIPES | FULL)[name].accuracy}
    return n


def test_a_number_within_two_deviations_is_said_to_be():
    said = conclude(made(relu=98.0))
    assert said == (
        "784-200-100-60-30-10 reaches 98.00 % (one seed), and the 98.24 % of Görner 2016 lie within two standard "
        "deviations of it, 0.25 points.",
    )


def test_a_number_outside_is_said_to_be_outside_on_either_side():
    high = conclude(made(relu=97.0))[0]
    assert "lie 1.24 points above, more than two standard deviations, 0.25." in high
    low = conclude(made(seeds=3.0, relu=99.0))[0]
    assert "reaches 99.00 % (3 seeds, 98.95 to 99.05)" in low
    assert "lie 0.76 points below, more than" in low
    assert "within" not in high + low


def test_what_batch_norm_brings_has_its_sign():
    assert conclude(made(relu=98.2, batchnorm=98.5))[1].endswith(
        "batch norm brings +0.30 points here and +0.26 in the sources."
    )
    assert "batch norm brings -0.70 points here" in conclude(made(relu=98.2, batchnorm=97.5))[1]
    assert "max-norm with dropout brings +0.40 points here and +0.40" in conclude(made(plain=98.5, maxnorm=98.9))[1]


def test_distances_are_those_of_the_seeds():
    """By hand: deviations of ±1, ±2 and none around three means, 2 + 8 over 2 degrees of freedom."""
    curves = {"relu": [[(1, 97.0)], [(1, 99.0)]], "plain": [[(1, 96.0)], [(1, 100.0)]], "dropout": [[(1, 98.0)]]}
    found = made(relu=98.0, plain=98.0, dropout=98.0) | {"curves": curves}
    numbers = known.distances(found)
    s = math.sqrt(5)
    assert numbers == pytest.approx(
        {
            "seed_deviation": s,
            "relu_distance": 0.24 / (s * math.sqrt(1.5)),
            "plain_distance": 0.54 / (s * math.sqrt(1.5)),
            "dropout_distance": 0.75 / (s * math.sqrt(2)),
        }
    )


@pytest.mark.parametrize(
    ("far", "words"),
    [
        ((0.3, 2.3), "the sources are 0.3 to 2.3 standard deviations away, none further than chance"),
        (
            (2.4, 0.3),
            "0.3 to 2.4 standard deviations away: further than chance brings them in 19 of 20 cases, 2.36, for ReLU.",
        ),
        ((3.0, math.inf), "for ReLU, dropout 0.2."),
        ((math.nan, 1.0), "for ReLU."),
    ],
)
def test_the_sentence_about_seeds_names_what_is_too_far(far, words):
    n = made(relu=98.0, keras=98.0) | {"seed_deviation": 0.07, "relu_distance": far[0], "keras_distance": far[1]}
    assert words in conclude(n)[-1]
    assert conclude(n)[-1].startswith("Seeds differ with a standard deviation of 0.07 points; ")


@pytest.mark.parametrize(
    ("accuracy", "inside"), [(98.24, True), (98.0, True), (97.98, False), (98.5, False), (math.nan, False)]
)
def test_within_is_two_deviations(accuracy, inside):
    assert within("relu", made(relu=accuracy)) is inside


def test_the_table_has_a_line_for_what_was_measured():
    lines = table(made(relu=98.125, keras=98.5)).splitlines()
    assert len(lines) == 3
    assert lines[1].split()[:1] == ["784-200-100-60-30-10"]
    assert lines[2].endswith("Keras mnist_mlp")
    assert "98.40" in lines[2]
