"""Rows of docs/peers.md: slopes at kinks, layers, and what a layer begins with."""

import numpy as np
from neighbours import (
    Package,
    Row,
    fastmlp_slope,
    floats,
    functional,
    jax,
    jax_slope,
    jnp,
    keras,
    nnx,
    quiet,
    refused,
    torch,
    torch_slope,
)

import fastmlp as fm

perceptron = Package("sklearn.neural_network")


# --- slopes at kinks -------------------------------------------------------------------------------------------------


class LeakyReluAtZero(Row):
    """leaky ReLU at exactly 0"""

    def pytorch():
        return torch_slope(functional.leaky_relu, 0)

    def jax():
        return jax_slope(jax.nn.leaky_relu, 0)

    def keras():
        return jax_slope(keras.activations.leaky_relu, 0)

    def fastmlp():
        return fastmlp_slope(fm.ops.leaky_relu, 0)


class LeakyReluDefault(Row):
    """leaky ReLU of -1"""

    def pytorch():
        return torch.nn.LeakyReLU()(torch.tensor([-1.0])).tolist()

    def jax():
        return jax.nn.leaky_relu(-1.0)

    def keras():
        x = floats(-1)
        return keras.layers.LeakyReLU()(x), keras.activations.leaky_relu(x)

    def fastmlp():
        return fm.nn.LeakyReLU()(fm.Tensor(floats(-1))).data


class PreluAtZero(Row):
    """PReLU with a slope of 0.5, at 0"""

    def pytorch():
        return torch_slope(torch.nn.PReLU(init=0.5), 0)

    def jax():
        return jax_slope(nnx.PReLU(0.5), 0)

    def keras():
        return jax_slope(keras.layers.PReLU(alpha_initializer=keras.initializers.Constant(0.5)), 0)

    def fastmlp():
        return fastmlp_slope(fm.nn.PReLU(init=0.5), 0)


class PreluDefault(Row):
    """PReLU of three times -1, as it is made"""

    def pytorch():
        layer = torch.nn.PReLU()
        return layer(torch.tensor([-1.0] * 3))[0].item(), layer.weight.numel()

    def jax():
        layer = nnx.PReLU()
        return layer(floats(-1, -1, -1))[0], layer.negative_slope[...].size

    def keras():
        layer = keras.layers.PReLU()
        return layer(floats(-1, -1, -1)[None])[0, 0], layer.alpha.value.size

    def fastmlp():
        layer = fm.nn.PReLU()
        return layer(fm.Tensor(floats(-1, -1, -1))).data[0], layer.weight.data.size


class ReluAtZero(Row):
    """ReLU at 0, and max(x, 0)"""

    def pytorch():
        zero = torch.zeros(1)
        slope = torch_slope(lambda x: torch.maximum(x, zero), 0)
        return torch_slope(torch.relu, 0), slope, torch_slope(lambda x: x.clamp(min=0), 0)

    def jax():
        return jax_slope(jax.nn.relu, 0), jax_slope(lambda x: jnp.maximum(x, 0), 0)

    def keras():
        return jax_slope(keras.activations.relu, 0), jax_slope(lambda x: keras.ops.maximum(x, 0), 0)

    def fastmlp():
        return fastmlp_slope(fm.ops.relu, 0)


class HardTanh(Row):
    """hard tanh at -1 and 1"""

    def pytorch():
        return torch_slope(functional.hardtanh, -1, 1)

    def jax():
        return jax_slope(jax.nn.hard_tanh, -1, 1)

    def keras():
        return jax_slope(keras.activations.hard_tanh, -1, 1)

    def fastmlp():
        return fastmlp_slope(fm.ops.hardtanh, -1, 1)


class Clip(Row):
    """clip to [-1, 1], at -1 and 1"""

    def pytorch():
        return torch_slope(lambda x: x.clamp(-1, 1), -1, 1)

    def jax():
        low, high = floats(-1, 1)
        return jax_slope(lambda x: jnp.clip(x, -1, 1), -1, 1), jax_slope(lambda x: jax.lax.clamp(low, x, high), -1, 1)

    def keras():
        return jax_slope(lambda x: keras.ops.clip(x, -1, 1), -1, 1)


class Abs(Row):
    """abs at 0"""

    def pytorch():
        return torch_slope(torch.abs, 0)

    def jax():
        return jax_slope(jnp.abs, 0)

    def keras():
        return jax_slope(keras.ops.abs, 0)


