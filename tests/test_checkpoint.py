"""`save` and `load`: a model's state to a safetensors file and back, to the bit; or one sentence, nothing changed."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import fastmlp as fm
from fastmlp import nn

SHAPES = {
    "0.weight": (5, 4),
    "0.bias": (5,),
    "1.weight": (5,),
    "1.bias": (5,),
    "1.running_mean": (5,),
    "1.running_var": (5,),
    "1.num_batches_tracked": (),
    "4.weight": (3, 5),
    "4.bias": (3,),
}  # what torch.nn.Sequential calls the arrays of the same layers


def full_model(seed: int = 0) -> nn.Sequential:
    fm.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Dropout(0.5), nn.Linear(5, 3))


def used_model(dtype=np.float32) -> nn.Sequential:
    """A model whose running statistics have moved."""
    model = full_model()
    model = model.double() if dtype == np.float64 else model
    rng = np.random.default_rng(0)
    for _ in range(3):
        model(fm.Tensor(rng.normal(size=(6, 4)).astype(dtype)))
    return model


def content(model: nn.Module) -> dict[str, tuple]:
    """Type, shape and bits of every array."""
    return {name: (array.dtype, array.shape, array.tobytes()) for name, array in model.state_dict().items()}


def refuses(error: type[Exception], call, *words: str) -> None:
    """`call()` raises this error in one sentence that contains these words."""
    with pytest.raises(error) as caught:
        call()
    message = str(caught.value)
    assert message
    assert "\n" not in message
    for word in words:
        assert word in message


# --- there and back --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_state_comes_back_to_the_bit(tmp_path, dtype):
    model, other = used_model(dtype), full_model(seed=1)
    other = other.double() if dtype == np.float64 else other
    assert int(model[1].num_batches_tracked) == 3
    fm.save(model, tmp_path / "model.safetensors")
    assert content(other) != content(model)
    fm.load(other, tmp_path / "model.safetensors")
    assert content(other) == content(model)


@settings(deadline=None, max_examples=20)
@given(
    widths=st.lists(st.integers(1, 40), min_size=2, max_size=4), batch_norm=st.booleans(), seed=st.integers(0, 2**32)
)
def test_every_mlp_comes_back(tmp_path_factory, widths, batch_norm, seed):
    path = tmp_path_factory.mktemp("model") / "model.safetensors"

    def make(number: int) -> nn.MLP:
        fm.manual_seed(number)
        return nn.MLP(widths[0], widths[1:-1], widths[-1], batch_norm=batch_norm)

    model, other = make(seed), make(seed + 1)
    fm.save(model, path)
    fm.load(other, path)
    assert content(other) == content(model)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -0.0, 1e-45])
def test_numbers_that_are_not_ordinary_come_back_to_the_bit(tmp_path, value):
    model, other = full_model(), full_model(seed=1)
    model[0].weight.data[2, 1] = value
    fm.save(model, tmp_path / "m")
    fm.load(other, tmp_path / "m")
    assert content(other) == content(model)


def test_a_state_from_after_a_training_gives_the_same_evaluation(tmp_path):
    rng = np.random.default_rng(0)
    data = fm.Dataset(rng.normal(size=(60, 4)).astype(np.float32), rng.integers(0, 3, 60))
    model, other = full_model(), full_model(seed=1)
    fm.fit(model, data, epochs=2, batch_size=20, progress=False)
    fm.save(model, tmp_path / "m")
    fm.load(other, tmp_path / "m")
    assert fm.evaluate(other, data) == fm.evaluate(model, data)


def test_load_fills_the_arrays_that_are_there(tmp_path):
    fm.save(used_model(), tmp_path / "m")
    other = full_model(seed=1)
    before = {name: id(array) for name, array in other.state_dict().items()}
    fm.load(other, tmp_path / "m")
    assert {name: id(array) for name, array in other.state_dict().items()} == before


def test_a_float32_file_fills_a_float64_model(tmp_path):
    model, wide = used_model(), full_model(seed=1).double()
    fm.save(model, tmp_path / "m")
    fm.load(wide, tmp_path / "m")
    assert wide[0].weight.dtype == np.float64
    for name, array in wide.state_dict().items():
        np.testing.assert_array_equal(array, model.state_dict()[name])


def test_an_array_in_another_order_of_memory_is_saved_as_it_reads(tmp_path):
    model, other = full_model(), full_model(seed=1)
    model[0].weight.data = np.asfortranarray(model[0].weight.data)
    fm.save(model, tmp_path / "m")
    fm.load(other, tmp_path / "m")
    np.testing.assert_array_equal(other[0].weight.data, model[0].weight.data)


def test_save_leaves_the_model_alone(tmp_path):
    model = used_model()
    before = content(model)
    fm.save(model, tmp_path / "m")
    model[0].weight.data[:] = 7  # nor does it see what comes after
    assert load_file(tmp_path / "m")["0.weight"].tobytes() == before["0.weight"][2]


# --- the file --------------------------------------------------------------------------------------------------------


def test_keys_shapes_and_types_are_those_of_torch(tmp_path):
    fm.save(used_model(), tmp_path / "m")
    state = load_file(tmp_path / "m")
    assert {name: array.shape for name, array in state.items()} == SHAPES
    assert state.pop("1.num_batches_tracked").dtype == np.int64
    assert {array.dtype for array in state.values()} == {np.dtype(np.float32)}


def test_a_file_that_another_program_wrote_is_read(tmp_path):
    rng = np.random.default_rng(0)
    state = {name: rng.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}
    state["1.num_batches_tracked"] = np.array(11)
    save_file(state, tmp_path / "m")
    model = full_model()
    fm.load(model, tmp_path / "m")
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, state[name])


def test_metadata_is_kept_in_the_header(tmp_path):
    fm.save(full_model(), tmp_path / "m", metadata={"epochs": "3", "greek": "λ"})
    with safe_open(tmp_path / "m", "np") as file:
        assert file.metadata() | {"epochs": "3", "greek": "λ"} == file.metadata()


def test_a_path_may_be_text_and_its_name_anything(tmp_path):
    for name in ("model.safetensors", "no suffix", "zwölf.bin"):
        fm.save(full_model(), str(tmp_path / name))
        fm.load(full_model(seed=1), str(tmp_path / name))
    assert len(os.listdir(tmp_path)) == 3


@pytest.mark.skipif(os.name != "posix", reason="permission bits are POSIX's")
def test_the_file_has_the_permissions_of_any_new_file(tmp_path):
    fm.save(full_model(), tmp_path / "m")
    (tmp_path / "other").touch()
    assert (tmp_path / "m").stat().st_mode == (tmp_path / "other").stat().st_mode


# --- complete or not there -------------------------------------------------------------------------------------------


def test_only_the_file_is_left_and_a_second_save_replaces_it(tmp_path):
    fm.save(full_model(), tmp_path / "m")
    fm.save(used_model(), tmp_path / "m")
    assert os.listdir(tmp_path) == ["m"]
    other = full_model(seed=1)
    fm.load(other, tmp_path / "m")
    assert content(other) == content(used_model())


def assert_failure_keeps_the_old_file(folder: Path, save, error: type[BaseException]) -> None:
    fm.save(full_model(), folder / "m")
    old = (folder / "m").read_bytes()
    with pytest.raises(error):
        save()
    assert os.listdir(folder) == ["m"]
    assert (folder / "m").read_bytes() == old


@pytest.mark.parametrize("error", [OSError("no space left"), KeyboardInterrupt()])
@pytest.mark.parametrize("method", ["replace", "write_bytes"])
def test_a_save_that_is_cut_short_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, method, error):
    original = Path.write_bytes

    def fail(self, argument):
        if method == "write_bytes":
            original(self, argument[:10])
        raise error

    def save():
        with monkeypatch.context() as patch:
            patch.setattr(Path, method, fail)
            fm.save(used_model(), tmp_path / "m")

    assert_failure_keeps_the_old_file(tmp_path, save, type(error))


def test_metadata_that_are_no_text_leave_the_old_file(tmp_path):
    save = lambda: fm.save(used_model(), tmp_path / "m", metadata={"epochs": 3})  # noqa: E731
    assert_failure_keeps_the_old_file(tmp_path, save, TypeError)


def test_a_place_that_cannot_be_written_is_an_os_error(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    for place in ("missing/m", "file/m", "folder"):
        with pytest.raises(OSError, match=place.split("/")[0]):
            fm.save(full_model(), tmp_path / place)
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


# --- what load refuses -----------------------------------------------------------------------------------------------


def test_a_missing_file_is_named(tmp_path):
    for name in ("missing.safetensors", "folder"):
        (tmp_path / "folder").mkdir(exist_ok=True)
        refuses(FileNotFoundError, lambda name=name: fm.load(full_model(), tmp_path / name), "load", name)


@pytest.mark.parametrize(
    "data", [b"", b"x", b"not a model at all", b"PK\x03\x04" + bytes(100), b"\x80\x04" + bytes(100), b"\xff" * 64]
)
def test_a_file_in_another_format_is_refused(tmp_path, data):
    (tmp_path / "m").write_bytes(data)
    refuses(ValueError, lambda: fm.load(full_model(), tmp_path / "m"), "load", str(tmp_path / "m"), "safetensors")


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_a_file_that_was_cut_is_refused(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("cut") / "m"
    model = full_model()
    fm.save(model, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    before = content(model)
    refuses(ValueError, lambda: fm.load(model, path), "safetensors")
    assert content(model) == before


MISFITS = {
    "missing": (lambda: nn.Sequential(nn.Linear(4, 5)), ["missing", "1.running_mean", "4.weight"]),
    "unexpected": (lambda: nn.Sequential(*full_model(), nn.Linear(3, 2)), ["unexpected", "5.weight", "5.bias"]),
    "misshapen": (lambda: nn.Sequential(nn.Linear(4, 6), *list(full_model())[1:]), ["misshapen", "(6, 4)", "(5, 4)"]),
}


@pytest.mark.parametrize("fault", MISFITS)
def test_keys_that_do_not_fit_are_named_and_nothing_is_copied(tmp_path, fault):
    make, words = MISFITS[fault]
    fm.save(make(), tmp_path / "m")
    model = full_model(seed=1)
    before = content(model)
    refuses(RuntimeError, lambda: fm.load(model, tmp_path / "m"), *words)
    assert content(model) == before


def test_without_strict_what_both_have_is_copied(tmp_path):
    part = nn.Sequential(nn.Linear(4, 5))
    fm.save(part, tmp_path / "m")
    model = full_model(seed=1)
    rest = model[4].weight.data.copy()
    fm.load(model, tmp_path / "m", strict=False)
    np.testing.assert_array_equal(model[0].weight.data, part[0].weight.data)
    np.testing.assert_array_equal(model[4].weight.data, rest)
