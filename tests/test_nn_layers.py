"""The layers of `fastmlp.nn` and the doors of `fastmlp.ops`: initial weights, and what each one refuses."""

import numpy as np
import pytest
from modules import refuses, x32

from fastmlp import Tensor, manual_seed, nn, ops


@pytest.fixture(autouse=True)
def seeded():
    """The same initial weights in every run."""
    manual_seed(0)


# --- layers ----------------------------------------------------------------------------------------------------------


def test_linear_starts_within_one_over_the_root_of_its_inputs():
    layer = nn.Linear(100, 400)
    for array in (layer.weight.data, layer.bias.data):
        assert array.dtype == np.float32
        assert np.abs(array).max() <= np.float32(0.1)
        # 400 uniform numbers and more: |max| < 95 % of the bound has a chance of 0.95^400 ~ 1e-9
        assert array.max() > 0.095
        assert array.min() < -0.095
    # the standard error of the mean of 40,000 numbers of spread 0.1 / √3 is 3e-4; five of them
    assert abs(layer.weight.data.mean()) < 1.5e-3
    # variance of U(-b, b) is b² / 3; the relative standard error of 40,000 is 0.5 %
    assert layer.weight.data.var() == pytest.approx(0.01 / 3, rel=0.03)


def test_manual_seed_repeats_weights_and_dropout():
    def made(seed: int) -> tuple[np.ndarray, np.ndarray]:
        manual_seed(seed)
        model = nn.MLP(4, [30], 2, dropout=0.5)
        return model[0].weight.data, model(x32(5, 4)).data

    (w, y), (same_w, same_y), (other_w, other_y) = made(3), made(3), made(4)
    np.testing.assert_array_equal(w, same_w)
    np.testing.assert_array_equal(y, same_y)
    assert not np.array_equal(w, other_w)
    assert not np.array_equal(y, other_y)


def test_two_layers_in_a_row_start_differently():
    manual_seed(0)
    assert not np.array_equal(nn.Linear(4, 4).weight.data, nn.Linear(4, 4).weight.data)


@pytest.mark.parametrize("seed", [-1, 1.5, True, "1", None])
def test_manual_seed_refuses_what_is_no_whole_number(seed):
    refuses(ValueError, lambda: manual_seed(seed), "manual_seed", repr(seed))


def test_linear_takes_float64():
    layer = nn.Linear(3, 2, dtype=np.float64)
    assert layer.weight.dtype == layer.bias.dtype == np.float64
    x = np.ones((4, 3))
    # three float64 terms of order 1, in another order than NumPy's
    np.testing.assert_allclose(layer(Tensor(x)).data, x @ layer.weight.data.T + layer.bias.data, rtol=1e-14)


def test_linear_of_no_rows_has_a_gradient_of_zeros():
    layer = nn.Linear(3, 2)
    y = layer(x32(0, 3))
    assert y.shape == (0, 2)
    y.sum().backward()
    np.testing.assert_array_equal(layer.weight.grad, np.zeros((2, 3)))
    np.testing.assert_array_equal(layer.bias.grad, np.zeros(2))


def test_activations_by_hand():
    x = Tensor(np.array([[-2.0, 0.0, 2.0, np.nan]]))
    np.testing.assert_array_equal(nn.ReLU()(x).data, [[0, 0, 2, np.nan]])
    # 1e-15: the last digits of exp and tanh belong to the machine's library
    np.testing.assert_allclose(nn.Tanh()(x).data, [[-0.9640275800758169, 0, 0.9640275800758169, np.nan]], rtol=1e-15)
    np.testing.assert_allclose(nn.Sigmoid()(x).data, [[0.11920292202211755, 0.5, 0.8807970779778823, np.nan]], 1e-15)


def test_relu_passes_no_gradient_at_zero():
    x = Tensor(np.array([-1.0, 0.0, 1.0]), requires_grad=True)
    ops.relu(x).sum().backward()
    np.testing.assert_array_equal(x.grad, [0, 0, 1])


def test_sigmoid_never_overflows():
    x = Tensor(np.array([-1e4, 1e4], np.float32))
    np.testing.assert_array_equal(ops.sigmoid(x).data, [0, 1])


def test_dropout_keeps_its_input_in_evaluation_and_for_p_0():
    x = x32(3, 4)
    layer = nn.Dropout(0.5).eval()
    assert layer(x) is x
    assert nn.Dropout(0.0)(x) is x


