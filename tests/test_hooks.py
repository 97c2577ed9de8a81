"""Hooks of tensors and nodes: what they see, what they may return, and that it is PyTorch's way."""

import copy

import numpy as np
import pytest

import fastmlp as fm


def square(value=(1.0, 2.0)):
    x = fm.Tensor(np.array(value), requires_grad=True)
    return x, x * x


def test_a_tensor_hook_sees_all_paths_added_up_and_may_replace_the_gradient():
    x, y = square()
    seen = []
    y.register_hook(lambda grad: seen.append(grad.copy()))
    handle = y.register_hook(lambda grad: grad * 10)
    (y + y * 2).sum().backward()
    np.testing.assert_array_equal(seen, [[3, 3]])
    np.testing.assert_array_equal(x.grad, 30 * 2 * x.data)
    handle.remove()
    handle.remove()  # a second time does nothing
    x.zero_grad()
    y = x * x
    y.sum().backward()
    np.testing.assert_array_equal(x.grad, 2 * x.data)


def test_a_hook_of_a_leaf_runs_before_grad_is_filled():
    x, y = square()
    held = np.array([7.0, 8.0])
    x.register_hook(lambda grad: held)
    y.sum().backward()
    np.testing.assert_array_equal(x.grad, held)
    assert x.grad is not held
    copied = copy.deepcopy(x)
    copied.zero_grad()
    (copied * 1).sum().backward()
    np.testing.assert_array_equal(copied.grad, [1, 1])  # a copy has no hooks


def test_a_hook_that_is_registered_twice_is_two_hooks():
    x, y = square()
    double = lambda grad: grad * 2  # noqa: E731
    first, _ = y.register_hook(double), y.register_hook(double)
    first.remove()
    y.sum().backward()
    np.testing.assert_array_equal(x.grad, 2 * 2 * x.data)


def test_hooks_agree_with_pytorch():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed; `make test-peers` installs it")
    results = []
    for tensor in (fm.Tensor(np.array([1.0, 2.0]), requires_grad=True), torch.tensor([1.0, 2.0], requires_grad=True)):
        y = tensor * tensor
        y.register_hook(lambda grad: grad * 3)
        y.register_hook(lambda grad: grad + 1)
        tensor.register_hook(lambda grad: grad * 0.5)
        (y * y).sum().backward()
        results.append(np.asarray(tensor.grad))
    np.testing.assert_allclose(*results, rtol=1e-6)  # PyTorch's are float32


@pytest.mark.parametrize(
    ("returned", "error", "words"),
    [
        (3, TypeError, "a hook returned int; it must be an array or None"),
        ("a", TypeError, "a hook returned str"),
        (np.zeros(3), ValueError, r"a hook returned the shape \(3,\); the gradient is \(2,\)"),
        (np.zeros(2, np.float32), TypeError, "a hook returned float32; the gradient is float64"),
    ],
)
def test_what_a_tensor_hook_returns_is_checked(returned, error, words):
    x, y = square()
    y.register_hook(lambda grad: returned)
    with pytest.raises(error, match=words):
        y.sum().backward()
    assert x.grad is None


@pytest.mark.parametrize(
    ("returned", "error", "words"),
    [
        ((), ValueError, "a hook returned 0 gradients; the node has 2 edges"),
        (np.zeros(2), TypeError, "a hook returned ndarray; it must be a tuple or None"),
        ((np.zeros(3), None), ValueError, "the shape"),
        (("a", None), TypeError, "a hook returned str"),
    ],
)
def test_what_a_node_hook_returns_is_checked(returned, error, words):
    x, y = square()
    y.grad_fn.register_hook(lambda sent, arrived: returned)
    with pytest.raises(error, match=f"MulBackward0: .*{words}"):
        y.sum().backward()
    assert x.grad is None


@pytest.mark.parametrize("hook", [None, 3, "s"])
def test_a_hook_must_be_a_function(hook):
    x, y = square()
    for register in (x.register_hook, y.register_hook, y.grad_fn.register_hook):
        with pytest.raises(TypeError, match=r"register_hook: hook is .*; it must be a function"):
            register(hook)
    with pytest.raises(RuntimeError, match="requires_grad False"):
        fm.Tensor(np.ones(2)).register_hook(lambda grad: None)


@pytest.mark.parametrize(
    ("gradient", "error"), [("abc", TypeError), (object(), TypeError), ([[1], [1, 2]], ValueError), (1j, TypeError)]
)
def test_a_gradient_that_is_no_numbers_is_refused_by_its_name(gradient, error):
    _, y = square()
    with pytest.raises(error, match=r"^backward: gradient is "):
        y.backward(gradient=gradient)
