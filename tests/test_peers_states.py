"""`from_torch`: a state dict under any names, in the order of a model or of widths; what is refused; docs/export.md."""

import copy
import io
import re
import tempfile
import warnings
from collections import OrderedDict
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch

import fastmlp as fm
from fastmlp import nn
from fastmlp.store.foreign import as_registered

torch = pytest.importorskip(
    "torch", reason="PyTorch is not installed; `make test-peers` installs it and runs this file"
)
from test_peers_exchange import NEAR, TYPES, digits_of, probabilities, same_bits, there  # noqa: E402

Linear, S, zeros = torch.nn.Linear, torch.nn.Sequential, torch.zeros


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """The nets are too small for threads of PyTorch, and the machine is shared."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def digits():
    return digits_of()


class Net(torch.nn.Module):
    """As a learner writes it: fc1, bn1, fc2, ..."""

    def __init__(self, *widths: int, norm: bool = False, bias: bool = True) -> None:
        super().__init__()
        self.layers = len(widths) - 1
        for i, (inputs, outputs) in enumerate(pairwise(widths), 1):
            setattr(self, f"fc{i}", Linear(inputs, outputs, bias=bias))
            if norm and i < self.layers:
                setattr(self, f"bn{i}", torch.nn.BatchNorm1d(outputs))
        for name, tensor in self.state_dict().items():
            if "running_" in name:
                tensor.copy_(torch.rand(tensor.shape) + 0.5)
        self.eval()

    def forward(self, x):
        for i in range(1, self.layers):
            norm = getattr(self, f"bn{i}", torch.nn.Identity())
            x = torch.tanh(norm(getattr(self, f"fc{i}")(x)))
        return getattr(self, f"fc{self.layers}")(x)


def in_order(state):
    return state


def by_name(state):
    return dict(sorted(state.items()))


def saved(state):
    """As safetensors gives it from a file."""
    return safetensors.torch.load(safetensors.torch.save({name: t.contiguous() for name, t in state.items()}))


def saved_to_a_file(state):
    with tempfile.TemporaryDirectory() as folder:
        safetensors.torch.save_file(dict(state), f"{folder}/m")
        return safetensors.torch.load_file(f"{folder}/m")


def pickled(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


NETS = {
    "one layer": (Net(64, 10), True),
    "equal widths": (Net(64, 64, 64, 64, 10), False),
    "twelve layers": (Net(64, *[12] * 11, 10), False),
    "widths that fall": (Net(*range(64, 52, -1), 10, norm=True), True),
    "batch norm": (Net(64, 16, 16, 10, norm=True), False),
    "without bias": (Net(64, 16, 16, 10, bias=False), False),
}


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.net.3.head."])
@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", NETS)
def test_a_state_dict_under_any_names(digits, name, kind, prefix):
    net, unique = NETS[name]
    net = copy.deepcopy(net).to(kind)
    state = OrderedDict((prefix + key, tensor) for key, tensor in net.state_dict().items())
    state._metadata = {f"{prefix}{module}": {} for module in net.state_dict()._metadata}
    dtype = np.float64 if kind is torch.float64 else np.float32
    x = digits[0].astype(dtype)
    exact = copy.deepcopy(net).to(TYPES[dtype])  # float16 and bfloat16 are float32 numbers, to the bit
    for order in (in_order, pickled, by_name, saved, saved_to_a_file):
        given = order(state)
        if not (unique or order in (in_order, pickled) or as_registered(given)):
            with pytest.raises(ValueError, match=r"in no order of a model, and widths fit in none or in several"):
                fm.from_torch(given, "tanh")
            continue
        model = fm.from_torch(given, "tanh")
        assert same_bits({n: t for n, t in model.state_dict().items() if "tracked" not in n},
                         {n: t.numpy() for n, t in exact.state_dict().items() if "tracked" not in n})  # fmt: skip
        z, peer = fm.Predictor(model)(x), there(exact, x)
        assert np.abs(z - peer).max() <= NEAR[dtype]
        assert (np.abs(probabilities(z) - probabilities(peer)) / probabilities(peer)).max() <= NEAR[dtype]


ORDERS = {
    "weight before bias": (["fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"], True),
    "weights alone": (["0.fc.weight", "1.fc.weight", "10.fc.weight"], True),
    "a single module": (["weight", "bias"], True),
    "four words": ([f"{name}.{what}" for name in "dbca" for what in ("weight", "bias")], True),
    "with batch norm": (list(Net(4, 4, 4, norm=True).state_dict()), True),
    "sorted as text": (["fc1.bias", "fc1.weight", "fc2.bias", "fc2.weight"], False),
    "ten before two": (["fc1.weight", "fc10.weight", "fc2.weight"], False),
    "downwards": (["fc2.weight", "fc2.bias", "fc1.weight", "fc1.bias"], False),
    "parted": (["fc1.weight", "fc2.weight", "fc1.bias", "fc2.bias"], False),
    "three words": ([f"{name}.{what}" for name in "bca" for what in ("weight", "bias")], False),  # 1 in 120 by chance
    "two words": (["encoder.weight", "decoder.weight"], False),
    "sorted, with batch norm": (sorted(Net(4, 4, 4, norm=True).state_dict()), False),
}


@pytest.mark.parametrize("name", ORDERS)
def test_a_models_order_is_told_from_a_sorted_one_and_from_chance(name):
    names, models = ORDERS[name]
    assert as_registered(names) == models


def test_a_copy_of_a_state_dict_keeps_an_order_that_can_be_seen():
    """Without PyTorch's `_metadata`, and with it in an order of words that nothing else speaks for."""
    state = dict(Net(8, 8, 8, 8).state_dict())
    model = fm.from_torch(state, "relu")
    for place, name in ((0, "fc1"), (2, "fc2"), (4, "fc3")):
        np.testing.assert_array_equal(model[place].weight.data, state[f"{name}.weight"].numpy())
    words = torch.nn.ModuleDict({"encoder": Linear(8, 3), "decoder": Linear(3, 8)}).state_dict()
    model = fm.from_torch(words, "relu")
    np.testing.assert_array_equal(model[0].weight.data, words["encoder.weight"].numpy())
    with pytest.raises(ValueError, match="no order of a model, and widths fit in none or in several"):
        fm.from_torch(dict(words), "relu")


