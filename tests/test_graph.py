"""`fastmlp.graph`, `operation` and `arithmetic`: nodes and their edges, the walk back, what a node saves and guards."""

import gc
import sys
import threading
import weakref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import fastmlp as fm
from fastmlp import AccumulateGrad, Parameter, Tensor, is_grad_enabled, manual_seed, nn, no_grad, ops, optim
from fastmlp.graph import nodes_of


@pytest.fixture(autouse=True)
def seeded():
    """The same initial weights in every run."""
    manual_seed(0)


def leaf(value, dtype=np.float64) -> Tensor:
    """A float64 leaf that wants a gradient."""
    return Tensor(np.array(value, dtype), requires_grad=True)


def numbers(shape, seed: int = 0) -> np.ndarray:
    """Seeded normal numbers, float64."""
    return np.random.default_rng(seed).normal(size=shape)


def edge_names(node) -> list:
    """The names of the nodes that the edges lead to; None for an edge that leads nowhere."""
    return [None if below is None else below.name() for below, _ in node.next_functions]


def one_sentence(error: pytest.ExceptionInfo, *words: str) -> None:
    """The message is one line that contains these words."""
    message = str(error.value)
    assert message
    assert "\n" not in message
    for word in words:
        assert word in message


# --- names and edges -------------------------------------------------------------------------------------------------


def test_a_chain_has_the_names_and_edges_that_pytorch_shows():
    a = leaf([1.0, 2.0])
    b = a * 2
    c = b + 1
    assert c.grad_fn.name() == "AddBackward0"
    assert c.grad_fn.next_functions == ((b.grad_fn, 0), (None, 0))
    assert b.grad_fn.name() == "MulBackward0"
    assert edge_names(b.grad_fn) == ["AccumulateGrad", None]
    assert b.grad_fn.next_functions[0][0].variable is a
    assert isinstance(b.grad_fn.next_functions[0][0], AccumulateGrad)
    assert b.grad_fn.next_functions[0][0].next_functions == ()


def test_the_edge_of_a_constant_on_the_left_comes_first_where_the_order_matters():
    a = leaf([1.0, 2.0])
    assert edge_names((2 - a).grad_fn) == [None, "AccumulateGrad"]
    assert edge_names((2 / a).grad_fn) == [None, "AccumulateGrad"]
    assert edge_names((np.eye(2) @ a).grad_fn) == [None, "AccumulateGrad"]
    assert edge_names((2 * a).grad_fn) == ["AccumulateGrad", None]  # PyTorch, too, makes it a * 2
    assert edge_names((2 + a).grad_fn) == ["AccumulateGrad", None]


def test_x_times_x_keeps_two_edges_to_one_node():
    x = leaf(3.0)
    first, second = (x * x).grad_fn.next_functions
    assert first == second
    assert first[0].variable is x
    assert first[1] == 0


def test_edges_keep_the_order_of_the_operands():
    a, b = leaf([1.0]), leaf([2.0])
    assert [below.variable for below, _ in (a - b).grad_fn.next_functions] == [a, b]
    assert [below.variable for below, _ in (b - a).grad_fn.next_functions] == [b, a]


def test_a_leaf_has_one_accumulate_grad_as_long_as_a_graph_leads_to_it():
    x = leaf(3.0)
    y, z = x * 2, x * 3
    assert y.grad_fn.next_functions[0][0] is z.grad_fn.next_functions[0][0]


def test_a_classifier_has_the_nodes_and_edges_of_pytorch():
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    loss = ops.cross_entropy(model(Tensor(np.ones((5, 4), np.float32))), [0, 1, 0, 1, 0])
    nll = loss.grad_fn
    log_softmax = nll.next_functions[0][0]
    second = log_softmax.next_functions[0][0]
    relu = second.next_functions[1][0]
    first = relu.next_functions[0][0]
    assert nll.name() == "NllLossBackward0"
    assert edge_names(nll) == ["LogSoftmaxBackward0"]
    assert edge_names(log_softmax) == ["AddmmBackward0"]
    assert edge_names(second) == ["AccumulateGrad", "ReluBackward0", "TBackward0"]
    assert edge_names(relu) == ["AddmmBackward0"]
    assert edge_names(first) == ["AccumulateGrad", None, "TBackward0"]  # x wants no gradient
    assert second.next_functions[0][0].variable is model[2].bias
    assert second.next_functions[2][0].next_functions[0][0].variable is model[2].weight
    assert first.next_functions[0][0].variable is model[0].bias
    assert first.next_functions[2][0].next_functions[0][0].variable is model[0].weight