def test_dropout_drops_a_share_p_and_scales_the_rest():
    manual_seed(0)
    layer = nn.Dropout(0.25)
    y = layer(Tensor(np.full((100, 100), 3, np.float32))).data
    assert set(np.unique(y)) == {0, 4}
    # 10,000 draws: the standard error of the share is 0.0043; five of them
    assert np.mean(y == 0) == pytest.approx(0.25, abs=0.022)


def test_dropout_of_p_1_drops_all():
    assert not nn.Dropout(1.0)(x32(3, 4)).data.any()


def test_the_step_of_dropout_counts_forwards_in_training():
    layer, x = nn.Dropout(0.5), x32(10, 10)
    first, second = layer(x).data, layer(x).data
    assert layer.step == 2
    assert not np.array_equal(first, second)
    layer.eval()(x)
    assert layer.step == 2
    layer.train().step = 0
    np.testing.assert_array_equal(layer(x).data, first)


def test_the_mask_is_a_function_of_its_counters():
    x = x32(10, 10)
    mask = ops.dropout(x, 0.5, seed=1, step=2, layer=3).data
    np.testing.assert_array_equal(ops.dropout(x, 0.5, seed=1, step=2, layer=3).data, mask)
    for counters in ({"seed": 2, "step": 2, "layer": 3}, {"seed": 1, "step": 3, "layer": 3}, {"seed": 1, "step": 2}):
        assert not np.array_equal(ops.dropout(x, 0.5, **counters).data, mask)


def test_dropout_sends_the_gradient_through_the_same_mask():
    x = Tensor(np.ones((5, 6)), requires_grad=True)
    y = ops.dropout(x, 0.5, seed=1)
    y.sum().backward()
    np.testing.assert_array_equal(x.grad, y.data)


def test_batch_norm_by_hand():
    layer = nn.BatchNorm1d(1, eps=1.0, momentum=0.5, dtype=np.float64)
    layer.weight.data[:], layer.bias.data[:] = 3, 10
    y = layer(Tensor(np.array([[2.0], [4.0], [6.0], [8.0]])))
    # mean 5, biased variance 5, unbiased 20 / 3;  y = 3 (x - 5) / √6 + 10
    # 1e-15: a root and a division round once each
    np.testing.assert_allclose(y.data[:, 0], 10 + 3 * np.array([-3, -1, 1, 3]) / np.sqrt(6), rtol=1e-15)
    np.testing.assert_allclose(layer.running_mean, [0.5 * 0 + 0.5 * 5], rtol=1e-15)
    np.testing.assert_allclose(layer.running_var, [0.5 * 1 + 0.5 * 20 / 3], rtol=1e-15)
    assert layer.num_batches_tracked == 1


@pytest.mark.parametrize("kind", nn.NORMS)
def test_a_norm_of_numbers_far_from_zero_keeps_its_digits(kind):
    """10,000 .. 10,003: float32 holds them and their mean exactly, but not their squares, so E[x²] - E[x]² is noise."""
    column = kind == "batch"
    layer, x = nn.NORMS[kind](1 if column else 4), np.arange(10_000, 10_004, dtype=np.float32)
    x = Tensor(x.reshape(-1, 1) if column else x.reshape(1, -1), requires_grad=True)
    y = layer(x)
    expected = np.array([-1.5, -0.5, 0.5, 1.5]) / np.sqrt(1.25 + 1e-5)
    np.testing.assert_allclose(y.data.ravel(), expected, rtol=3e-7)  # a root, a division, a product: half a digit each
    y.backward(np.array([1, 0, 0, 0], np.float32).reshape(y.shape))
    slopes = (np.array([1, 0, 0, 0]) - 0.25 - expected * expected[0] / 4) / np.sqrt(1.25 + 1e-5)
    np.testing.assert_allclose(x.grad.ravel(), slopes, atol=3e-7)  # differences of numbers of order 1
    if column:
        assert layer.running_var[0] == pytest.approx(0.9 + 0.1 * 5 / 3, rel=3e-7)
        assert layer.running_mean[0] == pytest.approx(1000.15, rel=3e-7)


