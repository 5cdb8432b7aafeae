"""Write files and folders atomically, with checksums of their content.

A sealed file contains its *seal* once: ``sklearn_seqcrm.sha256=`` and 64 hexadecimal
digits, the SHA-256 of all bytes of the file with zeros in the place of the digits. The
checksum covers every byte. Other readers of the format see an ordinary text: in a
Parquet file it is in the metadata under the key ``sklearn_seqcrm.seal``, in a JSON file
under ``"seal"``. Each note has the number of its format. From format `SEALED` on, a
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


SEALED = 2  # format of notes in sealed files; 1 is that of version 0.1.0
_MARK = b"sklearn_seqcrm.sha256="
_BLANK = b"0" * 64
_SEAL = (_MARK + _BLANK).decode()
_SEAL_KEY = "sklearn_seqcrm.seal"
# A Parquet file ends with its footer, the length of the footer, and this.
_END = b"PAR1"


class Writer(NamedTuple):
    """What writes a kind of files, for the errors of reading them.

    Parameters
    ----------
    name : str
        The method.
    anew : str
        What to do if a file is damaged, and there is no other copy.
    of_others : str
        What to do with a file that another program wrote.
    """

    name: str
    anew: str
    of_others: str

    def damaged(self, path: Any, why: Any) -> ValueError:
        """The error for a file whose bytes are not those that were written."""
        return ValueError(
            f"{path} is damaged: {why}. Take another copy of what {self.name} wrote, "
            f"or {self.anew}."
        )


def read_note(data: Any, path: Any, writer: Writer, *, is_sealed: bool) -> Any:
    """Read the note of a file from JSON.

    Parameters
    ----------
    data : bytes
        The note.
    path : str or path-like
        The file, for errors.
    writer : Writer
        What wrote it.
    is_sealed : bool
        What `has_seal` returned.

    Returns
    -------
    dict of str to object
        The note, of a known format.
    """
    try:
        note = json.loads(data)
    except ValueError as error:
        raise writer.damaged(path, f"its note is no JSON ({error})") from error
    if not isinstance(note, dict):
        raise writer.damaged(path, f"its note is {note!r}")
    number = entry_of(note, "format", int, path)
    if not 1 <= number <= SEALED:
        raise ValueError(
            f"{path} has the format {number}, and this version of sklearn_seqcrm reads "
            f"formats up to {SEALED}."
        )
    if number == SEALED and not is_sealed:
        raise writer.damaged(path, "it has lost its checksum")
    return note


def entry_of(note: dict[str, Any], key: str, kind: Any, path: Any) -> Any:
    """One entry of a note, or a ValueError if it is missing or of another type."""
    if key not in note:
        raise ValueError(f"The note in {path} lacks the entry {key!r}.")
    if not isinstance(note[key], kind):
        raise ValueError(f"The entry {key!r} of the note in {path} is {note[key]!r}.")
    return note[key]


def write_sealed_json(note: dict[str, Any], path: Path) -> None:
    """Write a note into a file of its own, with a seal."""
    text = json.dumps({**note, "format": SEALED, "seal": _SEAL}, indent=1)
    path.write_text(text, encoding="utf-8")
    _seal(path)


def read_sealed_json(path: Path, writer: Writer) -> dict[str, Any]:
    """Read what `write_sealed_json` wrote, or a note without a seal of format 1."""
    data = path.read_bytes()
    return read_note(data, path, writer, is_sealed=has_seal(data, path, writer))


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
        What is stored beside the table; JSON can hold it.
    path : str or path-like
        File to write. One that is there already is replaced when the new one is whole.
    **options : object
        As `pyarrow.parquet.write_table` takes them.
    """
    import pyarrow.parquet as pq

    text = json.dumps({**note, "format": SEALED})
    # The seal last: no other text of a user may come after it.
    table = table.replace_schema_metadata({key: text, _SEAL_KEY: _SEAL})
    with replacing(path) as beside:
        # Checksums of pages are for other readers.
        pq.write_table(table, beside, write_page_checksum=True, **options)
        _seal(beside)


def read_sealed_table(path: Any, key: bytes, writer: Writer) -> tuple[Any, Any]:
    """Read what `write_sealed_table` wrote, or a table without a seal of format 1.

    Parameters
    ----------
    path : str or path-like
        File to read.
    key : bytes
        Key of its note.
    writer : Writer
        What wrote it, for errors.

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
    is_sealed = has_seal(data, path, writer)
    if len(data) < 12 or data[-4:] != _END:
        raise writer.damaged(
            path, "it does not end as a Parquet file does: it was cut off, or is none"
        )
    try:
        table = pq.read_table(
            pa.BufferReader(pa.py_buffer(data)),
            page_checksum_verification=not is_sealed,
        )
    except Exception as error:  # of damaged bytes, of any type
        if is_sealed:
            raise
        raise writer.damaged(path, error) from error
    text = (table.schema.metadata or {}).get(key)
    if text is None:
        raise ValueError(
            f"{path} was not written by {writer.name}; {writer.of_others}."
        )
    return table, read_note(text, path, writer, is_sealed=is_sealed)


def has_seal(data: Any, path: Any, writer: Writer) -> bool:
    """Whether a file has a seal, which must be that of its bytes.

    Parameters
    ----------
    data : bytes or mmap
        All of the file.
    path : str or path-like
        Its name, for errors.
    writer : Writer
        What wrote it, for errors.

    Raises
    ------
    ValueError
        If the seal is of other bytes.
    """
    at = data.rfind(_MARK) + len(_MARK)
    if at < len(_MARK):
        return False
    found, end = data[at : at + len(_BLANK)], at + len(_BLANK)
    if found == _BLANK:
        raise ValueError(
            f"{path} was written anew by another program, which kept the note of "
            f"{writer.name}, but not its checksum; {writer.of_others}."
        )
    digest = sha256()
    with memoryview(data) as view:
        for part in (view[:at], _BLANK, view[end:]):
            digest.update(part)
    if digest.hexdigest().encode() != found:
        raise writer.damaged(
            path,
            "its checksum is of other bytes, so that some were changed, lost or added "
            "since",
        )
    return True


def _seal(path: Path) -> None:
    """Replace the zeros in the seal of a file by the digest of the file with zeros."""
    data = _mapped(path)
    at = data.rfind(_MARK) + len(_MARK)
    digest = sha256(data).hexdigest().encode()
    with path.open("rb+") as file:
        file.seek(at)
        file.write(digest)


def _mapped(path: Path) -> Any:
    """The bytes of a file, mapped into memory and read on demand."""
    with path.open("rb") as file:
        if not path.stat().st_size:  # which cannot be mapped
            return b""
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
