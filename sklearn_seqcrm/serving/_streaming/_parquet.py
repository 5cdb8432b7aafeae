"""States in a sealed Parquet file.

A row per customer; history column i has the columns below, and if it has fewer
customers than another, nulls at the end::

    {i}_customer    id
    {i}_{field}     a field of the records of `StreamedHistory`: a number, or a list of
                    fixed length with the numbers of an array in C order

The metadata has, as JSON under the key ``sklearn_seqcrm.states``::

    digest       of the encoding and the weights that made the states
    histories    [{"name": ..., "n": customers, "span": [first, last] or null}, ...]
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from sklearn_seqcrm._recurrent.network import HistoryNetwork
from sklearn_seqcrm._store import Writer, read_sealed_table, write_sealed_table
from sklearn_seqcrm.serving._streaming._streamed_history import StreamedHistory

_KEY = b"sklearn_seqcrm.states"
_ADVICE = "read the events into a new scorer: StreamingScorer(...).update(log)"
_WRITER = Writer("StreamingScorer.to_parquet", anew=_ADVICE, of_others=_ADVICE)


def write_states(
    streams: Mapping[Any, StreamedHistory],
    networks: Sequence[HistoryNetwork],
    path: Any,
) -> None:
    """Write the states that networks made; an existing file is replaced at the end."""
    import pyarrow as pa

    columns: dict[str, Any] = {}
    n_rows = max(len(stream.states) for stream in streams.values())
    for i, stream in enumerate(streams.values()):
        customers, records = stream.states.to_arrays()
        columns[f"{i}_customer"] = _filled_up(_ids_as_arrow(customers), n_rows)
        for field in records.dtype.names or ():
            numbers = _as_arrow(records[field])
            columns[f"{i}_{field}"] = _filled_up(numbers, n_rows)
    note = {
        "digest": _digest_of(streams, networks),
        "histories": [
            {"name": str(name), "n": len(one.states), "span": one.span}
            for name, one in streams.items()
        ],
    }
    # Numbers of states do not repeat: compression would take time and save no bytes.
    write_sealed_table(
        pa.table(columns), _KEY, note, path, compression="none", use_dictionary=False
    )


def read_states(
    streams: Mapping[Any, StreamedHistory],
    networks: Sequence[HistoryNetwork],
    path: Any,
) -> None:
    """Read states that `write_states` wrote, into streams without customers.

    Raises a ValueError if the file is damaged or has no states, or its states are those
    of other networks or of another dtype.
    """
    table, note = read_sealed_table(path, _KEY, _WRITER)
    digest = _digest_of(streams, networks)
    try:
        names = [one["name"] for one in note["histories"]]
        if names != [str(name) for name in streams] or note["digest"] != digest:
            raise ValueError(
                f"The states in {path}, of the histories {names}, were made by another "
                f"model, and cannot be used by this one; {_ADVICE}."
            )
        for i, (stream, saved) in enumerate(
            zip(streams.values(), note["histories"], strict=True)
        ):
            own, span = table.slice(0, saved["n"]), saved["span"]
            stream.span = None if span is None else tuple(span)
            _restore(stream, own, f"{i}_", path)
    except (AttributeError, LookupError, TypeError) as error:
        # Only possible for a file without a seal, as version 0.1.0 wrote it.
        raise _WRITER.damaged(path, repr(error)) from error


def _restore(stream: StreamedHistory, table: Any, prefix: str, path: Any) -> None:
    """Put the customers of one history column and their states into its stream."""
    records = np.repeat(stream.states.at(np.array([-1])), len(table))
    for field in records.dtype.names or ():
        records[field] = _from_arrow(table[f"{prefix}{field}"], records[field], path)
    # To Python objects, which are the keys of the slots.
    customers = pd.Index(table[f"{prefix}customer"].to_pandas()).tolist()
    stream.states.restore(customers, records)
    stream.forget_oldest()


def _digest_of(
    streams: Mapping[Any, StreamedHistory], networks: Sequence[HistoryNetwork]
) -> str:
    """Return a digest of the encoding and the weights that make states."""
    found = hashlib.sha256()
    for stream in streams.values():
        found.update(stream.encoder.layout.digest.encode())
    for network in networks:
        for reader in network.readers:
            # Names too: two matrices of one shape must not be exchangeable.
            for name, weights in reader.state_dict().items():
                found.update(name.encode() + weights.numpy().tobytes())
    return found.hexdigest()


def _as_arrow(numbers: np.ndarray) -> Any:
    """Return a field of records as an Arrow array, of lists if it has arrays."""
    import pyarrow as pa

    if numbers.ndim == 1:
        return pa.array(np.ascontiguousarray(numbers))
    width = int(np.prod(numbers.shape[1:]))
    flat = pa.array(np.ascontiguousarray(numbers).reshape(-1))
    if not width:
        return pa.nulls(len(numbers))
    return pa.FixedSizeListArray.from_arrays(flat, width)


def _from_arrow(column: Any, like: np.ndarray, path: Any) -> np.ndarray:
    """Return a field that `_as_arrow` made, with the dtype and shape of `like`."""
    column = column.combine_chunks()
    if like.ndim > 1 and like.size:
        column = column.flatten()
    elif like.ndim > 1:
        return like
    if column.type.to_pandas_dtype() != like.dtype:
        raise ValueError(
            f"The states in {path} are stored in {column.type}, and those of this "
            f"scorer in {like.dtype}; choose dtype=... as when they were written."
        )
    return column.to_numpy(zero_copy_only=False).reshape(like.shape)


def _ids_as_arrow(customers: list[Any]) -> Any:
    import pyarrow as pa

    try:
        ids = pa.array(pd.Index(customers), from_pandas=True)
        if pa.types.is_nested(ids.type):  # read back, they would be lists
            raise TypeError(f"tuples become {ids.type}")
        return ids
    except (pa.ArrowException, TypeError, OverflowError, UnicodeError) as error:
        raise TypeError(
            "Customers have ids of a type that Parquet cannot store "
            f"({error}); make text of them before."
        ) from error


def _filled_up(column: Any, n: int) -> Any:
    """Extend a column to n rows with nulls."""
    import pyarrow as pa

    column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return pa.concat_arrays([column, pa.nulls(n - len(column), column.type)])
