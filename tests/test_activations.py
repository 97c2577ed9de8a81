"""Activations at kinks, far out and in files: what the contract's random numbers do not reach.

The slopes at kinks and the numbers at the ends are PyTorch 2.13's.
"""

import math

import numpy as np
import oracles
import pytest
from strategies import DTYPES

import fastmlp as fm
from fastmlp import nn, ops

every_dtype = pytest.mark.parametrize("dtype", DTYPES)
MADE = {  # every activation, with options where it has some
    "relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid, "leaky_relu": lambda: nn.LeakyReLU(0.3),
    "elu": lambda: nn.ELU(1.7), "selu": nn.SELU, "softplus": lambda: nn.Softplus(3, 1.5), "silu": nn.SiLU,
    "hardtanh": lambda: nn.Hardtanh(-0.5, 2), "mish": nn.Mish, "gelu": lambda: nn.GELU("tanh"),
}  # fmt: skip


def both(function, dtype, *points) -> tuple[list[float], list[float]]:
    """(values, slopes) of an operation at points."""
    x = fm.Tensor(np.array(points, dtype), requires_grad=True)
    y = function(x)
    y.sum().backward()
    assert y.dtype == x.grad.dtype == dtype
    return y.data.tolist(), x.grad.tolist()


def test_the_table_has_every_activation():
    assert MADE.keys() == nn.ACTIVATIONS.keys() - {"prelu"}  # which has a parameter, and tests of its own


# --- kinks -----------------------------------------------------------------------------------------------------------


@every_dtype
def test_the_slope_of_elu_at_zero_is_alpha(dtype):
    values, slopes = both(lambda x: ops.elu(x, 2.5), dtype, 0.0, -0.0, 1.0)
    assert values == [0, 0, 1]
    assert math.copysign(1, values[1]) == -1
    assert slopes == [2.5, 2.5, 1]


@every_dtype
def test_the_slope_of_selu_at_zero_is_that_of_its_left_side(dtype):
    alpha, scale = 1.6732632423543772, 1.0507009873554805
    _, slopes = both(ops.selu, dtype, 0.0, -0.0, 1e-30)
    assert slopes == [dtype(alpha * scale), dtype(alpha * scale), dtype(scale)]


@every_dtype
def test_hardtanh_passes_no_gradient_at_its_ends_but_where_x_is_nan(dtype):
    inside = np.nextafter(dtype(2), dtype(0))
    values, slopes = both(lambda x: ops.hardtanh(x, -0.5, 2), dtype, -0.5, 2, inside, -3, 3, math.inf, math.nan)
    assert values[:-1] == [-0.5, 2, inside, -0.5, 2, 2]
    assert math.isnan(values[-1])
    assert slopes == [0, 0, 1, 0, 0, 0, 1]


@every_dtype
def test_softplus_is_linear_beyond_its_threshold_and_not_at_it(dtype):
    values, slopes = both(lambda x: ops.softplus(x, 2, 3), dtype, 1.5, np.nextafter(dtype(1.5), dtype(2)), -1.5)
    np.testing.assert_allclose(values, [math.log1p(math.exp(3)) / 2, 1.5, math.log1p(math.exp(-3)) / 2], 1e-6)
    np.testing.assert_allclose(slopes, [1 / (1 + math.exp(-3)), 1, 1 / (1 + math.exp(3))], 1e-6)
    assert slopes[1] == 1


@every_dtype
def test_a_negative_beta_turns_softplus_round(dtype):
    """-log(1 + e⁻ˣ), the logarithm of the sigmoid."""
    values, slopes = both(lambda x: ops.softplus(x, -1), dtype, 3, -3, 0, 1e4)
    np.testing.assert_allclose(values, [-math.log1p(math.exp(-3)), -math.log1p(math.exp(3)), -math.log(2), 0], 1e-6)
    np.testing.assert_allclose(slopes, [1 / (1 + math.exp(3)), 1 / (1 + math.exp(-3)), 0.5, 0], 1e-6)


# --- far out ---------------------------------------------------------------------------------------------------------

RIGHT = {"tanh": 1, "sigmoid": 1, "hardtanh": 2}  # what they are far at the right, where it is not x
LEFT = {"tanh": -1, "elu": -1.7, "selu": -1.7580993408473766, "hardtanh": -0.5}  # far at the left, where it is not 0


