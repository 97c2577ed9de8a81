"""Files of weights that other programs write: their types, names and headers; and files that are damaged or lie."""

import json
import struct
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

import fastmlp as fm
from fastmlp import nn
from fastmlp.nn.module import undrawn

WHOLE = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1"}
ODD = {"F8_E4M3": 1, "F8_E5M2": 1, "C64": 8, "F8_E8M0": 1}  # of the format, and bytes of a number


def write(path: Path, kind: str, state: dict[str, tuple[tuple[int, ...], bytes]], metadata: dict | None = None) -> None:
    """The format by hand: the header's length, the header, the numbers."""
    head: dict = {"__metadata__": metadata} if metadata else {}
    body = b""
    for name, (shape, raw) in state.items():
        head[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [len(body), len(body) + len(raw)]}
        body += raw
    text = json.dumps(head).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)


def net(seed: int = 0, **options) -> nn.MLP:
    fm.manual_seed(seed)
    return nn.MLP(4, (6,), 3, **options)


def doors(path: Path) -> list:
    """A file read through `load` and through `load_model`."""

    def load() -> nn.Module:
        model = net(seed=1)
        fm.load(model, path)
        return model

    return [load, lambda: fm.load_model(path, "relu")]


def refused(call, *words: str) -> None:
    with pytest.raises(ValueError) as caught:
        call()
    assert type(caught.value) is ValueError
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


# --- types -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [1.0, -2.5, 3.0e38, 1e-38, np.inf, np.nan, -0.0])
def test_bfloat16_is_the_upper_half_of_a_float32(tmp_path, value):
    state = {name: array.copy() for name, array in net().state_dict().items()}
    state["0.weight"][0, 0] = value
    halves = {
        name: (array.shape, (array.view(np.uint32) >> 16).astype("<u2").tobytes()) for name, array in state.items()
    }
    write(tmp_path / "m", "BF16", halves)
    for door in doors(tmp_path / "m"):
        for name, array in door().state_dict().items():
            expected = (state[name].view(np.uint32) & 0xFFFF0000).view(np.float32)
            assert array.dtype == np.float32
            assert array.tobytes() == expected.tobytes()  # the bits: NaN and -0 too


@pytest.mark.parametrize("kind", WHOLE)
def test_numbers_of_other_types_are_read(tmp_path, kind):
    state = {name: np.rint(array * 50).astype(WHOLE[kind]) for name, array in net().state_dict().items()}
    write(tmp_path / "m", kind, {name: (array.shape, array.tobytes()) for name, array in state.items()})
    for door in doors(tmp_path / "m"):
        for name, array in door().state_dict().items():
            np.testing.assert_array_equal(array, state[name])


@pytest.mark.parametrize("kind", ODD)
def test_types_that_numpy_lacks_are_refused_by_the_array(tmp_path, kind):
    state = {name: (a.shape, bytes(a.size * ODD[kind])) for name, a in net().state_dict().items()}
    write(tmp_path / "m", kind, state)
    for door in doors(tmp_path / "m"):
        refused(door, str(tmp_path / "m"))  # an older safetensors does not know all of them: its words, in the sentence
    write(tmp_path / "m", "F8_E4M3", {name: (a.shape, bytes(a.size)) for name, a in net().state_dict().items()})
    for door in doors(tmp_path / "m"):
        refused(door, "has 0.weight as F8_E4M3; it must be one of F64, F32, F16, BF16")