class Largest(Row):
    """the larger of two that are equal"""

    def pytorch():
        return torch_slope(lambda x: x.amax(dim=0), 1, 1), torch_slope(lambda x: x.max(dim=0).values, 1, 1)

    def jax():
        return jax_slope(jnp.max, 1, 1)

    def keras():
        return jax_slope(keras.ops.max, 1, 1)


class Length(Row):
    """the length of the vector (0, 0)"""

    def pytorch():
        return torch_slope(torch.linalg.norm, 0, 0)

    def jax():
        return jax_slope(jnp.linalg.norm, 0, 0)

    def keras():
        return jax_slope(keras.ops.norm, 0, 0)


# --- layers ----------------------------------------------------------------------------------------------------------


class Gelu(Row):
    """GELU of 2"""

    def pytorch():
        return torch.nn.GELU()(torch.tensor(2.0)).item()

    def jax():
        return jax.nn.gelu(2.0)

    def keras():
        x = floats(2)
        return keras.activations.gelu(x), keras.ops.gelu(x)

    def fastmlp():
        return fm.nn.GELU()(fm.Tensor(floats(2))).data


class GeluFarLeft(Row):
    """GELU of -6 in float32"""

    def pytorch():
        return functional.gelu(torch.tensor([-6.0])).tolist()

    def jax():
        return jax.nn.gelu(-6.0, approximate=False), jax.nn.gelu(-6.0)

    def keras():
        return keras.activations.gelu(floats(-6)), keras.ops.gelu(floats(-6))

    def fastmlp():
        x = fm.Tensor(floats(-6))
        return fm.ops.gelu(x).data, fm.ops.gelu(x, "tanh").data


class GeluSlopeFarOut(Row):
    """the slope of GELU by tanh, at 1e20"""

    def pytorch():
        return torch_slope(lambda x: functional.gelu(x, approximate="tanh"), 1e20)

    def jax():
        return jax_slope(jax.nn.gelu, 1e20)

    def keras():
        return jax_slope(keras.ops.gelu, 1e20)

    def fastmlp():
        return fastmlp_slope(lambda x: fm.ops.gelu(x, "tanh"), 1e20)


def normalised(column: str, *batch: float):
    """The layer for one column after a batch of it in training, and what it gave."""
    x = floats(*batch)[:, None]
    if column == "pytorch":
        layer = torch.nn.BatchNorm1d(1)
        return layer, layer(torch.tensor(x)).detach().numpy()[:, 0]
    if column == "jax":
        layer = nnx.BatchNorm(1, rngs=nnx.Rngs(0))
        return layer, np.asarray(layer(x))[:, 0]
    if column == "keras":
        layer = keras.layers.BatchNormalization()
        return layer, np.asarray(layer(x, training=True))[:, 0]
    layer = fm.nn.BatchNorm1d(1)
    return layer, layer(fm.Tensor(x)).data[:, 0]


class RunningStatistics(Row):
    """batch norm's running mean and variance"""

    def pytorch():
        layer, _ = normalised("pytorch", 0, 2)
        return layer.running_mean, layer.running_var

    def jax():
        layer, _ = normalised("jax", 0, 2)
        return layer.mean[...], layer.var[...]

    def keras():
        layer, _ = normalised("keras", 0, 2)
        return layer.moving_mean.value, layer.moving_variance.value

    def fastmlp():
        layer, _ = normalised("fastmlp", 0, 2)
        return layer.running_mean, layer.running_var


class BatchNormEpsilon(Row):
    """batch norm of 0 and 0.02"""

    columns = ("pytorch", "jax", "keras", "fastmlp")

    @staticmethod
    def each(column):
        return normalised(column, 0, 0.02)[1][1]


FAR = (10_000, 10_001, 10_002, 10_003)  # float32 holds them exactly, but not their squares


class BatchNormFarFromZero(Row):
    """batch norm of 10,000 .. 10,003"""

    def pytorch():
        return normalised("pytorch", *FAR)[1][0]

    def jax():
        layer, y = normalised("jax", *FAR)
        return y[0], layer.var[...]

    def keras():
        return normalised("keras", *FAR)[1][0]

    def fastmlp():
        return normalised("fastmlp", *FAR)[1][0]


