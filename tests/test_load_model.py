"""`load_model`: the model that was saved, from a run folder or a bare file; or one sentence about what does not fit."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import fastmlp as fm
from fastmlp import nn


def run_folder(folder: Path, model: nn.Module, **config) -> Path:
    """A folder as a run leaves it."""
    folder.mkdir(exist_ok=True)
    fm.save(model, folder / "model.safetensors")
    if config:
        (folder / "config.json").write_text(json.dumps(config))
    return folder


def kinds(model: nn.Sequential) -> list[str]:
    return [repr(layer) for layer in model]


def refused(call) -> str:
    """The one sentence in which `call()` is refused."""
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        call()
    message = str(caught.value)
    assert message.startswith("load_model: ")
    assert "\n" not in message
    return message


@settings(deadline=None, max_examples=40)
@given(
    widths=st.lists(st.integers(1, 9), min_size=2, max_size=5),
    activation=st.sampled_from(sorted(nn.ACTIVATIONS)),
    dropout=st.sampled_from([0.0, 0.25]),
    batch_norm=st.booleans(),
    double=st.booleans(),
    complete=st.booleans(),
)
def test_every_mlp_comes_back(tmp_path_factory, widths, activation, dropout, batch_norm, double, complete):
    model = nn.MLP(widths[0], widths[1:-1], widths[-1], activation, dropout, batch_norm)
    model = model.double() if double else model
    config = {"hidden": widths[1:-1], "activation": activation, "dropout": dropout, "batch_norm": batch_norm}
    config |= {"features": widths[0], "classes": widths[-1]} if complete else {"lr": 0.1, "data": "somewhere"}
    folder = run_folder(tmp_path_factory.mktemp("run"), model, **config)
    for path in (folder, str(folder), folder / "model.safetensors"):
        loaded = fm.load_model(path)
        assert type(loaded) is nn.Sequential
        assert kinds(loaded) == kinds(model)
        assert not any(module.training for module in loaded.modules())
        for name, array in model.state_dict().items():
            assert loaded.state_dict()[name].dtype == array.dtype
            np.testing.assert_array_equal(loaded.state_dict()[name], array)


@pytest.mark.parametrize("options", [{}, {"dropout": 0.5}, {"batch_norm": True}, {"dropout": 0.5, "batch_norm": True}])
def test_a_bare_file_says_all_but_the_activation_and_p(tmp_path, options):
    model = nn.MLP(4, (6, 5), 3, "tanh", **options)
    save_file(model.state_dict(), tmp_path / "bare")  # another program wrote it: no layers in the header
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = fm.load_model(tmp_path / "bare", activation="tanh")
    assert [type(layer) for layer in loaded] == [type(layer) for layer in model]
    x = fm.Tensor(np.random.default_rng(0).normal(size=(7, 4)).astype(np.float32))
    with fm.no_grad():
        np.testing.assert_array_equal(loaded(x).data, model.eval()(x).data)
    with pytest.warns(UserWarning, match="taken to be relu"):
        assert any(isinstance(layer, nn.ReLU) for layer in fm.load_model(tmp_path / "bare"))


def test_a_deep_net_keeps_its_order_in_a_file_that_sorts_names_as_texts(tmp_path):
    """safetensors 0.8.0 gives "10.weight" before "2.weight", and of bytes in another order each time."""
    model = nn.MLP(3, (5,) * 7, 2)
    save_file(model.state_dict(), tmp_path / "bare.safetensors")
    names = list(load_file(tmp_path / "bare.safetensors"))
    assert names.index("10.weight") < names.index("2.weight")
    found = fm.load_model(tmp_path / "bare.safetensors", "relu")
    assert list(found.state_dict()) == list(model.state_dict())
    assert all(
        np.array_equal(a, b) for a, b in zip(found.state_dict().values(), model.state_dict().values(), strict=True)
    )


def test_a_net_without_hidden_layers_needs_no_activation(tmp_path):
    fm.save(nn.MLP(4, (), 3), tmp_path / "bare")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(fm.load_model(tmp_path / "bare")) == 1


def test_a_configuration_goes_before_the_argument(tmp_path):
    folder = run_folder(tmp_path / "run", nn.MLP(4, (5,), 3, "sigmoid"), activation="sigmoid")
    assert isinstance(fm.load_model(folder, activation="tanh")[1], nn.Sigmoid)


def test_layers_without_bias_and_normalised_inputs(tmp_path):
    model = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 5, bias=False), nn.ReLU(), nn.Linear(5, 6), nn.Linear(6, 3))
    fm.save(model, tmp_path / "m")
    assert kinds(fm.load_model(tmp_path / "m", "relu")) == kinds(model)


def test_the_random_numbers_stay_where_they_are(tmp_path):
    fm.save(nn.MLP(4, (5,), 3), tmp_path / "m")
    fm.manual_seed(7)
    expected = nn.Linear(3, 3).weight.data
    fm.manual_seed(7)
    fm.load_model(tmp_path / "m", "relu")
    np.testing.assert_array_equal(nn.Linear(3, 3).weight.data, expected)


def test_a_model_that_was_loaded_can_be_trained_and_evaluated(tmp_path):
    rng = np.random.default_rng(0)
    data = fm.Dataset(rng.normal(size=(60, 4)).astype(np.float32), rng.integers(0, 3, 60))
    model = nn.MLP(4, (5,), 3, "tanh", 0.1, True)
    fm.fit(model, data, epochs=2, progress=False)
    loaded = fm.load_model(run_folder(tmp_path / "run", model, activation="tanh", dropout=0.1))
    assert fm.evaluate(loaded, data) == fm.evaluate(model, data)
    for net in (loaded, model):
        fm.fit(net, data, epochs=1, progress=False)
    assert fm.evaluate(loaded, data) == fm.evaluate(model, data)


def test_other_names_follow_by_their_widths(tmp_path):
    """A file keeps no order: `safetensors` writes arrays by type and name."""
    model = nn.Sequential(
        nn.BatchNorm1d(4), nn.Linear(4, 7), nn.BatchNorm1d(7, affine=False), nn.Tanh(), nn.Linear(7, 5, bias=False),
        nn.BatchNorm1d(5, bias=False), nn.Tanh(), nn.Linear(5, 3),
    )  # fmt: skip
    rng = np.random.default_rng(0)
    for array in model.state_dict().values():
        if array.dtype.kind == "f":
            array[...] = rng.uniform(0.5, 1.5, array.shape)
    words = {"0": "z.norm", "1": "net.body.z", "2": "net.bn", "4": "net.body.a", "5": "a", "7": "head"}
    state = {f"{words[name[0]]}.{name[2:]}": array for name, array in model.state_dict().items()}
    save_file(state, tmp_path / "m")
    loaded = fm.load_model(tmp_path / "m", "tanh")
    assert kinds(loaded) == kinds(model)
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(loaded.state_dict()[name], array)


# --- what is refused -------------------------------------------------------------------------------------------------

A = np.zeros
STATES = {
    "nothing": ({}, "no Linear layer"),
    "other arrays": ({"fc1.kernel": A((3, 4))}, "holds fc1.kernel (3, 4), no array of a Linear or a BatchNorm1d"),
    "weight norm": ({"fc1.weight_g": A((3, 1)), "fc1.weight_v": A((3, 4))}, "weight_g (3, 1), which others are made"),
    "two orders": ({"a.weight": A((4, 4)), "b.weight": A((4, 4)), "c.weight": A((3, 4))}, "in several; make the model"),
    "no chain": ({"fc1.weight": A((3, 4)), "fc2.weight": A((2, 5))}, "widths fit in none or in several"),
    "a slope": ({"fc1.weight": A((3, 4)), "act.weight": A(1), "fc2.weight": A((2, 3))}, "has act.weight (1,); it must"),
    "many layers": ({"0.weight": A((3, 4)), "99999.weight": A((3, 3))}, "99999.weight"),
    "a leading layer": ({"1.weight": A((3, 4))}, "before 1"),
    "a wide gap": ({"0.weight": A((3, 4)), "4.weight": A((3, 3))}, "before 4"),
    "widths": ({"0.weight": A((3, 4)), "2.weight": A((2, 5))}, "2.weight (2, 5) after 3 numbers"),
    "a convolution": ({"0.weight": A((3, 4, 2, 2))}, "0.weight (3, 4, 2, 2)"),
    "a bias alone": ({"0.bias": A(3)}, "0.bias (3,)"),
    "a bias of another width": ({"0.weight": A((3, 4)), "0.bias": A(4)}, "0.bias (4,)"),
    "no rows": ({"0.weight": A((0, 4))}, "0.weight (0, 4)"),
    "half a batch norm": ({"0.weight": A((3, 4)), "1.weight": A(3), "1.bias": A(3)}, "1.weight (3,)"),
    "batch norm at the end": (
        {"0.weight": A((3, 4)), "1.weight": A(3), "1.bias": A(3), "1.running_mean": A(3), "1.running_var": A(3),
         "1.num_batches_tracked": np.zeros((), np.int64)},
        "no Linear layer at its end",
    ),
    "booleans": ({"0.weight": np.zeros((3, 4), bool)}, "0.weight (3, 4)"),
}  # fmt: skip


@pytest.mark.parametrize("kind", STATES)
def test_arrays_of_another_kind_of_model_are_refused(tmp_path, kind):
    state, words = STATES[kind]
    save_file(state, tmp_path / "m")
    assert words in refused(lambda: fm.load_model(tmp_path / "m", "relu"))


CONFIGS = [
    ({"hidden": [6]}, "hidden [6]"),
    ({"hidden": "5"}, "hidden 5"),
    ({"features": 5}, "features 5"),
    ({"classes": 10}, "classes 10"),
    ({"batch_norm": False}, "batch_norm False"),
    ({"dropout": 0}, "dropout 0"),
    ({"dropout": 2}, "dropout 2"),
    ({"dropout": "much"}, "dropout 'much'"),
    ({"dropout": True}, "dropout True"),
    ({"activation": "swish"}, "activation is 'swish'"),
    ({"activation": ["relu"]}, "activation is ['relu']"),
    ([1, 2], "holds list"),
    (None, "holds NoneType"),
]


@pytest.mark.parametrize(("config", "words"), CONFIGS, ids=str)
def test_a_configuration_that_does_not_fit_is_refused(tmp_path, config, words):
    folder = run_folder(tmp_path / "run", nn.MLP(4, (5,), 3, dropout=0.5, batch_norm=True))
    good = {"activation": "relu", "dropout": 0.5}
    (folder / "config.json").write_text(json.dumps(good))
    fm.load_model(folder)
    (folder / "config.json").write_text(json.dumps(good | config if isinstance(config, dict) else config))
    assert words in refused(lambda: fm.load_model(folder))


@pytest.mark.parametrize("text", ["", "{", "no", "\x00", "[" * 100_000])
def test_a_configuration_that_is_no_json_is_refused(tmp_path, text):
    folder = run_folder(tmp_path / "run", nn.MLP(4, (5,), 3))
    (folder / "config.json").write_text(text)
    assert "config.json is no JSON" in refused(lambda: fm.load_model(folder))


def test_a_path_without_a_model_is_refused(tmp_path):
    assert "no model.safetensors" in refused(lambda: fm.load_model(tmp_path))
    assert "missing is not there" in refused(lambda: fm.load_model(tmp_path / "missing"))
    (tmp_path / "model.safetensors").write_text("no model")
    assert "no safetensors file" in refused(lambda: fm.load_model(tmp_path))
    assert "activation is 'swish'" in refused(
        lambda: fm.load_model(run_folder(tmp_path / "run", nn.MLP(4, (5,), 3)), activation="swish")
    )


def test_a_file_of_save_needs_nothing_beside_it(tmp_path):
    model = nn.Sequential(
        nn.Linear(4, 6, bias=False), nn.BatchNorm1d(6, 1e-3, 0.2), nn.Tanh(), nn.Dropout(0.3), nn.Linear(6, 2)
    )
    fm.save(model, tmp_path / "m")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = fm.load_model(tmp_path / "m")
    assert repr(loaded) == repr(model)
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(loaded.state_dict()[name], array)


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ('[{"kind": "Lambda"}]', "Lambda"),
        ('[{"kind": "Linear", "in_features": 4, "out_features": 99999999}]', "larger than the arrays"),
        ('[{"kind": "ReLU", "path": "/"}]', "no argument path"),
        ('[{"kind": "Linear", "in_features": 3, "out_features": 2}]', "does not hold what its header says"),
        ('[{"kind": ["ReLU"]}]', "cannot be made"),
        ('[{"kind": "Linear"}]', "cannot be made"),
    ],
)
def test_a_header_that_lies_is_refused(tmp_path, layers, words):
    save_file(nn.MLP(4, (), 2).state_dict(), tmp_path / "m", {"layers": layers})
    with pytest.raises(ValueError, match=words):
        fm.load_model(tmp_path / "m")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("file.safetensors",), r"load: model is str; .* load_model\(path\) makes one"),
        (("file.safetensors", fm.nn.Linear(2, 1)), "load: model is str"),
        ((fm.nn.Linear(2, 1),), "load: path is left out"),
    ],
)
def test_load_without_a_model_or_a_path_names_load_model(arguments, words):
    with pytest.raises(TypeError, match=words):
        fm.load(*arguments)


def test_a_layer_of_ones_own_is_refused_by_name_and_not_taken_for_relu(tmp_path):
    from fastmlp.nn.activations import ReluBackward0

    class Rectifier(fm.nn.ReLU):
        node = ReluBackward0

    model = fm.nn.Sequential(fm.nn.Linear(3, 4), Rectifier(), fm.nn.Linear(4, 2))
    fm.save(model, tmp_path / "own.safetensors")
    with pytest.raises(ValueError, match="with the layer Rectifier, which is not one of fastmlp's; make the model"):
        fm.load_model(tmp_path / "own.safetensors")
    twin = fm.nn.Sequential(fm.nn.Linear(3, 4), Rectifier(), fm.nn.Linear(4, 2))
    fm.load(twin, tmp_path / "own.safetensors")
    assert np.array_equal(twin[0].weight.data, model[0].weight.data)


def test_a_file_says_which_version_wrote_it(tmp_path):
    fm.save(nn.MLP(4, (5,), 3), tmp_path / "m")
    with safe_open(tmp_path / "m", "numpy") as file:
        assert file.metadata()["fastmlp"] == fm.__version__


@pytest.mark.parametrize("version", ["0.0.9", "9.9.9", "another word", ""])
def test_a_file_of_another_version_is_read_and_named_where_it_cannot_be(tmp_path, version):
    model = nn.MLP(4, (5,), 3)
    fm.save(model, tmp_path / "m", {"fastmlp": version})
    assert kinds(fm.load_model(tmp_path / "m")) == kinds(model)
    fm.save(model, tmp_path / "m", {"fastmlp": version, "layers": '[{"kind": "Recurrent"}]'})
    said = f"written by fastmlp {version} and read by {fm.__version__}, has layers in its header that cannot be made"
    assert said in refused(lambda: fm.load_model(tmp_path / "m"))
    fm.save(model, tmp_path / "m", {"layers": '[{"kind": "Recurrent"}]'})
    assert "written by" not in refused(lambda: fm.load_model(tmp_path / "m"))