def test_a_linear_layer_without_bias_is_one_product():
    layer = nn.Linear(4, 3, bias=False)
    y = layer(Tensor(np.ones((2, 4), np.float32)))
    assert y.grad_fn.name() == "MmBackward0"
    assert edge_names(y.grad_fn) == [None, "TBackward0"]


def test_nodes_name_their_equation_and_what_they_saved():
    x, w = leaf(numbers((2, 3))), leaf(numbers((4, 3)))
    node = ops.linear(x, w).grad_fn
    assert "dw = xᵀ dy" in node.equation
    assert {"x", "weight"} <= node.saved.keys()
    assert repr(node).startswith("<MmBackward0 object at 0x")


def test_nodes_of_lists_each_node_once_youngest_first_and_leaves_last():
    a, b = leaf([1.0]), leaf([2.0])
    c = a * b
    d = c + a
    e = d * c
    names = [node.name() for node in nodes_of(e)]
    assert names == ["MulBackward0", "AddBackward0", "MulBackward0", "AccumulateGrad", "AccumulateGrad"]
    assert nodes_of(e)[0] is e.grad_fn
    assert nodes_of(e)[2] is c.grad_fn
    assert {node.variable for node in nodes_of(e)[3:]} == {a, b}


def test_nodes_of_runs_every_node_after_all_that_it_feeds():
    model = nn.MLP(4, [3, 3], 2, batch_norm=True)
    loss = ops.cross_entropy(model(Tensor(numbers((5, 4)).astype(np.float32))), [0, 1, 0, 1, 0])
    place = {id(node): i for i, node in enumerate(nodes_of(loss))}
    edges = [(node, below) for node in nodes_of(loss) for below, _ in node.next_functions if below is not None]
    assert len(edges) > 15
    assert all(place[id(node)] < place[id(below)] for node, below in edges)


def test_nodes_of_a_tensor_outside_any_graph_is_empty():
    assert nodes_of(Tensor([1.0])) == []
    assert [node.name() for node in nodes_of(leaf(1.0))] == ["AccumulateGrad"]


# --- leaves and requires_grad ----------------------------------------------------------------------------------------


def test_leaves_are_what_no_recorded_operation_made():
    a, x = leaf([1.0]), Tensor([1.0])
    assert a.is_leaf
    assert x.is_leaf
    assert Parameter([1.0]).is_leaf
    assert (x * 2).is_leaf
    assert not (a * 2).is_leaf
    with no_grad():
        assert (a * 2).is_leaf


def test_requires_grad_passes_from_any_input_to_the_result():
    a, x = leaf([1.0]), Tensor(np.ones(1))
    assert (a * x).requires_grad
    assert (x * a).requires_grad
    assert not (x * x).requires_grad
    assert (x * x).grad_fn is None


def test_requires_grad_of_a_leaf_can_be_switched():
    x = Tensor([1.0])
    x.requires_grad = True
    assert (x * 2).requires_grad
    x.requires_grad = False
    assert not (x * 2).requires_grad


def test_requires_grad_of_a_result_cannot_be_switched_off():
    y = leaf([1.0]) * 2
    with pytest.raises(RuntimeError, match="detach") as error:
        y.requires_grad = False
    one_sentence(error)


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, bool, np.float16])
def test_only_float32_and_float64_have_gradients(dtype):
    with pytest.raises(ValueError, match=np.dtype(dtype).name) as error:
        Tensor(np.ones(2, dtype), requires_grad=True)
    one_sentence(error, "float32", "float64")


def test_a_frozen_parameter_gets_no_gradient_and_no_edge():
    w, v = Parameter([1.0, 2.0]), Parameter([3.0, 4.0])
    w.requires_grad = False
    loss = (w * v).sum()
    assert edge_names(loss.grad_fn.next_functions[0][0]) == [None, "AccumulateGrad"]
    loss.backward()
    assert w.grad is None
    np.testing.assert_array_equal(v.grad, [1, 2])


# --- no_grad, detach, retain_grad ------------------------------------------------------------------------------------


