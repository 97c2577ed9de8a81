"""The table of `docs/reliability.md`: each sentence in it is what its door says, and each door has a row."""

import re
from pathlib import Path

import numpy as np
import pytest

import fastmlp as fm

PAGE = Path(__file__).parent.parent / "docs" / "reliability.md"
X, Y = np.zeros((6, 4), np.float32), np.arange(6) % 3


def data(**options):
    return fm.Dataset(X, Y, **options)


def net():
    return fm.nn.MLP(4, (5,), 3)


def nan():
    x = X.copy()
    x[2, 1] = np.nan
    return x


def changed(name, value):
    made = data()
    setattr(made, name, value)
    return made


def replaced():
    model = net()
    model[0].weight.data = np.zeros((2, 2), np.float32)
    return model


def damaged_checkpoint(folder):
    fm.fit(net(), data(), epochs=1, progress=False, checkpoint=folder)
    (path,) = folder.glob("checkpoint-*")
    path.write_bytes(path.read_bytes()[:-1])
    return folder


def file(path, content):
    path.write_bytes(content)
    return path


def npz(path, **arrays):
    np.savez(path, **arrays)
    return path


# (door, what is wrong) -> what is called, in an empty folder
DOORS = {
    ("Dataset", "a feature that is not finite"): lambda at: fm.Dataset(nan(), Y),
    ("Dataset", "rows and targets that are not as many"): lambda at: fm.Dataset(X, Y[:5]),
    ("Dataset", "a type that is no number"): lambda at: fm.Dataset(X.astype(str), Y),
    ("data.load", "a path that is not there"): lambda at: fm.data.load(at / "none.npz"),
    ("data.load", "a file that is no archive"): lambda at: fm.data.load(file(at / "d.npz", b"PK no archive")),
    ("data.load", "a folder without IDX files"): lambda at: fm.data.load(at),
    ("data.load", "pickled objects"): lambda at: fm.data.load(npz(at / "d.npz", x=np.array([None] * 6), y=Y)),
    ("load_model", "a file that is cut"): lambda at: fm.load_model(file(at / "m.safetensors", b"{")),
    ("load", "a file that is not there"): lambda at: fm.load(net(), at / "m.safetensors"),
    ("read_run", "a folder that is no run's"): lambda at: fm.read_run(at),
    ("fit", "another number of features"): lambda at: fm.fit(fm.nn.MLP(5, (5,), 3), data()),
    ("fit", "a label that the model has no output for"): lambda at: fm.fit(fm.nn.MLP(4, (5,), 2), data()),
    ("fit", "numbers for a loss of classes"): lambda at: fm.fit(
        net(), fm.Dataset(X, X), loss=fm.nn.CrossEntropyLoss(), progress=False),
    ("fit", "an argument out of range"): lambda at: fm.fit(net(), data(), batch_size=0),
    ("fit", "a callback that cannot be called"): lambda at: fm.fit(net(), data(), callbacks=[3]),
    ("fit", "features that were replaced"): lambda at: fm.fit(net(), changed("features", X[:, ::2]), progress=False),
    ("fit", "targets that were replaced"): lambda at: fm.fit(net(), changed("targets", Y - 1), progress=False),
    ("fit", "a parameter whose array was replaced"): lambda at: fm.fit(replaced(), data(), progress=False),
    ("fit", "another interval of checkpoints"): lambda at: fm.fit(
        net(), data(), checkpoint=at, checkpoint_every="often"),
    ("fit", "a folder with checkpoints"): lambda at: [
        fm.fit(net(), data(), epochs=1, progress=False, checkpoint=at) for _ in range(2)],
    ("resume", "a folder without checkpoints"): lambda at: fm.resume(at, data()),
    ("resume", "other rows"): lambda at: [
        fm.fit(net(), data(), epochs=1, progress=False, checkpoint=at), fm.resume(at, fm.Dataset(X + 1, Y))],
    ("resume", "a checkpoint that is cut, and none before it"): lambda at: fm.resume(damaged_checkpoint(at), data()),
    ("evaluate", "another number of features"): lambda at: fm.evaluate(fm.nn.MLP(5, (5,), 3), data()),
    ("Predictor", "another number of features"): lambda at: fm.Predictor(net())(np.zeros((2, 5), np.float32)),
    ("optimizer", "an option out of range"): lambda at: fm.optim.Adam(net().parameters(), lr=-1),
    ("optimizer", "the state of another model"): lambda at: fm.optim.Adam(net().parameters()).load_state_dict(
        fm.optim.Adam(list(net().parameters())[:1]).state_dict()),
    ("ops.cross_entropy", "a label that is not there"): lambda at: fm.ops.cross_entropy(
        fm.Tensor(np.zeros((2, 3), np.float32)), np.array([0, 3])),
}  # fmt: skip


def said(call, folder):
    """The sentence that a door says, with the folder left out."""
    with pytest.raises((ValueError, TypeError, OSError)) as caught:
        call(folder)
    text = str(caught.value).replace(f"{folder}", "FOLDER")
    return re.sub(r"(is no safetensors file|is not a whole \.npz archive): .*", r"\1: ...", text)  # a library's words


def rows():
    """(door, what is wrong) -> sentence, as the page has them."""
    found = re.findall(r"^\| `([\w.]+)` \| (.+?) \| (.+?) \|$", PAGE.read_text(encoding="utf-8"), re.M)
    return {(door, wrong): sentence for door, wrong, sentence in found}


@pytest.mark.parametrize("door", DOORS, ids=lambda door: f"{door[0]}: {door[1]}")
def test_a_door_says_what_the_page_says(door, tmp_path):
    assert rows().get(door) == said(DOORS[door], tmp_path)


def test_every_row_is_of_a_door():
    assert rows().keys() == DOORS.keys()


if __name__ == "__main__":  # the rows anew: python tests/test_reliability_page.py
    import tempfile

    for door, call in DOORS.items():
        with tempfile.TemporaryDirectory() as folder:
            print(f"| `{door[0]}` | {door[1]} | {said(call, Path(folder))} |")
