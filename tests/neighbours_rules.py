"""Rows of docs/peers.md: update rules, weight decay."""

from functools import partial

import numpy as np
from neighbours import Package, Row, floats, jax, jnp, keras, optax, quiet, refused, torch

import fastmlp as fm

stochastic = Package("sklearn.neural_network._stochastic_optimizers")
perceptron = Package("sklearn.neural_network")


# --- a rule on one number: where it ends that began at `start`, after these gradients --------------------------------


def torch_steps(make, gradients, start=0.0) -> float:
    w = torch.tensor([start], dtype=torch.float32, requires_grad=True)
    optimizer = make([w])
    for g in gradients:
        w.grad = torch.tensor([g], dtype=torch.float32)
        optimizer.step()
    return w.item()


def optax_steps(rule, gradients, start=0.0) -> float:
    w = jnp.asarray([start], jnp.float32)
    state = rule.init(w)
    for g in gradients:
        updates, state = rule.update(jnp.asarray([g], jnp.float32), state, w)
        w = optax.apply_updates(w, updates)
    return w[0].item()


def keras_steps(rule, gradients, start=0.0) -> float:
    w = keras.Variable(floats(start))
    rule.build([w])
    for g in gradients:
        rule.apply([jnp.asarray([g], jnp.float32)], [w])
    return w.value[0].item()


def sklearn_steps(make, gradients, start=0.0) -> float:
    w = np.array([start])
    rule = make([w])
    for g in gradients:
        rule.update_params([w], [np.array([g])])
    return w[0]


def fastmlp_steps(make, gradients, start=0.0) -> float:
    w = fm.Parameter(floats(start))
    optimizer = make([w])
    for g in gradients:
        w.grad = floats(g)
        optimizer.step()
    return w.data[0]


def adam_first_step(column: str, gradient: float) -> float:
    """In learning rates."""
    if column == "pytorch":
        return -torch_steps(partial(torch.optim.Adam, lr=1), [gradient])
    if column == "jax":
        return -optax_steps(optax.adam(1), [gradient])
    if column == "keras":
        return -keras_steps(keras.optimizers.Adam(1.0), [gradient])
    if column == "sklearn":
        return -sklearn_steps(partial(stochastic.AdamOptimizer, learning_rate_init=1), [gradient])
    return -fastmlp_steps(partial(fm.optim.Adam, lr=1), [gradient])


class AdamTiny(Row):
    """Adam's first step, gradient 1e-8"""

    columns = ("pytorch", "jax", "keras", "sklearn", "fastmlp")

    @staticmethod
    def each(column):
        return adam_first_step(column, 1e-8)


class AdamSmall(Row):
    """Adam's first step, gradient 1e-6"""

    columns = ("pytorch", "jax", "keras", "sklearn", "fastmlp")

    @staticmethod
    def each(column):
        return adam_first_step(column, 1e-6)


class RmsProp(Row):
    """RMSprop's first step, gradient 1 and 1e-8"""

    def pytorch():
        return [-torch_steps(partial(torch.optim.RMSprop, lr=1), [g]) for g in (1, 1e-8)]

    def jax():
        return [-optax_steps(optax.rmsprop(1), [g]) for g in (1, 1e-8)]

    def keras():
        return [-keras_steps(keras.optimizers.RMSprop(1.0), [g]) for g in (1, 1e-8)]

    def fastmlp():
        return [-fastmlp_steps(partial(fm.optim.RMSprop, lr=1), [g]) for g in (1, 1e-8)]


class Centered(Row):
    """centered RMSprop that keeps 0.5, after 40 steps of gradient 0.3"""

    def pytorch():
        return known(torch_steps(partial(torch.optim.RMSprop, lr=1, alpha=0.5, centered=True), [0.3] * 40))

    def jax():
        return known(optax_steps(optax.rmsprop(1, decay=0.5, centered=True), [0.3] * 40))

    def keras():
        return known(keras_steps(keras.optimizers.RMSprop(1.0, rho=0.5, centered=True), [0.3] * 40))

    def fastmlp():
        return known(fastmlp_steps(partial(fm.optim.RMSprop, lr=1, alpha=0.5, centered=True), [0.3] * 40))


def known(number: float) -> str:
    """In a word, where the number itself is one of roundings."""
    return "finite" if np.isfinite(number) else "nan"


class Adagrad(Row):
    """Adagrad's first step, gradient 1"""

    def pytorch():
        return -torch_steps(partial(torch.optim.Adagrad, lr=1), [1])

    def jax():
        return -optax_steps(optax.adagrad(1), [1])

    def keras():
        return -keras_steps(keras.optimizers.Adagrad(1.0), [1])

    def fastmlp():
        return -fastmlp_steps(partial(fm.optim.Adagrad, lr=1), [1])


