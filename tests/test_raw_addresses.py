"""Doors behind which a kernel reads at an address: what somebody may change before they are used is refused by name.

`test_trusted` has what a callback changes in the data, the shapes and the state. Here: gradients of other shapes than
the forward pass made, groups, losses and layers that were changed by hand, arrays that cannot be written to.
"""

import numpy as np
import pytest
from test_trusted import data, force, net

import fastmlp as fm
from fastmlp import nn, ops, optim
from fastmlp.running.rows import batches


def t(*shape: int) -> fm.Tensor:
    return fm.Tensor(np.random.default_rng(0).normal(size=shape).astype(np.float32), True)


# --- backward: a kernel reads dy at the places that the forward pass has written -------------------------------------

OPERATIONS = {
    **{name: getattr(ops, name) for name in (
        "relu", "tanh", "sigmoid", "elu", "selu", "gelu", "silu", "mish", "softplus", "hardtanh", "leaky_relu",
        "flatten", "log_softmax", "layer_norm", "pack_columns",
    )},
    "linear": lambda x: ops.linear(x, t(5, 6), t(5)),
    "dropout": lambda x: ops.dropout(x, 0.5, seed=1),
    "prelu": lambda x: ops.prelu(x, t(1)),
    "batch_norm": lambda x: ops.batch_norm(x, np.zeros(6, np.float32), np.ones(6, np.float32), t(6), t(6), True),
    "product": lambda x: x @ t(6, 3), "times": lambda x: x * t(8, 6), "plus": lambda x: x + t(6),
    "power": lambda x: x**2,
    "over": lambda x: x / t(8, 6), "sum": lambda x: x.sum(0),
    "mean": lambda x: x.mean(1),
    "mse_loss": lambda x: ops.mse_loss(x, np.ones((8, 6))),
    "cross_entropy": lambda x: ops.cross_entropy(x, np.arange(8) % 6),
    "losses of rows": lambda x: ops.cross_entropy(x, np.arange(8) % 6, reduction="none"),
    "quantile_loss": lambda x: ops.quantile_loss(x, np.ones((8, 3)), quantiles=(0.1, 0.9)),
}  # fmt: skip


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("shape", [(1, 1), (3000, 700), (7,), (8, 6, 1)])
def test_a_node_refuses_a_gradient_that_is_not_of_its_output(name, shape):
    y = OPERATIONS[name](t(8, 6))
    with pytest.raises(ValueError, match=r"Backward.: the gradient is \(.*\) float32; it must be \(.*\) float32"):
        y.grad_fn.backward(np.ones(shape, np.float32))
    for other in (None, [1.0], t(8, 6), np.ones(y.grad_fn.made[0])):  # the last: float64
        with pytest.raises(ValueError, match=r"Backward.: the gradient is"):
            y.grad_fn.backward(other)
    y.grad_fn.backward(np.ones(*y.grad_fn.made))


@pytest.mark.parametrize("shape", [(1, 1), (900, 700)])
@pytest.mark.parametrize("name", sorted(OPERATIONS.keys() - {"mse_loss", "cross_entropy", "quantile_loss"}))
def test_data_that_was_replaced_after_the_forward_pass_is_noticed_on_the_way_back(name, shape):
    """The way back of `linear` once wrote beyond its arrays, and ended the interpreter."""
    y = OPERATIONS[name](t(8, 6))
    with pytest.warns(UserWarning, match="no longer fits"):
        y.data = np.ones(shape, np.float32)
    with pytest.raises(ValueError, match=r"the gradient is .*; it must be"):
        ops.mse_loss(y, np.zeros(shape)).backward()


def test_a_leaf_that_was_replaced_gets_no_gradient_of_another_shape():
    x = t(8, 6)
    y = ops.relu(x).sum()
    with pytest.warns(UserWarning, match="no longer fits"):
        x.data = np.ones((2, 2), np.float32)
    with pytest.raises(ValueError, match=r"AccumulateGrad: the gradient is \(8, 6\), the leaf's data \(2, 2\)"):
        y.backward()
    assert x.grad is None


