"""Published data sets by their names: the copy of MNIST, Fashion-MNIST, KMNIST and the six sets of EMNIST.

Nothing is fetched unless a set is asked for that is not there yet, and where `root` is given, never. The checksums are
those of TensorFlow Datasets 4.9.10 (url_checksums/fashion_mnist.txt, kmnist.txt, emnist.txt); the names of the classes
are those of torchvision 0.29 (datasets/mnist.py), but for EMNIST's letters, which have no class for the label 0 here.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from shutil import copyfileobj
from string import ascii_lowercase, ascii_uppercase, digits
from typing import Any, NamedTuple

import numpy as np

from .. import check
from ..files import replacing
from .dataset import Dataset
from .fetching import cache_folder, fetch, lacking, not_written
from .files import load
from .idx import ROLES, find_idx
from .targets import Targets

Sets = tuple[Dataset, Dataset]


class Source(NamedTuple):
    """Where the files of a set are, and the SHA-256 of each."""

    url: str
    files: dict[str, str]


FASHION_MNIST = Source(
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    {
        "train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        "t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        "t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    },
)
KMNIST = Source(
    "http://codh.rois.ac.jp/kmnist/dataset/kmnist/",
    {
        "train-images-idx3-ubyte.gz": "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
        "train-labels-idx1-ubyte.gz": "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
        "t10k-images-idx3-ubyte.gz": "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
        "t10k-labels-idx1-ubyte.gz": "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c",
    },
)
EMNIST = Source(
    "https://biometrics.nist.gov/cs_links/EMNIST/",
    {"gzip.zip": "fb9bb67e33772a9cc0b895e4ecf36d2cf35be8b709693c3564cea2a019fcda8e"},
)
CLOTHES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
HIRAGANA = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")  # Latin letters: plots have glyphs for them
_MERGED = (*digits, *ascii_uppercase, *"abdefghnqrt")  # the small letters that do not look like their capitals
SPLITS: dict[str, Sequence[str | int]] = {  # the classes of EMNIST's sets, in the order of its mapping files
    "byclass": (*digits, *ascii_uppercase, *ascii_lowercase),
    "bymerge": _MERGED,
    "balanced": _MERGED,
    "letters": tuple(ascii_uppercase),  # each for both its cases; their labels begin at 1
    "digits": range(10),
    "mnist": range(10),
}
# MD5 of the test labels, a byte each: the files of these sets have the same names
_LABELS = {
    "073c3904dfbd3e141ff8aa01cfde6b15": "mnist",
    "8dea97a4e78c1bd1b5a6e8efbb870b6e": "fashion_mnist",
}


def mnist(root: str | os.PathLike[str] | None = None) -> Sets:
    """Return `(train, test)` of MNIST: 60,000 and 10,000 digits, (28, 28) uint8, 10 classes.

    Reads the folder `root`; without it, `data/mnist` of the source tree the package lies in, or
    `./data/mnist`. Nothing is downloaded. Raises FileNotFoundError if none of them has the files.

    Source: Y. LeCun, C. Cortes, C. Burges, The MNIST database of handwritten digits (CC BY-SA 3.0).
    """
    tree = Path(__file__).resolve().parent.parent.parent
    places = (
        [check.path("mnist: root", root)]
        if root is not None
        else [tree / "data" / "mnist", Path.cwd() / "data" / "mnist"]
    )
    for place in places:
        if place.is_dir() and find_idx(place):
            train, test = load(place)
            if test is None:
                raise FileNotFoundError(f"mnist: {place} holds one set; it must hold training and test set")
            return train, test
    raise FileNotFoundError(
        f"mnist: no MNIST files in {' or '.join(map(str, places))}; the installed wheel does not carry them: "
        "pass root, the folder that holds them, or use load"
    )


def fashion_mnist(root: str | os.PathLike[str] | None = None) -> Sets:
    """Return `(train, test)` of Fashion-MNIST: 60,000 and 10,000 pictures of clothes, (28, 28) uint8, 10 classes.

    `classes_` are their names, "T-shirt/top" .. "Ankle boot". root: a folder with MNIST's four files, plain or `.gz`,
    and nothing is fetched. Without it they are fetched (31 MB, extra `fetch`) and kept in `FASTMLP_DATA`, else in
    fastmlp/data of `XDG_CACHE_HOME`, else of ~/.cache; the next call needs neither a connection nor pooch.

    Errors: FileNotFoundError names what `root` lacks; NotInstalledError, ConnectionError, OSError and ValueError say
    which files to put where.
    Source: H. Xiao, K. Rasul, R. Vollgraf, Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning
    Algorithms, arXiv:1708.07747, 2017 (MIT).
    """
    return _read("fashion_mnist", FASHION_MNIST, CLOTHES, root)


def kmnist(root: str | os.PathLike[str] | None = None) -> Sets:
    """Return `(train, test)` of Kuzushiji-MNIST: 60,000 and 10,000 cursive hiragana, (28, 28) uint8, 10 classes.

    `classes_` are o ki su tsu na ha ma ya re wo, for お き す つ な は ま や れ を. root, what is fetched without it
    (21 MB) and errors: as `fashion_mnist`; a folder may also hold `kmnist-train-imgs.npz` and the three beside it.

    Source: T. Clanuwat, M. Bober-Irizar, A. Kitamoto, A. Lamb, K. Yamamoto, D. Ha, Deep Learning for Classical
    Japanese Literature, arXiv:1812.01718, 2018. KMNIST Dataset (created by CODH), adapted from Kuzushiji Dataset
    (created by NIJL and others), doi:10.20676/00000341 (CC BY-SA 4.0).
    """
    return _read("kmnist", KMNIST, HIRAGANA, root)


def emnist(split: str, root: str | os.PathLike[str] | None = None) -> Sets:
    """Return `(train, test)` of a set of EMNIST: handwritten digits and letters, (28, 28) uint8, upright as MNIST's.

    split      classes_
    byclass    62: "0" .. "9", "A" .. "Z", "a" .. "z"
    bymerge    47: the small letters that look like their capitals count as those; balanced, fewer rows, as many each
    letters    26: "A" .. "Z", each for both its cases
    digits     10: 0 .. 9; mnist, the rows of MNIST made anew

    root: a folder with the four files of the set, `emnist-letters-train-images-idx3-ubyte` and so on, plain or `.gz`,
    or with a folder `gzip` that has them; nothing is fetched. Without it the one file that holds all sets is fetched,
    `gzip.zip` (562 MB), and stays beside what is taken out of it. Cache and errors: as `fashion_mnist`.

    Source: G. Cohen, S. Afshar, J. Tapson, A. van Schaik, EMNIST: Extending MNIST to handwritten letters, IJCNN 2017,
    arXiv:1702.05373, from NIST Special Database 19.
    """
    if not isinstance(split, str) or split not in SPLITS:
        raise ValueError(f"emnist: split is {check.shown(split)}; it must be one of {', '.join(SPLITS)}")
    return _read("emnist", EMNIST, SPLITS[split], root, split)


SETS = {"mnist": mnist, "fashion_mnist": fashion_mnist, "kmnist": kmnist, "emnist": emnist}


def is_named(path: Any) -> bool:
    """Whether it is the name of a set, a text such as "kmnist" or "emnist:letters"; a Path never is."""
    return isinstance(path, str) and path.partition(":")[0] in SETS


def read_named(name: str, root: str | None = None) -> Sets:
    """The sets of a name. Error: ValueError for a split where there is none, and none where there is one."""
    which, colon, split = name.partition(":")
    if which == "emnist":
        return emnist(split, root)
    if colon:
        raise ValueError(f"{which}: {name} has a split; {which} is one set, without one")
    read: Any = SETS[which]
    return read(root)


def _read(
    caller: str, source: Source, classes: Sequence[str | int], root: str | os.PathLike[str] | None, split: str = ""
) -> Sets:
    names = [f"{name}.gz" for name in ROLES.values()]
    prefix = f"emnist-{split}" if split else None
    if split:
        names = [f"{prefix}-{name.replace('t10k', 'test')}" for name in names]
    if root is not None:
        folder = check.path(f"{caller}: root", root)
        inner = folder / "gzip" if split and lacking(folder, names) and (folder / "gzip").is_dir() else folder
        if not folder.is_dir():
            what = "is a file" if folder.is_file() else "does not exist"
            raise FileNotFoundError(f"{caller}: root {folder} {what}; it must be a folder with {', '.join(names)}")
        folder = inner
        if split and (names := lacking(folder, names)):  # `load` does not know how EMNIST's names go on
            raise FileNotFoundError(f"{caller}: {folder} lacks {', '.join(names)}; each may be plain or .gz")
    else:
        folder = cache_folder(caller)
        if lacking(folder, names):
            fetch(caller, source.url, source.files, folder)
        if split:
            _unpack(caller, folder, names)
    with _told_by(caller, "" if root is not None else "; where it is deleted it is fetched again"):
        train, test = load(folder, prefix=prefix, transpose=bool(split))
    if test is None:
        raise FileNotFoundError(f"{caller}: {folder} holds one set; it must hold training and test set")
    other = _LABELS.get(hashlib.md5(test.targets.astype(np.uint8).tobytes(), usedforsecurity=False).hexdigest())
    if other not in (None, caller) and not split:
        raise ValueError(f"{caller}: {folder} holds the files of {other}, which have the same names")
    full = f"{caller}:{split}" if split else caller
    where = {"published": full, "path": str(folder.absolute())}
    made = []
    for at, (rows, part) in enumerate(((train, "train"), (test, "test"))):
        made.append(_named(caller, rows, classes, int(split == "letters"), f"{full} {part}", folder))
        made[-1].source = where | {"set": at}
    return made[0], made[1]


def _named(caller: str, rows: Dataset, classes: Sequence[str | int], first: int, name: str, folder: Path) -> Dataset:
    """The rows with these classes. first: the label of the first of them."""
    numbers = np.asarray(rows.classes_)[rows.labels] - first
    low, high = int(numbers.min()), int(numbers.max())
    if low < 0 or high >= len(classes):
        found = f"{low + first} .. {high + first}; they must be {first} .. {len(classes) - 1 + first}"
        raise ValueError(f"{caller}: the labels of {name} in {folder} are {found}")
    values = None if isinstance(classes, range) else np.array(classes)
    made = rows._with(rows.features, Targets(numbers, "classes", len(classes), values), None)
    made.name = name
    return made


def _unpack(caller: str, folder: Path, names: list[str]) -> None:
    """Take those of the files that are not in the folder out of EMNIST's one file."""
    file = folder / "gzip.zip"
    for name in lacking(folder, names):
        try:
            with (
                zipfile.ZipFile(file) as archive,
                archive.open(f"gzip/{name}") as packed,
                replacing(folder / name) as partial,
                open(partial, "wb") as stream,
            ):
                copyfileobj(packed, stream, 1 << 20)
        except (zipfile.BadZipFile, zlib.error, KeyError, EOFError) as error:
            raise ValueError(
                f"{caller}: {file} is damaged, or another: {check.reason(error)}; where it is deleted it is fetched "
                "again"
            ) from error
        except OSError as error:
            raise not_written(caller, folder, error) from error


@contextmanager
def _told_by(caller: str, way_out: str) -> Iterator[None]:
    """What the readers of files say, in the name of who was called. way_out: what helps with a damaged file."""
    try:
        yield
    except (ValueError, FileNotFoundError) as error:
        words = str(error).removeprefix("load: ").removeprefix("read_idx: ")
        if isinstance(error, FileNotFoundError):
            raise FileNotFoundError(f"{caller}: {words}") from error
        raise ValueError(f"{caller}: {words}{way_out}") from error
