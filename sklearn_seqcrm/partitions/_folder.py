"""A folder of on-disk logs and rows, from which training processes open their parts.

Format of the folder::

    rows.json              written last: {"format", "n_partitions", "parts", ...};
                           of each part its number, rows, and which files it has
    types.log/             some events, whose types are those of all parts
    part-00003/            appears when it is complete
        log/               the on-disk log of the partition; missing without events
        rows.parquet       columns of X but the history
        views.npz          start, stop and cutoff of each row in the log
        y.parquet          targets, if there are any
"""

from __future__ import annotations

import datetime
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import pandas as pd

from sklearn_seqcrm._columns import warn_other_order
from sklearn_seqcrm._store import replace_atomically
from sklearn_seqcrm._typing import FilePath
from sklearn_seqcrm.events import EventLog, HistoryArray, HistoryDtype
from sklearn_seqcrm.partitions._engines import Engine, Part
from sklearn_seqcrm.partitions._recipes import RowMaker
from sklearn_seqcrm.partitions._types import as_table, check_count, joined_tables

_NOTE = "rows.json"
_FORMAT = 1  # of the folders that are written; the first ones have no number


def write_folder(
    folder: Any, y: Callable[[pd.DataFrame], Any] | None, engine: Engine, make: RowMaker
) -> None:
    """Write all partitions, see `PartitionedRows.to_disk`."""
    path = Path(os.path.abspath(os.fspath(folder)))
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        what = "is not empty" if path.is_dir() else "is a file"
        raise FileExistsError(
            f"{folder} exists and {what}; choose another folder, or remove it."
        )
    path.mkdir(exist_ok=True)
    make.schema.conform(make.schema.sample).to_disk(path / "types.log")
    found = list(engine.collect(partial(_write_part, path, make, y)))
    forms = [(one["part"], form) for one, form in found if form is not None]
    if y is not None and not forms:
        raise ValueError(
            "There are no rows, so y returns no targets; choose other cutoffs."
        )
    _refuse_other_forms(forms)
    note = {
        "format": _FORMAT,
        "n_partitions": engine.n_partitions,
        "parts": sorted((one for one, _ in found), key=lambda one: one["part"]),
        "history": make.recipe.name,
        "y": forms[0][1] if forms else None,
    }
    with replace_atomically(path / _NOTE) as part:
        part.write_text(json.dumps(note))