def test_batch_norm_in_evaluation_uses_the_running_statistics_and_leaves_them():
    layer = nn.BatchNorm1d(2, eps=0.25, dtype=np.float64).eval()
    layer.running_mean[:], layer.running_var[:] = [1, 2], [2, 6]
    y = layer(Tensor(np.array([[4.0, 7.0]])))  # one row is enough here
    np.testing.assert_array_equal(y.data, [[2, 2]])
    np.testing.assert_array_equal(layer.running_mean, [1, 2])
    np.testing.assert_array_equal(layer.running_var, [2, 6])
    assert layer.num_batches_tracked == 0


def test_the_running_arrays_stay_the_same_objects():
    layer = nn.BatchNorm1d(3)
    mean, var, count = layer.running_mean, layer.running_var, layer.num_batches_tracked
    layer(x32(4, 3))
    assert layer.running_mean is mean
    assert layer.running_var is var
    assert layer.num_batches_tracked is count
    assert count == 1


def test_mlp_puts_its_layers_in_order():
    def kinds(model: nn.MLP) -> list[str]:
        return [type(module).__name__ for module in model]

    assert kinds(nn.MLP(4, [], 2)) == ["Linear"]
    assert kinds(nn.MLP(4, [5, 3], 2)) == ["Linear", "ReLU", "Linear", "ReLU", "Linear"]
    model = nn.MLP(4, (5, 3), 2, activation="tanh", dropout=0.1, batch_norm=True)
    assert kinds(model) == ["Linear", "BatchNorm1d", "Tanh", "Dropout"] * 2 + ["Linear"]
    assert [model[i].weight.shape for i in (0, 4, 8)] == [(5, 4), (3, 5), (2, 3)]
    assert model[3].p == 0.1
    assert kinds(nn.MLP(4, [5], 2, activation="sigmoid"))[1] == "Sigmoid"
    assert model(x32(6, 4)).shape == (6, 2)


def test_batch_norm_has_two_spellings():
    """batch_norm=True is norm="batch": the same layers, the same numbers; both at once are refused."""
    states = []
    for options in ({"batch_norm": True}, {"norm": "batch"}):
        nn.manual_seed(0)
        model = nn.MLP(4, (5, 6), 3, dropout=0.1, **options)
        states.append((repr(model), {name: array.tobytes() for name, array in model.state_dict().items()}))
    assert states[0] == states[1]
    assert "BatchNorm1d(5" in states[0][0]
    assert repr(nn.MLP(4, (5,), 3, norm=None)) == repr(nn.MLP(4, (5,), 3, batch_norm=False)) == repr(nn.MLP(4, (5,), 3))
    for norm in nn.NORMS:
        with pytest.raises(ValueError, match=r"MLP: batch_norm is True and norm is .*; one of them must be left out"):
            nn.MLP(4, (5,), 3, batch_norm=True, norm=norm)
    with pytest.raises(ValueError, match="MLP: norm is 'group'; it must be None or one of batch"):
        nn.MLP(4, (5,), 3, norm="group")


# --- doors: each message names the operation, the argument and what it must be ---------------------------------------

W = Tensor(np.zeros((2, 4), np.float32))
B = Tensor(np.zeros(2, np.float32))
ONES, ZEROS = np.ones(4, np.float32), np.zeros(4, np.float32)
X = Tensor(np.zeros((3, 4), np.float32))
X64 = Tensor(np.zeros((3, 4)))


def bn(x=X, mean=ZEROS, var=ONES, weight=None, bias=None, training=True):
    weight, bias = (Tensor(ONES) if array is None else array for array in (weight, bias))
    return ops.batch_norm(x, mean, var, weight, bias, training=training)