def test_no_grad_records_nothing_within_the_block_and_restores_after_it():
    a = leaf([1.0])
    with no_grad():
        assert not is_grad_enabled()
        assert not (a * 2).requires_grad
        with no_grad():
            pass
        assert not is_grad_enabled()
    assert is_grad_enabled()
    assert (a * 2).requires_grad


def test_no_grad_restores_after_an_exception():
    with pytest.raises(KeyError), no_grad():
        raise KeyError
    assert is_grad_enabled()


def test_no_grad_decorates_a_function_for_every_call():
    @no_grad()
    def double(x: Tensor) -> Tensor:
        return x * 2

    a = leaf([1.0])
    assert not double(a).requires_grad
    assert not double(a).requires_grad
    assert is_grad_enabled()


def test_no_grad_holds_for_its_own_thread_only():
    seen = []
    with no_grad():
        other = threading.Thread(target=lambda: seen.append(is_grad_enabled()))
        other.start()
        other.join()
    assert seen == [True]


def test_threads_build_and_walk_graphs_side_by_side():
    failures = []

    def work(seed: int) -> None:
        a = leaf(np.arange(50.0) + seed)  # whole numbers: no rounding
        for _ in range(20):
            a.zero_grad()
            (a * a + a).sum().backward()
            if not np.array_equal(a.grad, 2 * a.data + 1):
                failures.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_detach_shares_the_numbers_and_leaves_the_graph():
    a = leaf([1.0, 2.0])
    b = a * 2
    c = b.detach()
    assert c.data is b.data
    assert c.is_leaf
    assert not c.requires_grad
    (b * c).sum().backward()
    np.testing.assert_array_equal(a.grad, 2 * c.data)  # c counts as a constant


def test_retain_grad_fills_the_gradient_of_a_result():
    a = leaf([1.0, 2.0])
    b = a * 3
    b.retain_grad()
    c = b * b
    (c + b).sum().backward()
    np.testing.assert_array_equal(b.grad, 2 * b.data + 1)  # both paths have met
    np.testing.assert_array_equal(a.grad, 3 * b.grad)
    assert c.grad is None


def test_a_retained_gradient_is_an_array_of_its_own_and_adds_up():
    a = leaf([1.0, 2.0])
    b = a + 0
    b.retain_grad()
    b.sum().backward()
    b.grad[...] = 7
    np.testing.assert_array_equal(a.grad, [1, 1])
    b.sum().backward()
    np.testing.assert_array_equal(b.grad, [8, 8])


def test_retain_grad_of_a_leaf_changes_nothing_and_of_a_constant_is_refused():
    a = leaf([1.0])
    a.retain_grad()
    a.sum().backward()
    np.testing.assert_array_equal(a.grad, [1])
    with pytest.raises(RuntimeError, match="requires_grad False") as error:
        Tensor([1.0]).retain_grad()
    one_sentence(error)


# --- backward --------------------------------------------------------------------------------------------------------


def test_a_tensor_used_twice_gets_the_sum_of_both_gradients():
    x = leaf(3.0)
    (x * x).backward()
    assert x.grad == 6
    y = leaf([1.0, 2.0])
    (y * 3 + y * 4).sum().backward()
    np.testing.assert_array_equal(y.grad, [7, 7])


def test_gradients_of_two_backwards_add_up_until_zero_grad():
    x = leaf([1.0, 2.0])
    (x * 3).sum().backward()
    (x * 4).sum().backward()
    np.testing.assert_array_equal(x.grad, [7, 7])
    x.zero_grad()
    assert x.grad is None
    (x * 4).sum().backward()
    np.testing.assert_array_equal(x.grad, [4, 4])


def test_a_leaf_is_its_own_graph():
    x = leaf(3.0)
    x.backward()
    assert x.grad == 1


@pytest.mark.parametrize("function", [lambda x: x * x, lambda x: x**2, lambda x: -x, lambda x: x + x, lambda x: x.T])
def test_the_gradient_of_one_number_is_an_array_of_its_shape_and_dtype(function):
    x = leaf(3.0, np.float32)
    for _ in range(2):
        function(x).backward()
        assert isinstance(x.grad, np.ndarray)  # and no NumPy scalar, which nothing can be written to
        assert x.grad.shape == ()
        assert x.grad.dtype == np.float32