class AdagradTiny(Row):
    """Adagrad's first step, gradient 1e-8, from a sum of 0"""

    def pytorch():
        return -torch_steps(partial(torch.optim.Adagrad, lr=1), [1e-8])

    def jax():
        return -optax_steps(optax.adagrad(1, initial_accumulator_value=0), [1e-8])

    def keras():
        return -keras_steps(keras.optimizers.Adagrad(1.0, initial_accumulator_value=0.0), [1e-8])

    def fastmlp():
        return -fastmlp_steps(partial(fm.optim.Adagrad, lr=1), [1e-8])


class NAdam(Row):
    """two steps of NAdam, gradient 1"""

    def pytorch():
        return -torch_steps(partial(torch.optim.NAdam, lr=1), [1, 1])

    def jax():
        return -optax_steps(optax.nadam(1), [1, 1])

    def keras():
        return -keras_steps(keras.optimizers.Nadam(1.0), [1, 1])

    def fastmlp():
        return -fastmlp_steps(partial(fm.optim.NAdam, lr=1), [1, 1])


class AmsGrad(Row):
    """AMSGrad, gradients 1 and 0.1"""

    def pytorch():
        return -torch_steps(partial(torch.optim.Adam, lr=1, amsgrad=True), [1, 0.1])

    def jax():
        return -optax_steps(optax.amsgrad(1), [1, 0.1])

    def keras():
        return -keras_steps(keras.optimizers.Adam(1.0, amsgrad=True), [1, 0.1])

    def fastmlp():
        return -fastmlp_steps(partial(fm.optim.Adam, lr=1, amsgrad=True), [1, 0.1])


class RatesAsTheyCome(Row):
    """the rate of RMSprop, Adagrad and NAdam, if none is given"""

    def pytorch():
        w = torch.zeros(1, requires_grad=True)
        rules = torch.optim.RMSprop, torch.optim.Adagrad, torch.optim.NAdam
        return [rule([w]).param_groups[0]["lr"] for rule in rules]

    def keras():
        rules = keras.optimizers.RMSprop, keras.optimizers.Adagrad, keras.optimizers.Nadam
        return [rule().learning_rate.value for rule in rules]

    def fastmlp():
        w = fm.Parameter(floats(0))
        return [rule([w]).param_groups[0]["lr"] for rule in (fm.optim.RMSprop, fm.optim.Adagrad, fm.optim.NAdam)]


class RateLowered(Row):
    """momentum, the rate set to 0 after one step"""

    def pytorch():
        w = torch.zeros(1, requires_grad=True)
        return moved_at_rate_0(w, torch.optim.SGD([w], lr=1, momentum=0.9), torch.ones(1), torch.zeros(1))

    def jax():
        rule = optax.sgd(lambda done: jnp.where(done < 1, 1.0, 0.0), 0.9)
        return optax_steps(rule, [1, 0]) - optax_steps(rule, [1])

    def keras():
        w, rule = keras.Variable(floats(0)), keras.optimizers.SGD(1.0, 0.9)
        rule.build([w])
        rule.apply([jnp.ones(1)], [w])
        before, rule.learning_rate = w.value[0].item(), 0.0
        rule.apply([jnp.zeros(1)], [w])
        return w.value[0].item() - before

    def sklearn():
        w = np.zeros(1)
        rule = stochastic.SGDOptimizer([w], 1, momentum=0.9, nesterov=False)
        rule.update_params([w], [np.ones(1)])
        before, rule.learning_rate = w[0], 0.0
        rule.update_params([w], [np.zeros(1)])
        return w[0] - before

    def fastmlp():
        w = fm.Parameter(floats(0))
        return moved_at_rate_0(w, fm.optim.SGD([w], lr=1, momentum=0.9), floats(1), floats(0))


def moved_at_rate_0(w, optimizer, one, zero) -> float:
    """One step at a rate of 1, gradient 1; how far the next one goes, at a rate of 0 and without a gradient."""
    w.grad = one
    optimizer.step()
    before, optimizer.param_groups[0]["lr"] = w.item(), 0.0
    w.grad = zero
    optimizer.step()
    return w.item() - before


class Dampening(Row):
    """momentum 0.9 with dampening 0.5: the first step, and the second"""

    def pytorch():
        make = partial(torch.optim.SGD, lr=1, momentum=0.9, dampening=0.5)
        return -torch_steps(make, [1]), torch_steps(make, [1]) - torch_steps(make, [1, 1])

    def fastmlp():
        make = partial(fm.optim.SGD, lr=1, momentum=0.9, dampening=0.5)
        return -fastmlp_steps(make, [1]), fastmlp_steps(make, [1]) - fastmlp_steps(make, [1, 1])


