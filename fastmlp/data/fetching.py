"""Files of published data sets: a folder of the cache, and pooch, which fetches what is asked for and not there.

A file is written under another name, compared with its checksum, and only then gets its own: a file that is there is
whole, whatever ended the process before, and two processes may fetch it at once.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .. import check

WAIT = 30  # seconds that a server may be silent
_BAR: dict[str, Any] = {"unit_scale": True, "disable": None, "leave": False, "delay": 0.2}  # of tqdm, on a terminal


def cache_folder(name: str) -> Path:
    """Where the files of a set lie: `FASTMLP_DATA`, else fastmlp/data in `XDG_CACHE_HOME`, else in ~/.cache."""
    if given := os.environ.get("FASTMLP_DATA"):
        return Path(given).absolute() / name
    try:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError:
        raise FileNotFoundError(
            f"{name}: there is no home folder to keep files in; FASTMLP_DATA must name a folder"
        ) from None
    return Path(base).absolute() / "fastmlp" / "data" / name


def lacking(folder: Path, names: Iterable[str]) -> list[str]:
    """Those of the files, `.gz`, that are not in the folder, packed or plain."""
    return [name for name in names if not any((folder / n).is_file() for n in (name, name.removesuffix(".gz")))]


def fetch(caller: str, url: str, files: Mapping[str, str], folder: Path) -> None:
    """Fetch into the folder those of the files, {name: SHA-256}, that are not there.

    url: of the folder they are in, with its last "/".
    Errors: NotInstalledError without pooch. ConnectionError where a file cannot be had, OSError where it cannot be
    written, ValueError where what comes has another checksum; nothing of it stays. Each says what to put where.
    """
    names = lacking(folder, files)
    if not names:
        return
    by_hand = f"put {', '.join(names)} into {folder} yourself"
    try:
        import pooch
        from requests.exceptions import RequestException
        from tqdm import tqdm
    except ImportError:
        raise check.NotInstalledError(
            f"{caller}: pooch, which fetches files, is not installed: pip install 'fastmlp[fetch]', or {by_hand}, "
            f"from {url}"
        ) from None
    # a bar without tqdm's lock for processes, which settles multiprocessing's start method for the whole program
    bar = type("Bar", (tqdm,), {"monitor_interval": 0, "_lock": getattr(tqdm, "_lock", None) or threading.RLock()})
    for name in names:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with bar(unit="B", total=1, **_BAR) as shown:  # pooch sets the total, and asks whether there is one before
                load = pooch.HTTPDownloader(
                    progressbar=shown, chunk_size=1 << 16, timeout=WAIT, hooks={"response": _as_it_lies}
                )
                pooch.retrieve(url + name, f"sha256:{files[name]}", name, folder, downloader=load)
            _readable(folder / name)
        except RequestException as error:
            raise ConnectionError(
                f"{caller}: {url}{name} cannot be fetched: {_why(error)}; without a connection {by_hand}"
            ) from error
        except ValueError as error:
            raise ValueError(
                f"{caller}: what came from {url}{name} is not the file that was published, by its SHA-256; it is "
                f"thrown away; try again, or {by_hand}"
            ) from error
        except OSError as error:
            raise not_written(caller, folder, error) from error


def not_written(caller: str, folder: Path, error: OSError) -> OSError:
    """The error of the same class that says which folder cannot be written, and what helps."""
    first = error.__cause__ if isinstance(error.__cause__, OSError) else error  # pooch's own has no `strerror`
    why = first.strerror or check.reason(first)
    return type(error)(f"{caller}: {folder} cannot be written: {why}; FASTMLP_DATA names another folder")


def _as_it_lies(response: Any, *_: Any, **__: Any) -> None:
    """Keep a `.gz` packed, as its checksum wants it, where a server calls it a page that is packed for the way."""
    response.raw.headers.pop("Content-Encoding", None)


def _readable(file: Path) -> None:
    """Whom the process's umask lets read a new file may read it: pooch leaves it to its owner, and caches are shared.

    The umask is known by a file that is made: to ask for it is to set it, for all threads.
    """
    trial = file.with_name(f".{file.name}.{os.getpid()}.{threading.get_ident()}.mode")
    try:
        trial.touch()
        file.chmod(trial.stat().st_mode & 0o777)
    finally:
        trial.unlink(missing_ok=True)


def _why(error: Exception) -> str:
    """What is wrong with the connection, in words."""
    from requests import exceptions

    if isinstance(error, exceptions.Timeout):
        return f"no answer for {WAIT} s"
    if isinstance(error, exceptions.HTTPError) and error.response is not None:
        return f"the server answers {error.response.status_code} {error.response.reason}"
    if isinstance(error, exceptions.ChunkedEncodingError):
        return "the connection was cut"
    return "no connection" if isinstance(error, exceptions.ConnectionError) else check.reason(error)
