"""`to_torch` and `from_torch`: PyTorch's model says the same of 1,000 digits, and the same bits come back."""

import copy
from collections import OrderedDict

import contract
import numpy as np
import pytest

import fastmlp as fm
from fastmlp import nn

torch = pytest.importorskip(
    "torch", reason="PyTorch is not installed; `make test-peers` installs it and runs this file"
)
Linear = torch.nn.Linear

NEAR = {np.float32: 1e-5, np.float64: 1e-12}  # sums of 64 terms, each rounded at 6e-8 or 1e-16; measured 6e-7, 1e-15
TYPES = {np.float32: torch.float32, np.float64: torch.float64}


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """The nets are too small for threads of PyTorch, and the machine is shared."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def digits_of():
    """(1,000, 64) of scikit-learn's handwritten digits, between 0 and 1, and their classes."""
    datasets = pytest.importorskip("sklearn.datasets", reason="the digits are scikit-learn's")
    x, y = datasets.load_digits(return_X_y=True)
    return x[:1000] / 16, y[:1000]


@pytest.fixture(scope="module")
def digits():
    return digits_of()


def grown(*layers, dtype=np.float32) -> nn.Sequential:
    """The layers in evaluation mode; what they hold is drawn as training could have left it."""
    model = nn.Sequential(*layers)
    model = model.double() if dtype == np.float64 else model
    rng = np.random.default_rng(0)
    for name, array in model.state_dict().items():
        if array.ndim == 1:
            array[...] = rng.uniform(0.5, 1.5, array.shape) if "var" in name else rng.normal(0, 0.5, array.shape)
        elif array.ndim == 0:
            array[...] = 7
    return model.eval()


def there(model, x) -> np.ndarray:
    """What a module of PyTorch says of rows."""
    with torch.no_grad():
        return model(torch.from_numpy(np.array(x))).numpy()


def probabilities(z) -> np.ndarray:
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def same_bits(one, other) -> bool:
    """Whether two states hold the same arrays, whatever they call them."""
    pairs = list(zip(one.values(), other.values(), strict=True))
    return all(a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes() for a, b in pairs)


def alike(model, x, dtype=np.float32):
    """It goes there and back: names, numbers, options; and both say the same of x."""
    twin = fm.to_torch(model)
    assert type(twin) is torch.nn.Sequential
    assert not any(module.training for module in twin.modules())
    assert list(twin.state_dict()) == list(model.state_dict())
    back = fm.from_torch(twin)
    assert [repr(layer) for layer in back] == [repr(layer) for layer in model.flat()]
    assert same_bits(back.state_dict(), model.state_dict())
    assert not any(module.training for module in back.modules())
    rows = x.astype(dtype)
    z, peer = fm.Predictor(back)(rows), there(twin, rows)
    np.testing.assert_array_equal(fm.Predictor(model)(rows), z)
    assert z.dtype == peer.dtype == dtype
    assert np.abs(z - peer).max() <= NEAR[dtype]
    p, q = probabilities(z), probabilities(peer)
    assert (np.abs(p - q) / q).max() <= NEAR[dtype]
    return twin


@pytest.mark.parametrize("dtype", NEAR)
@pytest.mark.parametrize(("name", "chosen"), contract.cases(contract.LAYERS))
def test_every_layer_goes_there_and_back(digits, name, chosen, dtype):
    """Each between two Linear layers, with all options that differ from its defaults."""
    layer = contract.layer(name, chosen, 12, 12, dtype)
    alike(grown(nn.Linear(64, 12), layer, nn.Linear(12, 10), dtype=dtype), digits[0], dtype)


