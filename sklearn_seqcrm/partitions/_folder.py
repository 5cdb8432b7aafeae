"""A folder of on-disk logs and rows, from which training processes open their parts.

Format of the folder::

    rows.json              written last: {"n_partitions", "parts", "history", ...}
    types.log/             some events, whose types are those of all parts
    part-00003/            appears when it is complete
        log/               the on-disk log of the partition; missing without events
        rows.parquet       columns of X but the history
        views.npz          start, stop and cutoff of each row in the log
        y.parquet          targets, if there are any
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sklearn_seqcrm.events import EventLog, HistoryArray, HistoryDtype

_NOTE = "rows.json"


def write_folder(
    folder: Any,
    y: Callable[[pd.DataFrame], Any] | None,
    engine: Any,
    make: Any,
    history: str,
) -> None:
    """Write all partitions, see `PartitionedRows.to_disk`.

    Parameters
    ----------
    folder : str or path-like
        The folder.
    y : callable or None
        Function of the rows that returns targets.
    engine : Engine
        Where the partitions are.
    make : RowMaker
        Makes the rows of a partition.
    history : str
        Name of the history column.
    """
    path = Path(os.path.abspath(os.fspath(folder)))
    if path.exists() and any(path.iterdir()):
        raise FileExistsError(
            f"{folder} exists and is not empty; choose another folder, or remove it."
        )
    path.mkdir(exist_ok=True)
    make.schema.conform(make.schema.sample).to_disk(path / "types.log")
    found = list(engine.collect(partial(_write_part, path, make, y)))
    attrs: dict[Any, Any] = next((own for *_, own in found if own), {})
    note = {
        "n_partitions": engine.n_partitions,
        "parts": sorted(part for part, *_ in found),
        "n_rows": sum(n_rows for _, n_rows, _, _ in found),
        "history": history,
        "y": next((kind for _, _, kind, _ in found if kind), None),
        "attrs": attrs,
    }
    part = path / f".{_NOTE}.{uuid.uuid4().hex}"
    part.write_text(json.dumps(note))
    part.rename(path / _NOTE)


def _write_part(
    folder: Path,
    make: Any,
    y: Callable[[pd.DataFrame], Any] | None,
    part: int,
    events: Any,
    rows: Any,
) -> tuple[int, int, str | None, Any]:
    """Write one partition; return its number, its rows, and what its targets are."""
    log = make.log(events)
    X = make.recipe.make(log, rows)
    name = make.recipe.name
    array = X[name].array
    target = None if y is None or not len(X) else y(X)
    kind = None if target is None else type(target).__name__
    place = folder / f"part-{part:05d}"
    # A lost task runs again, perhaps while the first one is still alive: each writes
    # under a name of its own, and the first that is complete stays.
    temporary = folder / f".part-{part:05d}.{uuid.uuid4().hex}"
    temporary.mkdir()
    if len(log):
        log.to_disk(temporary / "log")
    X.drop(columns=name).reset_index(drop=True).to_parquet(temporary / "rows.parquet")
    view = array.rows
    start, stop = view.start, view.stop
    np.savez(temporary / "views.npz", start=start, stop=stop, cutoff=view.cutoff)
    if target is not None:
        table = _as_table(target)
        if len(table) != len(X):
            raise ValueError(f"y returned {len(table)} targets for {len(X)} rows.")
        table.attrs = {}
        table.to_parquet(temporary / "y.parquet")
    (temporary / "dtype.json").write_text(json.dumps(list(_keys(array.dtype))))
    try:
        temporary.rename(place)
    except OSError:
        if not place.exists():
            raise
        shutil.rmtree(temporary)
    return part, len(X), kind, getattr(target, "attrs", {})


def _keys(dtype: HistoryDtype) -> tuple[str | None, str | None]:
    return dtype.customer, dtype.cutoff


def _as_table(target: Any) -> pd.DataFrame:
    """Return targets as a table whose columns have text as names."""
    if isinstance(target, pd.Series):
        table = target.to_frame("0" if target.name is None else target.name)
    else:
        table = pd.DataFrame(target)
    return table.set_axis([str(one) for one in table.columns], axis=1).reset_index(
        drop=True
    )


def load_rows(folder: Any, rank: int = 0, n_ranks: int = 1) -> tuple[Any, Any]:
    """Open the rows of one of several training processes, and their targets.

    Parameters
    ----------
    folder : str or path-like
        What `PartitionedRows.to_disk` wrote.
    rank : int, default=0
        Number of the process, from 0 to ``n_ranks - 1``.
    n_ranks : int, default=1
        Number of processes. Process ``r`` gets the parts ``r``, ``r + n_ranks``, ...

    Returns
    -------
    X : DataFrame of shape (n, n_columns)
        Rows as `EventLog.snapshots` returns them, with statics. With one part, its
        events stay on the disk. The events of several parts are joined in memory.
    y : Series, DataFrame, ndarray or None
        Targets with their attrs, such as the horizon; None if none were written.

    Raises
    ------
    FileNotFoundError
        If there is no such folder, or it is not complete.
    ValueError
        If there are fewer parts with customers than processes.

    See Also
    --------
    PartitionedRows.to_disk : Write the folder.

    Examples
    --------
    >>> import tempfile, pandas as pd
    >>> from pathlib import Path
    >>> from sklearn_seqcrm.partitions import PartitionedLog, load_rows
    >>> from sklearn_seqcrm.targets import churned
    >>> visits = pd.DataFrame({"who": list("aabcc"), "day": [1, 9, 3, 2, 4]})
    >>> rows = PartitionedLog([visits[:3], visits[3:]], "who", "day").snapshots([5])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     rows.to_disk(Path(folder) / "rows", y=lambda X: churned(X, 4))
    ...     X, y = load_rows(Path(folder) / "rows", rank=1, n_ranks=2)
    ...     X
      who  cutoff         history
    0   c       5  2 events 2..4
    """
    path = Path(os.path.abspath(os.fspath(folder)))
    if not (path / _NOTE).exists():
        raise FileNotFoundError(
            f"{folder} has no {_NOTE}: it does not exist, or to_disk did not complete; "
            "remove it and write it again."
        )
    note = json.loads((path / _NOTE).read_text())
    if not 0 <= rank < n_ranks:
        raise ValueError(f"rank must be from 0 to {n_ranks - 1}; got {rank}.")
    if len(note["parts"]) < n_ranks:
        raise ValueError(
            f"{folder} has {len(note['parts'])} parts with customers for {n_ranks} "
            "processes; use fewer, or write it again from more partitions."
        )
    own = [path / f"part-{part:05d}" for part in note["parts"][rank::n_ranks]]
    types = EventLog.open(path / "types.log")
    X = [_open_rows(one, types, note["history"]) for one in own]
    joined = X[0] if len(X) == 1 else pd.concat(X, ignore_index=True)
    if note["y"] is None:
        return joined, None
    written = [one / "y.parquet" for one in own if (one / "y.parquet").exists()]
    if not written:  # no rows, but the types of other parts
        every = (path / f"part-{part:05d}" / "y.parquet" for part in note["parts"])
        written = [next(one for one in every if one.exists())]
    targets = [pd.read_parquet(one) for one in written]
    y: Any = pd.concat(targets, ignore_index=True)[: len(joined)]
    if note["y"] == "ndarray":
        values = y.to_numpy()
        return joined, values[:, 0] if values.shape[1] == 1 else values
    if note["y"] == "Series":
        y = y.iloc[:, 0]
    y.attrs = note["attrs"]
    return joined, y


def _open_rows(part: Path, types: EventLog, history: str) -> pd.DataFrame:
    """Open the rows of one part."""
    log = EventLog.open(part / "log") if (part / "log").exists() else types
    X = pd.read_parquet(part / "rows.parquet")
    dtype = HistoryDtype(*json.loads((part / "dtype.json").read_text()))
    views = np.load(part / "views.npz")
    what = f"customers in column {dtype.customer!r} of rows"
    identities = log.timeline.identities_of(X[dtype.customer], what)
    array = HistoryArray(
        log, identities, views["start"], views["stop"], views["cutoff"], dtype
    )
    return X.assign(**{history: array})