# --- damaged ---------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_a_changed_header_gives_a_model_or_a_documented_error(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "changed.safetensors"
    fm.save(net(), path)
    content = bytearray(path.read_bytes())
    end = 8 + int.from_bytes(content[:8], "little")
    if data.draw(st.booleans()):
        for _ in range(data.draw(st.integers(1, 3))):
            content[data.draw(st.integers(0, end - 1))] = data.draw(st.integers(0, 255))
        path.write_bytes(content)
    else:
        head = json.loads(content[8:end])
        name = data.draw(st.sampled_from(sorted(head.keys() - {"__metadata__"})))
        values = st.sampled_from(
            ["F8_E4M3", "BF16", "x", [], [1], [2**62, 4], [-1], None, {}, [0, 2**63], 1e400, "\ud800"]
        )
        head[name][data.draw(st.sampled_from(["dtype", "shape", "data_offsets"]))] = data.draw(values)
        text = json.dumps(head).encode()
        path.write_bytes(struct.pack("<Q", len(text)) + text + content[end:])
    for door in doors(path):
        try:
            door()
        except (ValueError, RuntimeError) as error:  # RuntimeError: `load` names keys that do not fit
            assert type(error) in (ValueError, RuntimeError)
            assert "\n" not in str(error)
            assert type(error) is RuntimeError or str(path) in str(error)


def test_a_file_that_is_cut_while_it_is_read_is_refused(tmp_path, monkeypatch):
    fm.save(net(), tmp_path / "m")
    monkeypatch.setattr(np, "fromfile", lambda stream, dtype, count: np.zeros(max(count - 1, 0), dtype))
    for door in doors(tmp_path / "m"):
        refused(door, f"{tmp_path / 'm'} is no safetensors file")


def test_a_header_cannot_ask_for_more_numbers_than_the_file_has(tmp_path):
    """Each length is one of the file's; the product is not."""
    layers = [{"kind": "Linear", "in_features": 3000, "out_features": 3000, "bias": False}]
    state = {"0.weight": np.zeros((2, 3000), np.float64)}
    save_file(state, tmp_path / "m", {"layers": json.dumps(layers)})
    refused(lambda: fm.load_model(tmp_path / "m"), "larger than the arrays")


# --- names and headers of other programs -----------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["module.", "net.layers.", "_orig_mod.module.", "features.0a."])
@pytest.mark.parametrize("options", [{}, {"norm": "batch"}])
def test_a_wrappers_words_before_all_names_are_passed_over(tmp_path, prefix, options):
    model = net(**options)
    save_file({prefix + name: array for name, array in model.state_dict().items()}, tmp_path / "m")
    other = net(seed=1, **options)
    fm.load(other, tmp_path / "m")
    for found in (other, fm.load_model(tmp_path / "m", "relu")):
        for name, array in model.state_dict().items():
            np.testing.assert_array_equal(found.state_dict()[name], array)


def test_words_before_some_names_are_not_passed_over(tmp_path):
    state = {("a." if name.startswith("0") else "b.") + name: array for name, array in net().state_dict().items()}
    save_file(state, tmp_path / "m")
    with pytest.raises(RuntimeError, match=r"missing: 0\.bias.*unexpected: a\.0\.bias"):
        fm.load(net(), tmp_path / "m")
    loaded = fm.load_model(tmp_path / "m", "relu")  # their widths fit in one order
    assert [type(layer) for layer in loaded] == [type(layer) for layer in net()]
    save_file(state | {"c.0.weight": np.zeros((9, 9, 3), np.float32)}, tmp_path / "m")
    refused(lambda: fm.load_model(tmp_path / "m", "relu"), "has c.0.weight (9, 9, 3); it must be a Linear")


def test_a_model_that_has_such_names_itself_is_loaded_by_them(tmp_path):
    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net(seed=7)

    model, other = Wrapped(), Wrapped()
    other.net.load_state_dict(net(seed=8).state_dict())
    fm.save(model, tmp_path / "m")
    fm.load(other, tmp_path / "m")
    np.testing.assert_array_equal(other.net[0].weight.data, model.net[0].weight.data)


def test_a_counter_that_nothing_is_computed_from_may_be_left_out(tmp_path):
    model, other = net(norm="batch"), net(seed=1, norm="batch")
    other[1].num_batches_tracked += 5
    state = {name: array for name, array in model.state_dict().items() if "num_batches" not in name}
    save_file(state, tmp_path / "m")
    fm.load(other, tmp_path / "m")
    for found in (other, fm.load_model(tmp_path / "m", "relu")):
        assert int(found[1].num_batches_tracked) == 0
        np.testing.assert_array_equal(found[1].running_var, model[1].running_var)
    save_file({name: array for name, array in state.items() if "running_var" not in name}, tmp_path / "m")
    with pytest.raises(RuntimeError, match=r"missing: 1\.running_var"):  # which is computed from
        fm.load(other, tmp_path / "m")
    refused(lambda: fm.load_model(tmp_path / "m", "relu"), "1.running_mean (6,)")