def test_a_thousand_handwritten_digits_of_mnist():
    """A sum of 784 terms is off by some ulp of its logit, and a probability, as a share of it, by as much as its logit.

    Logits of 28 lie 1.9e-6 apart in float32. Measured after five epochs: 1.2e-6, as a share 1.1e-5; in float64 2e-14.
    """
    train, test = fm.data.mnist()
    fm.manual_seed(0)
    model = fm.nn.MLP(784, (128, 64), 10)
    fm.fit(model, train, epochs=1, seed=0, progress=False)
    x = test.rows[:1000] * np.float32(1 / 255)
    twin = fm.to_torch(model)
    z, peer = fm.Predictor(model)(x), there(twin, x)
    p, q = probabilities(z), probabilities(peer)
    assert np.abs(p - q).max() <= 1e-5
    assert (np.abs(p - q) / q).max() <= 16 * np.spacing(np.abs(z).max())
    x, twin = x.astype(np.float64), twin.double()
    p, q = probabilities(fm.Predictor(fm.from_torch(twin))(x)), probabilities(there(twin, x))
    assert (np.abs(p - q) / q).max() <= NEAR[np.float64]


def test_sequentials_within_keep_their_names_there_and_are_one_here(digits):
    model = grown(nn.Sequential(nn.Linear(64, 8), nn.Sequential(nn.Tanh())), nn.Identity(), nn.Linear(8, 10))
    twin = alike(model, digits[0])
    assert list(twin.state_dict()) == ["0.0.weight", "0.0.bias", "2.weight", "2.bias"]
    assert list(fm.from_torch(twin).state_dict()) == ["0.weight", "0.bias", "3.weight", "3.bias"]
    named = torch.nn.Sequential(
        OrderedDict(body=torch.nn.Sequential(OrderedDict(fc=twin[0][0], act=torch.nn.ReLU(inplace=True))), out=twin[2])
    )
    found = fm.from_torch(named)
    assert [type(layer) for layer in found] == [nn.Linear, nn.ReLU, nn.Linear]
    x = digits[0].astype(np.float32)
    assert np.abs(fm.Predictor(found)(x) - there(named, x)).max() <= NEAR[np.float32]


def test_what_is_shared_and_what_is_frozen_stays_so():
    layer, twice = nn.Linear(4, 4), nn.Linear(4, 4)
    twice.weight = layer.weight
    layer.bias.requires_grad = False
    model = nn.Sequential(layer, nn.Tanh(), layer, nn.Tanh(), twice)
    twin = fm.to_torch(model)
    for made, kind in ((twin, torch.nn.Linear), (fm.from_torch(twin), nn.Linear)):
        first, _, second, _, third = made
        assert isinstance(first, kind)
        assert first is second is not third
        assert first.weight is third.weight
        assert [parameter.requires_grad for parameter in made.parameters()] == [True, False, True]


def test_an_activation_and_a_dropout_that_run_twice(digits):
    """A learner makes one of each. `children()` of PyTorch gives them once, and here they would be a layer too few."""
    act, drop = torch.nn.Tanh(), torch.nn.Dropout(0.1)
    source = torch.nn.Sequential(Linear(64, 9), act, drop, Linear(9, 9), act, drop, Linear(9, 10)).eval()
    model = fm.from_torch(source)
    assert len(model) == len(source) > len(list(source.children()))
    x, y = digits[0].astype(np.float32), digits[1]
    assert np.abs(fm.Predictor(model)(x) - there(source, x)).max() <= NEAR[np.float32]
    assert fm.fit(model, fm.Dataset(x, y), epochs=1, progress=False)[0].ran_on == "engine"


def test_nothing_is_drawn_and_nothing_is_shared_between_the_libraries():
    fm.manual_seed(3)
    expected = nn.Linear(2, 2).weight.data
    fm.manual_seed(3)
    model = nn.Sequential(*(copy.deepcopy(layer) for layer in grown(nn.Linear(4, 3), nn.BatchNorm1d(3))))
    fm.manual_seed(3)
    before = torch.get_rng_state()
    twin = fm.to_torch(model)
    assert torch.equal(before, torch.get_rng_state())
    back = fm.from_torch(twin)
    np.testing.assert_array_equal(nn.Linear(2, 2).weight.data, expected)
    kept = {name: array.copy() for name, array in model.state_dict().items()}
    with torch.no_grad():
        for tensor in twin.state_dict().values():
            tensor += 1
    assert same_bits(model.state_dict(), kept)
    assert same_bits(back.state_dict(), kept)