VALUE_ERRORS = {
    "linear: inputs": (lambda: ops.linear(x32(3, 5), W), "linear", "(3, 5)", "(2, 4)", "in_features"),
    "linear: x is a vector": (lambda: ops.linear(x32(4), W), "linear", "(4,)", "(N, in_features)"),
    "linear: x has 3 axes": (lambda: ops.linear(x32(2, 3, 4), W), "linear", "(2, 3, 4)"),
    "linear: weight is a vector": (lambda: ops.linear(X, B), "linear", "weight is (2,)"),
    "linear: bias": (lambda: ops.linear(X, W, Tensor(ONES)), "linear", "bias is (4,)", "(out_features,)"),
    "linear: no inputs": (lambda: ops.linear(x32(3, 0), Tensor(np.zeros((2, 0), np.float32))), "linear", "length 0"),
    "linear: no outputs": (lambda: ops.linear(X, Tensor(np.zeros((0, 4), np.float32))), "linear", "length 0"),
    "dropout: p above 1": (lambda: ops.dropout(X, 1.5, seed=0), "dropout", "p is 1.5", "[0, 1]"),
    "dropout: p below 0": (lambda: ops.dropout(X, -0.1, seed=0), "dropout", "p is -0.1"),
    "dropout: p NaN": (lambda: ops.dropout(X, float("nan"), seed=0), "dropout", "p is nan"),
    "batch_norm: one row": (lambda: bn(x32(1, 4)), "batch_norm", "(1, 4)", "at least 2 rows"),
    "batch_norm: no rows": (lambda: bn(x32(0, 4)), "batch_norm", "(0, 4)", "at least 2 rows"),
    "batch_norm: columns": (lambda: bn(x32(3, 5)), "batch_norm", "(3, 5)", "num_features"),
    "batch_norm: 3 axes": (lambda: bn(x32(2, 3, 4)), "batch_norm", "(2, 3, 4)"),
    "batch_norm: mean": (lambda: bn(mean=ZEROS[:3]), "batch_norm", "(3,)"),
    "batch_norm: weight": (lambda: bn(weight=B), "batch_norm", "(2,)"),
    "log_softmax: vector": (lambda: ops.log_softmax(x32(4)), "log_softmax", "(4,)", "(N, C)"),
    "log_softmax: no classes": (lambda: ops.log_softmax(x32(3, 0)), "log_softmax", "(3, 0)", "one class"),
    "labels: above": (lambda: ops.cross_entropy(X, [0, 1, 4]), "cross_entropy", "labels[2] is 4", "0 .. 3"),
    "labels: below": (lambda: ops.cross_entropy(X, [0, -1, 2]), "cross_entropy", "labels[1] is -1"),
    "labels: count": (lambda: ops.cross_entropy(X, [0, 1]), "cross_entropy", "labels are (2,)", "(3, 4)"),
    "labels: two axes": (lambda: ops.cross_entropy(X, [[0], [1], [2]]), "cross_entropy", "labels are (3, 1)"),
    "labels: none": (lambda: ops.cross_entropy(x32(0, 4), np.zeros(0, int)), "cross_entropy", "N > 0"),
    "smoothing: 1": (lambda: ops.cross_entropy(X, [0, 1, 2], label_smoothing=1.0), "label_smoothing is 1.0", "[0, 1)"),
    "smoothing: below 0": (lambda: ops.cross_entropy(X, [0, 1, 2], label_smoothing=-0.1), "label_smoothing is -0.1"),
    "reduction": (lambda: ops.cross_entropy(X, [0, 1, 2], reduction="average"), "is 'average'", "'sum' or 'none'"),
    "weights: count": (lambda: ops.cross_entropy(X, [0, 1, 2], sample_weight=[1, 2]), "sample_weight is (2,)", "(3,)"),
    "weights: below 0": (lambda: ops.cross_entropy(X, [0, 1, 2], sample_weight=[1, 2, -1]), "sample_weight"),
    "class weights: count": (lambda: ops.cross_entropy(X, [0, 1, 2], weight=[1, 2]), "weight is (2,)", "(4,)"),
    "class weights: below 0": (lambda: nn.CrossEntropyLoss([1, -1]), "CrossEntropyLoss: weight", "at least 0"),
    "class weights: all 0": (lambda: nn.CrossEntropyLoss([0, 0]), "CrossEntropyLoss: weight", "not 0 for all"),
    "class weights: one number": (lambda: nn.CrossEntropyLoss(0.1), "weight is () float64", "one for each class"),
    "ignore_index": (lambda: ops.cross_entropy(X, [0, -100, 2]), "labels[1] is -100", "sample_weight 0 is ignored"),
    "probabilities: sum": (lambda: ops.cross_entropy(X, np.ones((3, 4))), "labels[0] is", "sum to 1"),
    "probabilities: below 0": (lambda: ops.cross_entropy(X, np.full((3, 4), [1.5, -0.5, 0, 0])), "must be >= 0"),
    "weights: NaN": (lambda: ops.cross_entropy(X, [0, 1, 2], sample_weight=[1, 2, np.nan]), "sample_weight", "finite"),
    "Linear: in_features": (lambda: nn.Linear(0, 2), "Linear: in_features is 0", "at least 1"),
    "Linear: out_features": (lambda: nn.Linear(2, -1), "Linear: out_features is -1"),
    "Linear: fraction": (lambda: nn.Linear(2.5, 2), "Linear: in_features is 2.5", "whole number"),
    "Linear: bool": (lambda: nn.Linear(2, True), "Linear: out_features is True"),
    "Dropout": (lambda: nn.Dropout(1.1), "Dropout: p is 1.1"),
    "BatchNorm1d: width": (lambda: nn.BatchNorm1d(0), "BatchNorm1d: num_features is 0"),
    "BatchNorm1d: eps": (lambda: nn.BatchNorm1d(2, eps=0), "BatchNorm1d: eps is 0"),
    "BatchNorm1d: momentum": (lambda: nn.BatchNorm1d(2, momentum=1.5), "momentum is 1.5"),
    "BatchNorm1d: one row": (lambda: nn.BatchNorm1d(4)(x32(1, 4)), "batch_norm", "at least 2 rows"),
    "MLP: width": (lambda: nn.MLP(4, [3, 0], 2), "MLP: hidden[1] is 0"),
    "MLP: activation": (lambda: nn.MLP(4, [3], 2, activation="gelu"), "MLP: activation is 'gelu'", "relu", "tanh"),
    "MLP: dropout": (lambda: nn.MLP(4, [3], 2, dropout=-0.5), "MLP: dropout is -0.5"),
}