def _write_part(
    folder: Path, make: RowMaker, y: Callable[[pd.DataFrame], Any] | None, part: Part
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Write one partition; return the notes on its rows and on its targets."""
    log = make.log(part)
    X = make.recipe.make(log, part.rows)
    name = make.recipe.name
    array: Any = X[name].array
    targets, form = None, None
    if y is not None and len(X):
        targets, form = _read_targets(y(X), X)
    place = _folder_of(folder, part.number)
    # A lost task runs again, perhaps while the first one is still alive: each writes
    # under a name of its own, and the first that is complete stays.
    temporary = folder / f".{place.name}.{uuid.uuid4().hex}"
    temporary.mkdir()
    if len(log):
        log.to_disk(temporary / "log")
    _to_parquet(X.drop(columns=name), temporary / "rows.parquet", "rows")
    view = array.rows
    start, stop = view.start, view.stop
    np.savez(temporary / "views.npz", start=start, stop=stop, cutoff=view.cutoff)
    if targets is not None:
        _to_parquet(targets, temporary / "y.parquet", "y")
    keys = [array.dtype.customer, array.dtype.cutoff]
    (temporary / "dtype.json").write_text(json.dumps(keys))
    try:
        temporary.rename(place)
    except OSError:
        if not place.exists():
            raise
        shutil.rmtree(temporary)
    has = {"has_log": bool(len(log)), "has_y": targets is not None}
    return {"part": part.number, "n_rows": len(X), **has}, form


def _folder_of(folder: Path, number: int) -> Path:
    return folder / f"part-{number:05d}"


def _to_parquet(table: pd.DataFrame, path: Path, what: str) -> None:
    import pyarrow as pa

    table = table.reset_index(drop=True)
    table.attrs = {}
    try:
        table.to_parquet(path)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        raise TypeError(
            f"A column of {what} has values that Parquet cannot store ({error}); "
            "make text or numbers of them, for example by .astype(str)."
        ) from error


def _read_targets(target: Any, X: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return targets as a table, and how `load_rows` restores them."""
    warn_other_order(X, target)
    if not isinstance(target, pd.Series | pd.DataFrame) and np.ndim(target):
        target = np.asarray(target)
    table = as_table(target, "y")
    if len(table) != len(X):
        raise ValueError(f"y returned {len(table)} targets for {len(X)} rows.")
    return table, {"columns": list(table.columns), **_form_of(target)}


def _refuse_other_forms(forms: list[tuple[int, dict[str, Any]]]) -> None:
    """Raise a ValueError if targets of two partitions cannot be joined."""
    found = [(part, (form["kind"], form["columns"])) for part, form in forms]
    for part, own in found:
        first, expected = found[0]
        if own != expected:
            raise ValueError(
                f"y returned {expected} for partition {first} and {own} for partition "
                f"{part}; it must return one type with the same columns for all."
            )


def _form_of(target: Any) -> dict[str, Any]:
    """Return the type, names and attrs of targets."""
    form: dict[str, Any] = {"attrs": getattr(target, "attrs", {})}
    if isinstance(target, pd.Series):
        form |= {"kind": "Series", "name": _plain_name(target.name)}
    elif isinstance(target, pd.DataFrame):
        form |= {"kind": "DataFrame", "names": [_plain_name(n) for n in target]}
        # Such as "horizon"; several of a MultiIndex.
        form["axis_names"] = [_plain_name(n) for n in target.columns.names]
    else:
        kind = "array" if target.dtype.names is None else "structured"
        form |= {"kind": kind, "ndim": target.ndim}
    try:
        json.dumps(form)
    except TypeError as error:
        raise TypeError(
            f"The names or attrs of what y returned cannot be written ({error}); make "
            "text of names, and delete entries of attrs that are not needed."
        ) from error
    return form


def _plain_name(name: Any) -> Any:
    """Return a name in types of JSON; names of horizons are lengths of time."""
    if isinstance(name, datetime.timedelta | np.timedelta64):
        return {"timedelta": pd.Timedelta(name).isoformat()}
    return name.item() if isinstance(name, np.generic) else name


def _name_of(stored: Any) -> Any:
    """Return the name that `_plain_name` made plain."""
    if isinstance(stored, list):  # JSON has no tuples
        return tuple(stored)
    return pd.Timedelta(stored["timedelta"]) if isinstance(stored, dict) else stored


def _restored(table: pd.DataFrame, note: dict[str, Any]) -> Any:
    """Return targets as the function of the user returned them."""
    if note["kind"] == "array":
        values = table.to_numpy()
        return values[:, 0] if note["ndim"] == 1 else values
    if note["kind"] == "structured":
        return np.array(table.to_records(index=False))
    if note["kind"] == "Series":
        y: Any = table.iloc[:, 0].rename(_name_of(note["name"]))
    else:
        names = [_name_of(one) for one in note["names"]]
        # Older folders have no "axis_names".
        axis_names = [_name_of(one) for one in note.get("axis_names", [None])]
        columns = pd.Index(names, tupleize_cols=len(axis_names) > 1)
        y = table.set_axis(columns.set_names(axis_names), axis=1)
    y.attrs = note["attrs"]
    return y


def load_rows(folder: FilePath, rank: int = 0, n_ranks: int = 1) -> tuple[Any, Any]:
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
    TypeError
        If `rank` or `n_ranks` is no whole number.
    ValueError
        If there are fewer parts with customers than processes, a file is missing or cut
        off, or the format of the folder is unknown, as that of a later version.

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
    check_count("n_ranks", n_ranks)
    check_count("rank", rank, 0)
    if rank >= n_ranks:
        raise ValueError(f"rank must be from 0 to {n_ranks - 1}; got {rank}.")
    with _reporting_damage(path / _NOTE):
        note = json.loads((path / _NOTE).read_text())
    _refuse_other_format(note, folder)
    with _reporting_damage(path / _NOTE):
        parts = note["parts"]
    if len(parts) < n_ranks:
        raise ValueError(
            f"{folder} has {len(parts)} parts with customers for {n_ranks} "
            "processes; use fewer, or write it again from more partitions."
        )
    own = parts[rank::n_ranks]
    with _reporting_damage(path / "types.log"):
        types = EventLog.open(path / "types.log")
    X = [_open_rows(path, one, types, note["history"]) for one in own]
    joined = X[0] if len(X) == 1 else joined_tables(X)
    if note["y"] is None:
        return joined, None
    written = [one for one in own if one["has_y"]]
    if not written:  # no rows, but the types of other parts
        written = [next(one for one in parts if one["has_y"])]
    targets = [_open_targets(path, one) for one in written]
    y = joined_tables(targets)[: len(joined)]
    return joined, _restored(y, note["y"])


def _refuse_other_format(note: Any, folder: FilePath) -> None:
    """Raise a ValueError if this version does not know the format of the folder."""
    number = note.get("format", 1) if isinstance(note, dict) else 1
    if number != _FORMAT:
        raise ValueError(
            f"{folder} has the format {number!r} in its {_NOTE}, and this version of "
            f"sklearn_seqcrm reads the format {_FORMAT} alone. If another version "
            "wrote it, read it with that version; or write it again by to_disk."
        )


@contextmanager
def _reporting_damage(path: Path) -> Iterator[None]:
    """Raise a ValueError for a file or folder that is missing or cut off."""
    try:
        yield
    except (OSError, ValueError, TypeError, LookupError, EOFError, BadZipFile) as error:
        raise ValueError(
            f"{path} is damaged or missing ({type(error).__name__}: {error}); copy it "
            "again, or write the folder again by to_disk."
        ) from error


def _open_targets(folder: Path, note: dict[str, Any]) -> pd.DataFrame:
    part = _folder_of(folder, note["part"])
    with _reporting_damage(part / "y.parquet"):
        table = pd.read_parquet(part / "y.parquet")
        _check_rows(len(table), note["n_rows"])
    return table


def _check_rows(found: int, written: int) -> None:
    if found != written:
        raise ValueError(f"{found} rows, of {written} that were written")


def _open_rows(
    folder: Path, note: dict[str, Any], types: EventLog, history: str
) -> pd.DataFrame:
    """Open the rows of one part."""
    part = _folder_of(folder, note["part"])
    with _reporting_damage(part):
        log = EventLog.open(part / "log") if note["has_log"] else types
        X = pd.read_parquet(part / "rows.parquet")
        dtype = HistoryDtype(*json.loads((part / "dtype.json").read_text()))
        with open(part / "views.npz", "rb") as file, np.load(file) as stored:
            start, stop, cutoff = (stored[n] for n in ("start", "stop", "cutoff"))
        for own in (X, start, stop, cutoff):
            _check_rows(len(own), note["n_rows"])
        what = f"customers in column {dtype.customer!r} of rows"
        identities = log.timeline.identities_of(X[dtype.customer], what)
        array = HistoryArray(log, identities, start, stop, cutoff, dtype)
    return X.assign(**{history: array})