@pytest.mark.parametrize("text", ["3", "[", '["Linear", "ReLU"]', "{}", "null", "[" * 10_000])
def test_layers_in_another_programs_header_are_its_own_affair(tmp_path, text):
    save_file(net().state_dict(), tmp_path / "m", {"layers": text})
    with pytest.warns(UserWarning, match="taken to be relu"):
        assert len(fm.load_model(tmp_path / "m")) == 3


# --- what is made without drawing ------------------------------------------------------------------------------------


def test_within_undrawn_the_generator_stands_still_and_other_threads_draw():
    fm.manual_seed(5)
    expected = [nn.Linear(3, 4).weight.data, nn.Linear(3, 4).weight.data]
    fm.manual_seed(5)
    made = []
    with undrawn():
        assert not nn.Linear(3, 4).weight.data.any()
        seeds = {nn.Dropout(0.5).seed for _ in range(4)}
        thread = threading.Thread(target=lambda: made.append(nn.Linear(3, 4).weight.data))
        thread.start()
        thread.join()
    made.append(nn.Linear(3, 4).weight.data)
    assert len(seeds) == 4
    for array, other in zip(made, expected, strict=True):
        np.testing.assert_array_equal(array, other)


# --- every writer hands on what an array reads as --------------------------------------------------------------------

ORDERS = {
    "transposed": lambda a: np.ascontiguousarray(a.T).T,
    "Fortran": np.asfortranarray,
    "reversed": lambda a: a[::-1, ::-1].copy()[::-1, ::-1],
    "strided": lambda a: np.repeat(a, 2, axis=1)[:, ::2],
    "big-endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
}


@pytest.mark.parametrize("order", ORDERS)
def test_weights_in_another_order_of_memory_are_written_as_they_read(tmp_path, order):
    """safetensors' own writer takes the memory as it lies: transposed weights come back permuted, without a word."""
    model, plain = net(), net()
    weight = model[0].weight
    weight.data = ORDERS[order](weight.data)
    if order in ("transposed", "Fortran"):
        assert not weight.data.flags.c_contiguous
    fm.save(model, tmp_path / "m")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = fm.load_model(tmp_path / "m")
    np.testing.assert_array_equal(loaded[0].weight.data, plain[0].weight.data)
    fm.save(plain, tmp_path / "plain")
    assert (tmp_path / "m").read_bytes() == (tmp_path / "plain").read_bytes()


@pytest.mark.parametrize("order", ORDERS)
def test_the_pages_numbers_and_an_optimizers_state_are_written_as_they_read(order):
    from fastmlp.show.report.embed import packed

    fm.manual_seed(0)
    model, plain = nn.MLP(64, (5,), 3), None
    data = fm.Dataset(np.full((2, 8, 8), 200, np.uint8), [0, 1])
    plain = packed(model, (8, 8), data)
    optimizer = fm.optim.Adam(model.parameters())
    optimizer.state[0] = {"step": 1, "exp_avg": model[0].weight.data + 1, "exp_avg_sq": model[0].weight.data + 2}
    state = optimizer.state_dict()
    for name in ("exp_avg", "exp_avg_sq"):
        optimizer.state[0][name] = ORDERS[order](optimizer.state[0][name])
    model[0].weight.data = ORDERS[order](model[0].weight.data)
    assert packed(model, (8, 8), data) == plain
    again = fm.optim.Adam(model.parameters())
    again.load_state_dict(optimizer.state_dict())
    for name in ("exp_avg", "exp_avg_sq"):
        assert again.state[0][name].flags.carray
        np.testing.assert_array_equal(again.state[0][name], state["state"][0][name])