def test_a_second_backward_is_refused_in_words_and_works_where_the_graph_was_retained():
    x = leaf([1.0, 2.0])
    loss = (x * x).sum()
    loss.backward(retain_graph=True)
    loss.backward()
    np.testing.assert_array_equal(x.grad, 4 * x.data)
    with pytest.raises(RuntimeError, match="retain_graph=True") as error:
        loss.backward()
    one_sentence(error, "MulBackward0", "freed")
    np.testing.assert_array_equal(x.grad, 4 * x.data)  # the refusal left it


def test_nodes_that_save_nothing_run_again():
    x = leaf([1.0])
    loss = (x + 1).sum()
    loss.backward()
    loss.backward()
    np.testing.assert_array_equal(x.grad, [2])


def test_two_losses_may_share_a_retained_graph():
    x = leaf([1.0, 2.0])
    shared = x * x
    one, two = shared.sum(), (shared * 3).sum()
    one.backward(retain_graph=True)
    two.backward()
    np.testing.assert_array_equal(x.grad, 8 * x.data)


def test_backward_frees_what_the_nodes_saved_unless_retained():
    x = leaf([1.0, 2.0])
    y = x * x
    y.sum().backward(retain_graph=True)
    assert y.grad_fn.saved
    y.sum().backward()
    assert not y.grad_fn.saved


def test_several_numbers_need_a_gradient():
    y = leaf([1.0, 2.0]) * 2
    with pytest.raises(RuntimeError, match="pass gradient=") as error:
        y.backward()
    one_sentence(error, "(2,)")


@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
def test_one_number_of_any_shape_needs_none(shape):
    x = leaf(np.full(shape, 3.0))
    (x * 2).backward()
    np.testing.assert_array_equal(x.grad, np.full(shape, 2))


@pytest.mark.parametrize("gradient", [[1, 10], np.array([1, 10], np.int8), Tensor([1.0, 10.0])])
def test_the_given_gradient_may_be_a_list_an_array_or_a_tensor(gradient):
    x = leaf([1.0, 2.0])
    (x * 3).backward(gradient)
    np.testing.assert_array_equal(x.grad, [3, 30])
    assert x.grad.dtype == np.float64


def test_the_given_gradient_is_copied():
    x, gradient = leaf([1.0, 2.0]), np.ones(2)
    x.backward(gradient)
    gradient[:] = 5
    np.testing.assert_array_equal(x.grad, [1, 1])


@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 1)])
def test_a_gradient_of_another_shape_is_refused(shape):
    y = leaf([1.0, 2.0]) * 2
    with pytest.raises(ValueError, match="gradient") as error:
        y.backward(np.ones(shape))
    one_sentence(error, str(shape), "(2,)")


def test_backward_of_a_constant_is_refused():
    with pytest.raises(RuntimeError, match="does not require grad") as error:
        Tensor(1.0).backward()
    one_sentence(error)


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_gradient_of_either_memory_order_gives_the_same(order):
    for function in (ops.relu, ops.tanh, lambda x: ops.dropout(x, 0.5, seed=3), lambda x: x * x):
        x, twin = leaf(numbers((2, 3, 4))), leaf(numbers((2, 3, 4)))
        gradient = numbers((2, 3, 4), 1)
        function(x).backward(np.array(gradient, order=order))
        (function(twin) * gradient).sum().backward()
        np.testing.assert_array_equal(x.grad, twin.grad)


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


@pytest.mark.parametrize("depth", [10_000, 100_000])
def test_deep_chains_run_forward_and_backward_and_are_deleted_without_recursion(depth):
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


# --- arithmetic ------------------------------------------------------------------------------------------------------

BINARY = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
}


def slopes(function, arrays: list[np.ndarray], i: int) -> np.ndarray:
    """d function / d arrays[i], entry by entry, from central differences in float64."""
    step, result = 6e-6, np.empty_like(arrays[i])  # eps^(1/3): truncation and rounding are of one size
    for at in np.ndindex(arrays[i].shape):
        values = []
        for sign in (1, -1):
            moved = [array.copy() for array in arrays]
            moved[i][at] += sign * step
            values.append(function(*moved))
        result[at] = (values[0] - values[1]) / (2 * step)
    return result