class Nesterov(Row):
    """three steps with Nesterov's momentum 0.9, gradient 1"""

    def pytorch():
        return -torch_steps(partial(torch.optim.SGD, lr=1, momentum=0.9, nesterov=True), [1] * 3)

    def jax():
        return -optax_steps(optax.sgd(1, 0.9, nesterov=True), [1] * 3)

    def keras():
        return -keras_steps(keras.optimizers.SGD(1.0, 0.9, nesterov=True), [1] * 3)

    def sklearn():
        return -sklearn_steps(
            partial(stochastic.SGDOptimizer, learning_rate_init=1, momentum=0.9, nesterov=True), [1] * 3
        )

    def fastmlp():
        return -fastmlp_steps(partial(fm.optim.SGD, lr=1, momentum=0.9, nesterov=True), [1] * 3)


class SgdDefaults(Row):
    """SGD as it comes: rate, momentum"""

    def pytorch():
        group = torch.optim.SGD([torch.zeros(1, requires_grad=True)]).param_groups[0]
        return group["lr"], float(group["momentum"])

    def keras():
        rule = keras.optimizers.SGD()
        return rule.learning_rate.value, rule.momentum

    def sklearn():
        options = perceptron.MLPClassifier(solver="sgd").get_params()
        return options["learning_rate_init"], options["momentum"]

    def fastmlp():
        group = fm.optim.SGD([fm.Parameter(floats(0))]).param_groups[0]
        return group["lr"], group["momentum"]


# --- weight decay: a weight of 1, a rate and a decay of 0.1, and no gradient -----------------------------------------


class AdamDecay(Row):
    """Adam with weight decay"""

    def pytorch():
        return torch_steps(partial(torch.optim.Adam, lr=0.1, weight_decay=0.1), [0], 1)

    def jax():
        coupled = optax.chain(optax.add_decayed_weights(0.1), optax.adam(0.1))
        return refused(lambda: optax.adam(0.1, weight_decay=0.1)), optax_steps(coupled, [0], 1)

    def keras():
        return keras_steps(keras.optimizers.Adam(0.1, weight_decay=0.1), [0], 1)

    def fastmlp():
        return fastmlp_steps(partial(fm.optim.Adam, lr=0.1, weight_decay=0.1), [0], 1)


class AdamWDecay(Row):
    """AdamW with weight decay"""

    def pytorch():
        return torch_steps(partial(torch.optim.AdamW, lr=0.1, weight_decay=0.1), [0], 1)

    def jax():
        return optax_steps(optax.adamw(0.1, weight_decay=0.1), [0], 1)

    def keras():
        return keras_steps(keras.optimizers.AdamW(0.1, weight_decay=0.1), [0], 1)

    def fastmlp():
        return fastmlp_steps(partial(fm.optim.AdamW, lr=0.1, weight_decay=0.1), [0], 1)


class NAdamDecay(Row):
    """NAdam with weight decay"""

    def pytorch():
        make = partial(torch.optim.NAdam, lr=0.1, weight_decay=0.1)
        return torch_steps(make, [0], 1), torch_steps(partial(make, decoupled_weight_decay=True), [0], 1)

    def jax():
        return optax_steps(optax.nadamw(0.1, weight_decay=0.1), [0], 1)

    def keras():
        return keras_steps(keras.optimizers.Nadam(0.1, weight_decay=0.1), [0], 1)

    def fastmlp():
        make = partial(fm.optim.NAdam, lr=0.1, weight_decay=0.1)
        return fastmlp_steps(make, [0], 1), fastmlp_steps(partial(make, decoupled_weight_decay=True), [0], 1)


class DefaultDecay(Row):
    """the decay of AdamW and of Lion, if none is given"""

    def pytorch():
        return 1 - torch_steps(partial(torch.optim.AdamW, lr=1), [0], 1)

    def jax():
        return [1 - optax_steps(rule, [0], 1) for rule in (optax.adamw(1), optax.lion(1))]

    def keras():
        return [1 - keras_steps(rule, [0], 1) for rule in (keras.optimizers.AdamW(1.0), keras.optimizers.Lion(1.0))]

    def fastmlp():
        return [1 - fastmlp_steps(partial(make, lr=1), [0], 1) for make in (fm.optim.AdamW, fm.optim.Lion)]


