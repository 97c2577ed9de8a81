"""Rows of docs/peers.md: schedules."""

import numpy as np
from neighbours import Package, Row, floats, jnp, keras, optax, refused, torch

import fastmlp as fm

schedulers = Package("torch.optim.lr_scheduler")
stochastic = Package("sklearn.neural_network._stochastic_optimizers")
perceptron = Package("sklearn.neural_network")


def torch_rates(make, *at: int) -> list[float]:
    """The rates of a scheduler of PyTorch after so many steps."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1)
    scheduler, rates = make(optimizer), []
    for _ in range(max(at) + 1):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return [rates[step] for step in at]


class Cosine(Row):
    """a cosine of 10, after 9, 10 and 20"""

    def pytorch():
        return torch_rates(lambda optimizer: schedulers.CosineAnnealingLR(optimizer, 10), 9, 10, 20)

    def jax():
        return [optax.cosine_decay_schedule(1.0, 10)(step) for step in (9, 10, 20)]

    def keras():
        return [keras.optimizers.schedules.CosineDecay(1.0, 10)(step) for step in (9, 10, 20)]

    def fastmlp():
        return [fm.optim.CosineAnnealingLR(10).rate(1.0, step, 30) for step in (9, 10, 20)]


class Staircase(Row):
    """a tenth every 10, after 5"""

    def pytorch():
        return torch_rates(lambda optimizer: schedulers.StepLR(optimizer, 10), 5)

    def jax():
        return optax.exponential_decay(1.0, 10, 0.1)(5)

    def keras():
        return keras.optimizers.schedules.ExponentialDecay(1.0, 10, 0.1)(5)

    def fastmlp():
        return fm.optim.StepLR(10).rate(1.0, 5, 30)


class OneCycle(Row):
    """one cycle of 10 steps to a rate of 1"""

    def pytorch():
        return cycle(torch_rates(lambda o: schedulers.OneCycleLR(o, 1.0, 10, cycle_momentum=False), *range(10)))

    def jax():
        schedule = optax.cosine_onecycle_schedule(10, 1.0)
        return cycle([float(schedule(step)) for step in range(10)])

    def fastmlp():
        return cycle([fm.optim.OneCycleLR(1.0).rate(0.1, step, 10) for step in range(10)])


def cycle(rates):
    """The first rate, in which step the highest is, counted from 1, the last."""
    return rates[0], int(np.argmax(rates)) + 1, rates[-1]


class OneCycleShortRise(Row):
    """the first rate of a cycle of 10 whose rise is a tenth"""

    def pytorch():
        try:
            return torch_rates(lambda o: schedulers.OneCycleLR(o, 1.0, 10, pct_start=0.1, cycle_momentum=False), 0)
        except ArithmeticError as error:
            return type(error).__name__

    def jax():
        return optax.cosine_onecycle_schedule(10, 1.0, pct_start=0.1)(0)

    def fastmlp():
        return fm.optim.OneCycleLR(1.0, pct_start=0.1).rate(0.1, 0, 10)


class OneCycleEnd(Row):
    """the rate after the last step of a cycle of 10"""

    def pytorch():
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1)
        schedule = schedulers.OneCycleLR(optimizer, 1.0, 10, anneal_strategy="linear", cycle_momentum=False)
        for _ in range(10):
            optimizer.step()
            schedule.step()
        return optimizer.param_groups[0]["lr"]

    def jax():
        return optax.linear_onecycle_schedule(10, 1.0)(10)

    def fastmlp():
        return fm.optim.OneCycleLR(1.0, anneal_strategy="linear").rate(0.1, 10, 10)


class WarmUpAndCycle(Row):
    """a warm-up from a third, then a cycle: the first rate"""

    def pytorch():
        def make(o):
            parts = [schedulers.LinearLR(o), schedulers.OneCycleLR(o, 1.0, 10, cycle_momentum=False)]
            return schedulers.SequentialLR(o, parts, [5])

        return torch_rates(make, 0)

    def fastmlp():
        optimizer = fm.optim.SGD([fm.Parameter(floats(0))], lr=1.0)
        parts = [fm.optim.LinearLR(optimizer), fm.optim.OneCycleLR(optimizer, 1.0, 10, cycle_momentum=False)]
        return fm.optim.SequentialLR(optimizer, parts, [5]).get_last_lr()


class SetByHand(Row):
    """a rate of 0.4 set after two halvings: the next"""

    def pytorch():
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1)
        return halved(optimizer, schedulers.StepLR(optimizer, 1, 0.5))

    def keras():
        model = keras.Sequential([keras.layers.Input((1,)), keras.layers.Dense(1)])
        rate = keras.optimizers.schedules.ExponentialDecay(1.0, 1, 0.5)
        model.compile(optimizer=keras.optimizers.SGD(rate), loss="mse")
        return refused(lambda: setattr(model.optimizer, "learning_rate", 0.4))

    def fastmlp():
        optimizer = fm.optim.SGD([fm.Parameter(floats(0))], lr=1.0)
        by_step = halved(optimizer, fm.optim.StepLR(optimizer, 1, 0.5))
        model, data = fm.nn.Sequential(fm.nn.Linear(1, 1)), fm.Dataset(np.zeros((4, 1), np.float32), floats(0, 0, 0, 0))
        optimizer = fm.optim.SGD(model.parameters(), lr=1.0)
        for epochs in (2, 1):
            schedule = fm.optim.StepLR(1, 0.5)
            fm.fit(model, data, loss=fm.nn.MSELoss(), optimizer=optimizer, epochs=epochs, schedule=schedule,
                   progress=False)  # fmt: skip
            found = optimizer.param_groups[0]["lr"]
            optimizer.param_groups[0]["lr"] = 0.4
        return by_step, found


def halved(optimizer, schedule):
    for done in range(3):
        if done == 2:
            optimizer.param_groups[0]["lr"] = 0.4
        optimizer.step()
        schedule.step()
    return optimizer.param_groups[0]["lr"]


def reduced(column: str, losses, patience: int) -> bool:
    """Whether a rate that falls on a plateau has fallen after these losses."""
    if column == "pytorch":
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
        schedule = schedulers.ReduceLROnPlateau(optimizer, patience=patience)
        for loss in losses:
            schedule.step(loss)
        return optimizer.param_groups[0]["lr"] < 1
    if column == "jax":
        rule = optax.contrib.reduce_on_plateau(patience=patience)
        state = rule.init(jnp.zeros(1))
        for loss in losses:
            update, state = rule.update(jnp.ones(1), state, value=loss)
        return update[0].item() < 1
    if column == "keras":
        model = keras.Sequential([keras.layers.Input((1,)), keras.layers.Dense(1)])
        model.compile(optimizer=keras.optimizers.SGD(1.0), loss="mse")
        watch = keras.callbacks.ReduceLROnPlateau(patience=patience)
        watch.set_model(model)
        watch.on_train_begin()
        for epoch, loss in enumerate(losses):
            watch.on_epoch_end(epoch, {"val_loss": loss})
        return float(model.optimizer.learning_rate) < 1
    if column == "sklearn":
        net = perceptron.MLPRegressor((), solver="sgd", learning_rate="adaptive", n_iter_no_change=patience)
        net.learning_rate_init, net.loss_curve_, net.validation_scores_ = 1.0, [], None
        net._optimizer = stochastic.SGDOptimizer([np.zeros(1)], 1.0, "adaptive")
        net.best_loss_, net._no_improvement_count, net.early_stopping = np.inf, 0, False
        for loss in losses:
            net.loss_curve_.append(loss)
            net._update_no_improvement_count(False, None, None, None)
            if net._no_improvement_count > net.n_iter_no_change:
                net._optimizer.trigger_stopping("", False)
        return net._optimizer.learning_rate < 1
    optimizer = fm.optim.SGD([fm.Parameter(floats(0))], lr=1.0)
    schedule = fm.optim.ReduceLROnPlateau(optimizer, patience=patience)
    for loss in losses:
        schedule.step(loss)
    return optimizer.param_groups[0]["lr"] < 1


class Patience(Row):
    """a patience of 2: the rate falls in which epoch that is no better"""

    columns = ("pytorch", "jax", "keras", "sklearn", "fastmlp")

    @staticmethod
    def each(column):
        return next(bad for bad in range(1, 9) if reduced(column, [1.0] * (1 + bad), 2))


class Better(Row):
    """is a loss of 0.00095 better than 0.001"""

    columns = ("pytorch", "jax", "keras", "sklearn", "fastmlp")

    @staticmethod
    def each(column):
        bad = next(bad for bad in range(1, 9) if reduced(column, [0.001] * (1 + bad), 2))
        return "no" if reduced(column, [0.001] + [0.00095] * bad, 2) else "yes"