def assert_gradients(function, *arrays: np.ndarray) -> None:
    """The gradients of Σ r y against differences, for random r; NaN fails."""
    tensors = [Tensor(array, requires_grad=True) for array in arrays]
    y = function(*tensors)
    r = numbers(y.shape, 99)
    y.backward(r)
    for i, tensor in enumerate(tensors):
        expected = slopes(lambda *moved: float((function(*map(Tensor, moved)).data * r).sum()), list(arrays), i)
        assert tensor.grad.shape == tensor.shape
        # numbers of order 1 to 10 over a step of 6e-6: rounding 1e-16 / 6e-6 ~ 2e-11 a term, truncation of that size
        np.testing.assert_allclose(tensor.grad, expected, rtol=1e-7, atol=1e-7)


def away_from_zero(array: np.ndarray) -> np.ndarray:
    return np.where(array >= 0, array + 0.5, array - 0.5)


@pytest.mark.parametrize("op", BINARY)
@given(shapes=hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=3, max_side=3))
@settings(deadline=None, max_examples=15)
def test_broadcast_arithmetic_agrees_with_differences(op, shapes):
    a, b = (away_from_zero(numbers(shape, seed)) for seed, shape in enumerate(shapes.input_shapes))
    assert_gradients(BINARY[op], a, b)


@pytest.mark.parametrize("dim", [None, 0, 1, -1, (0, 2), (-1, 0)])
@pytest.mark.parametrize("keepdim", [False, True])
@pytest.mark.parametrize("name", ["sum", "mean"])
def test_sum_and_mean_agree_with_numpy_and_differences(name, dim, keepdim):
    a = numbers((2, 3, 4))
    y = getattr(Tensor(a), name)(dim, keepdim)
    np.testing.assert_array_equal(y.data, getattr(a, name)(axis=dim, keepdims=keepdim))
    assert_gradients(lambda t: getattr(t, name)(dim, keepdim), a)


@pytest.mark.parametrize(
    ("left", "right", "shape"), [((3, 4), (4, 2), (3, 2)), ((3, 4), (4,), (3,)), ((4,), (4, 2), (2,)), ((4,), (4,), ())]
)
def test_products_of_matrices_and_vectors(left, right, shape):
    a, b = numbers(left), numbers(right, 1)
    y = Tensor(a) @ Tensor(b)
    assert y.shape == shape
    # the tile adds in another order than NumPy: four float64 terms of order 1
    np.testing.assert_allclose(y.data, a @ b, rtol=1e-13, atol=1e-14)
    assert_gradients(lambda s, t: s @ t, a, b)


@pytest.mark.parametrize("shapes", [((0, 4), (4, 2)), ((3, 0), (0, 2)), ((3, 4), (4, 0))])
def test_products_of_empty_matrices(shapes):
    a, b = leaf(np.ones(shapes[0])), leaf(np.ones(shapes[1]))
    y = a @ b
    np.testing.assert_array_equal(y.data, a.data @ b.data)
    y.sum().backward()
    np.testing.assert_array_equal(a.grad, np.zeros(a.shape) + b.data.sum(1))
    np.testing.assert_array_equal(b.grad, np.zeros(b.shape) + a.data.sum(0)[:, None])


@pytest.mark.parametrize("exponent", [0, 1, 2, 3, -1, 0.5, np.float64(2), np.int64(2)])
def test_powers(exponent):
    a = np.abs(away_from_zero(numbers((2, 3))))
    np.testing.assert_allclose((Tensor(a) ** exponent).data, a**exponent, rtol=1e-15)  # the same NumPy call
    assert_gradients(lambda t: t**exponent, a)


def test_transpose_and_negation():
    a = numbers((2, 3))
    np.testing.assert_array_equal(Tensor(a).T.data, a.T)
    assert_gradients(lambda t: t.T, a)
    assert_gradients(lambda t: -t, a)
    with pytest.raises(ValueError, match=r"T: the tensor is \(2, 3, 4\)") as error:
        Tensor(numbers((2, 3, 4))).T  # noqa: B018
    one_sentence(error)


def test_arithmetic_by_hand():
    a, b = leaf([[1.0, 2.0], [3.0, 4.0]]), leaf([10.0, 20.0])
    y = (a * b - a) / b + 2**1 * a**2
    np.testing.assert_array_equal(y.data, [[2.9, 9.9], [20.7, 35.8]])
    y.sum().backward()
    # dy/da = 1 - 1/b + 4a,  dy/db = Σ a / b²; the last digit of a sum may differ
    np.testing.assert_allclose(a.grad, [[4.9, 8.95], [12.9, 16.95]], rtol=1e-15)
    np.testing.assert_allclose(b.grad, [0.04, 0.015], rtol=1e-13)


