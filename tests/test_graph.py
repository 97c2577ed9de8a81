"""Nodes and their edges, leaves, switches, and the walk back."""

import threading

import numpy as np
import pytest
from graphs import edge_names, leaf, numbers, one_sentence

from fastmlp import AccumulateGrad, Parameter, Tensor, is_grad_enabled, manual_seed, nn, no_grad, ops
from fastmlp.graph import nodes_of


@pytest.fixture(autouse=True)
def seeded():
    """The same initial weights in every run."""
    manual_seed(0)


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
