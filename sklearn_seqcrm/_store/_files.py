"""Write files and folders atomically, with checksums of their content.

Atomically: everything is written into a temporary sibling of the target, synced to the
disk, and renamed. A reader sees the old file or the new one, never a part of either.

A *sealed* file contains a SHA-256 of all its bytes, computed with zeros in the place of
its 64 digits. Other readers see the seal as ordinary text of the format::

    JSON       { ..., "format": 2, "seal": "sklearn_seqcrm.sha256=<64 digits>" }

    Parquet    PAR1
               pages of the columns
               footer: schema, ...; metadata = {
                   <key of the note>:     JSON of the note, with "format": 2
                   "sklearn_seqcrm.seal": "sklearn_seqcrm.sha256=<64 digits>"
               }
               length of the footer, 4 bytes
               PAR1

A *note* is a JSON object with properties that the table lacks. It has the number of
its format: 1 was written by version 0.1.0, without seals; from `SEALED_FORMAT` on, a
file without a seal is damaged.
"""

from __future__ import annotations

import errno
import hashlib
import json
import mmap
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
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

try:
    import fcntl
except ImportError:  # Windows, where temporary files of killed writers stay
    fcntl = None  # type: ignore[assignment]

SEALED_FORMAT = 2
_MARK = b"sklearn_seqcrm.sha256="
_BLANK = b"0" * 64
_SEAL = (_MARK + _BLANK).decode()
_SEAL_KEY = "sklearn_seqcrm.seal"
_PARQUET_END = b"PAR1"
# Bytes of the name of a target in the name of its temporary sibling. A name may have
# 255 bytes, on some file systems 143.
_LONGEST = 100


# Atomic writing ---------------------------------------------------------------------


