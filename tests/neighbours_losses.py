"""Rows of docs/peers.md: losses, their targets, their weights."""

import warnings

import numpy as np
from neighbours import (
    Package,
    Row,
    floats,
    functional,
    jax,
    jax_slope,
    jnp,
    keras,
    optax,
    quiet,
    refused,
    torch,
    torch_slope,
)

import fastmlp as fm

metrics, perceptron = Package("sklearn.metrics"), Package("sklearn.neural_network")


def cross_entropy(column: str, logits, labels, options=None):
    """The mean cross-entropy of logits (N, C), as each library has it for labels that are class numbers."""
    z, labels, options = np.array(logits, np.float32), np.array(labels), options or {}
    if column == "pytorch":
        return functional.cross_entropy(torch.tensor(z), torch.tensor(labels), **options).item()
    if column == "jax":
        return optax.softmax_cross_entropy_with_integer_labels(jnp.asarray(z), labels).mean()
    if column == "keras":
        return keras.losses.SparseCategoricalCrossentropy(from_logits=True)(labels, z, **options)
    return fm.ops.cross_entropy(fm.Tensor(z), labels, **options).item()


ONE = [[2.0, 0.0, 0.0]]
TWO = [[2.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
FOUR = ("pytorch", "jax", "keras", "fastmlp")


# --- labels ----------------------------------------------------------------------------------------------------------


class LabelBelow(Row):
    """label -1"""

    columns = FOUR

    @staticmethod
    def each(column):
        return refused(lambda: cross_entropy(column, ONE, [-1]))

    def sklearn():
        model = perceptron.MLPClassifier((), solver="sgd", learning_rate_init=1e-30, max_iter=1)
        return quiet(model, np.zeros((2, 1)), [-1, 1]).classes_


class LabelAbove(Row):
    """label 3 of three classes"""

    columns = FOUR

    @staticmethod
    def each(column):
        return refused(lambda: cross_entropy(column, ONE, [3]))

    def jax():
        def loss(z):
            return optax.softmax_cross_entropy_with_integer_labels(z, np.array([3])).mean()

        return jax.value_and_grad(loss)(jnp.asarray(ONE, jnp.float32))


class LabelIgnored(Row):
    """label -100 beside a label 0"""

    columns = FOUR

    @staticmethod
    def each(column):
        return refused(lambda: cross_entropy(column, TWO, [0, -100]))


class FloatLabel(Row):
    """label 0.9"""

    columns = FOUR

    @staticmethod
    def each(column):
        return refused(lambda: cross_entropy(column, [[2.0, 0.0]], floats(0.9)))

    def sklearn():
        return refused(lambda: perceptron.MLPClassifier(()).fit(np.zeros((2, 1)), [0.9, 0.1]))


class OneHot(Row):
    """one-hot of the label -1, of 3"""

    def pytorch():
        return refused(lambda: functional.one_hot(torch.tensor([-1]), 3).tolist())

    def jax():
        return jax.nn.one_hot(np.array([-1]), 3)

    def keras():
        return keras.ops.one_hot(np.array([-1]), 3), keras.utils.to_categorical([-1], 3)


# --- logits and probabilities ----------------------------------------------------------------------------------------


class DefaultInput(Row):
    """the loss's default, given the logits 2, -0.5, -1 and the label 1"""

    def pytorch():
        return torch.nn.CrossEntropyLoss()(torch.tensor([[2, -0.5, -1]]), torch.tensor([1])).item()

    def jax():
        return cross_entropy("jax", [[2, -0.5, -1]], [1])

    def keras():
        return keras.losses.SparseCategoricalCrossentropy()(np.array([1]), floats(2, -0.5, -1)[None])

    def fastmlp():
        return fm.nn.CrossEntropyLoss()(fm.Tensor(floats(2, -0.5, -1)[None]), [1]).item()


class SureAndWrong(Row):
    """probability 0 for what happened"""

    def pytorch():
        never, surely, rows = torch.tensor([0.0]), torch.tensor([1.0]), torch.tensor([[0.0, 1.0]])
        binary = functional.binary_cross_entropy(never, surely)
        return binary.item(), functional.nll_loss(torch.log(rows), torch.tensor([0])).item()

    def keras():
        return keras.losses.SparseCategoricalCrossentropy()(np.array([0]), floats(0, 1)[None])

    def sklearn():
        rows = np.array([[0.0, 1.0]] * 2)  # the second row loses nothing
        return [2 * metrics.log_loss([0, 1], rows.astype(dtype)) for dtype in (np.float64, np.float32)]


class FarApart(Row):
    """logits 1000 and 0, the second is right"""

    columns = FOUR

    @staticmethod
    def each(column):
        return cross_entropy(column, [[1000, 0]], [1])


class Masked(Row):
    """a class masked by a logit of minus infinity"""

    columns = FOUR

    @staticmethod
    def each(column):
        return cross_entropy(column, [[-np.inf, 0, 0]], [1])

    def pytorch():
        return [
            cross_entropy("pytorch", [[-np.inf, 0, 0]], labels) for labels in ([1], np.eye(3, dtype=np.float32)[1:2])
        ]

    def fastmlp():
        return [cross_entropy("fastmlp", [[-np.inf, 0, 0]], labels) for labels in ([1], np.eye(3)[1:2])]

    def jax():
        one_hot = jax.nn.one_hot(np.array([1]), 3)
        z = jnp.asarray([[-np.inf, 0, 0]], jnp.float32)
        return cross_entropy("jax", [[-np.inf, 0, 0]], [1]), optax.softmax_cross_entropy(z, one_hot)


# --- labels, each with a logit of its own ----------------------------------------------------------------------------


def binary(column: str, z: float, label: float):
    """The loss of one logit and its label."""
    z, label = floats(z)[None], floats(label)[None]
    if column == "pytorch":
        return functional.binary_cross_entropy_with_logits(torch.tensor(z), torch.tensor(label)).item()
    if column == "jax":
        return optax.sigmoid_binary_cross_entropy(jnp.asarray(z), label).mean()
    if column == "keras":
        return keras.losses.BinaryCrossentropy(from_logits=True)(label, z)
    return fm.ops.binary_cross_entropy_with_logits(fm.Tensor(z), label).item()


class LabelDefault(Row):
    """a label's loss by default, given the logit 2 and the label 1"""

    columns = ("pytorch", "jax", "fastmlp")

    @staticmethod
    def each(column):
        return binary(column, 2, 1)

    def keras():
        return keras.losses.BinaryCrossentropy()(floats(1)[None], floats(2)[None])


class LabelSure(Row):
    """the logit -20 and the label 0"""

    columns = FOUR

    @staticmethod
    def each(column):
        return binary(column, -20, 0)


class LabelMasked(Row):
    """the logit minus infinity and the label 0"""

    columns = FOUR

    @staticmethod
    def each(column):
        return binary(column, -np.inf, 0)


class LabelWeights(Row):
    """two labels that lose 0.693, of weights 1 and 3"""

    def pytorch():
        zeros, ones = torch.zeros(1, 2), torch.ones(1, 2)
        return functional.binary_cross_entropy_with_logits(zeros, ones, weight=torch.tensor([1.0, 3.0])).item()

    def fastmlp():
        zeros = fm.Tensor(np.zeros((1, 2), np.float32))
        return fm.ops.binary_cross_entropy_with_logits(zeros, np.ones((1, 2)), weight=[1, 3]).item()


# --- weights ---------------------------------------------------------------------------------------------------------

WEIGHTS = [1.0, 3.0, 5.0]  # of three classes


def row_loss(column: str, weights, smoothing=0.0):
    """The loss of TWO with labels 0 and 1, with a weight for each row: in PyTorch the weights of the classes."""
    if column == "pytorch":
        options = {"weight": torch.tensor([*weights, WEIGHTS[2]]), "label_smoothing": smoothing}
        return cross_entropy("pytorch", TWO, [0, 1], options)
    if column == "keras":
        loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=smoothing)
        return loss(np.eye(3, dtype=np.float32)[:2], np.array(TWO, np.float32), sample_weight=floats(*weights))
    return cross_entropy("fastmlp", TWO, [0, 1], {"sample_weight": weights, "label_smoothing": smoothing})


class WeightedMean(Row):
    """rows of weight 1 and 3"""

    columns = ("pytorch", "keras", "fastmlp")

    @staticmethod
    def each(column):
        return row_loss(column, [1.0, 3.0])


class WeightsDoubled(Row):
    """all weights doubled: the loss times"""

    columns = ("pytorch", "keras", "fastmlp")

    @staticmethod
    def each(column):
        return float(row_loss(column, [2.0, 6.0])) / float(row_loss(column, [1.0, 3.0]))

    def sklearn():
        def loss(weights):
            model = perceptron.MLPClassifier((), solver="sgd", learning_rate_init=1e-30, max_iter=1, random_state=0)
            return quiet(model, np.zeros((2, 1)), [0, 1], sample_weight=weights).loss_

        return loss([2.0, 6.0]) / loss([1.0, 3.0])


class WeightsAndSmoothing(Row):
    """the same with label smoothing 0.3"""

    columns = ("pytorch", "keras")

    @staticmethod
    def each(column):
        return row_loss(column, [1.0, 3.0], 0.3)

    def fastmlp():
        of_classes = cross_entropy("fastmlp", TWO, [0, 1], {"weight": WEIGHTS, "label_smoothing": 0.3})
        return of_classes, row_loss("fastmlp", [1.0, 3.0], 0.3)


class WeightsAndProbabilities(Row):
    """the same labels as one-hot targets"""

    def pytorch():
        targets = np.eye(3, dtype=np.float32)[:2]
        return cross_entropy("pytorch", TWO, targets, {"weight": torch.tensor(WEIGHTS)})

    def keras():
        return row_loss("keras", [1.0, 3.0])

    def fastmlp():
        targets = np.eye(3)[:2]
        return [
            cross_entropy("fastmlp", TWO, targets, options)
            for options in ({"weight": WEIGHTS}, {"sample_weight": [1, 3]})
        ]


class NothingCounts(Row):
    """all weights 0"""

    def pytorch():
        return cross_entropy("pytorch", ONE, [0], {"weight": torch.zeros(3)})

    def keras():
        return cross_entropy("keras", ONE, [0], {"sample_weight": floats(0)})

    def fastmlp():
        return cross_entropy("fastmlp", ONE, [0], {"sample_weight": [0.0]})


class Smoothing(Row):
    """label smoothing of 0.3"""

    def pytorch():
        return cross_entropy("pytorch", ONE, [0], {"label_smoothing": 0.3})

    def jax():
        targets = optax.smooth_labels(jnp.eye(3, dtype=jnp.float32)[:1], 0.3)
        return optax.softmax_cross_entropy(jnp.asarray(ONE, jnp.float32), targets)

    def keras():
        loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.3)
        return loss(np.eye(3, dtype=np.float32)[:1], np.array(ONE, np.float32))

    def fastmlp():
        return cross_entropy("fastmlp", ONE, [0], {"label_smoothing": 0.3})


