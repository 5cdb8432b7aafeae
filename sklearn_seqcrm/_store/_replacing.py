"""Write files and folders completely, or leave them as they were."""

from __future__ import annotations

import errno
import hashlib
import os
import platform
import re
import secrets
import shutil
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # Windows, where parts of killed writers stay
    fcntl = None  # type: ignore[assignment]

# Bytes of the name of a target that its part repeats. A name may have 255, and those of
# some file systems 143.
_LONGEST = 100


@contextmanager
def replacing(path: Any) -> Iterator[Path]:
    """A file to write beside another, whose place it takes when it is on the disk.

    Until then, and for good if anything fails, the old file stays as it is. A link
    keeps pointing to where it did, and the file there is replaced, as if it had been
    written through the link. The new file has the permissions of the old one, or those
    that any new file gets.

    Parameters
    ----------
    path : str or path-like
        The other, which need not be there.

    Yields
    ------
    Path
        An empty file.

    Raises
    ------
    OSError
        If files may not be written there.
    ValueError
        If `path` is no ordinary file.
    """
    target = Path(os.path.realpath(os.fspath(path)))
    # Asked once: another writer may make the file meanwhile.
    mode = target.stat().st_mode if target.exists() else None
    if mode is not None:
        if not stat.S_ISREG(mode):
            raise ValueError(f"{path} is no ordinary file, so that it is not replaced.")
        if not os.access(target, os.W_OK):
            raise PermissionError(f"{path} may not be written.")
    with part_of(target, path, is_folder=False) as part:
        if mode is not None:
            part.chmod(stat.S_IMODE(mode))
        yield part
        to_the_disk(part)
        os.replace(part, target)


@contextmanager
def part_of(target: Path, path: Any, *, is_folder: bool) -> Iterator[Path]:
    """A file or folder to write beside its target, and to move there.

    It is called ``.<target>.<16 digits>.part``, and removed if it was not moved. Parts
    of the same target that were left by killed processes are removed before. Whoever
    writes a part has locked it, and the system unlocks it when the process ends.

    Parameters
    ----------
    target : Path
        Where the part shall be moved to.
    path : str or path-like
        What errors call it.
    is_folder : bool
        Whether it is a folder.

    Yields
    ------
    Path
        An empty file or folder.
    """
    if not target.parent.exists():
        raise FileNotFoundError(
            errno.ENOENT,
            "There is no folder to write into; make it by mkdir(parents=True)",
            os.fspath(path),
        )
    prefix = _prefix_of(target.name)
    _remove_stale(target.parent, prefix)
    part, lock = _new_part(target.parent, prefix, path, is_folder)
    try:
        yield part
    finally:
        _remove(part)
        if lock is not None:
            os.close(lock)


def to_the_disk(path: Path) -> None:
    """Wait until a file or folder is on the disk."""
    if os.name == "nt" and path.is_dir():  # which has nothing of its own to write
        return
    number = os.open(path, os.O_RDWR if path.is_file() else os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _prefix_of(name: str) -> str:
    """Beginning of the names of the parts of a target that this kernel can lock.

    On a network file system, a lock may be visible on one machine only. So parts that
    were written under another kernel are never removed.
    """
    short = os.fsencode(name)[:_LONGEST].decode(errors="ignore")
    return f".{short}.{_kernel()}"


@cache
def _kernel() -> str:
    """Eight digits for the running kernel, the same in all of its containers."""
    try:
        kernel = Path("/proc/sys/kernel/random/boot_id").read_text()
    except OSError:
        kernel = f"{platform.node()} {uuid.getnode()}"
    return hashlib.sha256(kernel.encode()).hexdigest()[:8]


def _new_part(
    folder: Path, prefix: str, path: Any, is_folder: bool
) -> tuple[Path, int | None]:
    """An empty part, and the open file that holds its lock."""
    while True:
        part = folder / f"{prefix}{secrets.token_hex(4)}.part"
        try:
            if is_folder:
                part.mkdir()
            else:
                part.touch(exist_ok=False)
        except OSError as error:
            # A folder that is closed, where the file itself would fail as well.
            raise OSError(error.errno, error.strerror, os.fspath(path)) from error
        # Another writer may remove the part before it is locked; then try again.
        with suppress(FileNotFoundError, BlockingIOError):
            return part, _lock(part)


def _remove_stale(folder: Path, prefix: str) -> None:
    """Remove parts that no process has locked."""
    name = re.compile(re.escape(prefix) + "[0-9a-f]{8}[.]part")
    with suppress(OSError):
        for part in [one for one in folder.iterdir() if name.fullmatch(one.name)]:
            with suppress(OSError):
                lock = _lock(part)
                if lock is not None:
                    _remove(part)
                    os.close(lock)


def _lock(part: Path) -> int | None:
    """Lock a part until the process ends; None where nothing can be locked.

    Raises
    ------
    BlockingIOError
        If another writer has locked it.
    FileNotFoundError
        If it is not there, or not any more.
    """
    if fcntl is None:
        return None
    number = os.open(part, os.O_RDONLY)
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        part.stat()  # it may have been removed before it was locked
    except OSError as error:
        os.close(number)
        if isinstance(error, BlockingIOError | FileNotFoundError):
            raise
        return None  # a file system without locks
    return number


def _remove(part: Path) -> None:
    """Remove a part, unless it was moved."""
    if part.is_dir():
        shutil.rmtree(part, ignore_errors=True)
    else:
        with suppress(OSError):
            part.unlink(missing_ok=True)