def test_a_leaf_that_was_replaced_is_trained_on_while_an_older_graph_is_there():
    x = t(8, 6)
    older = ops.relu(x).sum()
    with pytest.warns(UserWarning, match="no longer fits"):
        x.data = np.ones((2, 2), np.float32)
    ops.relu(x).sum().backward()
    np.testing.assert_array_equal(x.grad, np.ones((2, 2)))
    assert older.grad_fn is not None


def test_labels_that_were_changed_in_place_are_noticed_without_the_walk_too():
    labels = np.arange(8) % 6
    y = ops.cross_entropy(t(8, 6), labels)
    labels[:] = 10**9
    with pytest.raises(RuntimeError, match=r"labels \(8,\) was changed in place"):
        y.grad_fn.backward(np.ones((), np.float32))


def test_a_node_that_was_freed_refuses_to_run():
    y = ops.tanh(t(8, 6))
    y.backward(np.ones((8, 6), np.float32))
    with pytest.raises(RuntimeError, match="backward ran through this graph before"):
        y.grad_fn.backward(np.ones((8, 6), np.float32))


# --- losses ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("targets", [[[5.0]] * 4, [[-1.0]] * 4, [[np.nan]] * 4, [[1.0]], [[1.0]] * 900, [1.0] * 4])
@pytest.mark.parametrize("door", ["measure", "scores"])
def test_a_loss_refuses_labels_and_rows_that_the_outputs_do_not_have(door, targets):
    loss, z = nn.CrossEntropyLoss(), np.ones((4, 3), np.float32)
    with pytest.raises(ValueError, match="CrossEntropyLoss: "):
        getattr(loss, door)(z, np.array(targets), np.zeros(1))
    getattr(loss, door)(z, np.array([[0.0], [2], [1], [0]]), np.zeros(1))


def test_the_kernels_of_a_loss_refuse_a_label_that_is_not_there():
    for weight in (None, [1, 2, 3]):
        with pytest.raises(ValueError, match=r"labels lie in 0 \.\. 50; they must lie in 0 \.\. 2"):
            nn.CrossEntropyLoss(weight).by_kernels(t(4, 3), np.array([0, 1, 2, 50]))


# --- steps -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        (
            "exp_avg",
            np.ones((4, 5), np.float32).T,
            "exp_avg of parameter 0 is an array; it must be",
        ),
        ("exp_avg", np.broadcast_to(np.float32(0), (5, 4)), "it must be a contiguous, writable array"),
        ("exp_avg_sq", [1.0], r"exp_avg_sq of parameter 0 is \[1.0\]; it must be"),
        ("exp_avg_sq", "moments", "exp_avg_sq of parameter 0 is 'moments'"),
        ("exp_avg", np.ones((1, 1), np.float32), r"its exp_avg \(1, 1\) float32"),
        ("exp_avg", np.ones((5, 4)), r"its exp_avg \(5, 4\) float64"),
        ("step", "three", "step of parameter 0 is 'three'"),
        ("step", float("nan"), "step of parameter 0 is nan"),
    ],
)
def test_a_step_refuses_a_state_that_it_cannot_go_on_with(name, value, words):
    p = fm.Parameter(np.ones((5, 4), np.float32))
    optimizer = optim.Adam([p])
    p.grad = np.ones((5, 4), np.float32)
    optimizer.step()
    before = p.data.copy()
    optimizer.state[0][name] = value
    with pytest.raises(ValueError, match=words):
        optimizer.step()
    np.testing.assert_array_equal(p.data, before)


def test_a_gradient_that_cannot_be_written_to_is_clipped_by_nobody():
    p = fm.Parameter(np.ones((5, 4), np.float32))
    p.grad = np.broadcast_to(np.float32(1), (5, 4))
    for clip in (nn.utils.clip_grad_norm_, nn.utils.clip_grad_value_):
        with pytest.raises(ValueError, match=f"{clip.__name__}: a gradient is read-only"):
            clip([p], 1.0)


# --- between epochs --------------------------------------------------------------------------------------------------


def fixed(array: np.ndarray) -> None:
    array.flags.writeable = False


def shifted() -> np.ndarray:
    """100 rows of 12 numbers, each a byte beside the places of its type."""
    return np.frombuffer(bytearray(4801), np.uint8)[1:].view(np.float32).reshape(100, 12)


