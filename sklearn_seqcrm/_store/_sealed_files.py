"""Files with a checksum of their content.

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
file without a seal is damaged. A new format has a new `FORMAT`; `SEALED_FORMAT` stays.
"""

from __future__ import annotations

import json
import mmap
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from sklearn_seqcrm._store._atomic_files import replace_atomically

FORMAT = 2  # of the files that are written
SEALED_FORMAT = 2  # the first one with seals
_MARK = b"sklearn_seqcrm.sha256="
_BLANK = b"0" * 64
_SEAL = (_MARK + _BLANK).decode()
_SEAL_KEY = "sklearn_seqcrm.seal"
_PARQUET_END = b"PAR1"


class Writer(NamedTuple):
    """The method that wrote a file, for errors of reading it."""

    name: str  # of the method
    anew: str  # advice for a damaged file without another copy
    of_others: str  # advice for a file that another program wrote

    def damaged(self, path: Any, why: Any) -> ValueError:
        """Return the error for a file whose bytes are not those that were written."""
        return ValueError(
            f"{path} is damaged: {why}. Use another copy of the file of {self.name}, "
            f"or {self.anew}."
        )


def _read_note(data: Any, path: Any, writer: Writer, *, is_sealed: bool) -> Any:
    """Parse the note of a file; refuse it if it is damaged or of a later version."""
    try:
        note = json.loads(data)
    except ValueError as error:
        raise writer.damaged(path, f"its note is not JSON ({error})") from error
    if not isinstance(note, dict):
        raise writer.damaged(path, f"its note is {note!r}")
    number = get_entry(note, "format", int, path)
    if not 1 <= number <= FORMAT:
        raise ValueError(
            f"{path} has the format {number}, and this version of sklearn_seqcrm reads "
            f"formats up to {FORMAT}."
        )
    if number >= SEALED_FORMAT and not is_sealed:
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
    text = json.dumps({**note, "format": FORMAT, "seal": _SEAL}, indent=1)
    path.write_text(text, encoding="utf-8")
    _seal(path)


def read_sealed_json(path: Path, writer: Writer) -> dict[str, Any]:
    """Read a file of `write_sealed_json`, or a note of format 1 without a seal."""
    data = path.read_bytes()
    return _read_note(data, path, writer, is_sealed=_verify_seal(data, path, writer))


def write_sealed_table(
    table: Any, key: bytes, note: dict[str, Any], path: Any, **options: Any
) -> None:
    """Write an Arrow table and a note into a Parquet file with a seal.

    `key` is that of the note in the metadata of the file, and the note is of types that
    JSON has. An existing file is replaced atomically. `options` are those of
    `pyarrow.parquet.write_table`.
    """
    import pyarrow.parquet as pq

    text = json.dumps({**note, "format": FORMAT})
    # The seal comes last: no text of the user may follow it that looks like one.
    table = table.replace_schema_metadata({key: text, _SEAL_KEY: _SEAL})
    with replace_atomically(path) as beside:
        # Other readers can verify the checksums of pages.
        pq.write_table(table, beside, write_page_checksum=True, **options)
        _seal(beside)


def read_sealed_table(path: Any, key: bytes, writer: Writer) -> tuple[Any, Any]:
    """Read a file of `write_sealed_table`, or a table of format 1 without a seal.

    Returns the table and the note under `key`, which has a known format. Raises a
    ValueError if the file is damaged or was not written by `writer`.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    data = _mapped(Path(path))
    is_sealed = _verify_seal(data, path, writer)
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
    return table, _read_note(text, path, writer, is_sealed=is_sealed)


def _verify_seal(data: Any, path: Any, writer: Writer) -> bool:
    """Return whether a file has a seal; raise a ValueError if it does not match."""
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