@pytest.mark.parametrize("name", [name for name in MADE if name != "leaky_relu"])
@every_dtype
@pytest.mark.parametrize("size", [1e3, 1e4, 1e5, 1e20, 1e30])
def test_far_out_is_what_the_limit_is(name, dtype, size):
    """No power, square or cube overflows into NaN, in the value or in the slope."""
    (left, right), slopes = both(MADE[name](), dtype, -size, size)
    scale = 1.0507009873554805 if name == "selu" else 1
    rounding = 2 * float(np.finfo(dtype).eps)
    assert left == pytest.approx(LEFT.get(name, 0), rel=rounding, abs=0)
    assert right == pytest.approx(RIGHT.get(name, dtype(size) * scale), rel=rounding, abs=0)
    assert slopes == pytest.approx([0, 0 if name in RIGHT else scale], rel=rounding, abs=0)


@pytest.mark.parametrize("name", MADE)
@every_dtype
def test_nan_stays_nan_and_infinity_goes_where_the_limit_is(name, dtype):
    (nan, right, left), _ = both(MADE[name](), dtype, math.nan, math.inf, -math.inf)
    assert math.isnan(nan)
    assert right == RIGHT.get(name, math.inf)
    if name in ("silu", "gelu", "mish"):  # -inf · 0, as in PyTorch
        assert math.isnan(left)
    else:
        assert left == pytest.approx(LEFT.get(name, -math.inf if name == "leaky_relu" else 0), rel=1e-6)


TAILS = {
    "softplus": (ops.softplus, lambda x: oracles.softplus(x, 1, 20), lambda x: oracles.softplus_backward(1, x, 1, 20)),
    "silu": (ops.silu, oracles.silu, lambda x: oracles.silu_backward(1, x)),
    "mish": (ops.mish, oracles.mish, lambda x: oracles.mish_backward(1, x)),
    "gelu": (ops.gelu, oracles.gelu, lambda x: oracles.gelu_backward(1, x)),
}


@pytest.mark.parametrize("name", TAILS)
@every_dtype
def test_small_results_keep_their_digits(name, dtype):
    """The error relative to the result itself: 1 + erf or 1 + tanh would have none of its digits at the left end."""
    operation, twin, slope_twin = TAILS[name]
    ends = {"gelu": {4: -12.9, 8: -37}}.get(name, {4: -80, 8: -700})
    x = np.linspace(-2, ends[np.dtype(dtype).itemsize], 1501).astype(dtype)
    values, slopes = both(operation, dtype, *x)
    tolerance = 8 * np.finfo(dtype).eps  # some eight roundings, of the kernel and of the twin
    np.testing.assert_allclose(values, twin(x), rtol=tolerance, atol=0)
    np.testing.assert_allclose(slopes, slope_twin(x), rtol=tolerance, atol=0)


@every_dtype
def test_gelu_by_tanh_is_as_accurate_as_its_exponent(dtype):
    """An error of eps in 2u, which is up to 80, is one of 80 eps in the power; and the two GELUs are close."""
    x = np.linspace(-9, 9, 1501).astype(dtype)
    values, slopes = both(lambda x: ops.gelu(x, "tanh"), dtype, *x)
    exact, _ = both(ops.gelu, dtype, *x)
    np.testing.assert_allclose(values, oracles.gelu(x, "tanh"), rtol=160 * np.finfo(dtype).eps, atol=0)
    near = np.abs(x + 0.75) > 0.1  # where the slope is 0 its digits cancel
    np.testing.assert_allclose(
        np.array(slopes)[near], oracles.gelu_backward(1, x, "tanh")[near], rtol=160 * np.finfo(dtype).eps, atol=0
    )
    assert 4.7e-4 < np.abs(np.subtract(values, exact)).max() < 4.8e-4  # 0.0005, as the docstring says


def test_gelu_by_hand():
    """2 Φ(2) = 1.954499736103642; the approximation is 1.954597694087775 (PyTorch's float64)."""
    x = fm.Tensor(np.array([2.0]))
    np.testing.assert_allclose(ops.gelu(x).data, [1.954499736103642], rtol=1e-15)
    np.testing.assert_allclose(ops.gelu(x, "tanh").data, [1.954597694087775], rtol=1e-15)
    np.testing.assert_allclose(ops.mish(x).data, [1.9439589595339946], rtol=1e-15)
    np.testing.assert_allclose(ops.silu(x).data, [1.7615941559557646], rtol=1e-15)