WHOLE = Tensor([[1, 2, 3, 4]])
TYPE_ERRORS = {
    "linear: dtypes": (lambda: ops.linear(X64, W), "linear: x is float64, weight is float32", "float32"),
    "linear: bias dtype": (lambda: ops.linear(X, W, Tensor(np.zeros(2))), "linear", "bias is float64"),
    "linear: whole numbers": (lambda: ops.linear(WHOLE, W), "linear: x is int64"),
    "linear: x array": (lambda: ops.linear(X.data, W), "linear: x is ndarray", "Tensor"),
    "linear: weight array": (lambda: ops.linear(X, W.data), "linear: weight is ndarray"),
    "linear: bias array": (lambda: ops.linear(X, W, B.data), "linear: bias is ndarray"),
    "relu": (lambda: ops.relu(WHOLE), "relu: x is int64"),
    "relu: array": (lambda: ops.relu(X.data), "relu: x is ndarray"),
    "tanh": (lambda: ops.tanh(WHOLE), "tanh: x is int64"),
    "sigmoid": (lambda: ops.sigmoid(WHOLE), "sigmoid: x is int64"),
    "dropout": (lambda: ops.dropout(WHOLE, seed=0), "dropout: x is int64"),
    "dropout: list": (lambda: ops.dropout([1.0], seed=0), "dropout: x is list"),
    "batch_norm: dtype": (lambda: bn(X64), "batch_norm", "x is float64", "weight is float32"),
    "batch_norm: weight": (lambda: bn(weight=ONES), "batch_norm: weight is ndarray"),
    "batch_norm: bias": (lambda: bn(bias=[1, 1, 1, 1]), "batch_norm: bias is list"),
    "batch_norm: mean dtype": (lambda: bn(mean=np.zeros(4)), "batch_norm", "running_mean is float64"),
    "batch_norm: whole variance": (lambda: bn(var=np.ones(4, int)), "batch_norm", "running_var is int64"),
    "log_softmax": (lambda: ops.log_softmax(WHOLE), "log_softmax: z is int64"),
    "cross_entropy: z": (lambda: ops.cross_entropy(WHOLE, [0]), "z is int64"),
    "labels: fractions": (lambda: ops.cross_entropy(X, [0.0, 1.0, 2.0]), "labels are float64", "whole numbers"),
    "labels: bools": (lambda: ops.cross_entropy(X, [True, False, True]), "labels are bool"),
    "labels: text": (lambda: ops.cross_entropy(X, ["a", "b", "c"]), "labels are <U1"),
}


@pytest.mark.parametrize("case", VALUE_ERRORS)
def test_what_does_not_fit_is_refused_by_name(case):
    call, *words = VALUE_ERRORS[case]
    refuses(ValueError, call, *words)


@pytest.mark.parametrize("case", TYPE_ERRORS)
def test_what_is_of_another_kind_is_refused_by_name(case):
    call, *words = TYPE_ERRORS[case]
    refuses(TypeError, call, *words)


