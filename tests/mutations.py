"""Mutants of files: valid bytes, changed by a seed and a number, and what may come of opening them.

`KINDS` is the table: a kind of file -> how its valid bytes are made, how they are changed, how they are opened, which
errors are documented. `mutant(kind, number)` is the same bytes each time. `look(kind, number, folder)` opens one and
says in a sentence what is wrong with what came of it, or nothing. As a program, `python mutations.py KIND FIRST LAST`
looks at many in a process of its own: a crash ends that process, and its last line says where.
"""

from __future__ import annotations

import gzip
import io
import json
import random
import re
import struct
import sys
import tracemalloc
import warnings
import zipfile
import zlib
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import safetensors.numpy
from idx_files import classes, idx_bytes, images

import fastmlp as fm
from fastmlp import tensors
from fastmlp.training.checkpoint import read_newest

SLACK = 64 << 20  # bytes that opening a file may take beyond its (unpacked) size
SECONDS = 1.0  # that opening it may take
MOST = 1 << 20  # bytes of a mutant
EXTREME = (0, 1, -1, 2, 127, 255, 2**15, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1)
WORDS = (
    "", "0", "-1", "nan", "inf", "1e400", "9" * 5000, "null", "None", "[]", "\0", "\ud800", "a\nb", "é", "{}", "F64",
    "BF16", "F8_E5M2", "C64", "|O", "<f8", ">f4", "<U9", "|S0", "|V8", "<M8[ns]", "(2,)f4", "relu", "True",
)  # fmt: skip
TREES = (
    None, True, False, 0, -1, 1, 0.5, 2**31, 2**53, 2**63, 2**64, 10**30, 1e308, float("nan"), float("inf"), "", "x",
    "a\nb", "relu", "Linear", [], [[]], [1], [2**62, 4], [-1, 4], {}, {"kind": "Linear"}, {"a": [{}]},
)  # fmt: skip
FOREIGN = (
    b"", b"\0", b"PK", b"PK\x05\x06" + bytes(18), b"\x1f\x8b", b"\x1f\x8b\x08" + bytes(7), b"\x89PNG\r\n\x1a\n",
    b"<!DOCTYPE html><html></html>", b'{"a": 1}', b"[]", b"null", b"\x93NUMPY\x01\x00", b"\x80\x04N.", b"%PDF-1.7\n",
    b"\x7fELF" + bytes(60), "\ufeffepoch,loss\n1,2\n".encode(), b"\xff" * 64, bytes(4096), b"[" * 9000, b'{"a":' * 9000,
)  # fmt: skip
NPY = {  # a field of the header of a .npy -> what else may stand there
    rb"'descr': '[^']*'": [
        f"'descr': '{kind}'"
        for kind in (
            "|O", "<f8", ">f4", "<f2", "<c16", "<U9", "|S0", "<U0", "|V8", "|b1", "<M8[ns]", "|V2147483647", ">u2"
        )
    ],
    rb"'fortran_order': \w+": ["'fortran_order': True", "'fortran_order': 3", "'fortran_order': False"],
    rb"'shape': \([^)]*\)": [
        "'shape': (True, 2)", "'shape': 3", "'shape': (6, 4)", "'shape': (24,)", "'shape': " + "(" * 90 + ")" * 90
    ],
}  # fmt: skip

Change = Callable[[bytes, random.Random], bytes]


# --- changes of any file ---------------------------------------------------------------------------------------------


def _span(content: bytes, draw: random.Random) -> tuple[int, int]:
    """The ends of a range, often a short one, often at the front, where headers are."""
    front = draw.choice((16, 128, len(content) + 1))
    start = draw.randrange(min(front, len(content) + 1))
    return start, min(len(content), start + draw.choice((1, 2, 4, 8, draw.randrange(1, 200), len(content))))


