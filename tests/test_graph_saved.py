"""What nodes save: changes in place are noticed, graphs of any size are walked, memory is given back."""

import gc
import sys
import threading
import weakref

import numpy as np
import pytest
from graphs import leaf, numbers, one_sentence

from fastmlp import Parameter, Tensor, manual_seed, nn, no_grad, ops, optim
from fastmlp.graph import nodes_of


@pytest.fixture(autouse=True)
def seeded():
    """The same initial weights in every run."""
    manual_seed(0)


# --- arrays changed in place between forward and backward ------------------------------------------------------------

ROWS = {"x": (3, 4), "weight": (4,), "bias": (4,)}


def batch_norm(x, weight, bias, training):
    return ops.batch_norm(x, np.zeros(4), np.ones(4), weight, bias, training=training)


# operation: shapes of the inputs, the function, names that backward needs, names that it does not need; y is the result
SAVED = {
    "linear": ({"x": (3, 4), "weight": (2, 4), "bias": (2,)}, ops.linear, "x weight", "bias y"),
    "linear without bias": ({"x": (3, 4), "weight": (2, 4)}, ops.linear, "x weight", "y"),
    "relu": ({"x": (3, 4)}, ops.relu, "y", "x"),
    "tanh": ({"x": (3, 4)}, ops.tanh, "y", "x"),
    "sigmoid": ({"x": (3, 4)}, ops.sigmoid, "y", "x"),
    "silu": ({"x": (3, 4)}, ops.silu, "x", "y"),
    "mish": ({"x": (3, 4)}, ops.mish, "x", "y"),
    "gelu": ({"x": (3, 4)}, ops.gelu, "x", "y"),
    "elu": ({"x": (3, 4)}, ops.elu, "x", "y"),
    "selu": ({"x": (3, 4)}, ops.selu, "x", "y"),
    "softplus": ({"x": (3, 4)}, ops.softplus, "x", "y"),
    "hardtanh": ({"x": (3, 4)}, ops.hardtanh, "x", "y"),
    "dropout": ({"x": (3, 4)}, lambda x: ops.dropout(x, 0.5, seed=1), "", "x y"),
    "batch_norm": (ROWS, lambda x, weight, bias: batch_norm(x, weight, bias, True), "x weight", "bias y"),
    "batch_norm eval": (ROWS, lambda x, weight, bias: batch_norm(x, weight, bias, False), "x weight", "bias y"),
    "log_softmax": ({"z": (3, 4)}, ops.log_softmax, "", "z y"),  # it keeps e^y in an array of its own
    "cross_entropy": ({"z": (3, 4)}, lambda z: ops.cross_entropy(z, [0, 1, 2]), "", "z y"),
    "add": ({"a": (3, 4), "b": (4,)}, lambda a, b: a + b, "", "a b y"),
    "add of one shape": ({"a": (3, 4), "b": (3, 4)}, lambda a, b: a + b, "", "a b y"),
    "sub": ({"a": (3, 4), "b": (4,)}, lambda a, b: a - b, "", "a b y"),
    "mul": ({"a": (3, 4), "b": (4,)}, lambda a, b: a * b, "a b", "y"),
    "div": ({"a": (3, 4), "b": (4,)}, lambda a, b: a / b, "a b", "y"),
    "neg": ({"a": (3, 4)}, lambda a: -a, "", "a y"),
    "pow": ({"a": (3, 4)}, lambda a: a**3, "a", "y"),
    "sum": ({"a": (3, 4)}, lambda a: a.sum(), "", "a y"),
    "mean": ({"a": (3, 4)}, lambda a: a.mean(0), "", "a y"),
    "transpose": ({"a": (3, 4)}, lambda a: a.T, "", "a y"),
    "matmul": ({"a": (3, 4), "b": (4, 2)}, lambda a, b: a @ b, "a b", "y"),
}
NEEDED = [(op, name) for op, (_, _, names, _) in SAVED.items() for name in names.split()]
NOT_NEEDED = [(op, name) for op, (_, _, _, names) in SAVED.items() for name in names.split()]


def through_data(tensor: Tensor, array: np.ndarray) -> None:
    tensor.data[...] = tensor.data + 1


def through_one_number(tensor: Tensor, array: np.ndarray) -> None:
    """The smallest change there is: the last bit of the last number."""
    tensor.data.flat[-1] = np.nextafter(tensor.data.flat[-1], np.inf)