# --- squared errors --------------------------------------------------------------------------------------------------


def regression_loss(errors) -> float:
    """What MLPRegressor reports for these errors, row by row, in batches of two."""
    model = perceptron.MLPRegressor(
        hidden_layer_sizes=(), solver="sgd", learning_rate_init=1e-30, alpha=0, batch_size=2, max_iter=1, random_state=0
    )
    x = np.zeros((len(errors), 1))
    start = quiet(model, x, np.zeros(len(errors))).intercepts_[0]
    return quiet(model, x, np.array(errors) + start).loss_


class SquaredError(Row):
    """the squared error of 2 and 0"""

    def pytorch():
        return functional.mse_loss(torch.tensor([2.0]), torch.tensor([0.0])).item()

    def jax():
        two, zero = jnp.asarray([2.0]), jnp.asarray([0.0])
        return optax.squared_error(two, zero), optax.l2_loss(two, zero)

    def keras():
        return keras.losses.MeanSquaredError()(floats(0), floats(2))

    def sklearn():
        return regression_loss([2, 2])

    def fastmlp():
        return fm.ops.mse_loss(fm.Tensor(floats(2)[None]), floats(0)[None]).item()


class SquaresWeighted(Row):
    """the squared errors 1 and 4, of weights 1 and 3"""

    def pytorch():
        z, t, weight = torch.tensor([1.0, 2.0]), torch.zeros(2), torch.tensor([1.0, 3.0])
        squares = functional.mse_loss(z, t, weight=weight)
        return squares.item(), functional.huber_loss(z, t, delta=10.0, weight=weight).item()

    def keras():
        return keras.losses.MeanSquaredError()(floats(0, 0)[:, None], floats(1, 2)[:, None], floats(1, 3))

    def sklearn():
        return metrics.mean_squared_error([0, 0], [1, 2], sample_weight=[1, 3])

    def fastmlp():
        z, t, weight = fm.Tensor(floats(1, 2)[:, None]), floats(0, 0), [1, 3]
        squares = fm.ops.mse_loss(z, t, sample_weight=weight)
        return squares.item(), fm.ops.huber_loss(z, t, delta=10.0, sample_weight=weight).item()


