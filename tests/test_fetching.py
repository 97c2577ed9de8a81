"""Published sets by their names: fetched once from a server on this machine, with files that the tests make.

What is fetched for real is the same code with another address and other checksums: `served` puts those in.
"""

import errno
import gzip
import hashlib
import json
import os
import re
import subprocess
import sys
import threading
import time
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from idx_files import MNIST, idx_bytes
from scripted import ROOT, runner
from trainings import refuses

import fastmlp as fm
from fastmlp.check import NotInstalledError
from fastmlp.data import fetching, published
from fastmlp.data.doors import again, read_sets

pytest.importorskip("pooch", reason="pooch fetches what is fetched here")
FILES = tuple(published.KMNIST.files)
ROWS = {"train": 12, "test": 7}


def pixels(n: int, start: int = 0) -> np.ndarray:
    """n images that are not their own transposes."""
    return (np.arange(start, start + n * 16) * 7 % 256).astype(np.uint8).reshape(n, 4, 4)


def digits_of(n: int, k: int = 10, first: int = 0) -> np.ndarray:
    return (first + np.arange(n) * 3 % k).astype(np.uint8)


def packed(array: np.ndarray) -> bytes:
    return gzip.compress(idx_bytes(array), mtime=0)


KMNIST = {
    name: packed(array)
    for name, array in zip(
        FILES, (pixels(12), digits_of(12), pixels(7, 99), digits_of(7)), strict=True
    )
}  # fmt: skip


class Server(ThreadingHTTPServer):
    """Gives `files`, {name: bytes}, in the ways of `ways`; `asked` has what was asked for. `before` is called first."""

    daemon_threads = True

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.ways, self.asked, self.before = files, {}, [], lambda: None
        self.url = f"http://127.0.0.1:{self.server_port}/"
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def end(self) -> None:
        self.shutdown()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:  # the name is http.server's
        name = self.path[1:]
        way = self.server.ways.get(name)
        self.server.asked.append(name)
        self.server.before()
        if way == "silent":
            time.sleep(1)
            return
        if way == "gone":
            return self.send_error(404)
        body = self.server.files[name]
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        if way == "named a page":  # as Apache's AddEncoding makes of the name
            self.send_header("Content-Encoding", "x-gzip")
        self.end_headers()
        if way == "damaged":
            body = bytes([body[0] ^ 1]) + body[1:]
        self.wfile.write(body[:-5] if way == "cut" else body)

    def log_message(self, *_: object) -> None:
        pass


def source(server: Server) -> published.Source:
    return published.Source(server.url, {n: hashlib.sha256(b).hexdigest() for n, b in server.files.items()})