# --- words -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: nn.GELU("fast"), "GELU: approximate is 'fast'; it must be 'none' or 'tanh'"),
        (lambda: nn.GELU(None), "GELU: approximate is None; it must be 'none' or 'tanh'"),
        (lambda: ops.gelu(fm.Tensor([1.0]), True), "gelu: approximate is True; it must be 'none' or 'tanh'"),
        (lambda: nn.Softplus(0), "Softplus: beta is 0; it must not be 0, for the logarithm is divided by it"),
        (lambda: ops.softplus(fm.Tensor([1.0]), 0.0), "softplus: beta is 0.0; it must not be 0, for the logarithm is"),
        (lambda: nn.Softplus(threshold=math.inf), "Softplus: threshold is inf; it must be a finite number"),
        (lambda: nn.Hardtanh(1, 1), "Hardtanh: min_val is 1; it must be below max_val, which is 1"),
        (
            lambda: ops.hardtanh(fm.Tensor([1.0]), 2, 1),
            "hardtanh: min_val is 2; it must not be above max_val, which is",
        ),
        (lambda: nn.ELU(True), "ELU: alpha is True; it must be a finite number"),
        (lambda: nn.ELU(1e39), "ELU: alpha is 1e+39, in float32 no finite number"),
        (lambda: ops.elu(fm.Tensor([1.0]), math.nan), "elu: alpha is nan; it must be a finite number"),
        (lambda: nn.MLP(2, (3,), 2, "swish"), "MLP: activation is 'swish'; it must be one of relu, tanh, sigmoid"),
    ],
)
def test_what_is_out_of_range_is_refused_in_a_sentence(make, sentence):
    with pytest.raises(ValueError, match="it must") as caught:
        make()
    assert str(caught.value).startswith(sentence)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "option", "wrong"),
    [(nn.GELU, "approximate", "Tanh"), (nn.Softplus, "beta", 0), (nn.Hardtanh, "max_val", -2)],
)
def test_an_option_that_a_loop_spoils_is_refused_before_it_trains(kind, option, wrong):
    model = nn.Sequential(nn.Linear(4, 5), kind(), nn.Linear(5, 3))
    setattr(model[1], option, wrong)
    data = fm.Dataset(np.ones((8, 4), np.float32), np.arange(8) % 3)
    with pytest.raises(ValueError, match=f"{kind.__name__}: .* is {wrong!r}|{kind.__name__}: .* which is {wrong!r}"):
        fm.fit(model, data, epochs=1, progress=False)


@pytest.mark.parametrize("name", MADE)
def test_a_file_gives_the_layer_back_with_its_options(name, tmp_path):
    fm.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), MADE[name](), nn.Linear(5, 3)).eval()
    fm.save(model, tmp_path / "model.safetensors")
    again = fm.load_model(tmp_path / "model.safetensors")
    assert repr(again) == repr(model)
    x = np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32)
    assert np.array_equal(fm.Predictor(again)(x), fm.Predictor(model)(x))


def test_repr_and_report_say_the_options_as_pytorch_does():
    assert [repr(make()) for make in MADE.values()][4:] == [
        "ELU(alpha=1.7)", "SELU()", "Softplus(beta=3, threshold=1.5)", "SiLU()", "Hardtanh(min_val=-0.5, max_val=2)",
        "Mish()", "GELU(approximate='tanh')",
    ]  # fmt: skip
    assert nn.GELU("tanh").detail() == "approximate='tanh'"
    assert nn.SELU().detail() == "alpha = 1.6733, scale = 1.0507"
    assert nn.ELU().equation() == "y = x where x > 0, else alpha (eˣ - 1)"


@pytest.mark.parametrize("name", MADE)
def test_an_mlp_takes_it_by_its_name(name):
    model = nn.MLP(4, (5,), 3, name)
    assert type(model[1]) is nn.ACTIVATIONS[name]
    fm.fit(model, fm.Dataset(np.ones((8, 4), np.float32), np.arange(8) % 3), epochs=1, progress=False)


def test_the_options_change_between_epochs_and_the_engine_sees_them():
    """A word too: `approximate` is set, and the number of the kernels follows."""
    layer = nn.GELU()
    assert layer.number_array().tolist() == [0]
    layer.approximate = "tanh"
    assert layer.number_array().tolist() == [1]