def through_the_callers_array(tensor: Tensor, array: np.ndarray) -> None:
    array += 1


def through_in_place_addition(tensor: Tensor, array: np.ndarray) -> None:
    with no_grad():
        tensor += 1


def through_a_step(tensor: Tensor, array: np.ndarray) -> None:
    """An optimizer that was given the tensor, or for a result a Parameter with the same array."""
    owner = tensor if tensor.is_leaf else Parameter(array if array.flags.c_contiguous else array.T)
    owner.grad = np.ones(owner.shape)
    before = array.copy()
    optim.SGD([owner], lr=1).step()
    assert (array != before).all()
    owner.zero_grad()


WAYS = [through_data, through_one_number, through_the_callers_array, through_in_place_addition, through_a_step]


def run(op: str) -> tuple[dict[str, Tensor], dict[str, np.ndarray]]:
    """The tensors of one operation by name, y among them, and the arrays that the caller made them of."""
    shapes, function, _, _ = SAVED[op]
    arrays = {name: numbers(shape, seed) for seed, (name, shape) in enumerate(shapes.items())}
    tensors = {name: Tensor(array, requires_grad=True) for name, array in arrays.items()}
    tensors["y"] = function(**tensors)
    arrays["y"] = tensors["y"].data
    return tensors, arrays


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("op", "name"), NEEDED)
def test_backward_refuses_when_an_array_it_needs_was_changed(op, name, way):
    tensors, arrays = run(op)
    way(tensors[name], arrays[name])
    with pytest.raises(RuntimeError, match="changed in place") as error:
        tensors["y"].backward(np.ones(tensors["y"].shape))
    one_sentence(error, "Backward", str(tensors[name].shape))
    assert all(tensor.grad is None for tensor in tensors.values())


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("op", "name"), NOT_NEEDED)
def test_backward_runs_when_an_array_it_does_not_need_was_changed(op, name, way):
    expected, _ = run(op)
    expected["y"].backward(np.ones(expected["y"].shape))
    tensors, arrays = run(op)
    way(tensors[name], arrays[name])
    tensors["y"].backward(np.ones(tensors["y"].shape))
    for each in expected.keys() - {"y"}:
        np.testing.assert_array_equal(tensors[each].grad, expected[each].grad)


@pytest.mark.parametrize("op", SAVED)
def test_every_gradient_is_an_array_of_its_own(op):
    tensors, _ = run(op)
    gradient = np.ones(tensors["y"].shape)
    tensors["y"].backward(gradient, retain_graph=True)
    gradients = [tensor.grad for tensor in tensors.values() if tensor.grad is not None]
    others = [tensor.data for tensor in tensors.values()] + list(tensors["y"].grad_fn.saved.values()) + [gradient]
    assert len(gradients) == len(tensors) - 1
    for i, own in enumerate(gradients):
        for other in gradients[:i] + others:
            assert not np.shares_memory(own, other)  # a gradient may be clipped in place


@pytest.mark.parametrize("op", SAVED)
def test_a_node_notices_a_change_in_every_array_it_saved(op):
    tensors, _ = run(op)
    saved = tensors["y"].grad_fn.saved
    for name, array in saved.items():
        before = array.flat[0]
        array.flat[0] += 1
        with pytest.raises(RuntimeError, match=f"{name} .*changed in place"):
            tensors["y"].backward(np.ones(tensors["y"].shape))
        array.flat[0] = before
    tensors["y"].backward(np.ones(tensors["y"].shape))
    assert bool(saved) == (op not in ("dropout", "add", "add of one shape", "sub", "neg", "sum", "mean", "transpose"))


def test_an_array_changed_back_is_accepted():
    x = leaf([1.0, 2.0])
    loss = (x * x).sum()
    x.data[0] = 5
    x.data[0] = 1
    loss.backward()
    np.testing.assert_array_equal(x.grad, [2, 4])


def test_swapped_numbers_are_noticed():
    x = leaf([1.0, 2.0])
    loss = (x * x).sum()
    x.data[:] = [2.0, 1.0]
    with pytest.raises(RuntimeError, match="changed in place"):
        loss.backward()


@pytest.mark.parametrize("which", ["running_mean", "running_var"])
def test_running_statistics_changed_after_evaluation_are_refused(which):
    layer = nn.BatchNorm1d(4).eval()
    y = layer(leaf(numbers((3, 4)), np.float32))
    getattr(layer, which)[0] += 1
    with pytest.raises(RuntimeError, match="NativeBatchNormBackward0"):
        y.sum().backward()


