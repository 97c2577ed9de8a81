"""`nn.init`: what is drawn has the distribution that its docstring says; gains, fans and doors."""

import math

import numpy as np
import pytest
from modules import refuses

import fastmlp as fm
from fastmlp import Parameter, Tensor, nn
from fastmlp.nn import init

OUT, IN = 300, 500
N = OUT * IN
# Kolmogorov's distance of n draws from their own distribution is above 1.95 / √n once in a thousand; the seed is fixed.
FAR = 1.95 / math.sqrt(N)


def weight(shape=(OUT, IN), dtype=np.float32) -> Parameter:
    fm.manual_seed(0)
    return Parameter(np.full(shape, np.nan, dtype))


def uniform(bound):
    return lambda x: np.clip((x + bound) / (2 * bound), 0, 1)


def normal(std, mean=0.0):
    return np.vectorize(lambda x: (1 + math.erf((x - mean) / std / math.sqrt(2))) / 2)


def cut(std):
    """Normal with nothing beyond 2 s: 0.8796 of s is left as spread (JAX has this number)."""
    s, whole = std / 0.87962566103423978, math.erf(math.sqrt(2))
    return lambda x: (normal(s)(np.clip(x, -2 * s, 2 * s)) - (1 - whole) / 2) / whole


DRAWN = {
    "uniform": (lambda w: init.uniform_(w), lambda x: np.clip(x, 0, 1)),
    "uniform -1 3": (lambda w: init.uniform_(w, -1, 3), lambda x: np.clip((x + 1) / 4, 0, 1)),
    "normal": (lambda w: init.normal_(w), normal(1)),
    "normal 2 0.5": (lambda w: init.normal_(w, 2, 0.5), normal(0.5, 2)),
    "xavier_uniform": (lambda w: init.xavier_uniform_(w), uniform(math.sqrt(6 / (OUT + IN)))),
    "xavier_uniform gain": (lambda w: init.xavier_uniform_(w, 3), uniform(3 * math.sqrt(6 / (OUT + IN)))),
    "xavier_normal": (lambda w: init.xavier_normal_(w, 0.5), normal(0.5 * math.sqrt(2 / (OUT + IN)))),
    "kaiming_uniform": (lambda w: init.kaiming_uniform_(w), uniform(math.sqrt(6 / IN))),
    "kaiming_uniform a": (lambda w: init.kaiming_uniform_(w, a=math.sqrt(5)), uniform(1 / math.sqrt(IN))),
    "kaiming_uniform tanh": (
        lambda w: init.kaiming_uniform_(w, mode="fan_out", nonlinearity="tanh"),
        uniform(5 / 3 * math.sqrt(3 / OUT)),
    ),
    "kaiming_normal": (lambda w: init.kaiming_normal_(w), normal(math.sqrt(2 / IN))),
    "kaiming_normal out": (
        lambda w: init.kaiming_normal_(w, mode="fan_out", nonlinearity="relu"),
        normal(math.sqrt(2 / OUT)),
    ),
    "lecun_uniform": (lambda w: init.lecun_uniform_(w), uniform(math.sqrt(3 / IN))),
    "lecun_normal": (lambda w: init.lecun_normal_(w), cut(math.sqrt(1 / IN))),
}


def distance(numbers, cdf) -> float:
    """The largest distance between the numbers' distribution and the one that is due (Kolmogorov)."""
    x = np.sort(numbers.astype(np.float64).reshape(-1))
    steps, due = np.arange(x.size + 1) / x.size, cdf(x)
    return max(np.abs(steps[1:] - due).max(), np.abs(steps[:-1] - due).max())


@pytest.mark.parametrize("name", DRAWN)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_is_drawn_has_its_distribution(name, dtype):
    draw, cdf = DRAWN[name]
    w = weight(dtype=dtype)
    assert draw(w) is w
    assert w.data.dtype == dtype
    assert distance(w.data, cdf) < FAR
    rows = w.data - w.data.mean()  # neighbours know nothing of each other: a correlation of 1 / √N is due
    assert abs((rows[:, 1:] * rows[:, :-1]).mean() / rows.var()) < 4 / math.sqrt(N)


@pytest.mark.parametrize(("scale", "shift"), [(1.03, 0), (1, 0.03)])
def test_another_spread_or_mean_is_noticed(scale, shift):
    """The control: 3 % of a standard deviation away."""
    assert distance(init.normal_(weight()).data, normal(scale, shift)) > FAR


def test_nothing_is_drawn_beyond_a_bound():
    assert np.abs(init.xavier_uniform_(weight()).data).max() <= np.float32(math.sqrt(6 / (OUT + IN)))
    furthest = np.abs(init.lecun_normal_(weight()).data).max() * math.sqrt(IN)
    assert 2.27 < furthest <= 2 / init.LEFT + 1e-6  # 2 / 0.8796 = 2.274, and a rounding to float32


@pytest.mark.parametrize("shape", [(7, 7), (5, 12), (12, 5), (4, 3, 2), (1, 1)])
@pytest.mark.parametrize("gain", [1, 0.5])
def test_orthogonal(shape, gain):
    w = init.orthogonal_(weight(shape, np.float64), gain).data.reshape(shape[0], -1)
    product = w @ w.T if shape[0] <= w.shape[1] else w.T @ w
    assert np.abs(product - gain**2 * np.eye(len(product))).max() < 1e-14  # some ten roundings