class SgdDecay(Row):
    """two steps of SGD with momentum 0.9 and weight decay"""

    def pytorch():
        return torch_steps(partial(torch.optim.SGD, lr=0.1, momentum=0.9, weight_decay=0.1), [0, 0], 1)

    def jax():
        return optax_steps(optax.chain(optax.add_decayed_weights(0.1), optax.sgd(0.1, 0.9)), [0, 0], 1)

    def keras():
        return keras_steps(keras.optimizers.SGD(0.1, 0.9, weight_decay=0.1), [0, 0], 1)

    def fastmlp():
        return fastmlp_steps(partial(fm.optim.SGD, lr=0.1, momentum=0.9, weight_decay=0.1), [0, 0], 1)


def regressor(rows: int, rate: float, target: float):
    """One step of MLPRegressor, y = x w + b, with alpha 0.1 and all rows in a batch; x is 0, so w has no gradient."""
    model = perceptron.MLPRegressor(
        hidden_layer_sizes=(), solver="sgd", learning_rate_init=rate, momentum=0, nesterovs_momentum=False, alpha=0.1,
        batch_size=rows, max_iter=1, random_state=0,
    )  # fmt: skip
    return quiet(model, np.zeros((rows, 1)), np.full(rows, target))


def decayed(rows: int) -> tuple[float, float, float]:
    """By what w and b are multiplied in a step of rate 1 where every error is 0, and the loss of it over w²."""
    start = regressor(rows, 1e-30, 0.0)
    model = regressor(rows, 1.0, start.intercepts_[0][0])
    w = start.coefs_[0][0, 0]
    return model.coefs_[0][0, 0] / w, model.intercepts_[0][0] / start.intercepts_[0][0], model.loss_ / w**2


class L2(Row):
    """an L2 penalty of 0.1: what is left of a weight"""

    def pytorch():
        return torch_steps(partial(torch.optim.SGD, lr=1, weight_decay=0.1), [0], 1)

    def jax():
        return optax_steps(optax.chain(optax.add_decayed_weights(0.1), optax.sgd(1)), [0], 1)

    def keras():
        return 1 - jax.grad(lambda w: keras.regularizers.L2(0.1)(w))(jnp.float32(1))

    def sklearn():
        return decayed(10)[0], decayed(100)[0]

    def fastmlp():
        return fastmlp_steps(partial(fm.optim.SGD, lr=1, weight_decay=0.1), [0], 1)


class BiasDecay(Row):
    """what is left of a bias"""

    def pytorch():
        layer = torch.nn.Linear(1, 1)
        layer.bias.data[:] = 1
        optimizer = torch.optim.SGD(layer.parameters(), lr=1, weight_decay=0.1)
        layer.weight.grad, layer.bias.grad = torch.zeros(1, 1), torch.zeros(1)
        optimizer.step()
        return layer.bias.item()

    def keras():
        layer, rule = keras.layers.Dense(1, bias_initializer="ones"), keras.optimizers.SGD(1.0, weight_decay=0.1)
        layer.build((None, 1))
        rule.build(layer.trainable_variables)
        rule.apply([jnp.zeros((1, 1)), jnp.zeros(1)], layer.trainable_variables)
        return layer.bias.value

    def sklearn():
        return decayed(10)[1]

    def fastmlp():
        layer = fm.nn.Linear(1, 1)
        layer.bias.data[:] = 1
        optimizer = fm.optim.SGD(layer.parameters(), lr=1, weight_decay=0.1)
        layer.weight.grad, layer.bias.grad = np.zeros((1, 1), np.float32), floats(0)
        optimizer.step()
        return layer.bias.data


class PenaltyInLoss(Row):
    """the loss that is reported, without any error"""

    def keras():
        layer = keras.layers.Dense(1, kernel_initializer="ones", kernel_regularizer=keras.regularizers.L2(0.1))
        model = keras.Sequential([keras.layers.Input((1,)), layer])
        model.compile("sgd", "mse")
        return model.evaluate(np.zeros((4, 1)), np.zeros((4, 1)), verbose=0)

    def sklearn():
        return decayed(10)[2]

    def fastmlp():
        model = fm.nn.Sequential(fm.nn.Linear(1, 1))
        model[0].weight.data[...], model[0].bias.data[...] = 1, 0
        data = fm.Dataset(np.zeros((4, 1), np.float32), floats(0, 0, 0, 0))
        optimizer = fm.optim.SGD(model.parameters(), lr=0.1, weight_decay=0.1)
        return fm.fit(model, data, loss=fm.nn.MSELoss(), optimizer=optimizer, epochs=1, progress=False)[-1].train_loss