def test_running_statistics_changed_after_a_training_step_are_not_needed():
    layer = nn.BatchNorm1d(4)
    y = layer(leaf(numbers((3, 4)), np.float32))
    layer(Tensor(numbers((3, 4), 1).astype(np.float32)))  # moves them
    y.sum().backward()
    np.testing.assert_array_equal(layer.bias.grad, [3, 3, 3, 3])


def test_labels_changed_after_the_loss_are_refused():
    labels = np.array([0, 1, 2])
    loss = ops.cross_entropy(leaf(numbers((3, 4))), labels)
    labels[0] = 3
    with pytest.raises(RuntimeError, match="labels"):
        loss.backward()


def test_sample_weights_changed_after_the_loss_are_not_needed():
    weights, z, twin = np.array([1.0, 2.0, 3.0]), leaf(numbers((3, 4))), leaf(numbers((3, 4)))
    loss = ops.cross_entropy(z, [0, 1, 2], sample_weight=weights)
    weights[:] = 9
    loss.backward()
    ops.cross_entropy(twin, [0, 1, 2], sample_weight=[1, 2, 3]).backward()
    np.testing.assert_array_equal(z.grad, twin.grad)


def step(model: nn.Module, x: np.ndarray) -> None:
    """One step of SGD on this batch."""
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    model(Tensor(x)).sum().backward()
    optimizer.step()


def test_a_step_between_forward_and_backward_is_refused():
    model, x = nn.MLP(4, [3], 2, activation="tanh"), numbers((5, 4)).astype(np.float32)
    loss = model(Tensor(x)).sum()
    step(model, x)
    with pytest.raises(RuntimeError, match=r"weight \(2, 3\) was changed in place"):
        loss.backward()


def test_a_step_on_one_layer_is_no_matter_because_its_input_wants_no_gradient():
    model, x = nn.Linear(4, 3), numbers((5, 4)).astype(np.float32)
    loss = model(Tensor(x)).sum()
    step(model, x)
    model.zero_grad()
    loss.backward()
    # float32 sums of five numbers of order 1: 1e-6 is ten roundings
    np.testing.assert_allclose(model.weight.grad, np.tile(x.sum(0), (3, 1)), atol=1e-6)


def test_a_constant_factor_is_needed_and_what_it_multiplies_is_not():
    x, factor = leaf([1.0, 2.0]), np.array([3.0, 4.0])
    y = x * factor
    x.data[:] = 9
    factor[:] = 9  # a constant is copied when it becomes a tensor
    y.sum().backward()
    np.testing.assert_array_equal(x.grad, [3, 4])
    constant = Tensor(np.array([3.0, 4.0]))
    y = x * constant
    constant.data[:] = 9
    with pytest.raises(RuntimeError, match="MulBackward0"):
        y.sum().backward()


def test_an_input_that_had_to_be_copied_may_change():
    array = numbers((4, 3))
    x, w = Tensor(array.T, requires_grad=True), leaf(numbers((2, 4), 1))  # not contiguous: the kernel takes a copy
    y = ops.linear(x, w)
    before = array.copy()
    array[:] = 0
    y.sum().backward()
    # sums of three float64 of order 1
    np.testing.assert_allclose(w.grad, np.tile(before.sum(1), (2, 1)), rtol=1e-14)


def test_replacing_the_array_leaves_the_graph_as_it_was():
    x = leaf([1.0, 2.0])
    loss = (x * x).sum()
    x.data = np.array([5.0, 6.0])
    loss.backward()
    np.testing.assert_array_equal(x.grad, [2, 4])


def test_read_only_input_serves():
    array = numbers((3, 4))
    array.flags.writeable = False
    x = Tensor(array, requires_grad=True)
    ops.relu(ops.linear(x, leaf(numbers((2, 4), 1)))).sum().backward()
    assert x.grad.shape == (3, 4)


@pytest.mark.parametrize("operator", ["__iadd__", "__isub__", "__imul__", "__itruediv__"])
def test_in_place_change_of_what_requires_grad_is_refused_while_nodes_are_recorded(operator):
    x = leaf([1.0, 2.0])
    with pytest.raises(RuntimeError, match="no_grad") as error:
        getattr(x, operator)(2)
    one_sentence(error)
    with pytest.raises(RuntimeError, match="no_grad"):
        getattr(Tensor([1.0, 2.0]), operator)(x)
    np.testing.assert_array_equal(x.data, [1, 2])


