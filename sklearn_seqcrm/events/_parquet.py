"""A log as a parquet file, which any other reader sees as a plain table."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd

_KEY = b"sklearn_seqcrm"


def write_log(
    frame: pd.DataFrame, names: tuple[str, str], note: dict[str, Any], path: Any
) -> None:
    """Write the events, and beside them what the table alone does not say.

    Parameters
    ----------
    frame : DataFrame of shape (n_events, 2 + n_fields)
        All events.
    names : tuple of (str, str)
        Names of the customer and the time column.
    note : dict of str to object
        What else to remember, as JSON holds it.
    path : str or path-like
        File to write.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pandas(frame, preserve_index=False)
    # Parquet has no datetimes in seconds and would return milliseconds.
    dated = frame.select_dtypes(["datetime", "datetimetz"]).dtypes.astype(str)
    note = {"names": names, "dated": dated.to_dict(), **note}
    metadata = {**(table.schema.metadata or {}), _KEY: json.dumps(note)}
    pq.write_table(table.replace_schema_metadata(metadata), path)


def read_log(path: Any) -> tuple[pd.DataFrame, tuple[str, str], dict[str, Any]]:
    """Read what `write_log` wrote.

    Parameters
    ----------
    path : str or path-like
        File to read.

    Returns
    -------
    frame : DataFrame of shape (n_events, 2 + n_fields)
        All events.
    names : tuple of (str, str)
        Names of the customer and the time column.
    note : dict of str to object
        What else was to be remembered.
    """
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    note = (table.schema.metadata or {}).get(_KEY)
    if note is None:
        raise ValueError(
            f"{path} was not written by EventLog.to_parquet; read it as a table and "
            "give that to EventLog, with its customer and time columns."
        )
    note = json.loads(note)
    # Integers beside missing values would be rounded to floats.
    frame = table.to_pandas(integer_object_nulls=True).astype(note["dated"])
    return frame, tuple(note["names"]), note
