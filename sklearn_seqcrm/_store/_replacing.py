"""Files that are whole, or as they were."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


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
    # Shorter than a name may be, which that of the file may fill.
    beside = target.with_name(f".{secrets.token_hex(8)}.part")
    try:
        beside.touch(exist_ok=False)
    except OSError as error:
        # A folder that is missing or closed, where the file itself would fail as well.
        raise OSError(error.errno, error.strerror, os.fspath(path)) from error
    try:
        if mode is not None:
            beside.chmod(stat.S_IMODE(mode))
        yield beside
        with beside.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(beside, target)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