@pytest.fixture
def served(monkeypatch, tmp_path):
    """Puts files behind the name of a set, and its cache into a folder: a server."""
    servers = []
    monkeypatch.setenv("FASTMLP_DATA", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    def serve(name: str, files: dict[str, bytes]) -> Server:
        servers.append(server := Server(files))
        monkeypatch.setattr(published, name, source(server))
        return server

    yield serve
    for server in servers:
        server.end()


def check_kmnist(sets: tuple[fm.Dataset, fm.Dataset]) -> None:
    train, test = sets
    np.testing.assert_array_equal(train.features, pixels(12))
    np.testing.assert_array_equal(test.features, pixels(7, 99))
    np.testing.assert_array_equal(test.labels, digits_of(7))
    assert train.classes_.tolist() == test.classes_.tolist() == list(published.HIRAGANA)
    assert (train.name, test.name, train.scale) == ("kmnist train", "kmnist test", 1 / 255)


def test_a_set_is_fetched_once(served, tmp_path, monkeypatch):
    server, folder = served("KMNIST", KMNIST), tmp_path / "cache" / "kmnist"
    before = os.umask(0o027)
    try:
        check_kmnist(fm.data.kmnist())
    finally:
        os.umask(before)
    assert sorted(server.asked) == sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    if os.name == "posix":  # who shares a cache can read it: pooch alone leaves 0o600
        assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o640}
    for name in FILES:
        assert (folder / name).read_bytes() == KMNIST[name]
    server.end()
    monkeypatch.setitem(sys.modules, "pooch", None)  # `import pooch` is an ImportError
    check_kmnist(sets := fm.data.kmnist())
    for rows in sets:
        found = again(json.loads(json.dumps(rows.source)))
        np.testing.assert_array_equal(found.features, rows.features)
        assert found.classes_.tolist() == rows.classes_.tolist()
    (folder / FILES[1]).unlink()
    refuses(
        NotInstalledError, fm.data.kmnist, "kmnist: pooch, which fetches files, is not installed",
        f"pip install 'fastmlp[fetch]', or put {FILES[1]} into {folder} yourself, from {server.url}",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("way", "error", "words"),
    [
        ("damaged", ValueError, "is not the file that was published, by its SHA-256; it is thrown away; try again"),
        ("cut", ConnectionError, "cannot be fetched: the connection was cut; without a connection put"),
        ("silent", ConnectionError, "cannot be fetched: no answer for 0.2 s"),
        ("gone", ConnectionError, "cannot be fetched: the server answers 404 Not Found"),
    ],
)
def test_a_fetch_that_fails_says_so_and_leaves_nothing(served, tmp_path, monkeypatch, way, error, words):
    """The third file does not come; when the server is well again it is fetched, and the first two are not."""
    server, folder = served("KMNIST", KMNIST), tmp_path / "cache" / "kmnist"
    monkeypatch.setattr(fetching, "WAIT", 0.2)
    server.ways[FILES[2]] = way
    missing = f"{FILES[2]}, {FILES[3]} into {folder} yourself"
    refuses(error, fm.data.kmnist, "kmnist: ", f"{server.url}{FILES[2]}", words, missing if way != "damaged" else "")
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES[:2])
    server.ways.clear()
    server.asked.clear()
    check_kmnist(fm.data.kmnist())
    assert server.asked == list(FILES[2:])


def test_without_a_connection_it_says_what_to_put_where(served, tmp_path):
    server, folder = served("KMNIST", KMNIST), tmp_path / "cache" / "kmnist"
    server.end()
    words = f"no connection; without a connection put {', '.join(FILES)} into {folder} yourself"
    refuses(ConnectionError, fm.data.kmnist, f"kmnist: {server.url}{FILES[0]} cannot be fetched: {words}")
    assert list(folder.iterdir()) == []
    for name in FILES:  # by hand, some of them plain
        (folder / name.removesuffix(".gz")).write_bytes(gzip.decompress(KMNIST[name]))
    check_kmnist(fm.data.kmnist())


def test_a_file_stays_packed_where_a_server_calls_it_a_packed_page(served, monkeypatch):
    """The control: without `_as_it_lies` it is unpacked on the way, and no checksum fits."""
    server = served("KMNIST", KMNIST)
    server.ways = dict.fromkeys(FILES, "named a page")
    with monkeypatch.context() as without:
        without.setattr(fetching, "_as_it_lies", lambda *_, **__: None)
        refuses(ValueError, fm.data.kmnist, "is not the file that was published")
    check_kmnist(fm.data.kmnist())


def test_a_cache_that_cannot_be_written_to(served, tmp_path, monkeypatch):
    """A file where its folder would be: the administrator may write into a folder that is closed."""
    served("KMNIST", KMNIST)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FASTMLP_DATA", str(tmp_path / "file"))
    words = f"kmnist: {tmp_path / 'file' / 'kmnist'} cannot be written: Not a directory; FASTMLP_DATA names another"
    refuses(NotADirectoryError, fm.data.kmnist, words)
    monkeypatch.setenv("FASTMLP_DATA", str(tmp_path))

    def closed(*_: object, **__: object) -> None:  # as pooch says it of a folder that is there
        raise PermissionError("words of several sentences") from PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("pooch.retrieve", closed)
    refuses(
        PermissionError, fm.data.kmnist, f"kmnist: {tmp_path / 'kmnist'} cannot be written: Permission denied; FAST"
    )


TWO = """
import multiprocessing, sys
from fastmlp.data import kmnist, published
published.KMNIST = published.Source(sys.argv[1], dict(zip(sys.argv[2::2], sys.argv[3::2])))
train, test = kmnist()
print(len(train), len(test), multiprocessing.get_start_method(allow_none=True))
"""


