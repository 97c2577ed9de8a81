"""Rows of docs/peers.md: numbers and types, what is held out, when a training ends, what is measured."""

import warnings

import numpy as np
from neighbours import Package, Row, floats, functional, jax, jnp, keras, nnx, quiet, refused, torch

import fastmlp as fm

perceptron, metrics = Package("sklearn.neural_network"), Package("sklearn.metrics")
preprocessing = Package("sklearn.preprocessing")


def silently(action):
    """What an action gives that must not warn."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return action()


# --- numbers and their types -----------------------------------------------------------------------------------------

LARGE, LARGER = 2.0**24 + 1, 2**40 + 1  # float32 and int32 do not hold them


class Double(Row):
    """16777217 as float64, given to a layer"""

    def pytorch():
        return refused(lambda: torch.nn.Linear(1, 1)(torch.tensor([[LARGE]], dtype=torch.float64)))

    def jax():
        return silently(lambda: int(jnp.asarray(np.array([LARGE]))[0]))

    def keras():
        return silently(lambda: int(keras.ops.convert_to_tensor(np.array([LARGE]))[0]))

    def sklearn():
        return str(quiet(perceptron.MLPClassifier(max_iter=1), np.full((2, 1), LARGE), [0, 1]).coefs_[0].dtype)

    def fastmlp():
        layer = fm.nn.Linear(1, 1)
        layer.weight.data[...], layer.bias.data[...] = 1, 0
        given = np.array([[LARGE]])
        return refused(lambda: layer(fm.Tensor(given))), int(fm.Predictor(fm.nn.Sequential(layer))(given)[0, 0])


class WholeNumber(Row):
    """the whole number 1099511627777"""

    def pytorch():
        return torch.tensor(np.array([LARGER])).tolist()

    def jax():
        return silently(lambda: jnp.asarray(np.array([LARGER])).tolist())

    def keras():
        return silently(lambda: np.asarray(keras.ops.convert_to_tensor(np.array([LARGER]))))

    def sklearn():
        return quiet(perceptron.MLPClassifier(max_iter=1), np.zeros((2, 1)), [0, LARGER]).classes_

    def fastmlp():
        return refused(lambda: fm.Dataset(np.zeros((2, 1)), [0, LARGER]))


class Denormal(Row):
    """2e-38, halved: times 1e38"""

    def pytorch():
        return 1e38 * functional.linear(torch.tensor([[2e-38]]), torch.tensor([[0.5]])).item()

    def jax():
        return 1e38 * float(jnp.float32(2e-38) * jnp.float32(0.5))

    def keras():
        return 1e38 * float(keras.ops.matmul(floats(2e-38), floats(0.5)))

    def fastmlp():
        layer = fm.nn.Linear(1, 1)
        layer.weight.data[...], layer.bias.data[...] = 0.5, 0
        return 1e38 * float(layer(fm.Tensor(floats(2e-38)[:, None])).data[0, 0])


class Bytes(Row):
    """bytes, given to a layer"""

    def pytorch():
        return refused(lambda: torch.nn.Linear(1, 1)(torch.tensor([[255]], dtype=torch.uint8)))

    def jax():
        layer = nnx.Linear(1, 1, kernel_init=nnx.initializers.ones, rngs=nnx.Rngs(0))
        return layer(np.array([[255]], np.uint8))

    def keras():
        return keras.layers.Dense(1, kernel_initializer="ones")(np.array([[255]], np.uint8))

    def sklearn():
        model = quiet(
            perceptron.MLPRegressor(hidden_layer_sizes=(), max_iter=1, random_state=0),
            np.array([[0], [255]], np.uint8),
            [0, 1],
        )
        return (model.predict(np.array([[255]], np.uint8))[0] - model.intercepts_[0][0]) / model.coefs_[0][0, 0]

    def fastmlp():
        return refused(lambda: fm.nn.Linear(1, 1)(fm.Tensor(np.array([[255]], np.uint8))))


class Spread(Row):
    """the standard deviation of 0 and 2"""

    def pytorch():
        return torch.tensor([0.0, 2.0]).std().item()

    def jax():
        return jnp.asarray([0.0, 2.0]).std()

    def keras():
        return keras.ops.std(floats(0, 2))

    def sklearn():
        return preprocessing.StandardScaler().fit([[0.0], [2.0]]).scale_


class RowOutside(Row):
    """row 5 of the five numbers 10 .. 14"""

    def pytorch():
        return refused(lambda: torch.arange(10, 15)[torch.tensor([5])])

    def jax():
        numbers, rows = jnp.arange(10.0, 15.0), np.array([5])
        return silently(lambda: numbers[rows]), silently(lambda: jnp.take(numbers, rows))

    def keras():
        return keras.ops.take(np.arange(10.0, 15.0, dtype=np.float32), np.array([5]))

    def fastmlp():
        return refused(lambda: fm.Dataset(np.arange(10.0, 15.0)[:, None], [0] * 5)[[5]])


class NotANumber(Row):
    """NaN among the features"""

    def pytorch():
        z = torch.nn.Linear(1, 2)(torch.tensor([[torch.nan]]))
        return functional.cross_entropy(z, torch.tensor([0])).item()

    def keras():
        model = one_number()
        return model.fit(np.array([[np.nan], [1.0]]), np.zeros((2, 1)), verbose=0).history["loss"]

    def sklearn():
        return refused(lambda: perceptron.MLPClassifier().fit([[np.nan], [1.0]], [0, 1]))

    def fastmlp():
        return refused(lambda: fm.Dataset([[np.nan], [1.0]], [0, 1]))


# --- a training of one number, y = b, whose rows are all 0 -----------------------------------------------------------


def one_number(rate=0.0):
    """A Keras model, x w + b, both 0."""
    model = keras.Sequential([keras.layers.Input((1,)), keras.layers.Dense(1, kernel_initializer="zeros")])
    model.compile(keras.optimizers.SGD(rate), "mse")
    return model


def fit_one_number(rate: float, epochs: int, model=None, **options):
    """The same here, for the target 1; returns the model and its history."""
    data = fm.Dataset(np.zeros((4, 1), np.float32), np.ones(4, np.float32))
    if model is None:
        model = fm.nn.Sequential(fm.nn.Linear(1, 1))
        model[0].weight.data[...], model[0].bias.data[...] = 0, 0
    optimizer = fm.optim.SGD(model.parameters(), lr=rate)
    if options.pop("held_out", False):
        options["validation"] = data
    return model, fm.fit(
        model, data, loss=fm.nn.MSELoss(), optimizer=optimizer, epochs=epochs, progress=False, **options
    )


class HeldOut(Row):
    """a fifth held out of rows that are sorted, the last fifth of class 1"""

    def keras():
        x, y = np.zeros((100, 1)), np.repeat([0.0, 1.0], [80, 20])[:, None]
        return one_number().fit(x, y, validation_split=0.2, verbose=0).history["val_loss"]

    def fastmlp():
        labels = np.repeat([0, 1], [80, 20])
        _, held_out = fm.Dataset(np.zeros((100, 1)), labels).split_rows(0.2, seed=0)
        return labels[held_out].mean()


class Steps(Row):
    """65 rows, no batch size given: steps an epoch"""

    def pytorch():
        loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.arange(65)))
        return len(list(loader))

    def keras():
        steps = []
        count = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: steps.append(batch))
        one_number().fit(np.zeros((65, 1)), np.zeros((65, 1)), verbose=0, callbacks=[count])
        return len(steps)

    def sklearn():
        model = quiet(perceptron.MLPClassifier((), max_iter=1), np.zeros((65, 1)), np.arange(65) % 2)
        return model._optimizer.t  # Adam's count of its steps

    def fastmlp():
        model = fm.nn.Sequential(fm.nn.Linear(1, 2))
        optimizer = fm.optim.Adam(model.parameters())
        data = fm.Dataset(np.zeros((65, 1), np.float32), np.arange(65) % 2)
        fm.fit(model, data, optimizer=optimizer, epochs=1, progress=False)
        return int(optimizer.state[0]["step"])


class SecondFit(Row):
    """fit called twice: b after each"""

    def keras():
        model, data = one_number(0.25), (np.zeros((4, 1)), np.ones((4, 1)))
        first = model.fit(*data, verbose=0) and model.get_weights()[1][0]
        return first, model.fit(*data, verbose=0) and model.get_weights()[1][0]

    def sklearn():
        model, data = perceptron.MLPRegressor(max_iter=2, random_state=0), (np.zeros((4, 1)), np.ones(4))
        first = quiet(model, *data).coefs_[0].copy()
        return "the same" if np.array_equal(quiet(model, *data).coefs_[0], first) else "others"

    def fastmlp():
        model, _ = fit_one_number(0.25, 1)
        first = model[0].bias.data.copy()
        return first, fit_one_number(0.25, 1, model)[0][0].bias.data


class EarlyStopping(Row):
    """early stopping, where the first epoch is the best: epochs, and b at the end"""

    def keras():
        def end(**options):
            model, data = one_number(1.1), (np.zeros((4, 1)), np.ones((4, 1)))
            stop = keras.callbacks.EarlyStopping(**options)
            history = model.fit(*data, validation_data=data, epochs=10, verbose=0, callbacks=[stop])
            return len(history.history["loss"]), model.get_weights()[1][0]

        return end(), end(patience=3), end(patience=3, restore_best_weights=True)

    def fastmlp():
        options = {"callbacks": [fm.EarlyStopping(patience=3)], "held_out": True}
        model, history = fit_one_number(1.1, 10, **options)
        return len(history), model[0].bias.data


class Stagnation(Row):
    """a training of 30 epochs that learns nothing: epochs made"""

    def keras():
        return len(one_number().fit(np.zeros((4, 1)), np.ones((4, 1)), epochs=30, verbose=0).history["loss"])

    def sklearn():
        model = perceptron.MLPClassifier(solver="sgd", learning_rate_init=1e-9, max_iter=30, random_state=0)
        rng = np.random.default_rng(0)
        return quiet(model, rng.normal(size=(20, 3)), rng.integers(0, 2, 20)).n_iter_

    def fastmlp():
        return len(fit_one_number(0.0, 30)[1])


class Diverged(Row):
    """five epochs at a rate of 1e30"""

    def keras():
        history = one_number(1e30).fit(np.zeros((4, 1)), np.ones((4, 1)), epochs=5, verbose=0)
        return len(history.history["loss"]), history.history["loss"][-1]

    def sklearn():
        model = perceptron.MLPRegressor(solver="sgd", learning_rate_init=1e30, max_iter=5, random_state=0)
        return refused(lambda: quiet(model, np.ones((4, 1)), np.ones(4)))

    def fastmlp():
        return len(fit_one_number(1e30, 5)[1])


# --- measures --------------------------------------------------------------------------------------------------------


def r2(column: str, targets, outputs) -> float:
    if column == "keras":
        measure = keras.metrics.R2Score()
        measure.update_state(floats(*targets)[:, None], floats(*outputs)[:, None])
        return measure.result()
    if column == "sklearn":
        return metrics.r2_score(targets, outputs)
    model = fm.nn.Sequential(fm.nn.Linear(1, 1))
    model[0].weight.data[...], model[0].bias.data[...] = 1, 0
    data = fm.Dataset(floats(*outputs)[:, None], floats(*targets))
    optimizer = fm.optim.SGD(model.parameters(), lr=0.0)
    history = fm.fit(model, data, loss=fm.nn.MSELoss(), optimizer=optimizer, epochs=1, progress=False)
    return history[-1].train_score


class ConstantTarget(Row):
    """R² of targets that are all 1: outputs 1, 1, 2, and 1, 1, 1"""

    columns = ("keras", "sklearn", "fastmlp")

    @staticmethod
    def each(column):
        return r2(column, [1, 1, 1], [1, 1, 2]), r2(column, [1, 1, 1], [1, 1, 1])


TRUE, TAKEN = [0, 0, 1, 1], [0, 1, 1, 1]  # of three classes


class MacroF1(Row):
    """macro F1 where the third class never occurs"""

    def keras():
        measure = keras.metrics.F1Score(average="macro")
        measure.update_state(np.eye(3, dtype=np.float32)[TRUE], np.eye(3, dtype=np.float32)[TAKEN])
        return measure.result()

    def sklearn():
        return metrics.f1_score(TRUE, TAKEN, average="macro")

    def fastmlp():
        return fm.Evaluation(0.0, 0.75, 4, np.array(TRUE), np.eye(3)[TAKEN]).macro.f1


class TopK(Row):
    """top-3 accuracy of a net that gives ten classes the same"""

    def keras():
        scores = np.full((10, 10), 0.1, np.float32)
        return np.mean(keras.metrics.sparse_top_k_categorical_accuracy(np.arange(10), scores, k=3))

    def sklearn():
        flat, classes = np.full((10, 10), 0.1), np.arange(10)
        of_one_class = [metrics.top_k_accuracy_score([c] * 10, flat, k=3, labels=classes) for c in (0, 9)]
        return metrics.top_k_accuracy_score(classes, flat, k=3), of_one_class

    def fastmlp():
        flat = np.full((10, 10), 0.1)
        of_one_class = [fm.Evaluation(0.0, 0.0, 10, np.full(10, c), flat).top3_accuracy for c in (0, 9)]
        return fm.Evaluation(0.0, 0.0, 10, np.arange(10), flat).top3_accuracy, of_one_class


class AccuracyOfNaN(Row):
    """accuracy of a net that gives NaN, a row of each of three classes"""

    def pytorch():
        return (torch.full((3, 3), torch.nan).argmax(dim=1) == torch.arange(3)).float().mean().item()

    def jax():
        return jnp.mean(jax.numpy.argmax(jnp.full((3, 3), jnp.nan), axis=1) == np.arange(3))

    def keras():
        nothing = np.full((3, 3), np.nan, np.float32)
        return np.mean(keras.metrics.sparse_categorical_accuracy(np.arange(3), nothing))

    def fastmlp():
        model = fm.nn.Sequential(fm.nn.Linear(1, 3))
        model[0].bias.data[...] = np.nan
        evaluation = fm.evaluate(model, fm.Dataset(np.zeros((3, 1), np.float32), [0, 1, 2]))
        return evaluation.accuracy, evaluation.loss