@pytest.mark.parametrize("constant", [2, 2.5, True, np.float32(2.5), np.float64(2.5), np.int64(2)])
@pytest.mark.parametrize("op", BINARY)
def test_a_number_on_either_side_takes_the_dtype_of_the_tensor(op, constant):
    a = np.array([1.0, -2.0], np.float32)
    tensor, number = Tensor(a, requires_grad=True), np.float32(constant)
    for y, expected in (
        (BINARY[op](tensor, constant), BINARY[op](a, number)),
        (BINARY[op](constant, tensor), BINARY[op](number, a)),
    ):
        assert isinstance(y, Tensor)
        assert y.dtype == np.float32
        np.testing.assert_array_equal(y.data, expected)
        y.sum().backward()
        assert tensor.grad.dtype == np.float32


@pytest.mark.parametrize("op", BINARY)
def test_a_numpy_array_on_the_left_asks_the_tensor(op):
    array, tensor = np.array([[1.0, 2.0], [3.0, 4.0]]), leaf([2.0, 4.0])
    y = BINARY[op](array, tensor)
    assert isinstance(y, Tensor)
    assert y.requires_grad
    np.testing.assert_array_equal(y.data, BINARY[op](array, tensor.data))
    assert_gradients(lambda t: BINARY[op](array, t), tensor.data)


def test_a_numpy_matrix_on_either_side_of_a_product():
    m, tensor = numbers((2, 2)), leaf([2.0, 4.0])
    for y, expected in ((m @ tensor, m @ tensor.data), (tensor @ m, tensor.data @ m)):
        assert isinstance(y, Tensor)
        assert y.requires_grad
        # two terms, perhaps with a fused multiply-add
        np.testing.assert_allclose(y.data, expected, rtol=1e-14)


def test_a_list_is_a_constant_too():
    np.testing.assert_array_equal((Tensor([1.0, 2.0]) * [3, 4]).data, [3, 8])


@given(value=st.floats(-1e30, 1e30))  # beyond that the product overflows, and NumPy warns
@settings(deadline=None, max_examples=30)
def test_whole_number_tensors_become_float32_beside_a_fraction(value):
    y = Tensor([1, 2]) * value
    assert y.dtype == np.float32


def test_whole_number_tensors_stay_whole_beside_whole_numbers():
    t = Tensor([1, 2])
    assert t.dtype == np.int64
    assert not t.requires_grad
    for y, expected in ((t + 1, [2, 3]), (3 - t, [2, 1]), (t * t, [1, 4]), (-t, [-1, -2]), (t**2, [1, 4])):
        assert y.dtype == np.int64
        np.testing.assert_array_equal(y.data, expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64])
def test_a_fraction_of_whole_numbers_is_float32(dtype):
    t = Tensor(np.array([1, 2], dtype))
    for y, expected in ((t / 2, [0.5, 1]), (t / t, [1, 1]), (2 / t, [2, 1]), (t**0.5, [1, np.sqrt(np.float32(2))])):
        assert y.dtype == np.float32
        np.testing.assert_array_equal(y.data, expected)


def test_division_by_zero_gives_infinity_and_its_gradient_in_silence():
    a, b = leaf([1.0]), leaf([0.0])
    y = a / b
    assert y.data[0] == np.inf
    y.backward([1.0])
    assert a.grad[0] == np.inf
    assert b.grad[0] == -np.inf
    z = leaf([0.0])
    (z**-1).backward([1.0])
    assert z.grad[0] == -np.inf


@pytest.mark.parametrize("other", ["a", None, 1j, object(), [None], {}])
@pytest.mark.parametrize("op", BINARY)
def test_what_is_no_number_is_refused_on_either_side(op, other):
    for operands in ((Tensor([1.0]), other), (other, Tensor([1.0]))):
        with pytest.raises(TypeError) as error:
            BINARY[op](*operands)
        one_sentence(error, type(other).__name__)


@pytest.mark.parametrize("op", BINARY)
def test_two_tensors_of_different_dtypes_are_refused(op):
    with pytest.raises(TypeError) as error:
        BINARY[op](Tensor([1.0]), Tensor(np.ones(1)))
    one_sentence(error, "float32", "float64")