def test_two_processes_fetch_at_once(served, tmp_path):
    """Neither gets its first file before both have asked for it. The start method is as open as before."""
    server = served("KMNIST", KMNIST)
    meet = threading.Barrier(2)
    server.before = lambda: meet.wait(60) if server.asked.count(FILES[0]) <= 2 and len(server.asked) <= 2 else None
    told = [str(word) for pair in published.KMNIST.files.items() for word in pair]
    made = [
        subprocess.Popen(
            [sys.executable, "-c", TWO, server.url, *told], stdout=subprocess.PIPE, text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
        )
        for _ in range(2)
    ]  # fmt: skip
    assert [process.communicate(timeout=300)[0] for process in made] == ["12 7 None\n"] * 2
    assert server.asked[:2] == [FILES[0]] * 2
    assert sorted(path.name for path in (tmp_path / "cache" / "kmnist").iterdir()) == sorted(FILES)


# --- from a folder ---------------------------------------------------------------------------------------------------


def laid(folder: Path, files: dict[str, bytes]) -> Path:
    for name, body in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(body)
    return folder


def test_a_folder_of_ones_own_needs_no_server(served, tmp_path):
    server = served("KMNIST", KMNIST)
    folder = laid(tmp_path / "own", KMNIST)
    laid(folder, {FILES[2].removesuffix(".gz"): gzip.decompress(KMNIST[FILES[2]])})
    (folder / FILES[2]).unlink()
    check_kmnist(fm.data.kmnist(folder))
    pairs = tmp_path / "pairs"  # as KMNIST has them beside its IDX files
    pairs.mkdir()
    for name, array in zip(
        ("train-imgs", "train-labels", "test-imgs", "test-labels"),
        (pixels(12), digits_of(12), pixels(7, 99), digits_of(7)),
        strict=True,
    ):
        np.savez_compressed(pairs / f"kmnist-{name}.npz", array)
    check_kmnist(fm.data.kmnist(str(pairs)))
    train, test = fm.data.fashion_mnist(folder)
    assert train.classes_[train.labels[:3]].tolist() == ["T-shirt/top", "Dress", "Shirt"]
    assert test.classes == 10
    (folder / FILES[0]).write_bytes(KMNIST[FILES[0]][:-9])
    refuses(ValueError, lambda: fm.data.kmnist(folder), f"kmnist: {folder / FILES[0]} is truncated")
    for path in (*folder.iterdir(), tmp_path / "none"):
        path.unlink(missing_ok=True)
    refuses(FileNotFoundError, lambda: fm.data.kmnist(folder), f"kmnist: {folder} holds no IDX files; looked for")
    refuses(FileNotFoundError, lambda: fm.data.kmnist(tmp_path / "none"), "none does not exist; it must be a folder")
    refuses(TypeError, lambda: fm.data.kmnist(3), "kmnist: root is int")
    laid(folder, dict(list(KMNIST.items())[:2]))
    refuses(FileNotFoundError, lambda: fm.data.kmnist(folder), "it must hold training and test set")
    assert server.asked == []


def test_a_damaged_file_of_the_cache_says_what_helps(served, tmp_path):
    served("KMNIST", KMNIST)
    folder = laid(tmp_path / "cache" / "kmnist", KMNIST)
    (folder / FILES[1]).write_bytes(KMNIST[FILES[1]][:-6])
    refuses(ValueError, fm.data.kmnist, f"{FILES[1]} is truncated", "; where it is deleted it is fetched again")
    (folder / FILES[1]).unlink()
    check_kmnist(fm.data.kmnist())


def test_the_files_of_another_set_have_the_same_names(tmp_path):
    """By their labels: MNIST's are known, and so are Fashion-MNIST's, whose digest this cannot make."""
    for read in (fm.data.kmnist, fm.data.fashion_mnist):
        refuses(ValueError, lambda read=read: read(MNIST), f"{MNIST} holds the files of mnist, which have the same")
    labels = fm.data.mnist()[1].labels.astype(np.uint8)
    assert published._LABELS[hashlib.md5(labels.tobytes()).hexdigest()] == "mnist"
    folder = laid(tmp_path, KMNIST | {FILES[1]: packed(digits_of(12, 11))})
    refuses(ValueError, lambda: fm.data.kmnist(folder), "labels of kmnist train", "are 0 .. 10; they must be 0 .. 9")