def test_every_orthogonal_matrix_is_as_likely():
    """Without the signs of r the first number of q would always be negative (Mezzadri, section 5)."""
    fm.manual_seed(0)
    first = [init.orthogonal_(Tensor(np.zeros((3, 3)))).data[0, 0] for _ in range(400)]
    assert 160 < np.sum(np.array(first) > 0) < 240  # 200 and four spreads of √400 / 2
    assert np.mean(np.square(first)) == pytest.approx(1 / 3, abs=0.06)  # four spreads of √(4 / 45 / 400)


def test_constants():
    assert np.array_equal(init.zeros_(weight((3,))).data, [0, 0, 0])
    assert np.array_equal(init.ones_(weight((2, 1))).data, [[1], [1]])
    assert np.array_equal(init.constant_(weight(()), -2.5).data, -2.5)
    assert init.uniform_(weight((0, 3))).shape == (0, 3)


def test_the_array_stays_and_the_generator_is_that_of_manual_seed():
    layer = nn.Linear(4, 3)
    array = layer.weight.data
    fm.manual_seed(1)
    first = init.kaiming_normal_(layer.weight).data.copy()
    assert layer.weight.data is array
    assert not np.array_equal(init.kaiming_normal_(layer.weight).data, first)
    fm.manual_seed(1)
    assert np.array_equal(init.kaiming_normal_(layer.weight).data, first)
    view = Tensor(np.zeros((3, 4)).T)  # not in one piece
    fm.manual_seed(1)
    assert np.array_equal(init.normal_(view).data, np.random.default_rng(1).normal(size=(4, 3)))


def test_pieces_are_drawn_as_one(monkeypatch):
    whole = init.normal_(weight((30, 7))).data.copy()
    monkeypatch.setattr(init, "PIECE", 11)
    assert np.array_equal(init.normal_(weight((30, 7))).data, whole)


def test_gains():
    assert [init.calculate_gain(name) for name in ("linear", "sigmoid", "tanh", "relu", "selu")] == [
        1, 1, 5 / 3, math.sqrt(2), 0.75
    ]  # fmt: skip
    assert init.calculate_gain("leaky_relu") == math.sqrt(2 / (1 + 0.01**2))
    assert init.calculate_gain("leaky_relu", 0) == init.calculate_gain("relu")


def test_refused():
    w, bias = weight((2, 3)), weight((3,))
    for name in ("kaiming_uniform_", "kaiming_normal_", "xavier_uniform_", "xavier_normal_", "lecun_uniform_",
                 "lecun_normal_", "orthogonal_"):  # fmt: skip
        refuses(ValueError, lambda n=name: getattr(init, n)(bias), f"{name}: tensor is (3,)", "(out, in)")
        refuses(TypeError, lambda n=name: getattr(init, n)(w.data), f"{name}: tensor is ndarray", "Parameter")
    refuses(TypeError, lambda: init.zeros_(Tensor(np.arange(3))), "zeros_: tensor is int64", "float32 or float64")
    refuses(ValueError, lambda: init.kaiming_normal_(w, mode="in"), "kaiming_normal_: mode is 'in'", "'fan_in'")
    refuses(ValueError, lambda: init.kaiming_normal_(w, a=np.nan), "kaiming_normal_: a is nan")
    refuses(ValueError, lambda: init.kaiming_normal_(w, nonlinearity="gelu"), "nonlinearity is 'gelu'", "leaky_relu")
    refuses(ValueError, lambda: init.uniform_(w, 1, 0), "uniform_: a is 1 and b is 0")
    refuses(ValueError, lambda: init.normal_(w, std=-1), "normal_: std is -1", "at least 0")
    refuses(ValueError, lambda: init.xavier_normal_(w, "relu"), "xavier_normal_: gain is 'relu'")
    refuses(ValueError, lambda: init.calculate_gain("leaky_relu", "a"), "calculate_gain: param is 'a'")
    assert np.isnan(w.data).all()  # nothing was drawn


# --- MLP(init=...) ---------------------------------------------------------------------------------------------------

SPREADS = {
    "he": lambda fan_in, fan_out: math.sqrt(2 / fan_in),
    "xavier": lambda fan_in, fan_out: math.sqrt(2 / (fan_in + fan_out)),
    "lecun": lambda fan_in, fan_out: math.sqrt(1 / fan_in),
    "orthogonal": lambda fan_in, fan_out: math.sqrt(1 / max(fan_in, fan_out)),
}


@pytest.mark.parametrize("name", init.METHODS)
def test_an_mlp_begins_with_it(name):
    fm.manual_seed(0)
    model = nn.MLP(200, (300, 100), 50, norm="layer", dropout=0.1, init=name)
    linear = [layer for layer in model if isinstance(layer, nn.Linear)]
    assert len(linear) == 3
    for layer in linear:
        assert not layer.bias.data.any()
        # n numbers show their spread to 1 / √(2n): less than 1 % here
        assert layer.weight.data.std() == pytest.approx(SPREADS[name](layer.in_features, layer.out_features), rel=0.03)
    assert model[1].weight.data.tolist() == [1] * 300


def test_without_it_an_mlp_is_as_it_was():
    fm.manual_seed(0)
    model = nn.MLP(5, (4,), 3, init=None)
    fm.manual_seed(0)
    same = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3))
    for name, array in same.state_dict().items():
        assert np.array_equal(array, model.state_dict()[name])
    refuses(ValueError, lambda: nn.MLP(5, (4,), 3, init="glorot"), "MLP: init is 'glorot'", "he, xavier, lecun")
