"""Rows of docs/peers.md: what a step does beside the rule, clipping and averages of weights."""

import inspect

import numpy as np
from neighbours import Package, Row, floats, jnp, keras, optax, refused, torch

import fastmlp as fm
from fastmlp.running.clip import Clip

swa_utils = Package("torch.optim.swa_utils")

# --- clipping --------------------------------------------------------------------------------------------------------


def clipped(column: str, gradients, limit: float):
    """The gradients of as many parameters, clipped together to a norm."""
    if column == "pytorch":
        parameters = [torch.zeros(1, requires_grad=True) for _ in gradients]
        for parameter, g in zip(parameters, gradients, strict=True):
            parameter.grad = torch.tensor([g], dtype=torch.float32)
        torch.nn.utils.clip_grad_norm_(parameters, limit)
        return [parameter.grad.item() for parameter in parameters]
    if column == "fastmlp":
        parameters = [fm.Parameter(floats(0)) for _ in gradients]
        for parameter, g in zip(parameters, gradients, strict=True):
            parameter.grad = floats(g)
        fm.nn.utils.clip_grad_norm_(parameters, limit)
        return [parameter.grad[0] for parameter in parameters]
    if column == "jax":
        rule = optax.clip_by_global_norm(limit)
        return rule.update([jnp.float32(g) for g in gradients], optax.EmptyState())[0]
    return keras_clipped(gradients, global_clipnorm=limit)


def keras_clipped(gradients, **options):
    parameters, rule = [keras.Variable(floats(0)) for _ in gradients], keras.optimizers.SGD(1.0, **options)
    rule.build(parameters)
    rule.apply([jnp.asarray([g], jnp.float32) for g in gradients], parameters)
    return [-parameter.value[0].item() for parameter in parameters]


class Clipping(Row):
    """two parameters' gradients 3 and 4, clipped to 1"""

    columns = ("pytorch", "jax", "fastmlp")

    @staticmethod
    def each(column):
        return clipped(column, [3, 4], 1.0)

    def keras():
        return clipped("keras", [3, 4], 1.0), keras_clipped([3, 4], clipnorm=1.0)


class ClippingTiny(Row):
    """gradients 3e-6 and 4e-6, clipped to 1e-6: their norm"""

    columns = ("pytorch", "jax", "keras", "fastmlp")

    @staticmethod
    def each(column):
        return float(np.hypot(*clipped(column, [3e-6, 4e-6], 1e-6)))


class ClippingBoth(Row):
    """both bounds of 1, of a number and of the norm, on gradients 3 and 4"""

    def pytorch():
        value, norm = torch.nn.utils.clip_grad_value_, torch.nn.utils.clip_grad_norm_
        found = []
        for first, second in ((value, norm), (norm, value)):
            parameters = [torch.zeros(1, requires_grad=True) for _ in range(2)]
            for parameter, g in zip(parameters, (3.0, 4.0), strict=True):
                parameter.grad = torch.tensor([g])
            first(parameters, 1.0), second(parameters, 1.0)
            found += [parameter.grad.item() for parameter in parameters]
        return found

    def jax():
        rule = optax.chain(optax.clip(1.0), optax.clip_by_global_norm(1.0))
        gradients = [jnp.float32(3), jnp.float32(4)]
        return rule.update(gradients, rule.init(gradients))[0]

    def keras():
        return refused(lambda: keras_clipped([3, 4], clipvalue=1.0, global_clipnorm=1.0))

    def fastmlp():
        parameters = [fm.Parameter(floats(0)) for _ in range(2)]
        for parameter, g in zip(parameters, (3.0, 4.0), strict=True):
            parameter.grad = floats(g)
        Clip(value=1.0, norm=1.0).apply(parameters)
        return [parameter.grad[0] for parameter in parameters]


# --- averages of weights ---------------------------------------------------------------------------------------------


class AverageDecay(Row):
    """an exponential average of weights: its decay"""

    def pytorch():
        return inspect.signature(swa_utils.get_ema_multi_avg_fn).parameters["decay"].default

    def keras():
        return inspect.signature(keras.optimizers.Optimizer.__init__).parameters["ema_momentum"].default

    def fastmlp():
        return fm.optim.EMA().decay


class AverageStatistics(Row):
    """a batch norm's running mean beside averaged weights"""

    def pytorch():
        norm = torch.nn.BatchNorm1d(1)
        averaged = swa_utils.AveragedModel(norm, multi_avg_fn=swa_utils.get_ema_multi_avg_fn(0.5))
        batches = [torch.zeros(4, 1), torch.full((4, 1), 2.0)]
        for x in batches:
            norm(x)
            averaged.update_parameters(norm)
        left = averaged.module.running_mean.item()
        swa_utils.update_bn(batches, averaged)
        return left, averaged.module.running_mean.item()

    def fastmlp():
        data = fm.Dataset(np.float32([[0]] * 4 + [[2]] * 4), np.arange(8) % 2)
        model = fm.nn.Sequential(fm.nn.BatchNorm1d(1), fm.nn.Linear(1, 2))
        optimizer = fm.optim.SGD(model.parameters(), lr=0.1)
        fm.fit(model, data, optimizer=optimizer, epochs=1, batch_size=4, progress=False, average=fm.optim.EMA(0.5))
        return model[0].running_mean[0]
