"""Files with a checksum of themselves, and a note of what they hold.

A sealed file contains its *seal* once: ``sklearn_seqcrm.sha256=`` and 64 hexadecimal
digits, the SHA-256 of all bytes of the file with zeros in the place of the digits. The
checksum covers every byte. Other readers of the format see an ordinary text: in a
Parquet file it is in the metadata under the key ``sklearn_seqcrm.seal``, in a JSON file
under ``"seal"``. Each note has the number of its format. From format `SEALED` on, a
file without a seal is damaged.
"""

from __future__ import annotations

import json
import mmap
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from sklearn_seqcrm._store._replacing import replacing

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