CHANGES = {  # name -> (what a callback does after the first epoch, words of the sentence)
    "a seed as a text": (lambda m, d, o, l: setattr(m[3], "seed", "a"), "Dropout: seed is 'a'"),
    "a seed below 0": (lambda m, d, o, l: setattr(m[3], "seed", -1), "Dropout: seed is -1"),
    "a seed beyond numbers": (lambda m, d, o, l: setattr(m[3], "seed", 2**70), "Dropout: seed is 118"),
    "a step of a fraction": (lambda m, d, o, l: setattr(m[3], "step", 0.5), "Dropout: step is 0.5"),
    "no layer's number": (lambda m, d, o, l: setattr(m[3], "layer", None), "Dropout: layer is None"),
    "a weight taken away": (lambda m, d, o, l: setattr(m[0], "weight", None), "fit: a Linear has lost its weight"),
    "statistics that are fixed": (
        lambda m, d, o, l: fixed(m[1].running_var), "running_var of a BatchNorm1d is read-only"),
    "statistics taken away": (lambda m, d, o, l: setattr(m[1], "running_mean", None), "running_mean is None"),
    "statistics of another type": (
        lambda m, d, o, l: setattr(m[1], "running_mean", np.zeros(16)), "running_mean of a BatchNorm1d is float64"),
    "whole numbers as statistics": (
        lambda m, d, o, l: setattr(m[1], "running_mean", np.zeros(16, int)), r"running_mean is \(16,\) int64"),
    "a counter as a text": (
        lambda m, d, o, l: setattr(m[1], "num_batches_tracked", np.array("a")), r"num_batches_tracked is \(\) <U1"),
    "many counters": (
        lambda m, d, o, l: setattr(m[1], "num_batches_tracked", np.zeros(3, int)), r"num_batches_tracked is \(3,\)"),
    "a weight that is fixed": (lambda m, d, o, l: fixed(m[0].weight.data), "array of parameter 0 must be contiguous"),
    "a state that is fixed": (lambda m, d, o, l: fixed(o.state[0]["exp_avg"]), "exp_avg of parameter 0 is float32"),
    "no parameters": (lambda m, d, o, l: o.param_groups[0].update(params=None), '"params" of a group holds None'),
    "names as parameters": (
        lambda m, d, o, l: o.param_groups[0].update(params=["a"]), '"params" of a group holds .a.'),
    "parameters twice": (
        lambda m, d, o, l: o.param_groups[0].update(params=o.parameters() * 2), "is in the groups twice"),
    "no groups": (lambda m, d, o, l: setattr(o, "param_groups", None), "param_groups is None"),
    "no state": (lambda m, d, o, l: setattr(o, "state", None), "state is None"),
    "no state of one": (lambda m, d, o, l: o.state.update({0: None}), "it must be a dict of dicts"),
    "a state by name": (lambda m, d, o, l: o.state.update(a=o.state[0]), "it must be a dict of dicts"),
    "another rule": (lambda m, d, o, l: setattr(o, "__class__", optim.RMSprop), "RMSprop: a group has no centered"),
    "a scale as a text": (lambda m, d, o, l: setattr(d, "scale", "a"), "data.scale is 'a'"),
    "no scale": (lambda m, d, o, l: setattr(d, "scale", None), "data.scale is None"),
    "classes as a text": (lambda m, d, o, l: setattr(d, "classes", "a"), "its classes are 'a'"),
    "features without a place": (
        lambda m, d, o, l: setattr(d, "features", shifted()),
        "data.features is not contiguous"),
    "a weight of too few classes": (lambda m, d, o, l: setattr(l, "weight", np.ones(1)), "the weight of the loss is"),
    "a weight as a text": (lambda m, d, o, l: setattr(l, "weight", "abc"), "CrossEntropyLoss: weight is"),
    "a weight of two axes": (lambda m, d, o, l: setattr(l, "weight", np.ones((3, 1))), r"weight is \(3, 1\)"),
    "a smoothing of NaN": (lambda m, d, o, l: setattr(l, "label_smoothing", np.nan), "label_smoothing is nan"),
    "a loss of rows": (lambda m, d, o, l: setattr(l, "reduction", "none"), "reduction is 'none'"),
}  # fmt: skip


