"""Write files and folders atomically.

Everything is written into a temporary sibling of the target, synced to the disk, and
renamed. A reader sees the old file or the new one, never a part of either.
"""

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
except ImportError:  # Windows, where temporary files of killed writers stay
    fcntl = None  # type: ignore[assignment]

# Bytes of the name of a target in the name of its temporary sibling. A name may have
# 255 bytes, on some file systems 143.
_LONGEST = 100


@contextmanager
def replace_atomically(path: Any) -> Iterator[Path]:
    """Yield a temporary file that replaces another once it is complete and synced.

    Until then, and if anything fails, the old file stays as it is. A link stays, and
    the file that it points to is replaced. The new file has the permissions of the old
    one, or those of any new file.

    Raises an OSError if the file or its folder is not writeable, and a ValueError if
    `path` is not a regular file.
    """
    target = Path(os.path.realpath(os.fspath(path)))
    # Checked once: another writer may create the file in the meantime.
    mode = target.stat().st_mode if target.exists() else None
    if mode is not None:
        if not stat.S_ISREG(mode):
            raise ValueError(f"{path} is not a regular file, and is not replaced.")
        if not os.access(target, os.W_OK):
            raise PermissionError(f"{path} may not be written.")
    with temporary_sibling(target, path, is_folder=False) as part:
        if mode is not None:
            part.chmod(stat.S_IMODE(mode))
        yield part
        sync_to_disk(part)
        os.replace(part, target)


@contextmanager
def temporary_sibling(target: Path, path: Any, *, is_folder: bool) -> Iterator[Path]:
    """Yield a temporary file or folder beside its target, to be moved there.

    Its name is ``.<target>.<8 digits of the kernel><8 random digits>.part``. It is
    removed if it was not moved. A writer holds a lock on it, which the system releases
    when the process ends: so siblings that killed processes left behind are recognized
    and removed first.

    The caller moves it to `target`, which errors name `path`.
    """
    if not target.parent.exists():
        raise FileNotFoundError(
            errno.ENOENT,
            "The folder does not exist; create it by mkdir(parents=True)",
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


def sync_to_disk(path: Path) -> None:
    """Sync a file or folder to the disk."""
    if os.name == "nt" and path.is_dir():  # Windows cannot open folders
        return
    number = os.open(path, os.O_RDWR if path.is_file() else os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _prefix_of(name: str) -> str:
    """Return the beginning of the names of temporary siblings under this kernel.

    On a network file system, a lock may be visible on one machine only. So siblings
    that were written under another kernel are never removed.
    """
    short = os.fsencode(name)[:_LONGEST].decode(errors="ignore")
    return f".{short}.{_kernel()}"


@cache
def _kernel() -> str:
    """Return eight digits for the running kernel, the same in all its containers."""
    try:
        kernel = Path("/proc/sys/kernel/random/boot_id").read_text()
    except OSError:
        kernel = f"{platform.node()} {uuid.getnode()}"
    return hashlib.sha256(kernel.encode()).hexdigest()[:8]


def _new_part(
    folder: Path, prefix: str, path: Any, is_folder: bool
) -> tuple[Path, int | None]:
    """Create an empty temporary sibling, and the open file that holds its lock."""
    while True:
        part = folder / f"{prefix}{secrets.token_hex(4)}.part"
        try:
            if is_folder:
                part.mkdir()
            else:
                part.touch(exist_ok=False)
        except OSError as error:
            # The folder is not writeable: name the target, not the sibling.
            raise OSError(error.errno, error.strerror, os.fspath(path)) from error
        # Another writer may remove it before it is locked; then try again.
        with suppress(FileNotFoundError, BlockingIOError):
            return part, _lock(part)


def _remove_stale(folder: Path, prefix: str) -> None:
    """Remove temporary siblings that no process has locked."""
    name = re.compile(re.escape(prefix) + "[0-9a-f]{8}[.]part")
    with suppress(OSError):
        for part in [one for one in folder.iterdir() if name.fullmatch(one.name)]:
            with suppress(OSError):
                lock = _lock(part)
                if lock is not None:
                    _remove(part)
                    os.close(lock)


def _lock(part: Path) -> int | None:
    """Lock a file or folder until the process ends; None if that is not possible.

    Raises a BlockingIOError if another process has locked it, and a FileNotFoundError
    if it does not exist, or was removed before it was locked.
    """
    if fcntl is None:
        return None
    number = os.open(part, os.O_RDONLY)
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        part.stat()  # raises if it was removed before it was locked
    except OSError as error:
        os.close(number)
        if isinstance(error, BlockingIOError | FileNotFoundError):
            raise
        return None  # a file system without locks
    return number


def _remove(part: Path) -> None:
    """Remove a temporary file or folder, unless it was moved."""
    if part.is_dir():
        shutil.rmtree(part, ignore_errors=True)
    else:
        with suppress(OSError):
            part.unlink(missing_ok=True)
