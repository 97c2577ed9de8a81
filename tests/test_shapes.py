"""Identity and Flatten: nothing on the engine, PyTorch's view on the graph."""

import numpy as np
import pytest
from modules import refuses

import fastmlp as fm
from fastmlp import Tensor, nn
from fastmlp.running.plan import Plan, obstacle
from fastmlp.show.report import network

IMAGES = (6, 4)


def pictures(rows: int = 60) -> fm.Dataset:
    rng = np.random.default_rng(0)
    return fm.Dataset(rng.integers(0, 256, (rows, *IMAGES)).astype(np.uint8), np.arange(rows) % 3)


def net(*, bare: bool = False) -> nn.Sequential:
    """With a layer that does nothing in every place, or without."""
    fm.manual_seed(0)
    layers = nn.Linear(24, 9), nn.ReLU(), nn.Linear(9, 3)
    if bare:
        return nn.Sequential(*layers)
    twice = nn.Identity()
    return nn.Sequential(nn.Flatten(), layers[0], twice, layers[1], nn.Sequential(nn.Identity(24)), layers[2], twice)


def test_a_net_of_pictures_trains_as_one_without_it():
    """The same bits and the same plan: it costs nothing. An Identity in evaluation mode does nothing too."""
    states = []
    for bare in (True, False):
        model = net(bare=bare)
        if not bare:
            model[2].eval()
        fm.fit(model, pictures(), epochs=2, progress=False, seed=0)
        states.append([array.tobytes() for array in model.state_dict().values()])
        assert len(Plan(model, 24, 8).rows) == 3
        assert obstacle(model, fm.optim.Adam(model.parameters())) is None
    assert states[0] == states[1]


def test_engine_and_graph_and_predictor_agree_on_pictures():
    model = net().eval()
    data = pictures()
    x = Tensor(data.features.astype(np.float32) / np.float32(255))
    assert x.shape == (60, *IMAGES)
    z = model(x)
    assert z.shape == (60, 3)
    # multiplied by 1/255 or divided by 255: a rounding of each feature
    np.testing.assert_allclose(fm.Predictor(model)(data.features), z.data, rtol=1e-5, atol=1e-6)
    assert fm.evaluate(model, data).rows == 60


def test_it_comes_back_from_a_file(tmp_path):
    model = nn.Sequential(nn.Flatten(1, -1), nn.Linear(24, 3), nn.Identity(7, a=8))
    fm.save(model, tmp_path / "model.safetensors")
    loaded = fm.load_model(tmp_path / "model.safetensors")
    assert repr(loaded) == repr(model)
    assert repr(model[0]) == "Flatten(start_dim=1, end_dim=-1)"
    assert repr(model[2]) == "Identity()"
    features = pictures().features
    assert np.array_equal(fm.Predictor(loaded)(features), fm.Predictor(model)(features))


def test_explain_draws_and_the_report_shows_the_view():
    model = net()
    x = Tensor(pictures().features[:2].astype(np.float32), requires_grad=True)
    loss = fm.ops.cross_entropy(model(x), [0, 1])
    text = str(fm.explain(loss, model))
    assert "ViewBackward0" in text
    assert "torch.flatten" in text
    assert "ViewBackward0" in str(fm.draw(loss, model))
    rows = network.rows(model)
    assert [row.kind for row in rows] == ["Flatten", "Linear", "Identity", "ReLU", "Identity", "Linear", "Identity"]
    assert [row.outputs for row in rows] == [24, 9, 9, 9, 9, 3, 3]


SHAPES = [
    ((2, 3, 4), 1, -1, (2, 12)), ((2, 3, 4), 0, -1, (24,)), ((2, 3, 4), 0, 1, (6, 4)), ((2, 3, 4), -2, 2, (2, 12)),
    ((2, 3, 4), 2, 2, (2, 3, 4)), ((2, 3), 1, 1, (2, 3)), ((3,), 0, -1, (3,)), ((), 0, -1, (1,)),
    ((0, 3, 4), 1, -1, (0, 12)),
]  # fmt: skip