class LayerNormFarFromZero(Row):
    """layer norm of 10,000 .. 10,003"""

    def pytorch():
        return torch.nn.LayerNorm(4)(torch.tensor(floats(*FAR)[None]))[0, 0].item()

    def jax():
        return nnx.LayerNorm(4, rngs=nnx.Rngs(0))(floats(*FAR)[None])[0, 0]

    def keras():
        return keras.layers.LayerNormalization()(floats(*FAR)[None])[0, 0]

    def fastmlp():
        return fm.nn.LayerNorm(4)(fm.Tensor(floats(*FAR)[None])).data[0, 0]


class LayerNormEpsilon(Row):
    """layer norm of 0 and 0.002"""

    def pytorch():
        return torch.nn.LayerNorm(2)(torch.tensor([[0, 0.002]]))[0, 1].item()

    def jax():
        return nnx.LayerNorm(2, rngs=nnx.Rngs(0))(floats(0, 0.002)[None])[0, 1]

    def keras():
        return keras.layers.LayerNormalization()(floats(0, 0.002)[None])[0, 1]

    def fastmlp():
        return fm.nn.LayerNorm(2)(fm.Tensor(floats(0, 0.002)[None])).data[0, 1]


class OneRow(Row):
    """batch norm of a single row"""

    columns = ("pytorch", "jax", "keras", "fastmlp")

    @staticmethod
    def each(column):
        return refused(lambda: normalised(column, 5)[1])


class FrozenBatchNorm(Row):
    """a frozen batch norm's running mean"""

    def pytorch():
        layer = torch.nn.BatchNorm1d(1).requires_grad_(False)
        layer(torch.tensor([[0.0], [2.0]]))
        return layer.running_mean

    def keras():
        layer = keras.layers.BatchNormalization()
        layer.trainable = False
        layer(floats(0, 2)[:, None], training=True)
        return layer.moving_mean.value

    def fastmlp():
        layer = fm.nn.BatchNorm1d(1)
        for parameter in layer.parameters():
            parameter.requires_grad = False
        layer(fm.Tensor(floats(0, 2)[:, None]))
        return layer.running_mean


class JustMade(Row):
    """a batch norm that was just made, of 0 and 2"""

    def pytorch():
        return torch.nn.BatchNorm1d(1)(torch.tensor([[0.0], [2.0]])).tolist()

    def jax():
        return nnx.BatchNorm(1, rngs=nnx.Rngs(0))(floats(0, 2)[:, None])

    def keras():
        return keras.layers.BatchNormalization()(floats(0, 2)[:, None])

    def fastmlp():
        return fm.nn.BatchNorm1d(1)(fm.Tensor(floats(0, 2)[:, None])).data


class Dropout(Row):
    """dropout of ones: the largest at p = 0.5, and at p = 1"""

    def pytorch():
        return [torch.nn.Dropout(p)(torch.ones(100)).max().item() for p in (0.5, 1.0)]

    def jax():
        return [nnx.Dropout(p, rngs=nnx.Rngs(0))(jnp.ones(100)).max() for p in (0.5, 1.0)]

    def keras():
        return [keras.layers.Dropout(p)(np.ones(100, np.float32), training=True).max() for p in (0.5, 1.0)]

    def fastmlp():
        return [fm.nn.Dropout(p)(fm.Tensor(np.ones((1, 100), np.float32))).data.max() for p in (0.5, 1.0)]


# --- what a layer begins with ----------------------------------------------------------------------------------------


def first_layer(column: str, inputs: int, outputs: int) -> tuple[np.ndarray, np.ndarray]:
    """Weight and bias of a Linear or Dense as it is made, with seed 0."""
    if column == "pytorch":
        torch.manual_seed(0)
        layer = torch.nn.Linear(inputs, outputs)
        return layer.weight.detach().numpy(), layer.bias.detach().numpy()
    if column == "jax":
        layer = nnx.Linear(inputs, outputs, rngs=nnx.Rngs(0))
        return np.asarray(layer.kernel[...]), np.asarray(layer.bias[...])
    if column == "keras":
        keras.utils.set_random_seed(0)
        layer = keras.layers.Dense(outputs)
        layer.build((None, inputs))
        return np.asarray(layer.kernel.value), np.asarray(layer.bias.value)
    if column == "sklearn":
        model = untrained_classifier((outputs,), np.zeros((3, inputs)), [0, 1, 2])
        return model.coefs_[0], model.intercepts_[0]
    fm.manual_seed(0)
    layer = fm.nn.Linear(inputs, outputs)
    return layer.weight.data, layer.bias.data