class Huber(Row):
    """Huber's loss of an error of 3, delta 2"""

    def pytorch():
        three, zero = torch.tensor([3.0]), torch.tensor([0.0])
        huber = functional.huber_loss(three, zero, delta=2.0)
        return huber.item(), functional.smooth_l1_loss(three, zero, beta=2.0).item()

    def jax():
        return optax.huber_loss(jnp.asarray([3.0]), jnp.asarray([0.0]), delta=2.0)

    def keras():
        return keras.losses.Huber(delta=2.0)(floats(0)[None], floats(3)[None])

    def fastmlp():
        three, zero = fm.Tensor(floats(3)[None]), floats(0)
        return fm.ops.huber_loss(three, zero, delta=2.0).item(), fm.ops.smooth_l1_loss(three, zero, beta=2.0).item()


class Counts(Row):
    """Poisson's loss of the output 0.5 and the count 2"""

    def pytorch():
        return functional.poisson_nll_loss(torch.tensor([0.5]), torch.tensor([2.0])).item()

    def keras():
        return keras.losses.Poisson()(floats(2)[None], floats(0.5)[None])

    def sklearn():
        return metrics.mean_poisson_deviance([2.0, 2.0], [0.5, 0.5])

    def fastmlp():
        half, two = fm.Tensor(floats(0.5)[None]), floats(2)
        loss = fm.ops.poisson_nll_loss(half, two)
        return loss.item(), fm.ops.poisson_nll_loss(half, two, log_input=False).item()


