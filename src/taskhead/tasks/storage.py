"""The data folder, files written whole or not at all, and checks before work starts."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from filelock import FileLock
from platformdirs import user_cache_path

_PROBE_BYTES = 2**14


def data_root() -> Path:
    """Return the folder of data and checkpoints: $TASKHEAD_DATA, or one in the user's cache."""
    given = os.environ.get("TASKHEAD_DATA")
    return Path(given) if given else user_cache_path("taskhead")


@contextmanager
def one_process(name: str) -> Iterator[None]:
    """Let other processes wait while this one puts what is called `name` in the data folder.

    A folder that cannot be written to is taken to be complete.

    Raises `ValueError` if the folder cannot be made.
    """
    folder = data_root()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(
            f"data folder {folder} cannot be made ({error.strerror}); set TASKHEAD_DATA to another"
        ) from None
    with ExitStack() as held:
        with suppress(OSError):  # read-only or full
            held.enter_context(FileLock(folder / f"{name}.lock"))
        yield


def check_writable(folder: Path, needed_bytes: int = 0) -> None:
    """Raise `ValueError` unless a folder, made if needed, can take files of so many bytes.

    A small file is written and removed, as permissions say nothing of a full or read-only disk.
    Nothing is left behind if that fails.
    """
    needed, tree = max(needed_bytes, _PROBE_BYTES), (folder, *folder.parents)
    missing = [each for each in tree if not os.path.lexists(each)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
        if free < needed:
            raise OSError(f"it has {free:,} bytes free of {needed:,} needed")
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(bytes(_PROBE_BYTES))
            probe.flush()
            os.fsync(probe.fileno())
    except OSError as error:
        for each in missing:
            with suppress(OSError):  # not made, or in use by another process
                each.rmdir()
        in_the_way = [each for each in tree if os.path.lexists(each) and not os.path.isdir(each)]
        reason = f"{in_the_way[0]} is no folder" if in_the_way else error.strerror or error
        own = folder.is_relative_to(data_root())
        remedy = "set TASKHEAD_DATA to another folder" if own else "give another folder"
        raise ValueError(
            f"folder {folder} cannot be written to: {reason}; make room there or {remedy}"
        ) from None


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_whole(path: Path, content: bytes) -> Path:
    """Write a file whole or not at all, and return its path; nothing is left behind on failure."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        return temporary.replace(path)
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from None
    finally:
        temporary.unlink(missing_ok=True)