def test_shapes_that_do_not_broadcast_are_refused():
    with pytest.raises(ValueError, match=r"\(2,\).*\(3,\)"):
        Tensor([1.0, 2.0]) + Tensor([1.0, 2.0, 3.0])


def test_products_refuse_shapes_and_dtypes_that_do_not_fit():
    with pytest.raises(ValueError, match=r"@: shapes are \(2, 3\) and \(2, 3\)") as error:
        Tensor(np.ones((2, 3))) @ Tensor(np.ones((2, 3)))
    one_sentence(error)
    with pytest.raises(ValueError, match="@: shapes"):
        Tensor(np.ones((2, 3))) @ 2
    with pytest.raises(TypeError, match="@: dtypes are int64"):
        Tensor([1, 2]) @ Tensor([1, 2])


def test_an_exponent_must_be_a_number():
    for exponent in ("2", Tensor(2.0), None, 1j):
        with pytest.raises(TypeError, match=r"\*\*: the exponent is") as error:
            Tensor([1.0]) ** exponent
        one_sentence(error, type(exponent).__name__)


def test_the_mean_of_whole_numbers_is_refused():
    with pytest.raises(TypeError, match="mean: the tensor is int64") as error:
        Tensor([1, 2]).mean()
    one_sentence(error)


# --- tensors ---------------------------------------------------------------------------------------------------------


def test_an_array_is_taken_as_it_is_and_python_floats_become_float32():
    array = np.ones(3)
    assert Tensor(array).data is array
    assert Tensor([1.0]).dtype == np.float32
    assert Tensor(1.0).shape == ()
    assert Tensor([1, 2]).dtype == np.int64
    assert Tensor(np.float64(1)).dtype == np.float64
    assert Tensor([1.0], dtype=np.float64).dtype == np.float64
    assert Tensor(np.ones(2, ">f4")).dtype == np.float32


@pytest.mark.parametrize("data", ["a", None, 1j, [object()], np.array(["2020"], "M8[Y]"), np.ones(1, np.longdouble)])
def test_data_that_are_no_numbers_are_refused(data):
    with pytest.raises(TypeError, match="Tensor: data has dtype") as error:
        Tensor(data)
    one_sentence(error)


def test_a_parameter_requires_grad_is_contiguous_and_keeps_its_shape():
    assert Parameter([1.0]).requires_grad
    assert Parameter(numbers((3, 4)).T).data.flags.c_contiguous
    assert Parameter(2.0).shape == ()
    array = np.ones((2, 2))
    assert Parameter(array).data is array


def test_item_gives_the_one_number():
    assert Tensor([[3.5]]).item() == 3.5
    assert isinstance(Tensor(3).item(), int)
    assert isinstance(leaf(3.5).item(), float)
    with pytest.raises(ValueError, match=r"item: the tensor has shape \(2,\)") as error:
        Tensor([1.0, 2.0]).item()
    one_sentence(error)


def test_repr_shows_the_numbers_the_dtype_and_the_node():
    a = Tensor([[1.0, 2.0], [3.0, 4.5]])
    assert repr(a) == "tensor([[1. , 2. ],\n        [3. , 4.5]])"
    assert repr(Tensor([1, 2])) == "tensor([1, 2])"
    assert repr(leaf(2.0)) == "tensor(2., dtype=float64, requires_grad=True)"
    assert repr(leaf([2.0], np.float32) * 2) == "tensor([4.], grad_fn=<MulBackward0>)"
    assert repr(Parameter([2.0])) == "Parameter containing:\ntensor([2.], requires_grad=True)"


def test_numpy_is_refused_for_what_requires_grad():
    x = leaf([1.0])
    for use in (x.numpy, lambda: np.asarray(x)):
        with pytest.raises(RuntimeError, match="detach") as error:
            use()
        one_sentence(error)
    assert x.detach().numpy() is x.data
    np.testing.assert_array_equal(np.asarray(Tensor([1, 2])), [1, 2])
    assert np.array(Tensor([1, 2]), dtype=np.float32).dtype == np.float32


def test_len_counts_rows():
    assert len(Tensor(np.ones((3, 2)))) == 3
    with pytest.raises(TypeError, match="no axes"):
        len(Tensor(1.0))


def test_the_public_names_are_there():
    for name in ("Tensor", "Parameter", "Node", "AccumulateGrad", "no_grad", "is_grad_enabled", "manual_seed"):
        assert name in dir(fm)