def test_what_is_made_in_inference_mode_can_be_trained():
    with torch.inference_mode():
        twin = fm.to_torch(nn.MLP(4, (3,), 2, norm="batch"))
    assert not any(tensor.is_inference() for tensor in twin.state_dict().values())
    twin.train()(torch.zeros(4, 4)).sum().backward()
    assert all(parameter.grad is not None for parameter in twin.parameters())


def test_training_goes_on_there_and_here(digits):
    """Both make the same steps of SGD from the same weights, in float64: 1e-12 of some 60 sums a number."""
    x, y = digits
    fm.manual_seed(0)
    model = nn.MLP(64, (16,), 10, norm="batch").double()
    data = fm.Dataset(x, y)
    fm.fit(model, data, epochs=1, seed=0, progress=False)
    twin = fm.to_torch(model).train()
    rule = torch.optim.SGD(twin.parameters(), lr=0.1, momentum=0.9)
    for first in range(0, 1000, 100):
        rule.zero_grad()
        rows, classes = torch.from_numpy(x[first : first + 100]), torch.from_numpy(y[first : first + 100])
        torch.nn.functional.cross_entropy(twin(rows), classes).backward()
        rule.step()
    back = fm.from_torch(twin)
    here = fm.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for first in range(0, 1000, 100):
        here.zero_grad()
        fm.ops.cross_entropy(model(fm.Tensor(x[first : first + 100])), y[first : first + 100]).backward()
        here.step()
    for name, array in model.state_dict().items():
        assert np.abs(array - back.state_dict()[name]).max() <= 1e-12
    assert fm.evaluate(back, data).accuracy == fm.evaluate(model, data).accuracy
    history = fm.fit(back, data, epochs=1, progress=False)
    assert history[0].ran_on == "engine"


class Rectifier(nn.ReLU):
    pass


class Said(nn.ReLU):
    def to_torch(self, peer):
        return peer.ReLU()


class Lying(nn.ReLU):
    def to_torch(self, peer):
        return peer.PReLU()


class Further(Said):
    def forward(self, x):
        return super().forward(x) + x


def test_a_layer_of_ones_own_says_what_it_is_there(digits):
    model = nn.Sequential(nn.Linear(64, 8), Said(), nn.Linear(8, 10))
    x = digits[0].astype(np.float32)
    assert np.abs(there(fm.to_torch(model), x) - fm.Predictor(model)(x)).max() <= NEAR[np.float32]
    for kind in (Rectifier, Further):
        with pytest.raises(ValueError, match=f"to_torch: layer 1.0 is {kind.__name__}, which is not one of fastmlp's"):
            fm.to_torch(nn.Sequential(nn.Linear(4, 4), nn.Sequential(kind())))
    with pytest.raises(ValueError, match=r"to_torch: 1.weight is missing and \(1,\) in PyTorch"):
        fm.to_torch(nn.Sequential(nn.Linear(4, 4), Lying()))


def test_what_is_no_sequential_is_refused():
    class Shifted(nn.MLP):
        def forward(self, x):
            return super().forward(x) + 1

    for given, words in ((nn.Linear(2, 1), "is Linear"), (3, "is int"), (Shifted(2, (), 1), "Shifted, whose forward")):
        with pytest.raises(TypeError, match=f"to_torch: model {words}|to_torch: model is {words}"):
            fm.to_torch(given)


@pytest.mark.parametrize("broken", ["numbers", "options", "order"])
def test_the_comparison_sees_what_is_planted(digits, broken, monkeypatch):
    """A neuron whose weights are off by a thousandth, another slope, an activation that is gone."""
    model = grown(nn.Linear(64, 12), nn.LeakyReLU(0.2), nn.Linear(12, 12), nn.LeakyReLU(0.2), nn.Linear(12, 10))
    right = fm.to_torch

    def wrong(given):
        made = right(given)
        if broken == "numbers":
            made[0].weight.data[0] *= 1.001
        elif broken == "options":
            made[1].negative_slope = 0.21
        else:
            made[1] = torch.nn.Identity()
        return made

    monkeypatch.setattr(fm, "to_torch", wrong)
    with pytest.raises(AssertionError):
        alike(model, digits[0])