def untrained_classifier(hidden: tuple[int, ...], *data):
    """An MLPClassifier after a step of a size that changes nothing: it has no weights before `fit`."""
    model = perceptron.MLPClassifier(hidden, solver="sgd", learning_rate_init=1e-30, max_iter=1, random_state=0)
    return quiet(model, *data)


class WeightShape(Row):
    """the weight of 3 inputs and 2 outputs"""

    columns = ("pytorch", "jax", "keras", "sklearn", "fastmlp")

    @staticmethod
    def each(column):
        return first_layer(column, 3, 2)[0].shape


class WeightAtStart(Row):
    """the first weights"""

    columns = ("pytorch", "jax", "keras", "sklearn", "fastmlp")

    @staticmethod
    def each(column):
        weight, _ = first_layer(column, 784, 128)
        return np.sqrt(np.mean(weight.astype(np.float64) ** 2) * 784)


class LargestAtStart(Row):
    """the largest of the first weights"""

    columns = ("pytorch", "jax", "keras", "sklearn", "fastmlp")

    @staticmethod
    def each(column):
        return np.abs(first_layer(column, 784, 128)[0]).max() * np.sqrt(784)


class HeNormal(Row):
    """100,000 numbers of He's normal"""

    def pytorch():
        torch.manual_seed(0)
        return torch.nn.init.kaiming_normal_(torch.empty(200, 500)).abs().max().item() / np.sqrt(2 / 500)

    def jax():
        return np.abs(jax.nn.initializers.he_normal()(jax.random.key(0), (500, 200))).max() / np.sqrt(2 / 500)

    def keras():
        return np.abs(keras.initializers.HeNormal(seed=0)((500, 200))).max() / np.sqrt(2 / 500)

    def fastmlp():
        fm.manual_seed(0)
        weight = fm.nn.init.kaiming_normal_(fm.Tensor(np.zeros((200, 500), np.float32)))
        return np.abs(weight.data).max() / np.sqrt(2 / 500)


class BiasAtStart(Row):
    """the first biases"""

    columns = ("pytorch", "jax", "keras", "sklearn", "fastmlp")

    @staticmethod
    def each(column):
        return np.abs(first_layer(column, 784, 128)[1]).max()


DEPTH, WIDTH = 10, 256


def left_of_the_signal(layers) -> float:
    """By how much the rows still differ after ReLU layers x -> relu(x w + b)."""
    x = np.random.default_rng(0).normal(size=(WIDTH, WIDTH))
    for w, b in layers:
        x = np.maximum(x @ w + b, 0)
    return np.sqrt(x.var(axis=0).mean())


class Depth(Row):
    """ten fresh layers of 256, with ReLU"""

    def pytorch():
        torch.manual_seed(0)
        layers = [torch.nn.Linear(WIDTH, WIDTH) for _ in range(DEPTH)]
        return left_of_the_signal((m.weight.detach().numpy().T, m.bias.detach().numpy()) for m in layers)

    def jax():
        rngs = nnx.Rngs(0)
        layers = [nnx.Linear(WIDTH, WIDTH, rngs=rngs) for _ in range(DEPTH)]
        return left_of_the_signal((np.asarray(m.kernel[...]), np.asarray(m.bias[...])) for m in layers)

    def keras():
        keras.utils.set_random_seed(0)
        layers = [keras.layers.Dense(WIDTH) for _ in range(DEPTH)]
        for layer in layers:
            layer.build((None, WIDTH))
        return left_of_the_signal(layer.get_weights() for layer in layers)

    def sklearn():
        model = untrained_classifier((WIDTH,) * DEPTH, np.zeros((3, WIDTH)), [0, 1, 2])
        return left_of_the_signal(list(zip(model.coefs_, model.intercepts_, strict=True))[:DEPTH])

    def fastmlp():
        fm.manual_seed(0)
        layers = [fm.nn.Linear(WIDTH, WIDTH) for _ in range(DEPTH)]
        return left_of_the_signal((m.weight.data.T, m.bias.data) for m in layers)


class TwoClasses(Row):
    """the last layer for two classes"""

    def sklearn():
        return untrained_classifier((5,), np.zeros((2, 3)), [0, 1]).coefs_[-1].shape

    def fastmlp():
        return fm.nn.MLP(3, (5,), 2)[-1].weight.shape