def flip(content: bytes, draw: random.Random) -> bytes:
    """Some bits turned over."""
    changed = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 8)) if content else 0):
        changed[draw.randrange(*draw.choice(((0, min(64, len(content))), (0, len(content)))))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def cut(content: bytes, draw: random.Random) -> bytes:
    """The end is missing, from any place on; or the beginning."""
    start, end = _span(content, draw)
    return draw.choice((content[:start], content[:-1], content[: len(content) - end + start], content[end:]))


def zero(content: bytes, draw: random.Random) -> bytes:
    """A range is 0, or 255."""
    start, end = _span(content, draw)
    return content[:start] + draw.choice((b"\0", b"\xff")) * (end - start) + content[end:]


def twice(content: bytes, draw: random.Random) -> bytes:
    """A range is there two times or many."""
    start, end = _span(content, draw)
    return content[:end] + content[start:end] * draw.choice((1, 1, 2, 50)) + content[end:]


def remove(content: bytes, draw: random.Random) -> bytes:
    """A range is missing."""
    start, end = _span(content, draw)
    return content[:start] + content[end:]


def insert(content: bytes, draw: random.Random) -> bytes:
    """Bytes that do not belong there."""
    start, _ = _span(content, draw)
    more = draw.choice(
        (draw.randbytes(draw.randrange(1, 40)), bytes(draw.choice((1, 8, 70_000))), draw.choice(FOREIGN))
    )
    return content[:start] + more + content[start:]


def number(content: bytes, draw: random.Random) -> bytes:
    """An extreme number of 1 to 8 bytes, in either order, in the place of what is there."""
    start, _ = _span(content, draw)
    size = draw.choice((1, 2, 4, 8))
    value = (draw.choice(EXTREME) % 2 ** (8 * size)).to_bytes(size, draw.choice(("little", "big")))
    return content[:start] + value + content[start + size :]


def word(content: bytes, draw: random.Random) -> bytes:
    """A number or a word in text has become another."""
    places = list(re.finditer(rb"-?\d+(?:\.\d+)?(?:e[-+]?\d+)?|[A-Za-z_]\w*", content[:20_000]))
    if not places:
        return flip(content, draw)
    place, other = draw.choice(places), draw.choice((*WORDS, *map(str, EXTREME)))
    return content[: place.start()] + other.encode("utf-8", "surrogatepass") + content[place.end() :]


def foreign(content: bytes, draw: random.Random) -> bytes:
    """Another file altogether, perhaps with this one behind it."""
    return draw.choice(FOREIGN) + draw.choice((b"", b"", content))


def splice(content: bytes, draw: random.Random) -> bytes:
    """The beginning of this file, the end of one of any kind."""
    other = valid(draw.choice(list(KINDS)))
    return content[: _span(content, draw)[0]] + other[_span(other, draw)[0] :]


ANY = (flip, flip, cut, zero, twice, remove, insert, number, number, word, foreign, splice)


def tree(value: Any, draw: random.Random) -> Any:
    """A value of JSON in which one thing, at any depth, has become something else, has gone or is there twice."""
    if isinstance(value, dict | list) and value and draw.random() < 0.85:
        value = value.copy()
        key = draw.choice(list(value) if isinstance(value, dict) else range(len(value)))
        what = draw.random()
        if what < 0.1:
            del value[key]
        elif what < 0.15 and isinstance(value, list):
            value.append(value[key])
        elif what < 0.15:
            value[draw.choice(WORDS)] = value[key]
        else:
            value[key] = tree(value[key], draw)
        return value
    if isinstance(value, str) and value[:1] in ("[", "{") and draw.random() < 0.8:  # JSON in a text
        return json.dumps(tree(json.loads(value), draw))
    return draw.choice((*TREES, *WORDS[:12]))


# --- changes that know the kind --------------------------------------------------------------------------------------


def idx_header(content: bytes, draw: random.Random) -> bytes:
    """Type, dimensions or lengths of an IDX file are others; or it is zeros without end behind a header."""
    kind, n = draw.choice((8, 9, 11, 12, 13, 14, 10, 0)), draw.choice((0, 1, 2, 3, 31, 32, 64, 255))
    lengths = [draw.choice(EXTREME) % 2**32 for _ in range(n)]
    head = struct.pack(f">HBB{n}I", draw.choice((0, 0, 0, 1)), kind, n, *lengths)
    return head + draw.choice((content[4 + 4 * n :], b"", bytes(300_000)))


def packed(change: Change) -> Change:
    """The change before a file is gzipped: its stream is whole and what it holds is not."""

    def changed(content: bytes, draw: random.Random) -> bytes:
        more = draw.choice((b"", b"", b"", bytes(3_000_000)))
        return gzip.compress(change(gzip.decompress(content), draw) + more, draw.choice((1, 9)), mtime=0)

    return changed


def npz_entry(content: bytes, draw: random.Random) -> bytes:
    """One array of an archive is changed before it is packed anew: by bytes, by its header, by its name."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    name = draw.choice(sorted(entries))
    what = draw.choice(("bytes", "bytes", "header", "header", "header", "name", "gone", "bomb"))
    if what == "bytes":
        entries[name] = draw.choice(ANY)(entries[name], draw)
    elif what == "header":
        entries[name] = npy_header(entries[name], draw)
    elif what == "name":
        entries[draw.choice(("x.npy", "kind.npy", "x", "../x.npy", "features.npy", "y.npy", ""))] = entries.pop(name)
    elif what == "gone":
        del entries[name]
    else:
        entries[name] += bytes(3_000_000)
    out, packing = io.BytesIO(), draw.choice((0, 8, 8, 8, 8, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
    with zipfile.ZipFile(out, "w", packing) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of zipfile: names that are there already
        for key, value in entries.items():
            archive.writestr(zipfile.ZipInfo(key), value, packing)
    return out.getvalue() if draw.random() < 0.6 else draw.choice((flip, number))(out.getvalue(), draw)


def npy_header(content: bytes, draw: random.Random) -> bytes:
    """Type, order or shape in the header of a .npy are others."""
    head, body = content[10 : content.index(b"\n") + 1], content[content.index(b"\n") + 1 :]
    field = draw.choice(list(NPY))
    chosen = draw.choice(NPY[field])
    if b"shape" in field and draw.random() < 0.6:
        chosen = f"'shape': {tuple(draw.choice(EXTREME) for _ in range(draw.choice((0, 1, 2, 3, 33))))}"
    head = re.sub(field, lambda _: chosen.encode(), head, count=1)
    length = len(head) if draw.random() < 0.9 else draw.choice(EXTREME) % 65536
    return content[:8] + struct.pack("<H", length % 65536) + head + body


def tensors_header(content: bytes, draw: random.Random) -> bytes:
    """The JSON at the front of a safetensors file says something else, and its length is right, or is not."""
    end = 8 + int.from_bytes(content[:8], "little")
    text = json.dumps(tree(json.loads(content[8:end]), draw)).encode()
    length = len(text) if draw.random() < 0.9 else draw.choice(EXTREME) % 2**64
    return struct.pack("<Q", length) + text + content[end:]


def sealed_state(content: bytes, draw: random.Random) -> bytes:
    """The state in a checkpoint says something else, and the digest is that of the new content."""
    end = 8 + int.from_bytes(content[:8], "little")
    state = json.loads(json.loads(content[8:end])["__metadata__"]["state"])
    return tensors.sealed(safetensors.numpy.load(content), {"state": json.dumps(tree(state, draw))})


def json_tree(content: bytes, draw: random.Random) -> bytes:
    """Something in a JSON file is something else."""
    return json.dumps(tree(json.loads(content), draw)).encode()


def csv_cell(content: bytes, draw: random.Random) -> bytes:
    """A cell is something else, a column or a line has gone, or is there more than once."""
    rows = [line.split(",") for line in content.decode().splitlines()]
    row = draw.randrange(len(rows))
    column = draw.randrange(len(rows[row]))
    what = draw.choice(("cell", "cell", "cell", "column", "row", "many", "quote"))
    if what == "cell":
        rows[row][column] = draw.choice((*WORDS, *map(str, EXTREME)))
    elif what == "column":
        rows = [line[:column] + line[column + 1 :] for line in rows]
    elif what == "row":
        del rows[row]
    elif what == "many":
        rows[row : row + 1] = [rows[row]] * draw.choice((2, 50, 1000))
    else:
        rows[row][column] = '"' + rows[row][column]
    return "\n".join(",".join(line) for line in rows).encode("utf-8", "surrogatepass")


# --- valid files, and how they are opened ----------------------------------------------------------------------------


def _idx() -> bytes:
    return idx_bytes(images(9, (4, 3)))


def _idx_gz() -> bytes:
    return gzip.compress(_idx(), 6, mtime=0)


def _npz(save: Callable[..., None]) -> bytes:
    out = io.BytesIO()
    names = np.array([f"column {n}" for n in range(6)])
    x = images(24, (6,)) / np.float32(255)
    save(out, x=x, y=classes(24), sample_weight=np.ones(24), feature_names=names, kind=np.array("classes"))
    return out.getvalue()


def _sparse_npz() -> bytes:
    """As scipy.sparse.save_npz writes it."""
    out = io.BytesIO()
    arrays = {"indptr": [0, 2, 2, 5], "indices": np.array([1, 4, 0, 2, 5], np.int32), "data": np.arange(5) / 3}
    np.savez_compressed(out, **arrays, shape=[3, 6], format=b"csr")
    return out.getvalue()


def _svm() -> bytes:
    return b"".join(b"%d %d:%f %d:1e-%d # %d\n" % (n % 3, n % 4, n / 7, 4 + n % 2, n, n) for n in range(20))


def _model() -> fm.nn.MLP:
    fm.manual_seed(0)
    return fm.nn.MLP(5, (7,), 3, norm="batch", dropout=0.1)


@lru_cache(1)
def _run() -> dict[str, bytes]:
    """The files of a run folder that `read_run` reads."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        config = {"features": 5, "hidden": [7], "classes": 3, "activation": "relu", "dropout": 0.1, "batch_norm": True}
        run = fm.Run(Path(folder) / "run", config=config)
        data = fm.Dataset(images(40, (5,)) / np.float32(255), classes(40))
        fm.fit(_model(), data, 0.2, epochs=3, batch_size=10, n_threads=1, progress=False, callbacks=[run])
        run.write_metrics(test=fm.evaluate(_model(), data, n_threads=1))
        return {path.name: path.read_bytes() for path in run.folder.iterdir() if path.is_file()}


def _checkpoint() -> bytes:
    """Of a training that was in its second epoch."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        data = fm.Dataset(images(40, (5,)) / np.float32(255), classes(40))
        fm.fit(_model(), data, 0.2, epochs=2, batch_size=8, n_threads=1, progress=False, checkpoint=folder,
               checkpoint_every=3)  # fmt: skip
        return min(Path(folder).iterdir()).read_bytes()


def _open_checkpoint(path: Path) -> None:
    """As `resume` does, in a folder without another one."""
    folder = path.parent / "checkpoints"
    folder.mkdir(exist_ok=True)
    path.replace(folder / "checkpoint-000000000006.safetensors")
    read_newest(folder, "resume", print)


def _open_npz(path: Path) -> None:
    train, test = fm.data.load(path)
    for part in (train, test):
        if part is not None:
            assert part.features.flags.c_contiguous
            assert len(part.targets) == len(part.features)
            repr(part)


def _open_sparse(path: Path) -> None:
    """What comes of it goes through the kernels, by raw addresses."""
    rows = fm.data.read_sparse_npz(path)
    if rows.shape[1] < 10**6 > len(rows):
        rows[::2].toarray()
        repr(rows)


def _open_svm(path: Path) -> None:
    fm.data.load_svmlight_file(path, n_features=6, zero_based=True)[:1].rows.toarray()


def _open_weights(path: Path) -> None:
    """By both doors; a model that comes of it is asked, as its kernels have raw addresses."""
    refused: BaseException | None = None
    model = _model()
    try:
        fm.load(model, path)
        _ask(model)
    except (ValueError, RuntimeError, OSError, MemoryError) as error:
        refused = error
    _ask(fm.load_model(path, "relu"))
    if refused:
        raise refused


def _ask(model: fm.nn.Sequential) -> None:
    predictor = fm.Predictor(model)
    if predictor.features <= 1 << 20:
        predictor(np.zeros((3, predictor.features), np.float32))


def _run_door(name: str) -> Callable[[Path], None]:
    """`read_run` of a folder in which this one file is the mutant."""

    def opened(path: Path) -> None:
        folder = path.parent / f"run with another {name}"
        if not folder.is_dir():
            folder.mkdir()
            for other, content in _run().items():
                (folder / other).write_bytes(content)
        path.replace(folder / name)
        saved = fm.read_run(folder)
        if name == "config.json":
            _ask(saved.model)
        if name == "history.csv":
            fm.diagnose(saved.history)
            repr(saved.history)

    return opened


class Kind(NamedTuple):
    """A kind of file."""

    make: Callable[[], bytes]
    changes: tuple[Change, ...]  # that know the kind
    open: Callable[[Path], Any]
    refusals: tuple[type[Exception], ...]  # that the door documents
    unpacked: Callable[[bytes], int] = len


def _gunzipped(content: bytes) -> int:
    """Bytes that come out of what is whole of a gzip stream."""
    if content[:2] != b"\x1f\x8b":
        return len(content)
    try:
        return max(len(content), len(zlib.decompressobj(31).decompress(content, 1 << 28)))
    except zlib.error:
        return len(content)


def _unzipped(content: bytes) -> int:
    """Bytes that come out of the entries of an archive that can be read."""
    total = len(content)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for entry in archive.infolist():
                try:
                    with archive.open(entry) as stream:
                        while block := stream.read(1 << 20):
                            total += len(block)
                except Exception:
                    continue
    except Exception:
        return total
    return total


FILE = (ValueError, FileNotFoundError, MemoryError)
KINDS: dict[str, Kind] = {
    "idx": Kind(_idx, (idx_header,), fm.data.read_idx, FILE, _gunzipped),
    "idx.gz": Kind(_idx_gz, (packed(idx_header), *map(packed, ANY)), fm.data.read_idx, FILE, _gunzipped),
    "npz": Kind(lambda: _npz(np.savez), (npz_entry,), _open_npz, FILE, _unzipped),
    "npz compressed": Kind(lambda: _npz(np.savez_compressed), (npz_entry,), _open_npz, FILE, _unzipped),
    "sparse npz": Kind(_sparse_npz, (npz_entry,), _open_sparse, FILE, _unzipped),
    "svmlight": Kind(_svm, (word, number), _open_svm, FILE, _gunzipped),
    "safetensors": Kind(lambda: _run()["model.safetensors"], (tensors_header,), _open_weights, (*FILE, RuntimeError)),
    "checkpoint": Kind(_checkpoint, (tensors_header, sealed_state), _open_checkpoint, FILE),
    "history.csv": Kind(lambda: _run()["history.csv"], (csv_cell,), _run_door("history.csv"), FILE),
    "config.json": Kind(lambda: _run()["config.json"], (json_tree,), _run_door("config.json"), FILE),
    "metrics.json": Kind(lambda: _run()["metrics.json"], (json_tree,), _run_door("metrics.json"), FILE),
}


# --- mutants, and a look at what comes of them -----------------------------------------------------------------------


@lru_cache(32)
def valid(kind: str) -> bytes:
    """The bytes of a file that is whole."""
    return KINDS[kind].make()


def mutant(kind: str, number: int) -> bytes:
    """The mutant of this number: the same bytes each time, from one change or two."""
    draw = random.Random(f"{kind} {number}")
    content = valid(kind)
    for _ in range(draw.choice((1, 1, 1, 2))):
        change = draw.choice(KINDS[kind].changes if draw.random() < 0.5 else ANY)
        try:
            content = change(content, draw)
        except Exception:  # the second change of a kind finds no such file any more
            content = flip(content, draw)
    return content[:MOST]


def look(kind: str, number: int, folder: Path, seconds: float = SECONDS) -> str:
    """Open a mutant: what is wrong with what came of it, in words; an empty text where nothing is.

    A mutant that takes too long is opened twice more before it counts: another process may have had the core.
    """
    return trouble(KINDS[kind], mutant(kind, number), folder, seconds)


def trouble(kind: Kind, content: bytes, folder: Path, seconds: float = SECONDS) -> str:
    """The same of any bytes. Memory is what Python and NumPy ask for, and what the process has, whichever is more."""
    path, took, peaks, found = folder / "mutant", [], [], ""
    room = kind.unpacked(content) + SLACK
    while not took or (took[-1] > seconds and len(took) < 3):
        path.write_bytes(content)
        before = _resident(anew=True)
        tracemalloc.start()
        begin = perf_counter()
        try:
            found = _opened(kind, path)
        finally:
            took.append(perf_counter() - begin)
            peaks += [tracemalloc.get_traced_memory()[1], _resident() - before]
            tracemalloc.stop()
    if max(peaks) > room:
        found = found or f"{max(peaks):,} bytes of memory for a file that may take {room:,}"
    if min(took) > seconds:
        found = found or f"it took {min(took):.2f} s"
    return found


def _resident(anew: bool = False) -> int:
    """Most bytes of memory that this process has had since it was asked with `anew`; 0 where Linux does not say."""
    try:
        if anew:
            Path("/proc/self/clear_refs").write_text("5")
        return int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) << 10
    except (OSError, TypeError):
        return 0


def _opened(kind: Kind, path: Path) -> str:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.simplefilter("ignore", UserWarning)  # the package's own, to people
            kind.open(path)
    except kind.refusals as error:
        said = str(error)
        if type(error) not in kind.refusals:
            return f"{type(error).__name__}, of another class than is documented: {said[:300]}"
        if not said or "\n" in said or len(said) > 1000 or not said.isprintable():
            return f"{type(error).__name__} is not one sentence: {said[:300]!r}"
        if type(error) is not RuntimeError and str(path.parent) not in said:
            return f"{type(error).__name__} does not name the file: {said[:300]}"
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        return f"{type(error).__name__}: {str(error)[:300]}"
    return ""


def _program(kind: str, first: str, last: str) -> None:
    """A line for each mutant that is begun, and one for what is wrong with it."""
    import faulthandler
    import tempfile

    faulthandler.enable()
    with tempfile.TemporaryDirectory() as folder:
        for number in range(20):  # what is imported and compiled once is nobody's memory
            look(kind, number, Path(folder))
        for number in range(int(first), int(last)):
            print(number, flush=True)
            if found := look(kind, number, Path(folder)):
                print(f"fault {number} {found!r}", flush=True)
    print("done", flush=True)


if __name__ == "__main__":
    _program(*sys.argv[1:])