@pytest.mark.parametrize(("shape", "start", "end", "flat"), SHAPES)
def test_shapes_and_gradients(shape, start, end, flat):
    numbers = np.random.default_rng(0).standard_normal(shape)
    x = Tensor(numbers, requires_grad=True)
    y = nn.Flatten(start, end)(x)
    assert y.shape == flat
    assert (y is x) == (shape == flat)
    assert np.array_equal(y.data, numbers.reshape(flat))
    dy = np.random.default_rng(1).standard_normal(flat)
    y.backward(dy)
    assert np.array_equal(x.grad, dy.reshape(shape))


def test_what_lies_in_pieces_is_copied_and_has_the_other_name():
    x = Tensor(np.arange(24.0).reshape(2, 3, 4).transpose(0, 2, 1), requires_grad=True)
    y = fm.ops.flatten(x, 1)
    assert y.grad_fn.name() == "UnsafeViewBackward0"
    assert fm.ops.flatten(Tensor(np.ones((2, 3, 4)), True), 1).grad_fn.name() == "ViewBackward0"
    y.backward(np.arange(24.0).reshape(2, 12))
    assert np.array_equal(x.grad, np.arange(24.0).reshape(2, 4, 3))


def test_whole_numbers_are_flattened_too():
    assert fm.ops.flatten(Tensor(np.ones((2, 3), np.uint8))).shape == (6,)
    assert nn.Identity()(3) == 3


def test_refused():
    x = Tensor(np.ones((2, 3, 4), np.float32))
    refuses(ValueError, lambda: nn.Flatten(3)(x), "flatten: start_dim is 3", "(2, 3, 4)", "-3 .. 2")
    refuses(ValueError, lambda: nn.Flatten(1, -4)(x), "flatten: end_dim is -4", "-3 .. 2")
    refuses(ValueError, lambda: nn.Flatten(2, 1)(x), "flatten: start_dim is 2 and end_dim 1")
    refuses(ValueError, lambda: nn.Flatten()(Tensor(np.float32(1))), "flatten: start_dim is 1, x is ()")
    refuses(ValueError, lambda: nn.Flatten(1.0), "Flatten: start_dim is 1.0; it must be a whole number")
    refuses(TypeError, lambda: fm.ops.flatten(np.ones(3)), "flatten: x is ndarray; it must be a Tensor")


def test_a_flatten_that_changes_rows_goes_to_the_graph():
    model = nn.Sequential(nn.Flatten(0), nn.Linear(24, 3))
    assert obstacle(model) == "Flatten declares no kernels for its forward"
    refuses(ValueError, lambda: fm.fit(model, pictures(), epochs=1, progress=False), "linear", "in_features")


def test_a_parameter_of_a_layer_that_does_nothing_is_no_secret():
    class Scaled(nn.Identity):
        def __init__(self):
            super().__init__()
            self.scale = fm.Parameter(np.ones(1, np.float32))

    assert obstacle(nn.Sequential(nn.Linear(3, 2), Scaled())) == (
        "a layer has a parameter that its declaration does not name"
    )


def test_messages_count_all_layers():
    model = nn.Sequential(nn.Identity(), nn.Flatten(), nn.Linear(24, 5), nn.Identity(), nn.Linear(6, 3))
    refuses(ValueError, lambda: fm.fit(model, pictures(), epochs=1, progress=False), "layer 4 has in_features 6")
    model = nn.Sequential(nn.Identity(), nn.Linear(24, 5), nn.BatchNorm1d(5))
    model[2].running_mean = np.zeros(4, np.float32)
    refuses(ValueError, lambda: fm.Predictor(model), "running_mean of layer 2 is (4,)")


def test_a_watch_names_what_computes():
    fm.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(24, 9), nn.Identity(), nn.LayerNorm(9), nn.PReLU(), nn.Linear(9, 3))
    watch = fm.Watch(pictures(), 20)
    fm.fit(model, pictures(), epochs=1, progress=False, callbacks=[watch])
    assert [layer.title for layer in watch.layers] == ["24 → 9, layer norm, PReLU", "9 → 3"]