@pytest.mark.parametrize("run", range(20))
def test_an_order_of_a_hash_table_is_never_taken_for_a_models(run):
    """The one order of widths is found, or what is given is refused; never are layers changed about."""
    rng = np.random.default_rng(run)
    net = Net(6, 6, 5, 5, 6, 6) if run % 2 else Net(6, 5, 4, 3, 2, norm=run % 4 == 0)
    names = list(net.state_dict())
    state = {names[i]: net.state_dict()[names[i]] for i in rng.permutation(len(names))}
    if run % 2:
        with pytest.raises(ValueError, match="no order of a model"):
            fm.from_torch(state, "tanh")
        return
    model, x = fm.from_torch(state, "tanh"), rng.normal(size=(5, 6)).astype(np.float32)
    assert np.abs(fm.Predictor(model)(x) - there(net, x)).max() <= NEAR[np.float32]


def test_the_names_of_a_sequential_say_its_places_in_any_order(digits):
    source = torch.nn.Sequential(
        Linear(64, 9), torch.nn.ELU(), torch.nn.Dropout(0.1), Linear(9, 9), torch.nn.BatchNorm1d(9), torch.nn.ELU(),
        *[layer for _ in range(4) for layer in (Linear(9, 9), torch.nn.ELU())], Linear(9, 10),
    ).eval()  # fmt: skip
    x = digits[0].astype(np.float32)
    for state in (source.state_dict(), by_name(source.state_dict()), saved(source.state_dict())):
        model = fm.from_torch({f"module.net.{name}": tensor for name, tensor in state.items()}, "elu")
        assert [type(layer).__name__ for layer in model] == [type(layer).__name__ for layer in source]
        assert np.abs(fm.Predictor(model)(x) - there(source, x)).max() <= NEAR[np.float32]


class Late(Net):
    """Its batch norms are registered behind all Linear layers."""

    def __init__(self, *widths: int) -> None:
        super().__init__(*widths, norm=True)
        for name in [name for name in self._modules if name.startswith("bn")]:
            self._modules[name] = self._modules.pop(name)


def test_registered_in_another_order_than_it_runs(digits):
    """Widths say where the batch norms belong, if each comes once."""
    net, x = Late(64, 16, 12, 10), digits[0].astype(np.float32)
    assert list(net.state_dict())[6] == "bn1.weight"
    assert np.abs(fm.Predictor(fm.from_torch(net.state_dict(), "tanh"))(x) - there(net, x)).max() <= NEAR[np.float32]
    with pytest.raises(ValueError, match=r"has BatchNorm1d\(16.*\) after 10 numbers a row, and no other order"):
        fm.from_torch(Late(64, 16, 16, 10).state_dict(), "tanh")
    moved = torch.nn.ModuleDict({"encoder": Linear(8, 3), "decoder": Linear(3, 8)}).state_dict()
    for name in ("encoder.weight", "encoder.bias"):
        moved[name] = moved.pop(name)  # what PyTorch left in the dict says that this is not its order
    with pytest.raises(ValueError, match="no order of a model, and widths fit in none or in several"):
        fm.from_torch(moved, "relu")


