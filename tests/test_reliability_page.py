"""docs/reliability_doors.md: each row is run, and says what the table says."""

import gzip
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from idx_files import classes, idx_bytes, images

import fastmlp as fm
from fastmlp import nn, ops, optim

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reliability_doors.md"
ROW = re.compile(r"^\| `(?P<door>[^`]+)` \| (?P<wrong>[^|]+) \| `(?P<said>[^`]*)` \|$")


def rows() -> list[tuple[str, str]]:
    """(code, what it says) of each row."""
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    found = [ROW.match(line) for line in lines]
    assert all(found), [line for line, match in zip(lines, found, strict=True) if not match]
    return [(match["door"], match["said"]) for match in found if match]


def files() -> None:
    """The damaged files that the page speaks of, in the folder where the tests are."""
    whole = idx_bytes(images(3))
    write = {
        "cut.idx": whole[:-4], "long.idx": whole + b"\0", "picture.idx": b"\x89PNG\r\n\x1a\n",
        "claims.idx": whole[:4] + b"\xff" * 12, "cut.gz": gzip.compress(whole, mtime=0)[:20],
        "text.npz": b"not an archive", "text.safetensors": b"not a file of weights, but a text",
    }  # fmt: skip
    for name, content in write.items():
        Path(name).write_bytes(content)
    x, y = images(6, (3,)) / np.float32(255), classes(6)
    np.savez("features.npz", features=x)
    np.savez("objects.npz", x=x, y=np.array([1, None, 2, 1, 2, 1], object))
    np.savez("nan.npz", x=np.where(x == x[2, 1], np.nan, x), y=y)
    np.savez("short.npz", x=x, y=y[:4])
    np.savez("kinds.npz", x=x, y=y, kind="sorts")
    with zipfile.ZipFile("lzma.npz", "w", zipfile.ZIP_LZMA) as archive:
        for name, array in (("x", x), ("y", y)):
            with archive.open(f"{name}.npy", "w") as out:
                np.save(out, array)
    fm.save(net(), "net.safetensors")
    fm.save(nn.Sequential(nn.Linear(3, 2)), "other.safetensors")
    content = Path("net.safetensors").read_bytes()
    Path("cut.safetensors").write_bytes(content[:-8])
    run = fm.Run("run", config={"activation": "relu"})
    fm.fit(net(), data(), epochs=1, progress=False, n_threads=1, callbacks=[run])
    for name, file, text in (
        ("no-history", "history.csv", "epoch\n1\n"), ("no-json", "config.json", "{"),
        ("other-net", "config.json", '{"activation": "relu", "hidden": [9]}'),
        ("other-activation", "config.json", '{"activation": "step"}'),
    ):  # fmt: skip
        Path(name).mkdir()
        for path in Path("run").iterdir():
            (Path(name) / path.name).write_bytes(path.read_bytes())
        (Path(name) / file).write_text(text)
    Path("empty").mkdir()
    kept("cut")
    (path,) = Path("cut").iterdir()
    path.write_bytes(path.read_bytes()[:-1])


def net() -> nn.MLP:
    fm.manual_seed(0)
    return nn.MLP(3, (4,), 3, norm="batch", dropout=0.1)


def data() -> fm.Dataset:
    return fm.Dataset(images(6, (3,)) / np.float32(255), classes(6))


def trained(change) -> None:
    """`fit`, with a callback that changes something after the first epoch."""
    model, rows, loss = net(), data(), nn.CrossEntropyLoss()
    optimizer = optim.Adam(model.parameters())
    fm.fit(
        model, rows, optimizer=optimizer, loss=loss, epochs=2, batch_size=3, progress=False, n_threads=1,
        callbacks=[lambda model, history: change(model, rows, optimizer, loss)],
    )  # fmt: skip


def kept(folder: str) -> None:
    """`fit` over an epoch, with checkpoints in this folder."""
    fm.fit(net(), data(), epochs=1, batch_size=3, progress=False, n_threads=1, checkpoint=folder)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("doors")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        files()
    return folder


@pytest.mark.parametrize(("door", "said"), rows())
def test_a_door_says_what_the_page_says(door, said, place, monkeypatch):
    monkeypatch.chdir(place)
    names = {"fm": fm, "np": np, "nn": nn, "ops": ops, "optim": optim, "model": net(), "data": data()}
    names |= {"trained": trained, "kept": kept}
    names |= {"x": data().features, "y": data().labels, "t": fm.Tensor(data().features, True)}
    with pytest.raises(Exception) as raised:
        exec(door, names)
    found = f"{type(raised.value).__name__}: {raised.value}"
    assert found == said or (said.endswith("...") and found.startswith(said[:-3]))  # and another program's words


def test_the_page_has_a_row_for_each_sort_of_door():
    doors = "\n".join(door for door, _ in rows())
    names = "read_idx data.load load_model fm.load( read_run fm.fit( resume evaluate Predictor ops. Dataset( nn. optim."
    for name in (*names.split(), ".step()", "backward", "trained(", "fm.save("):
        assert name in doors
    assert len(rows()) > 70


def test_a_row_that_is_not_true_would_be_found():
    with pytest.raises(AssertionError):
        assert f"ValueError: {'manual_seed: seed is -1'}" == dict(rows())["fm.manual_seed(-1)"]