# --- EMNIST ----------------------------------------------------------------------------------------------------------


def emnist(split: str) -> dict[str, bytes]:
    """The four files of a set, with a label of each class; pixel (row, column) of an image is (column, row) there."""
    k, first = len(published.SPLITS[split]), int(split == "letters")
    made = {}
    for part, n, start in (("train", 70, 0), ("test", 65, 99)):
        made[f"emnist-{split}-{part}-images-idx3-ubyte.gz"] = packed(pixels(n, start).swapaxes(1, 2))
        made[f"emnist-{split}-{part}-labels-idx1-ubyte.gz"] = packed((first + np.arange(n) % k).astype(np.uint8))
    return made


def zipped(folder: Path, *splits: str) -> dict[str, bytes]:
    with zipfile.ZipFile(folder / "made.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for split in splits:
            for name, body in emnist(split).items():
                archive.writestr(f"gzip/{name}", body)
    return {"gzip.zip": (folder / "made.zip").read_bytes()}


def test_all_sets_of_emnist_are_in_one_file(served, tmp_path):
    server, folder = served("EMNIST", zipped(tmp_path, *published.SPLITS)), tmp_path / "cache" / "emnist"
    small = [c for c in "abcdefghijklmnopqrstuvwxyz" if c not in "cijklmopsuvwxyz"]  # those are merged
    capitals, numerals = list("ABCDEFGHIJKLMNOPQRSTUVWXYZ"), list("0123456789")
    classes = {
        "byclass": numerals + capitals + list("abcdefghijklmnopqrstuvwxyz"),
        "bymerge": numerals + capitals + small,
        "balanced": numerals + capitals + small,
        "letters": capitals,
        "digits": list(range(10)),
        "mnist": list(range(10)),
    }
    assert list(classes) == list(published.SPLITS)
    for at, (split, names) in enumerate(classes.items(), 1):
        train, test = fm.data.emnist(split)
        np.testing.assert_array_equal(train.features, pixels(70))
        np.testing.assert_array_equal(test.features, pixels(65, 99))
        assert train.classes_.tolist() == test.classes_.tolist() == names
        assert (train.classes, train.labels.tolist()) == (len(names), [n % len(names) for n in range(70)])
        assert (train.name, train.source["published"]) == (f"emnist:{split} train", f"emnist:{split}")
        assert len(list(folder.iterdir())) == 1 + 4 * at
        np.testing.assert_array_equal(again(test.source).features, test.features)
    assert server.asked == ["gzip.zip"]


def test_emnist_from_a_folder_and_what_it_refuses(served, tmp_path, monkeypatch):
    server = served("EMNIST", {"gzip.zip": b"PK"})
    laid(tmp_path / "own" / "gzip", emnist("letters"))
    for folder in (tmp_path / "own", tmp_path / "own" / "gzip"):
        assert fm.data.emnist("letters", folder)[1].classes_[0] == "A"
    lacks = "gzip lacks emnist-digits-train-images-idx3-ubyte.gz, "
    refuses(FileNotFoundError, lambda: fm.data.emnist("digits", tmp_path / "own"), lacks, "each may be plain or .gz")
    for split in ("Letters", None, 3):
        refuses(ValueError, lambda split=split: fm.data.emnist(split), "emnist: split is ", "one of byclass, bymerge")
    assert server.asked == []
    refuses(ValueError, lambda: fm.data.emnist("mnist"), "gzip.zip is damaged, or another", "it is fetched again")
    laid(tmp_path / "cache" / "emnist", zipped(tmp_path, "letters"))
    refuses(ValueError, lambda: fm.data.emnist("digits"), "gzip.zip is damaged, or another", "emnist-digits-train-imag")
    laid(tmp_path / "own" / "gzip", {"emnist-letters-test-labels-idx1-ubyte.gz": packed(digits_of(65, 28))})
    words = "the labels of emnist:letters test", "are 0 .. 27; they must be 1 .. 26"
    refuses(ValueError, lambda: fm.data.emnist("letters", tmp_path / "own"), *words)


# --- the command line ------------------------------------------------------------------------------------------------


def test_names_are_texts_and_paths_are_paths(served, tmp_path, monkeypatch):
    served("KMNIST", KMNIST)
    monkeypatch.chdir(tmp_path)
    train, test = read_sets("kmnist", scale=0.5, kind="classes", seed=0, validation=0.0)
    assert (train.scale, train.classes_[1], len(test)) == (0.5, "ki", 7)
    assert again(json.loads(json.dumps(test.source))).scale == 0.5
    laid(tmp_path / "kmnist", KMNIST)
    assert read_sets(Path("kmnist"))[0].classes_[1] == 1
    assert again(json.loads(json.dumps(test.source))).classes_[1] == "ki"
    assert published.is_named("mnist")
    assert len(read_sets("mnist")[1]) == 10_000
    for name in ("fashion-mnist", "mnist.npz", Path("fashion_mnist"), ""):
        assert not published.is_named(name)
    for name, options, words in (
        ("fashion_mnist:a", {}, "fashion_mnist:a has a split; fashion_mnist is one set"),
        ("emnist", {}, "emnist: split is ''; it must be one of"),
        (
            "mnist",
            {"prefix": "a"},
            "argument --prefix: it is for a folder of IDX files or a .npz; mnist is a published",
        ),
        ("mnist", {"test": 0.1}, "argument --test: mnist has a test set already"),
    ):
        refuses(ValueError, lambda name=name, options=options: read_sets(name, **options), words)


def test_the_scripts_take_names(served, tmp_path, monkeypatch, capsys):
    served("KMNIST", KMNIST)
    run, out = runner(monkeypatch, capsys), tmp_path / "run"
    quiet = ("--no-plots", "--no-report", "--no-progress")
    code, said, errors = run(
        "train", "--data", "kmnist", "--out", out, "--hidden", 4, "--epochs", 2, "--batch-size", 4, *quiet
    )
    assert (code, errors) == (0, "")  # pooch's words go to the stream that was there when it was imported
    assert "16-4-10 on kmnist: 12 training rows" in said
    assert json.loads((out / "config.json").read_text())["data"] == "kmnist"
    monkeypatch.chdir(tmp_path / "cache")  # where a folder has the name: the run's data are those that it had
    code, said, errors = run("train", "--resume", out, "--epochs", 3, "--no-progress")
    assert (code, errors) == (0, "")
    monkeypatch.chdir(tmp_path)
    code, said, errors = run("evaluate", "--model", out, "--data", "kmnist")
    assert (code, errors) == (0, "")
    assert "kmnist test" in said
    assert re.search(r"^ +tsu ", said, re.MULTILINE)
    assert run("train", "--data", "emnist:x", "--out", tmp_path / "other")[0] == 2
    laid(tmp_path / "kmnist", KMNIST)  # what is there was meant before there were names
    code, said, _ = run("train", "--data", "kmnist", "--out", tmp_path / "other", "--hidden", 4, "--epochs", 1, *quiet)
    assert (code, json.loads((tmp_path / "other" / "config.json").read_text())["data"]) == (0, str(tmp_path / "kmnist"))


def test_the_page_runs(served, monkeypatch, tmp_path, capsys):
    """docs/datasets.md: its code, on images of the real size; the names of all classes."""
    page = (ROOT / "docs" / "datasets.md").read_text("utf-8")
    large = [(np.arange(n * 784) % 251).astype(np.uint8).reshape(n, 28, 28) for n in (60, 20)]
    made = zip(FILES, (large[0], digits_of(60), large[1], digits_of(20)), strict=True)
    served("FASHION_MNIST", {name: packed(array) for name, array in made})
    for code in re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL):
        exec(compile(code, "docs/datasets.md", "exec"), {"__name__": "page"})
    assert "Ankle boot" in capsys.readouterr().out
    for name in published.SPLITS:
        assert f'`emnist("{name}")`' in page
    for names in (published.CLOTHES, published.HIRAGANA):
        assert ", ".join(names) in page