# --- docs/export.md --------------------------------------------------------------------------------------------------

PAGE = Path(__file__).resolve().parent.parent / "docs" / "export.md"


def test_the_code_of_the_page_runs():
    pytest.importorskip("sklearn", reason="a fitted MLP of scikit-learn is part of it")
    section = re.search(r"^## PyTorch and scikit-learn\n(.*?)(?=^## |\Z)", PAGE.read_text("utf-8"), re.S | re.M)[1]
    names = {"__name__": "page"}
    blocks = re.findall(r"```python\n(.*?)```", section, re.S)
    assert len(blocks) == 4
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn's net has not converged
        for block in blocks:
            exec(compile(block, str(PAGE), "exec"), names)
    assert [type(layer).__name__ for layer in names["again"]] == ["Linear", "BatchNorm1d", "GELU", "Linear"]
    swish = nn.Sequential(nn.Linear(3, 2), names["Swish"]())
    assert type(fm.to_torch(swish)[1]) is torch.nn.SiLU


def test_what_the_page_says_of_the_neighbours():
    """What a table row says of them; what is said of fastmlp stands in the tests above and below."""
    act = torch.nn.ReLU()
    assert len(list(S(Linear(3, 3), act, Linear(3, 3), act).children())) == 3
    assert list(tied().state_dict()) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    names = list(saved_to_a_file(Net(*[4] * 12).state_dict()))
    assert names[:5] == ["fc1.bias", "fc1.weight", "fc10.bias", "fc10.weight", "fc11.bias"]
    assert list(saved(Net(*[4] * 12).state_dict())) not in (names, list(Net(*[4] * 12).state_dict()))
    assert type(quantized()[0]).__name__ == "Linear"
    assert isinstance(normed(False)[0], Linear)
    norm, x = torch.nn.BatchNorm1d(2, track_running_stats=False).eval(), torch.tensor([[0.0, 1.0], [2.0, 5.0]])
    assert not torch.allclose(norm(x)[0], norm(torch.cat([x, 9 * x]))[0])
    rows = torch.nn.Dropout1d()(torch.ones(100, 8))
    assert ((rows == 0).all(dim=1) | (rows == 2).all(dim=1)).all()


# --- what is refused -------------------------------------------------------------------------------------------------


def lazy():
    return torch.nn.Sequential(torch.nn.LazyLinear(3))


def hooked():
    made = torch.nn.Sequential(Linear(4, 3))
    made[0].register_forward_hook(lambda *given: None)
    return made


def normed(old: bool):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        norm = torch.nn.utils.weight_norm if old else torch.nn.utils.parametrizations.weight_norm
        return torch.nn.Sequential(norm(Linear(4, 3)))


def quantized():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.ao.quantization.quantize_dynamic(torch.nn.Sequential(Linear(4, 3)), {Linear})


class Doubled(torch.nn.Sequential):
    def forward(self, x):
        return 2 * super().forward(x)


class Own(Linear):
    pass


def tied():
    made = torch.nn.Sequential(Linear(4, 4), torch.nn.ReLU(), Linear(4, 4))
    made[2].weight = made[0].weight
    return made


def with_buffer():
    made = torch.nn.Sequential(Linear(4, 3))
    made[0].register_buffer("note", torch.zeros(2))
    return made