def test_in_place_change_keeps_the_array_object():
    array = np.array([1.0, 2.0])
    x = Tensor(array)
    x += 1
    x *= Tensor([2.0, 3.0])
    x -= np.array([1.0, 1.0])
    x /= 2
    assert x.data is array
    np.testing.assert_array_equal(array, [1.5, 4])


def test_in_place_change_never_changes_the_dtype():
    x = Tensor([1.0, 2.0])
    x += np.array([0.5, 0.5])
    assert x.dtype == np.float32
    whole = Tensor([1, 2])
    with pytest.raises(TypeError):
        whole += 0.5


# --- size ------------------------------------------------------------------------------------------------------------


def in_a_thread_with_a_small_stack(function) -> None:
    """Runs `function` where a recursion a few thousand frames deep would overflow, and raises what it raised."""
    raised = []

    def guarded() -> None:
        try:
            function()
        except BaseException as error:
            raised.append(error)

    before = threading.stack_size(256 * 1024)
    try:
        thread = threading.Thread(target=guarded)
        thread.start()
    finally:
        threading.stack_size(before)
    thread.join()
    if raised:
        raise raised[0]


def test_deep_chains_run_forward_and_backward_and_are_deleted_without_recursion():
    depth = 20_000
    assert depth > sys.getrecursionlimit()

    def chain() -> None:
        x = leaf([1.0])
        y = x
        for _ in range(depth):
            y = y + 1
        assert y.data[0] == depth + 1
        assert len(nodes_of(y)) == depth + 1
        y.backward()
        assert x.grad[0] == 1
        del y

    in_a_thread_with_a_small_stack(chain)


def test_deep_chains_of_nodes_that_save_are_deleted_too():
    def chain() -> None:
        x = leaf([[1.0]])
        y = x
        for _ in range(10_000):
            y = ops.relu(y)
        first = weakref.ref(y.grad_fn)
        del y  # without a backward: all is still saved
        assert first() is None

    in_a_thread_with_a_small_stack(chain)


def test_paths_are_not_walked_one_by_one():
    x = leaf(1.0)
    y = x
    for _ in range(200):  # 2²⁰⁰ paths
        y = y + y
    y.backward()
    assert x.grad == 2.0**200


def test_a_wide_graph_adds_every_path():
    x, width = leaf([1.0, 2.0]), 2000
    total = x * 0
    for k in range(width):
        total = total + x * k
    total.sum().backward()
    np.testing.assert_array_equal(x.grad, np.full(2, width * (width - 1) / 2))
    assert len(nodes_of(total)) == 2 * width + 2


# --- memory ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def without_gc():
    """Nothing but reference counts: a cycle would stay."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("without_gc")
@pytest.mark.parametrize("backward", [True, False])
def test_nothing_outlives_the_loss(backward):
    model = nn.MLP(4, [3, 3], 2, dropout=0.5, batch_norm=True)
    x = Tensor(numbers((5, 4)).astype(np.float32))
    logits = model(x)
    logits.retain_grad()
    loss = ops.cross_entropy(logits, [0, 1, 0, 1, 0]) + (logits * 0.1).sum()
    nodes = nodes_of(loss)
    watched = [weakref.ref(node) for node in nodes] + [weakref.ref(a) for node in nodes for a in node.saved.values()]
    owned = {id(parameter.data) for parameter in model.parameters()} | {id(x.data)}
    watched = [ref for ref in watched if id(ref()) not in owned]
    assert len(watched) > 30
    if backward:
        loss.backward()
    del nodes, logits, loss
    assert [ref() for ref in watched if ref() is not None] == []


@pytest.mark.usefixtures("without_gc")
def test_backward_frees_the_activations_while_the_loss_lives_on():
    x, w = Tensor(numbers((5, 4))), leaf(numbers((3, 4), 1))
    hidden = ops.relu(ops.linear(x, w))
    loss = (hidden * hidden).sum()
    activation = weakref.ref(hidden.data)
    del hidden
    assert activation() is not None
    loss.backward()
    assert activation() is None


@pytest.mark.usefixtures("without_gc")
def test_a_parameter_forgets_its_graphs():
    w = leaf([1.0])
    node = weakref.ref((w * 2).grad_fn)
    assert node() is None
    assert w.gradient_edge()[0].variable is w
