"""The pandas column of histories: its dtype and the array of views behind it.

A row of the array is four numbers, ``(identity, start, stop, cutoff)``, and all rows
share one log. Selecting, sorting and splitting rows copies these numbers and never an
event.
"""

from __future__ import annotations

import ast
import builtins
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np
import pandas as pd
from pandas.api.extensions import (
    ExtensionArray,
    ExtensionDtype,
    register_extension_dtype,
)
from pandas.api.indexers import check_array_indexer
from pandas.api.types import is_list_like

from sklearn_seqcrm._ragged import NO_ROW, ranges, segment_numbers
from sklearn_seqcrm._store import (
    Log,
    RawLog,
    Rows,
    join_rows,
    missing_rows,
    plain_text,
    positions_by_log,
)
from sklearn_seqcrm.events._arrow import rows_from_arrow, rows_to_arrow
from sklearn_seqcrm.events._history import History
from sklearn_seqcrm.events._html import histories_html
from sklearn_seqcrm.events._row_hashes import hash_rows
from sklearn_seqcrm.events._shared_segments import share_segments

# In pickles, fields with at most this many levels keep them all: they may be kinds.
_N_KINDS = 100


@register_extension_dtype
class HistoryDtype(ExtensionDtype):
    """Dtype of a column whose values are histories of events.

    Parameters
    ----------
    customer : str or None, default=None
        Column of the customers that the histories were attached to.
    cutoff : str or None, default=None
        Column of their cutoffs.

    Notes
    -----
    The two columns are keys, not features: `make_history_pipeline` takes their names
    from the dtype and leaves them out. Dtypes with different names are not equal.

    Examples
    --------
    >>> HistoryDtype("customer_id", "order_date")
    history['customer_id', 'order_date']
    >>> pd.api.types.pandas_dtype("history")
    history
    """

    type = History
    kind = "O"
    na_value = pd.NA
    _is_numeric = False
    _metadata = ("customer", "cutoff")

    def __init__(self, customer: str | None = None, cutoff: str | None = None) -> None:
        # Plain, because `name` holds their reprs, and is read back.
        self.customer, self.cutoff = plain_text(customer), plain_text(cutoff)

    @property
    def name(self) -> str:  # type: ignore[override]
        """``"history"``, followed by the names of the key columns if there are any."""
        if self.customer is None and self.cutoff is None:
            return "history"
        return f"history[{self.customer!r}, {self.cutoff!r}]"

    @property
    def keys(self) -> list[str]:
        """Names of the columns that the histories were attached by."""
        return [name for name in (self.customer, self.cutoff) if name is not None]

    def __repr__(self) -> str:
        """Return the name."""
        return self.name

    @classmethod
    def construct_from_string(cls, string: str) -> HistoryDtype:
        """Build the dtype from its name.

        Parameters
        ----------
        string : str
            ``"history"`` or ``"history['customer', 'cutoff']"``.

        Returns
        -------
        HistoryDtype
            The dtype of that name.

        Raises
        ------
        TypeError
            If `string` is not such a name.
        """
        if not isinstance(string, str):
            raise TypeError(
                f"'construct_from_string' expects a string, got {type(string)}"
            )
        if string == "history":
            return cls()
        if string.startswith("history[") and string.endswith("]"):
            try:
                customer, cutoff = ast.literal_eval(string.removeprefix("history"))
            except (ValueError, SyntaxError):
                pass
            else:
                return cls(customer, cutoff)
        raise TypeError(f"Cannot construct a 'HistoryDtype' from '{string}'")

    @classmethod
    def construct_array_type(cls) -> builtins.type[HistoryArray]:
        """Return the array class of the dtype."""
        return HistoryArray

    def __from_arrow__(self, array: Any) -> HistoryArray:
        """Read histories that were written to Arrow or parquet."""
        return HistoryArray.of(rows_from_arrow(array), self)

    def _get_common_dtype(self, dtypes: list[Any]) -> HistoryDtype | None:
        """Allow to concatenate columns with different keys: these become None."""
        if not all(isinstance(dtype, HistoryDtype) for dtype in dtypes):
            return None
        # A key of some rows only must not be dropped as a key of all.
        keys = zip(*((dtype.customer, dtype.cutoff) for dtype in dtypes), strict=True)
        return HistoryDtype(*(own[0] if len(set(own)) == 1 else None for own in keys))