@contextmanager
def replace_atomically(path: Any) -> Iterator[Path]:
    """Yield a temporary file that replaces another once it is complete and synced.

    Until then, and if anything fails, the old file stays as it is. A link stays, and
    the file that it points to is replaced. The new file has the permissions of the old
    one, or those of any new file.

    Parameters
    ----------
    path : str or path-like
        The file to replace or to create.

    Yields
    ------
    Path
        An empty file.

    Raises
    ------
    OSError
        If the file or its folder is not writeable.
    ValueError
        If `path` is not a regular file.
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

    Parameters
    ----------
    target : Path
        Path that the caller moves it to.
    path : str or path-like
        Name of the target in errors.
    is_folder : bool
        Whether to create a folder.

    Yields
    ------
    Path
        An empty file or folder.
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

    Raises
    ------
    BlockingIOError
        If another process has locked it.
    FileNotFoundError
        If it does not exist, or was removed before it was locked.
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


# Sealed files ------------------------------------------------------------------------


class Writer(NamedTuple):
    """The method that wrote a file, for errors of reading it.

    Parameters
    ----------
    name : str
        Name of the method.
    anew : str
        Advice for a damaged file without another copy.
    of_others : str
        Advice for a file that another program wrote.
    """

    name: str
    anew: str
    of_others: str

    def damaged(self, path: Any, why: Any) -> ValueError:
        """Return the error for a file whose bytes are not those that were written."""
        return ValueError(
            f"{path} is damaged: {why}. Use another copy of the file of {self.name}, "
            f"or {self.anew}."
        )


def read_note(data: Any, path: Any, writer: Writer, *, is_sealed: bool) -> Any:
    """Parse and check the note of a file.

    Parameters
    ----------
    data : bytes
        The note.
    path : str or path-like
        The file, for errors.
    writer : Writer
        Method that wrote it.
    is_sealed : bool
        Result of `verify_seal`.

    Returns
    -------
    dict of str to object
        The note, of a known format.
    """
    try:
        note = json.loads(data)
    except ValueError as error:
        raise writer.damaged(path, f"its note is not JSON ({error})") from error
    if not isinstance(note, dict):
        raise writer.damaged(path, f"its note is {note!r}")
    number = get_entry(note, "format", int, path)
    if not 1 <= number <= SEALED_FORMAT:
        raise ValueError(
            f"{path} has the format {number}, and this version of sklearn_seqcrm reads "
            f"formats up to {SEALED_FORMAT}."
        )
    if number == SEALED_FORMAT and not is_sealed:
        raise writer.damaged(path, "its checksum is missing")
    return note


def get_entry(note: dict[str, Any], key: str, wanted: Any, path: Any) -> Any:
    """Return an entry of a note; raise a ValueError if it is missing or mistyped."""
    if key not in note:
        raise ValueError(f"The note in {path} lacks the entry {key!r}.")
    if not isinstance(note[key], wanted):
        raise ValueError(f"The entry {key!r} of the note in {path} is {note[key]!r}.")
    return note[key]


def write_sealed_json(note: dict[str, Any], path: Path) -> None:
    """Write a note as a JSON file with a seal."""
    text = json.dumps({**note, "format": SEALED_FORMAT, "seal": _SEAL}, indent=1)
    path.write_text(text, encoding="utf-8")
    _seal(path)


def read_sealed_json(path: Path, writer: Writer) -> dict[str, Any]:
    """Read a file of `write_sealed_json`, or a note of format 1 without a seal."""
    data = path.read_bytes()
    return read_note(data, path, writer, is_sealed=verify_seal(data, path, writer))


def write_sealed_table(
    table: Any, key: bytes, note: dict[str, Any], path: Any, **options: Any
) -> None:
    """Write an Arrow table and a note into a Parquet file with a seal.

    Parameters
    ----------
    table : pyarrow.Table
        The table.
    key : bytes
        Key of the note in the metadata of the file.
    note : dict of str to object
        Note to store beside the table, of types that JSON has.
    path : str or path-like
        File to write. An existing one is replaced atomically.
    **options : object
        Options of `pyarrow.parquet.write_table`.
    """
    import pyarrow.parquet as pq

    text = json.dumps({**note, "format": SEALED_FORMAT})
    # The seal comes last: no text of the user may follow it that looks like one.
    table = table.replace_schema_metadata({key: text, _SEAL_KEY: _SEAL})
    with replace_atomically(path) as beside:
        # Other readers can verify the checksums of pages.
        pq.write_table(table, beside, write_page_checksum=True, **options)
        _seal(beside)


def read_sealed_table(path: Any, key: bytes, writer: Writer) -> tuple[Any, Any]:
    """Read a file of `write_sealed_table`, or a table of format 1 without a seal.

    Parameters
    ----------
    path : str or path-like
        File to read.
    key : bytes
        Key of its note in the metadata.
    writer : Writer
        Method that wrote it, for errors.

    Returns
    -------
    table : pyarrow.Table
        The table.
    note : dict of str to object
        The note, of a known format.

    Raises
    ------
    ValueError
        If the file is damaged or was not written by `writer`.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    data = _mapped(Path(path))
    is_sealed = verify_seal(data, path, writer)
    if len(data) < 12 or data[-4:] != _PARQUET_END:
        raise writer.damaged(
            path,
            "it does not end like a Parquet file: it was cut off, or is no such file",
        )
    try:
        table = pq.read_table(
            pa.BufferReader(pa.py_buffer(data)),
            page_checksum_verification=not is_sealed,
        )
    except Exception as error:  # damaged bytes raise errors of any type
        if is_sealed:
            raise
        raise writer.damaged(path, error) from error
    text = (table.schema.metadata or {}).get(key)
    if text is None:
        raise ValueError(
            f"{path} was not written by {writer.name}; {writer.of_others}."
        )
    return table, read_note(text, path, writer, is_sealed=is_sealed)


def verify_seal(data: Any, path: Any, writer: Writer) -> bool:
    """Compare the seal of a file with its bytes; return False if it has no seal.

    Parameters
    ----------
    data : bytes or mmap
        Bytes of the file.
    path : str or path-like
        Its name, for errors.
    writer : Writer
        Method that wrote it, for errors.

    Raises
    ------
    ValueError
        If the seal does not match the bytes.
    """
    at = data.rfind(_MARK) + len(_MARK)
    if at < len(_MARK):
        return False
    found, end = data[at : at + len(_BLANK)], at + len(_BLANK)
    if found == _BLANK:
        raise ValueError(
            f"{path} was rewritten by another program, which kept the note of "
            f"{writer.name}, but not its checksum; {writer.of_others}."
        )
    digest = sha256()
    with memoryview(data) as view:
        for part in (view[:at], _BLANK, view[end:]):
            digest.update(part)
    if digest.hexdigest().encode() != found:
        raise writer.damaged(
            path, "its checksum does not match: bytes were changed, lost or added since"
        )
    return True


def _seal(path: Path) -> None:
    """Compute the digest of a file, and write it over the zeros of its seal."""
    data = _mapped(path)
    at = data.rfind(_MARK) + len(_MARK)
    digest = sha256(data).hexdigest().encode()
    with path.open("rb+") as file:
        file.seek(at)
        file.write(digest)


def _mapped(path: Path) -> Any:
    """Return the bytes of a file, mapped into memory and read on demand."""
    with path.open("rb") as file:
        if not path.stat().st_size:  # an empty file cannot be mapped
            return b""
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
