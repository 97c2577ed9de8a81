"""`+ - * / @`, sums, means and views on the graph; tensors themselves."""

import numpy as np
import pytest
from graphs import leaf, numbers, one_sentence
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import fastmlp as fm
from fastmlp import Parameter, Tensor, manual_seed


@pytest.fixture(autouse=True)
def seeded():
    """The same initial weights in every run."""
    manual_seed(0)


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