class HistoryArray(ExtensionArray):
    """A column of histories: each row is a customer's events before its cutoff.

    `EventLog.attach` and `EventLog.snapshots` return it. Rows are four numbers and a
    shared log, so that selecting, sorting and splitting rows never copies an event. A
    notebook shows the first rows as timelines. In a DataFrame they are text, unless its
    Styler formats them as HTML:
    ``X.head().style.format({"history": lambda one: one._repr_html_()})``.

    Parameters
    ----------
    log : EventLog, log of histories that were read back, or encoded log
        The log that holds the events.
    identities : ndarray of shape (n,), int64
        Positions of the customers in ``log.customers``. A customer who is not in
        the log has a number below -1, the same in all rows; -1 marks a customer who
        cannot be identified.
    start, stop : ndarray of shape (n,), int64
        Row ``i`` sees the events ``start[i]:stop[i]``; both are -1 if the history is
        missing.
    cutoff : ndarray of shape (n,)
        Cutoffs on the time axis of the log.
    dtype : HistoryDtype or None, default=None
        Names of the key columns of the rows.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_seqcrm.events import EventLog
    >>> events = pd.DataFrame({"customer": ["a", "a", "b"], "time": [1, 3, 2]})
    >>> log = EventLog(events, customer="customer", time="time")
    >>> X = log.attach(pd.DataFrame({"customer": ["b", "a"]}), cutoff=3)
    >>> X["history"].array.lengths
    array([1, 1])
    >>> X["history"].array.to_frame()
      customer  time
    0        b     2
    1        a     1
    """

    def __init__(
        self,
        log: Log,
        identities: np.ndarray,
        start: np.ndarray,
        stop: np.ndarray,
        cutoff: np.ndarray,
        dtype: HistoryDtype | None = None,
    ) -> None:
        self._rows = Rows(log, identities, start, stop, cutoff)
        self._dtype = HistoryDtype() if dtype is None else dtype
        self._to_pickle: Rows | None = None

    # For users -----------------------------------------------------------------------

    @property
    def dtype(self) -> HistoryDtype:
        """The dtype with the names of the key columns."""
        return self._dtype

    @property
    def log(self) -> Any:
        """The log behind the views. It also holds what happened after the cutoffs."""
        return self._rows.log

    @property
    def lengths(self) -> np.ndarray:
        """Number of events of each row, 0 for a missing history; shape (n,)."""
        return self._rows.stop - self._rows.start

    @property
    def cutoffs(self) -> pd.Index:
        """Cutoff of each row, missing where the history is missing; shape (n,)."""
        cutoffs = self._rows.log.timeline.clock.as_index(self._rows.cutoff)
        missing = self.isna()
        return cutoffs.where(~missing) if missing.any() else cutoffs

    @property
    def customers(self) -> pd.Index:
        """Customer of each row, missing for those not in the log; shape (n,)."""
        ids, codes = self._rows.log.customers, self._rows.codes
        if (codes >= 0).all():
            return ids[codes]
        # Beside missing values, pandas would convert integers to floats.
        known = pd.Series(ids, dtype=object if ids.dtype.kind in "iu" else None)
        return pd.Index(known.reindex(codes))

    @property
    def rows(self) -> Rows:
        """The four numbers of each row and the log."""
        return self._rows

    def to_frame(self) -> pd.DataFrame:
        """Return the visible events of all rows, one after the other.

        Returns
        -------
        DataFrame of shape (lengths.sum(), 2 + n_fields)
            The index is the position of the row in the array. A categorical field has
            only the levels that occur in the frame: others would leak what happens
            after the cutoffs. So its codes and dummies depend on the rows of the array;
            those of `HistoryEncoder` do not.
        """
        index, offsets = ranges(self._rows.start, self._rows.stop)
        row = segment_numbers(offsets)
        return self._rows.log.frame_of(self.customers[row], index).set_axis(row)

    # For pandas ----------------------------------------------------------------------

    @classmethod
    def of(cls, rows: Rows, dtype: HistoryDtype | None = None) -> Self:
        """Build a column of rows.

        Parameters
        ----------
        rows : Rows of n
            Views of a log.
        dtype : HistoryDtype or None, default=None
            Names of the key columns of the rows.

        Returns
        -------
        HistoryArray of shape (n,)
            The column.
        """
        return cls(*rows, dtype=dtype)

    @classmethod
    def _from_sequence(
        cls, scalars: Any, *, dtype: Any = None, copy: bool = False
    ) -> Self:
        if isinstance(dtype, str):
            dtype = HistoryDtype.construct_from_string(dtype)
        if isinstance(scalars, cls):
            rows = scalars._rows.copied() if copy else scalars._rows
            return cls.of(rows, dtype or scalars.dtype)
        histories = [None if _is_missing(value) else value for value in scalars]
        wrong = [value for value in histories if not isinstance(value, History | None)]
        if wrong:
            raise TypeError(
                f"A history column takes histories only; got {wrong[0]!r}, one of "
                f"{len(wrong)} other values. EventLog.attach makes histories."
            )
        return cls.of(_rows_from_scalars(histories), dtype)

    @classmethod
    def _from_factorized(cls, values: Any, original: Self) -> Self:
        return cls._from_sequence(values, dtype=original.dtype)

    def __arrow_array__(self, type: Any = None) -> Any:
        """Convert each row with its visible events; later events are left out."""
        return rows_to_arrow(self._rows)

    @classmethod
    def _concat_same_type(cls, to_concat: Sequence[Self]) -> Self:
        return cls.of(
            _join_parts([array._rows for array in to_concat]), to_concat[0].dtype
        )

    def __len__(self) -> int:
        """Number of rows."""
        return len(self._rows.codes)

    def __getitem__(self, item: Any) -> Any:
        """Return one history for an integer, otherwise an array of histories."""
        item = check_array_indexer(self, item)
        if isinstance(item, int | np.integer):
            row: Any = self._rows.take(item)  # numbers instead of arrays
            if row.start == NO_ROW:
                return self._dtype.na_value
            identity = int(row.identities)
            return History(row.log, identity, int(row.start), int(row.stop), row.cutoff)
        # pandas indexes a 1-d column as array[..., i]; the ellipsis adds nothing.
        if isinstance(item, tuple):
            item = next(one for one in item if one is not Ellipsis)
            return self[item]
        return self.of(self._rows.take(item), self._dtype)

    def __setitem__(self, key: Any, value: Any) -> None:
        """Replace rows; the logs stay as they are."""
        if getattr(self, "_readonly", False):
            raise ValueError("Cannot modify read-only array")
        key = check_array_indexer(self, key)
        is_one = np.ndim(value) == 0
        new = self._from_sequence([value] if is_one else value)._rows
        index = np.arange(len(self))
        # The new rows are appended, and the index of replaced rows points there.
        source = np.arange(len(self), len(self) + len(new.codes))
        index[key] = source[0] if is_one else source
        joined = _join_parts([self._rows, new])
        self._rows = joined.take(index)
        self._to_pickle = None

    def take(
        self, indices: Any, *, allow_fill: bool = False, fill_value: Any = None
    ) -> Self:
        """Return rows at `indices`, as `pandas.api.extensions.take` defines it.

        Parameters
        ----------
        indices : sequence of int
            Positions; -1 is the last row, or a filled row if `allow_fill` is True.
        allow_fill : bool, default=False
            Whether -1 means a filled row.
        fill_value : History or missing, default=None
            Value of filled rows; None for a missing history.

        Returns
        -------
        HistoryArray of shape (len(indices),)
            The rows.

        Raises
        ------
        IndexError
            If a position is out of bounds.
        ValueError
            If `allow_fill` is True, and a position is below -1.
        """
        indices = np.asarray(indices, dtype="int64")
        if not allow_fill:
            if not len(self) and len(indices):
                raise IndexError("cannot do a non-empty take from an empty axes.")
            return self[indices]
        if len(indices) and indices.min() < -1:
            raise ValueError("indices must be at least -1 where allow_fill is True.")
        if len(indices) and indices.max() >= len(self):
            raise IndexError("out of bounds value in 'indices'.")
        # The filled row is the last one, so that -1 is its position.
        with_fill = _join_parts([self._rows, self._from_sequence([fill_value])._rows])
        return self.of(with_fill.take(indices), self._dtype)

    def isna(self) -> np.ndarray:
        """Return which rows have no history; an empty history is not missing.

        Returns
        -------
        ndarray of shape (n,), bool
            True where the history is missing.
        """
        return self._rows.start == NO_ROW

    def copy(self) -> Self:
        """Return the same rows over the same log.

        Returns
        -------
        HistoryArray of shape (n,)
            A copy of the rows; the immutable log is shared.
        """
        return self.of(self._rows.copied(), self._dtype)

    def __copy__(self) -> Self:
        """Return the same rows over the same log."""
        return self.copy()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Return the same rows over the same log, which is immutable."""
        return self.copy()

    def astype(self, dtype: Any, copy: bool = True) -> Any:
        """Return the histories as objects or as their text.

        Parameters
        ----------
        dtype : str or dtype
            A `HistoryDtype`, ``object``, or any dtype that pandas converts objects to.
            Text comes with a warning.
        copy : bool, default=True
            Whether to copy the rows if the dtype is the same.

        Returns
        -------
        ndarray or ExtensionArray of shape (n,)
            The values.

        Warns
        -----
        UserWarning
            If `dtype` is one of text. Tools for other dtypes convert histories to text
            without notice: with skrub's TableVectorizer a model was no better
            than chance.
        """
        wanted = pd.api.types.pandas_dtype(dtype)
        if isinstance(wanted, pd.StringDtype) or wanted.kind in "SU":
            warnings.warn(
                "Histories become text, which is for display and not for a model: it "
                "has only the number of events and the first and last day. "
                "To keep text encoders away from them, replace them by features first "
                "(RFMFeatures), or let them pass, in skrub with TableVectorizer("
                "specific_transformers=[('passthrough', ['history'])]).",
                UserWarning,
                stacklevel=2,
            )
        return super().astype(wanted, copy=copy)

    @property
    def nbytes(self) -> int:
        """Size of the rows in bytes, without the shared log."""
        return sum(column.nbytes for column in self._rows[1:])

    def __eq__(self, other: Any) -> Any:
        """Compare row by row; a value of another type equals no history."""
        if isinstance(other, pd.Series | pd.DataFrame | pd.Index):
            return NotImplemented
        if isinstance(other, History):
            pairs = zip(self._rows[1:], other._key(), strict=True)
            same = [column == value for column, value in pairs]
            is_view = self._rows.log is other._log
            return np.all([*same, ~self.isna()], axis=0) & is_view
        if not is_list_like(other):
            return np.zeros(len(self), dtype=bool)
        if len(other) != len(self):
            raise ValueError("Lengths must match to compare")
        pairs = zip(self, other, strict=True)
        return np.array([isinstance(a, History) and a == b for a, b in pairs], bool)

    def value_counts(self, dropna: bool = True) -> pd.Series:
        """Count how often each history occurs.

        Parameters
        ----------
        dropna : bool, default=True
            Whether to leave out missing histories.

        Returns
        -------
        Series of shape (n_different,)
            Counts by history, in the order of their first appearance.
        """
        codes, histories = self.factorize(use_na_sentinel=dropna)
        counts = np.bincount(codes[codes >= 0], minlength=len(histories))
        # `Series.describe` calls it; pandas 2 has none for extension arrays.
        return pd.Series(counts, pd.Index(histories), name="count")

    def _hash_pandas_object(
        self, *, encoding: str, hash_key: str, categorize: bool
    ) -> np.ndarray:
        """Hash customer, cutoff and visible events; pandas would hash the text."""
        return hash_rows(self._rows, encoding=encoding, hash_key=hash_key)

    def _repr_html_(self) -> str:
        """Return timelines of the first rows, for notebooks."""
        return histories_html(self._rows)

    def _formatter(self, boxed: bool = False) -> Callable[[Any], str | None]:
        return str

    def __getstate__(self) -> dict[str, Any]:
        """Pickle rows with all events of their own customers, and of no others.

        Targets need the events after the cutoffs, in worker processes as well, and all
        kinds of events, even those that none of these customers had. So fields with few
        levels keep all of them, while products, ids or texts of other customers are
        left out. If the rows have all customers, the log is pickled as it is. Of a log
        on a disk, only the path is pickled.
        """
        if self._to_pickle is None:
            log = self._rows.log
            rows = self._rows if log.is_on_disk else self._rows.compact()
            if rows.log is not log:
                rows = rows._replace(log=rows.log.trimmed(_N_KINDS))
            # Kept, so that a search that pickles X for each task copies it once, and
            # joblib maps the same log into all its workers.
            self._to_pickle = rows
        return {"_rows": self._to_pickle, "_dtype": self._dtype, "_to_pickle": None}


def _is_missing(value: Any) -> bool:
    return value is pd.NA or (isinstance(value, float) and value != value)


def _join_parts(parts: Sequence[Rows]) -> Rows:
    """Concatenate rows; rows of a customer of several logs share events if these agree.

    Otherwise an event of several logs would count several times in each fit.
    """
    joined = join_rows(parts)
    is_new = all(joined.log is not part.log for part in parts)
    return share_segments(joined) if is_new else joined


def _rows_from_scalars(scalars: Sequence[History | None]) -> Rows:
    """Return rows of single histories; None means a missing one."""
    # Missing histories view a log without events, which joins with any other.
    logs: Any = (getattr(one, "_log", None) for one in scalars)
    places: dict[Any, list[int]] = {None: [], **positions_by_log(logs)}
    parts = []
    for log, own in places.items():
        if log is None:
            parts.append(missing_rows(RawLog.without_events(), len(own)))
            continue
        keys = zip(*(scalars[i]._key() for i in own), strict=True)  # type: ignore[union-attr]
        who, start, stop, cutoff = (np.array(column) for column in keys)
        ticks = cutoff.astype(log.timeline.clock.dtype)
        parts.append(Rows(log, who, start, stop, ticks))
    # Joined log by log; `back` restores the order of the scalars.
    back = np.argsort(np.concatenate([np.array(own, int) for own in places.values()]))
    return _join_parts(parts).take(back)