def test_a_refused_batch_leaves_the_running_statistics():
    layer = nn.BatchNorm1d(4)
    refuses(ValueError, lambda: layer(x32(1, 4)), "2 rows")
    np.testing.assert_array_equal(layer.running_mean, ZEROS)
    np.testing.assert_array_equal(layer.running_var, ONES)
    assert layer.num_batches_tracked == 0


@pytest.mark.parametrize("labels", [[0, 1, 2], (0, 1, 2), np.array([0, 1, 2], np.uint8), Tensor([0, 1, 2])])
def test_labels_may_be_a_list_an_array_or_a_tensor_of_any_whole_dtype(labels):
    # log 4 in float32, three rows: one rounding each
    assert ops.cross_entropy(X, labels).item() == pytest.approx(np.log(4), rel=1e-6)


def test_cross_entropy_by_hand():
    z = Tensor(np.log([[1.0, 2.0, 1.0], [1.0, 1.0, 8.0]]), requires_grad=True)
    loss = ops.cross_entropy(z, [1, 0], sample_weight=[1, 3])
    # probabilities 1/2 and 1/10;  (1 log 2 + 3 log 10) / 4;  1e-15: exp and log round
    assert loss.item() == pytest.approx((np.log(2) + 3 * np.log(10)) / 4, rel=1e-15)
    assert loss.shape == ()
    loss.backward()
    expected = [[0.25 / 4, -0.5 / 4, 0.25 / 4], [-0.9 * 3 / 4, 0.1 * 3 / 4, 0.8 * 3 / 4]]
    np.testing.assert_allclose(z.grad, expected, rtol=1e-14)  # a difference of numbers of order 1


def test_cross_entropy_sum_weighs_each_row_as_given():
    z = Tensor(np.zeros((2, 4)))
    # Σ w log 4;  1e-15: one logarithm
    assert ops.cross_entropy(z, [0, 1], reduction="sum").item() == pytest.approx(2 * np.log(4), rel=1e-15)
    weighted = ops.cross_entropy(z, [0, 1], reduction="sum", sample_weight=[2, 5])
    assert weighted.item() == pytest.approx(7 * np.log(4), rel=1e-15)


def test_label_smoothing_by_hand():
    z = Tensor(np.log([[1.0, 2.0, 1.0]]))
    loss = ops.cross_entropy(z, [1], label_smoothing=0.3)
    # q = (0.1, 0.8, 0.1): 0.8 log 2 + 0.2 log 4 = 1.2 log 2;  1e-15: logs and sums of three
    assert loss.item() == pytest.approx(1.2 * np.log(2), rel=1e-15)


def test_cross_entropy_of_huge_logits_is_finite():
    z = Tensor(np.array([[1e4, 0.0], [-1e4, 0.0]], np.float32))
    np.testing.assert_array_equal(ops.cross_entropy(z, [1, 0], reduction="sum").data, np.float32(2e4))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda **o: nn.BatchNorm1d(3, eps=1e-300, **o), "BatchNorm1d: eps is 1e-300, in float32 0"),
        (lambda **o: nn.BatchNorm1d(3, momentum=1e-60, **o), "BatchNorm1d: momentum is 1e-60, in float32 0"),
        (lambda **o: nn.LayerNorm(3, eps=1e39, **o), "LayerNorm: eps is 1e[+]39, in float32 no finite number"),
    ],
)
def test_options_that_float32_makes_0_or_infinite_are_refused_by_name(make, words):
    with pytest.raises(ValueError, match=words):
        make()
    wide = make(dtype=np.float64)  # which has them
    with pytest.raises(ValueError, match=words):
        wide.float()
    assert wide.weight.dtype == np.float64


def test_operations_refuse_options_that_their_numbers_cannot_have():
    one, x = Tensor(np.ones(3, np.float32)), Tensor(np.zeros((2, 3), np.float32))
    mean, var = np.zeros(3, np.float32), np.zeros(3, np.float32)
    for call in (
        lambda: ops.batch_norm(x, mean, var, one, one, training=True, eps=1e-300),
        lambda: ops.layer_norm(x, one, one, eps=1e-300),
        lambda: ops.leaky_relu(x, 1e39),
        lambda: nn.LeakyReLU(1e39),
    ):
        with pytest.raises(ValueError, match="in float32"):
            call()
    assert not var.any()