REFUSED = {
    "a net": (lambda: Net(4, 3), r"source is test_peers_states\.Net; .* its state_dict\(\) with activation"),
    "a layer": (lambda: Linear(4, 3), "source is Linear; it must be a torch.nn.Sequential"),
    "nothing": (lambda: None, "source is NoneType; it must be a torch.nn.Sequential$"),
    "a path": (lambda: "m.pt", r"source is a path; load_model\(path, activation\) reads safetensors"),
    "a convolution": (lambda: S(S(torch.nn.Conv2d(1, 2, 3)), Linear(4, 2)), "layer 0.0 is Conv2d, which is none of"),
    "an embedding": (lambda: S(torch.nn.Embedding(4, 2)), "layer 0 is Embedding, which is none of"),
    "another dropout": (lambda: S(Linear(4, 2), torch.nn.AlphaDropout()), "layer 1 is AlphaDropout, which is none of"),
    "a softmax": (lambda: S(Linear(4, 2), torch.nn.Softmax(1)), "layer 1 is Softmax, and a fastmlp model gives logits"),
    "a layer's child": (lambda: S(Own(4, 3)), r"layer 0 is test_peers_states\.Own, which is none of"),
    "a forward": (lambda: Doubled(Linear(4, 3)), r"source is test_peers_states\.Doubled, which is none of"),
    "a hook": (hooked, "layer 0 is a Linear with a hook on its forward"),
    "weight norm": (lambda: normed(False), "layer 0 is a ParametrizedLinear, whose numbers are made from others"),
    "old weight norm": (lambda: normed(True), "layer 0 is a Linear with a hook on its forward, as weight norm"),
    "a quantized layer": (quantized, r"layer 0 is torch\.ao\.nn\.quantized\S+Linear, which is none of"),
    "no numbers yet": (lazy, "layer 0 is a LazyLinear, which has no numbers before its first call"),
    "no numbers at all": (lambda: S(Linear(4, 3, device="meta")), "0.weight is on the meta device"),
    "the batch's mean": (
        lambda: S(Linear(4, 3), torch.nn.BatchNorm1d(3, track_running_stats=False)),
        "layer 1: BatchNorm1d: track_running_stats is False; it must be True",
    ),
    "a mean of all": (lambda: S(Linear(4, 3), torch.nn.BatchNorm1d(3, momentum=None)), "layer 1: .*momentum is None"),
    "two axes": (lambda: S(Linear(4, 6), torch.nn.LayerNorm((2, 3))), r"layer 1: .*normalized_shape is \(2, 3\)"),
    "widths": (lambda: S(Linear(4, 6), Linear(5, 3)), "linear: layer 1 has in_features 5; 6 columns come to it"),
    "no Linear": (lambda: S(torch.nn.ReLU()), "source has no Linear layer"),
    "an own buffer": (with_buffer, "source does not fit: .*unexpected: 0.note"),
    "a checkpoint": (lambda: {"epoch": 3, "model": {"fc.weight": zeros(3, 4)}}, "holds 'model', a dict; hand in the"),
    "a number": (lambda: {"fc.weight": zeros(3, 4), "epoch": 3}, "epoch is int; it must be a tensor of floats"),
    "no name": (lambda: {0: zeros(3, 4)}, "has the key 0; it must be a name"),
    "a slope": (lambda: {"a.weight": zeros(3, 4), "b.weight": zeros(3)}, r"has b.weight \(3,\); it must be a Linear"),
    "an attention": (lambda: torch.nn.MultiheadAttention(4, 2).state_dict(), r"holds in_proj_weight \(12, 4\), no arr"),
    "an old state": (lambda: normed(True).state_dict(), "holds 0.weight_g .*, which others are made from"),
    "a new state": (lambda: normed(False).state_dict(), "holds 0.parametrizations.weight.*, which others are made"),
    "quantized arrays": (lambda: quantized().state_dict(), "0.* it must"),
    "one tensor": (lambda: tied().state_dict(), "has 0.weight and 2.weight as one tensor"),
    "a lazy state": (lambda: lazy().state_dict(), "0.weight is not initialized"),
    "sparse": (lambda: {"weight": zeros(3, 4).to_sparse()}, "weight is sparse_coo; it must"),
    "complex": (lambda: {"weight": zeros(3, 4, dtype=torch.complex64)}, "weight is of complex64"),
    "eight bits": (lambda: {"weight": zeros(3, 4).to(torch.float8_e4m3fn)}, "weight is of float8_e4m3fn"),
    "whole numbers": (lambda: {"weight": zeros(3, 4, dtype=torch.int64)}, "weight is of int64"),
    "texts": (lambda: {"weight": np.array(["a"])}, "weight is an array of <U1; it must be a tensor of floats"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_fastmlp_has_no_layer_for_is_refused_by_name_and_place(name):
    make, words = REFUSED[name]
    source = make()
    given = () if isinstance(source, torch.nn.Module) else ("relu",)
    with pytest.raises((TypeError, ValueError)) as caught:
        fm.from_torch(source, *given)
    assert re.search(words, str(caught.value))
    assert str(caught.value).startswith("from_torch: ")
    assert "\n" not in str(caught.value)


def test_an_activation_is_for_a_state_dict_alone():
    state = Net(4, 5, 3).state_dict()
    with pytest.raises(ValueError, match=r"from_torch: activation is left out, .* must be one of relu"):
        fm.from_torch(state)
    with pytest.raises(ValueError, match="from_torch: activation is 'swish'; it must be one of relu"):
        fm.from_torch(state, "swish")
    with pytest.raises(ValueError, match="from_torch: the state dict has no arrays for the layers between; prelu has"):
        fm.from_torch(state, "prelu")
    with pytest.raises(ValueError, match="activation is given beside a module, which has its own"):
        fm.from_torch(S(Linear(4, 3)), "relu")
    assert len(fm.from_torch(Net(4, 3).state_dict())) == 1