@pytest.mark.parametrize("graph", [False, True], ids=["engine", "graph"])
@pytest.mark.parametrize("name", CHANGES)
def test_what_a_callback_breaks_is_refused_before_the_next_epoch(name, graph):
    change, words = CHANGES[name]
    model, rows, loss, seen = net(graph), data(), nn.CrossEntropyLoss([1, 2, 3]), []
    optimizer = optim.Adam(model.parameters())

    def callback(model, history):
        seen.append(history.column("ran_on")[-1])
        if len(history) == 1:
            change(model, rows, optimizer, loss)

    with pytest.raises((ValueError, TypeError), match=words) as raised:
        fm.fit(
            model, rows, optimizer=optimizer, loss=loss, epochs=3, batch_size=20, progress=False, callbacks=[callback]
        )
    assert seen == ["graph" if graph else "engine"]
    assert "\n" not in str(raised.value)


LOSSES = {  # name -> (the loss, what a callback does with it): engine and graph go on alike, to the bit
    "weights that come": (lambda: nn.CrossEntropyLoss(), lambda l: setattr(l, "weight", np.array([1.0, 5.0, 0.5]))),
    "weights that go": (lambda: nn.CrossEntropyLoss([1, 5, 0.5]), lambda l: setattr(l, "weight", None)),
    "a sum": (lambda: nn.CrossEntropyLoss(), lambda l: setattr(l, "reduction", "sum")),
}


@pytest.mark.parametrize("name", LOSSES)
def test_another_form_of_the_loss_is_followed_by_the_engine(name):
    """Its kernels, by address, were those of the loss as it was: weights that came were passed over in silence."""
    states = []
    for graph in (False, True):
        model, make = net(graph), LOSSES[name]
        loss = make[0]()

        def callback(model, history, change=make[1], loss=loss):
            if len(history) == 1:
                change(loss)

        fm.fit(model, data(), loss=loss, epochs=3, batch_size=20, progress=False, callbacks=[callback])
        states.append({key: array.tobytes() for key, array in model.state_dict().items()})
    assert states[0] == states[1]


def test_another_loss_of_the_same_targets_is_followed_by_the_engine():
    states = []
    for graph in (False, True):
        model, loss = net(graph), nn.HuberLoss(delta=0.1)
        rows = fm.Dataset(data().features, np.random.default_rng(1).normal(size=(100, 3)), scale=0.01)

        def callback(model, history, loss=loss):
            force(loss, "__class__", nn.L1Loss)

        fm.fit(model, rows, loss=loss, epochs=2, batch_size=20, progress=False, callbacks=[callback])
        states.append({key: array.tobytes() for key, array in model.state_dict().items()})
    assert states[0] == states[1]


def test_a_model_whose_arrays_are_fixed_is_asked_all_the_same():
    """As joblib hands models to its workers, in read-only memory maps."""
    model = net().eval()
    expected = fm.Predictor(model)(data().features)
    for array in model.state_dict().values():
        fixed(array)
    np.testing.assert_array_equal(fm.Predictor(model)(data().features), expected)
    assert fm.evaluate(model, data()).rows == 100


def test_rows_that_lie_between_the_places_of_their_type_are_copied_before_they_are_read():
    x = shifted()
    x[...] = data().features
    assert not x.flags.aligned
    np.testing.assert_array_equal(fm.Predictor(net())(x), fm.Predictor(net())(data().features))


@pytest.mark.parametrize(("order", "error"), [([100], IndexError), ([-101], IndexError), ([0.5], TypeError)])
def test_rows_for_the_graph_are_those_of_the_data(order, error):
    with pytest.raises(error, match="batches: row"):
        next(batches(data(), np.array(order), [1], np.float32))
    x, y = next(batches(data(), np.array([-1]), [1], np.float32))  # once read before the first row
    np.testing.assert_allclose(x.data[0], data().features[-1] * 0.01, rtol=1e-6)
    assert y[0] == data().labels[-1]