class AbsoluteMet(Row):
    """the absolute error where an output meets its target, and where it is NaN"""

    def pytorch():
        return torch_slope(lambda z: functional.l1_loss(z, torch.zeros(2), reduction="sum"), 0, np.nan)

    def jax():
        return jax_slope(jnp.abs, 0, np.nan)

    def keras():
        loss = keras.losses.MeanAbsoluteError(reduction="sum")
        return jax_slope(lambda z: loss(jnp.zeros((2, 1)), z[:, None]), 0, np.nan)

    def fastmlp():
        z = fm.Tensor(floats(0, np.nan)[:, None], requires_grad=True)
        fm.ops.l1_loss(z, floats(0, 0), reduction="sum").backward()
        return z.grad


class PinballMet(Row):
    """the pinball loss of the quantile 0.9 where an output meets its target"""

    def pytorch():
        return torch_slope(lambda z: torch.maximum(-0.9 * z, 0.1 * z), 0)

    def jax():
        return jax_slope(lambda z: jnp.maximum(-0.9 * z, 0.1 * z), 0)

    def fastmlp():
        z = fm.Tensor(floats(0)[None], requires_grad=True)
        fm.ops.quantile_loss(z, floats(0), quantiles=0.9).backward()
        return z.grad


class OneColumn(Row):
    """outputs (3, 1), targets (3,), all right"""

    def pytorch():
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            loss = functional.mse_loss(torch.tensor([[0.0], [1.0], [2.0]]), torch.tensor([0.0, 1.0, 2.0])).item()
        assert any("broadcasting" in str(warning.message) for warning in said)
        return loss

    def jax():
        y = floats(0, 1, 2)
        return ((jnp.asarray(y[:, None]) - y) ** 2).mean(), refused(lambda: optax.squared_error(y[:, None], y))

    def keras():
        return keras.losses.MeanSquaredError()(floats(0, 1, 2), floats(0, 1, 2)[:, None])

    def fastmlp():
        return fm.ops.mse_loss(fm.Tensor(floats(0, 1, 2)[:, None]), floats(0, 1, 2)).item()


class ShortBatch(Row):
    """errors 0, 0 and 3 in batches of two"""

    def keras():
        model = keras.Sequential([keras.layers.Input((1,)), keras.layers.Dense(1, kernel_initializer="zeros")])
        model.compile(keras.optimizers.SGD(0.0), "mse")
        history = model.fit(np.zeros((3, 1)), np.array([[0.0], [0.0], [3.0]]), batch_size=2, shuffle=False, verbose=0)
        return history.history["loss"]

    def sklearn():
        return regression_loss([0, 0, 3])

    def fastmlp():
        model = fm.nn.Sequential(fm.nn.Linear(1, 1))
        model[0].weight.data[...] = model[0].bias.data[...] = 0
        data = fm.Dataset(np.zeros((3, 1), np.float32), floats(0, 0, 3))
        optimizer = fm.optim.SGD(model.parameters(), lr=0.0)
        options = {"loss": fm.nn.MSELoss(), "optimizer": optimizer, "progress": False}
        return fm.fit(model, data, epochs=1, batch_size=2, **options)[-1].train_loss
