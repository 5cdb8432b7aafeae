"""The store of all events of all customers, and the histories cut from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import pandas as pd
from pandas.api.types import is_list_like

from sklearn_seqcrm.events._append import append_events
from sklearn_seqcrm.events._checks import (
    check_rows,
    column_of,
    one_cutoff,
    warn_of_strangers,
)
from sklearn_seqcrm.events._clock import Clock
from sklearn_seqcrm.events._columns import Column, events_of_kinds
from sklearn_seqcrm.events._concat import (
    Kinds,
    check_mergeable,
    columns_of,
    joint_kinds,
    merge_logs,
    stack_columns,
)
from sklearn_seqcrm.events._history import short_time
from sklearn_seqcrm.events._history_array import (
    HistoryArray,
    HistoryDtype,
    cut_histories,
)
from sklearn_seqcrm.events._log import Log
from sklearn_seqcrm.events._look_like_ids import warn_of_ids
from sklearn_seqcrm.events._parquet import entry_of, read_log, write_log
from sklearn_seqcrm.events._reach import warn_of_silence
from sklearn_seqcrm.events._read import read_events, read_table
from sklearn_seqcrm.events._record import Record
from sklearn_seqcrm.events._snapshots import choose_moments, read_every, refuse_unused
from sklearn_seqcrm.events._timeline import Timeline, frozen


class EventLog(Log):
    """Events of many customers, sorted by customer and time.

    Build it once from a table of events, then cut histories from it with `attach` or
    `snapshots`. It never changes: `append` returns a new log, and copies of it,
    shallow, deep or by `sklearn.base.clone`, are the log itself.

    Parameters
    ----------
    events : pandas, polars or pyarrow table, lazy frame or Arrow stream
        One row per event, in any order. Events of one customer at the same time keep
        the order they have here. A polars LazyFrame, a DuckDB relation, and whatever
        else has ``__arrow_c_stream__`` (for which pyarrow is needed) is run.
    customer : str
        Column of customer ids, of one type that sorts. No missing values. Whole
        numbers are kept as integers, exactly, whatever their type was.
    time : str
        Column of times: datetimes, naive or time-zone aware (stored as UTC), or plain
        numbers. No missing values.
    fields : sequence of str or None, default=None
        Columns to keep as facts of the event; None keeps all other columns. Numbers
        and booleans are stored as floats, where missing and infinite values are
        allowed, datetimes as datetimes, everything else as categories.
    observed_until : datetime or number, default=None
        The last moment that the table has recorded, which tells a customer who was
        silent from one who was not looked at any more. None: the last event.
    categorical : sequence of str or None, default=None
        Fields to store as categories, whatever their type: the ids of a product, a
        shop or a basket are no quantities, even if they are numbers. None: those that
        are no numbers, and a warning if a field of whole numbers looks like ids. With
        a list, also an empty one, all others are quantities without a warning.

    Raises
    ------
    KeyError
        If `events` lacks one of the columns.
    TypeError
        If `events` is no table, or a column has a type that cannot be stored.
    ValueError
        If there are no events, customers or times are missing, times lie further apart
        than numbers of their unit can tell (292 years of nanoseconds), or ids are
        floats too large to tell whole numbers apart (from 2**53 on).

    Warns
    -----
    UserWarning
        If `categorical` is None and numbers look like ids: among a thousand events or
        more, hardly any comes twice, or there are more than 10,000, which are spread
        as no quantity is. A float looks like one only beside missing values.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_seqcrm.events import EventLog
    >>> orders = pd.DataFrame(
    ...     {
    ...         "customer": ["ann", "bob", "ann"],
    ...         "day": pd.to_datetime(["2024-03-05", "2024-01-02", "2024-01-09"]),
    ...         "amount": [20.0, 5.0, 12.5],
    ...     }
    ... )
    >>> log = EventLog(orders, customer="customer", time="day")
    >>> log
    EventLog(3 events, 2 customers, 2024-01-02..2024-03-05, fields: amount)
    >>> rows = pd.DataFrame({"customer": ["ann", "bob", "eve"]})
    >>> log.attach(rows, cutoff="2024-03-05")
      customer             history
    0      ann  1 event 2024-01-09
    1      bob  1 event 2024-01-02
    2      eve            0 events
    """

    def __init__(
        self,
        events: Any,
        customer: str,
        time: str,
        fields: Sequence[str] | None = None,
        observed_until: Any = None,
        categorical: Sequence[str] | None = None,
    ) -> None:
        table = read_table(events)
        timeline, columns = read_events(
            table,
            customer,
            time,
            fields,
            categorical=() if categorical is None else categorical,
            observed_until=observed_until,
        )
        if categorical is None:
            warn_of_ids(columns, table)
        super().__init__(timeline, (customer, time))
        self._set(columns, None)

    @classmethod
    def _of(
        cls,
        timeline: Timeline,
        columns: dict[str, Column],
        names: tuple[str, str],
        kinds: Kinds | None = None,
    ) -> Self:
        """Wrap columns that are sorted and checked already."""
        log = cls.__new__(cls)
        Log.__init__(log, timeline, names)
        log._set(columns, kinds)
        return log

    def _set(self, columns: dict[str, Column], kinds: Kinds | None) -> None:
        self._columns = {
            name: Column(frozen(column.values), column.categories)
            for name, column in columns.items()
        }
        self._kinds = kinds

    def __reduce__(self) -> tuple[Any, ...]:
        """Arrays come writeable out of a pickle; wrapped anew, they are not."""
        return self._of, (self._timeline, self._columns, self._names, self._kinds)

    @property
    def fields(self) -> list[str]:
        """Names of the stored columns, without customer and time."""
        return list(self._columns)

    @property
    def kinds(self) -> dict[str, list[str]]:
        """The fields of each kind of events that `concat` merged; else empty."""
        own = {} if self._kinds is None else self._kinds.fields
        return {name: list(fields) for name, fields in own.items()}

    def column(self, field: str) -> Column:
        """Return the stored values of a field.

        Parameters
        ----------
        field : str
            One of `fields`.

        Returns
        -------
        Column
            ``values`` of shape (n_events,) and, for categories, their levels.

        Raises
        ------
        KeyError
            If the log has no such field.
        """
        if field not in self._columns:
            raise KeyError(f"The log has no field {field!r}; it has {self.fields}.")
        return self._columns[field]

    def attach(
        self,
        rows: pd.DataFrame,
        customer: str | None = None,
        cutoff: Any = None,
        lookback: Any = None,
        allow_exact_matches: bool = False,
        name: str = "history",
    ) -> pd.DataFrame:
        """Give each row the history that was known at its cutoff.

        Parameters
        ----------
        rows : DataFrame of shape (n, n_columns)
            One row per prediction.
        customer : str or None, default=None
            Column of `rows` that holds the customer; None: the name it has in the
            log. Customers that the log does not know get an empty history, with a
            warning if there are ten or more and it knows none of them.
        cutoff : str, datetime, number or None, default=None
            Column of `rows` that holds each row's cutoff, or one cutoff for all rows.
            None: everything known so far. Events *at* the cutoff count as future. A
            cutoff between two ticks of the log's unit of time counts as the later of
            the two; with `allow_exact_matches`, as the earlier.
        lookback : Timedelta, str or number, default=None
            Only see events in ``[cutoff - lookback, cutoff)``; None: all before.
        allow_exact_matches : bool, default=False
            Also see the events at the cutoff: the transaction that is being judged,
            or the rest of the basket, whose facts are known at that moment.
        name : str, default="history"
            Name of the new column.

        Returns
        -------
        DataFrame of shape (n, n_columns + 1)
            `rows` in their order, with their index and columns, and the histories.

        Raises
        ------
        KeyError
            If `rows` lacks a column.
        TypeError
            If `rows` is no pandas DataFrame, its customers are of another type, or
            `cutoff` is neither a column nor one time.
        ValueError
            If customers or cutoffs are missing, the cutoffs are of another kind of
            time than the log or beyond what its unit can hold, a text has no time zone
            and the log has one, or the column `name` exists already.

        Warns
        -----
        UserWarning
            If a cutoff lies so long past the record of the log that it can hardly be
            meant: by more than a tenth of what the log spans and 31 days, or, of plain
            numbers, by more than the whole span and 20.
        """
        check_rows(rows, name)
        key = self._names[0] if customer is None else customer
        ids = column_of(rows, key, "customer")
        codes = self._timeline.codes_of(ids, f"customers in column {key!r} of rows")
        warn_of_strangers(ids, codes, self.customers)
        by_column = isinstance(cutoff, str) and cutoff in rows.columns
        if cutoff is None:
            cutoff = max(self.observed_until, self.time_span[1])
            allow_exact_matches = True
        if by_column:
            moments = column_of(rows, cutoff, "cutoff")
            what = f"cutoffs in {cutoff!r}"
        else:
            moments, what = one_cutoff(cutoff, rows, self._timeline.clock), "cutoffs"
        dtype = HistoryDtype(key, cutoff if by_column else None)
        array = cut_histories(
            self, codes, moments, what, lookback, allow_exact_matches, dtype
        )
        return rows.assign(**{name: array})

    def snapshots(
        self,
        cutoffs: Any = None,
        min_events: int = 1,
        active_within: Any = None,
        lookback: Any = None,
        name: str = "history",
        *,
        every: Any = None,
        start: Any = None,
        end: Any = None,
        kinds: str | Sequence[str] | None = None,
        kind: str = "event",
        random_state: Any = None,
    ) -> pd.DataFrame:
        """Make rows of all customers at chosen cutoffs.

        Parameters
        ----------
        cutoffs : datetime, number, sequence of them, "events" or "random"
            Moments to look at all customers from. ``"events"``: look at each customer
            right before each of their events (once, where several happen at a time).
            ``"random"``: look at each customer once, at a moment drawn evenly from
            after their first event to `end`. None: use `every`.
        min_events : int, default=1
            Leave out customers with fewer events before the cutoff. With 0 there are
            rows of customers whose first event is still to come, whom nobody knew.
        active_within : Timedelta, str or number, default=None
            Leave out customers without an event in ``[cutoff - active_within,
            cutoff)``; None keeps them.
        lookback : Timedelta, str or number, default=None
            As in `attach`; the two filters above look at all events.
        name : str, default="history"
            Name of the history column.
        every : Timedelta, str or number, default=None
            Distance between regular cutoffs, in place of `cutoffs`.
        start, end : datetime or number, default=None
            First and last moment for ``every``, ``"events"`` and ``"random"``. None:
            no bound but the record of the log; ``every`` begins one distance after
            the first event.
        kinds : str, sequence of str or None, default=None
            With ``"events"``, look only before events of these kinds. The histories
            hold all kinds nevertheless.
        kind : str, default="event"
            Name of the categorical field that holds the kinds.
        random_state : int, RandomState or None, default=None
            Source of ``"random"`` cutoffs.

        Returns
        -------
        DataFrame of shape (n, 3)
            The customer under the name it has in the log, ``"cutoff"``, and the
            history; sorted by cutoff, then customer (``"events"`` and ``"random"``:
            by customer, then cutoff).

        Raises
        ------
        KeyError
            If the log has no field `kind`.
        TypeError
            If both or neither of `cutoffs` and `every` are given, or an option that
            they do not take.
        ValueError
            If there is no cutoff, one is missing or of another kind of time than the
            log, there are no events of `kinds`, a number is out of its range, two of
            the three columns have the same name, or `every` is a step of the calendar,
            such as a month, whose cutoffs are to be listed.

        Warns
        -----
        UserWarning
            If a cutoff lies long past the record of the log, as in `attach`.

        Examples
        --------
        >>> import pandas as pd
        >>> from sklearn_seqcrm.events import EventLog
        >>> visits = pd.DataFrame({"who": ["a", "a", "b"], "day": [1, 9, 12]})
        >>> log = EventLog(visits, customer="who", time="day")
        >>> log.snapshots([5, 10])
          who  cutoff        history
        0   a       5      1 event 1
        1   a      10  2 events 1..9
        >>> log.snapshots(every=4)["cutoff"].tolist()
        [5, 9]
        >>> log.snapshots("events", min_events=0)["cutoff"].tolist()
        [1, 9, 12]
        """
        timeline, customer = self._timeline, self._names[0]
        if len({customer, "cutoff", name}) < 3:
            raise ValueError(
                f"The columns {customer!r}, 'cutoff' and {name!r} need three names; "
                "choose another with name=..., or rename the log's customer column."
            )
        if (cutoffs is None) == (every is None):
            raise TypeError("snapshots needs either cutoffs or every, and not both.")
        given = {"start": start, "end": end, "kinds": kinds}
        refuse_unused(cutoffs, every, {**given, "random_state": random_state})
        if not isinstance(min_events, int | np.integer) or min_events < 0:
            raise ValueError(
                f"min_events must be a whole number from 0 on; got {min_events!r}."
            )
        clock = timeline.clock
        first = None if start is None else clock.read(start, "start")[0]
        last = None if end is None else clock.read(end, "end", up=False)[0]
        if every is not None:
            cutoffs = read_every(timeline, every, first, last)
        if active_within is not None:
            active_within = clock.duration(active_within, "active_within")
        codes, cutoff, stop = choose_moments(
            timeline,
            cutoffs,
            first,
            last,
            None if kinds is None else events_of_kinds(self.column(kind), kinds, kind),
            random_state,
            min_events,
            active_within,
        )
        warn_of_silence(timeline, cutoff, stacklevel=2)
        begin = timeline.offsets[codes]
        if lookback is not None:
            since = clock.read(clock.as_index(cutoff), "cutoffs", back=lookback)
            begin = timeline.positions(codes, since)
        dtype = HistoryDtype(customer, "cutoff")
        array = HistoryArray(self, codes, begin, stop, cutoff, dtype)
        # The frame need not copy what is new; only the cutoffs are the array's as well.
        columns = {
            customer: self.customers[codes],
            "cutoff": clock.as_index(cutoff.copy()),
        }
        return pd.DataFrame({**columns, name: array}, copy=False)

    def append(
        self,
        more: Any,
        observed_until: Any = None,
        *,
        duplicates: str = "warn",
        new_kinds: bool = False,
    ) -> EventLog:
        """Return a log that also holds more events.

        Parameters
        ----------
        more : table, EventLog or dict of str to either
            Events with the same columns as the log; further columns are left out.
            They come after those of the log where customer and time are equal, and
            are read as the log has its fields: integers as categories, if those are.

            To a log that `concat` made, a table for each kind of events:
            ``{"order": orders, "return": returns}``. A table needs the fields of its
            kind only, and those that the kind does not have are not read. One table
            of several kinds has a column of kinds; a field that a kind does not have
            is missing in its events, whatever the table says.
        observed_until : datetime or number, default=None
            The last moment that all of them have recorded. None: the last event of
            `more`, or what an EventLog says, if that is later than before. Where there
            are kinds, it is that of the kind that ends first, be it among `more` or
            not.
        duplicates : {"warn", "keep", "drop", "raise"}, default="warn"
            What to do with events that are in the log already, with the same
            customer, time and fields, as when a day is appended twice: count them
            twice, with or without a warning, leave them out, or raise an error.
            Events that are twice in `more` itself are two events. Numbers are
            compared in the type that the log has them in, float32 or float64.
        new_kinds : bool, default=False
            Take kinds of events that the log does not have, with all columns of their
            table in a dict; else they are refused.

        Returns
        -------
        EventLog
            The joint log, or this one if there is nothing new. This one stays as it is,
            and so do histories cut from it.

        Raises
        ------
        KeyError
            If `more` lacks a column.
        TypeError
            If `more` is no table, a dict for a log without kinds, or its customers
            or categories are of another type than those of the log.
        ValueError
            If a field or the times are of another kind than in the log, times are
            finer than its unit, a kind is new or has a field called like a key,
            `observed_until` is too early, or there are duplicates that shall raise.

        Examples
        --------
        >>> import pandas as pd
        >>> from sklearn_seqcrm.events import EventLog
        >>> march = pd.DataFrame({"who": ["a", "b"], "day": [1, 2], "price": [5, 8]})
        >>> april = pd.DataFrame({"who": ["b", "b"], "day": [2, 35], "price": [8, 9]})
        >>> log = EventLog(march, "who", "day", observed_until=31)
        >>> log.append(april, observed_until=61, duplicates="drop")
        EventLog(3 events, 2 customers, 1..35, fields: price)
        """
        events, kinds = append_events(
            self, self._kinds, more, observed_until, duplicates, new_kinds
        )
        joint = self._of(*events, self._names, kinds)
        same = len(joint) == len(self) and kinds == self._kinds
        if same and joint.timeline.record == self.timeline.record:
            return self
        return joint

    @classmethod
    def concat(
        cls,
        logs: Mapping[str, EventLog],
        kind: str = "event",
        observed_until: Any = None,
    ) -> EventLog:
        """Merge logs of different kinds of events into one.

        Parameters
        ----------
        logs : dict of str to EventLog
            The logs by the name of their kind. Where customer and time are equal, the
            events of an earlier log come first.
        kind : str, default="event"
            Name of a new categorical field that holds the kind of each event.
        observed_until : datetime, number or None, default=None
            The last moment that all of the logs have recorded, which may lie before
            the last event. None: the earliest `observed_until` among them.

        Returns
        -------
        EventLog
            All events, with the kind and the fields of all logs. A field that a kind
            does not have is missing in its events. Times have the finest unit.

        Raises
        ------
        TypeError
            If `logs` is no dict of logs, or customers are of different types.
        ValueError
            If times are of different kinds, a field has different types in two logs,
            or a log has a field called `kind`.

        Warns
        -----
        UserWarning
            If `observed_until` is None and the kind whose events end first does so
            earlier than the last by more than a tenth of what all span, and nothing
            says that it was recorded for longer: the log of a rare kind ends with its
            last event, and with it the record of all.

        Notes
        -----
        A fact counts from when it became *known*. Whether an order was returned is
        known weeks after the order, so that a column ``returned`` on the order's own
        row tells every history the future: an order of yesterday, seen from today,
        already carries the return of next week. A network that reads it looks
        brilliant in validation and fails in use. The mend is an event of its own, at
        the moment of the return:

        - wrong: ``orders`` with the columns customer, time, amount, *returned*;
        - right: ``orders`` with customer, time, amount, and ``returns`` with customer,
          *time of the return*, amount.

        Examples
        --------
        >>> import pandas as pd
        >>> from sklearn_seqcrm.events import EventLog
        >>> orders = pd.DataFrame(
        ...     {"who": ["a", "a"], "day": [1, 9], "price": [20.0, 5.0]}
        ... )
        >>> returns = pd.DataFrame({"who": ["a"], "day": [6], "reason": ["size"]})
        >>> log = EventLog.concat(
        ...     {
        ...         "order": EventLog(orders, "who", "day"),
        ...         "return": EventLog(returns, "who", "day"),
        ...     }
        ... )
        >>> log.to_frame()
          who  day   event  price reason
        0   a    1   order   20.0    NaN
        1   a    6  return    NaN   size
        2   a    9   order    5.0    NaN
        >>> log.attach(pd.DataFrame({"who": ["a"]}), cutoff=5)["history"][0]
        1 event 1
        """
        check_mergeable(logs, kind, cls)
        events, kinds = merge_logs(logs, kind, observed_until)
        first = next(iter(logs.values()))
        return cls._of(*events, first._names, kinds)

    def only(self, *kinds: str, kind: str = "event") -> EventLog:
        """Return a log of the events of some kinds.

        Parameters
        ----------
        *kinds : str
            Kinds to keep, as `concat` named them.
        kind : str, default="event"
            Name of the categorical field that holds the kinds.

        Returns
        -------
        EventLog
            These events with all fields. Customers without any are unknown to it.

        Raises
        ------
        KeyError
            If the log has no such field.
        ValueError
            If `kind` is no categorical field, or there is no event of a kind.

        Examples
        --------
        >>> import pandas as pd
        >>> from sklearn_seqcrm.events import EventLog
        >>> clicks = pd.DataFrame(
        ...     {
        ...         "who": ["a", "a", "b"],
        ...         "day": [1, 2, 3],
        ...         "event": ["view", "buy", "view"],
        ...     }
        ... )
        >>> EventLog(clicks, "who", "day").only("buy").to_frame()
          who  day event
        0   a    2   buy
        """
        if len(kinds) == 1 and is_list_like(kinds[0]):
            kinds = tuple(kinds[0])  # a list is fine, too
        index = events_of_kinds(self.column(kind), kinds, kind)
        log = self._take(self._timeline.at(index), index)
        if self._kinds is not None and self._kinds.field == kind:
            log._kinds = self._kinds.only(kinds)
        return log

    def to_parquet(self, path: Any) -> None:
        """Write the log to a parquet file; needs pyarrow.

        Parameters
        ----------
        path : str or path-like
            File to write. Any parquet reader sees the events as a plain table. A file
            that is there already is replaced when the new one is whole, and stays as
            it is if writing fails; a link stays, and what it points to is replaced.

        Raises
        ------
        PermissionError
            If the file is there and may not be written.
        TypeError
            If ids or levels are of a type that parquet cannot store, such as the
            intervals of ``pd.cut`` and periods.
        ValueError
            If there is something else than a file at `path`.
        """
        note = {"record": self._timeline.record.to_note(), "kinds": self._kinds}
        write_log(self.to_frame(), self._names, note, path)

    @classmethod
    def from_parquet(cls, path: Any) -> EventLog:
        """Read a log that `to_parquet` wrote; needs pyarrow.

        Parameters
        ----------
        path : str or path-like
            File to read.

        Returns
        -------
        EventLog
            The same events, customers and fields.

        Raises
        ------
        ValueError
            If the file is an ordinary table, which does not say what its customer and
            time are, if it was changed or cut off since it was written, or if it was
            written by another version of this library.
        """
        frame, names, note = read_log(path)
        log = cls(frame, *names, categorical=[])
        told = entry_of(note, "record", dict, path)
        record = Record.from_note(told, log.timeline.clock, path)
        kinds = entry_of(note, "kinds", list | None, path)
        return cls._of(
            log.timeline.with_record(record),
            log._columns,
            names,
            None if kinds is None else Kinds.of(*kinds),
        )

    def __repr__(self) -> str:
        """One line: sizes, time span and fields."""
        span = "..".join(map(short_time, self.time_span)) if len(self) else "no time"
        return (
            f"{type(self).__name__}({len(self):,} events, {self.n_customers:,} "
            f"customers, {span}, fields: {', '.join(self.fields) or 'none'})"
        )

    def _columns_at(self, index: np.ndarray) -> dict[str, Any]:
        return {name: column.to_pandas(index) for name, column in self._columns.items()}

    def _take(self, timeline: Timeline, index: np.ndarray) -> Self:
        columns = {name: column.take(index) for name, column in self._columns.items()}
        return self._of(timeline, columns, self._names, self._kinds)

    def _trimmed(self, more_than: int = 0) -> Self:
        columns = {
            name: column.trimmed(more_than) for name, column in self._columns.items()
        }
        kinds = self._kinds
        if kinds is not None:
            found = columns[kinds.field].categories
            kinds = kinds.only([] if found is None else list(found))
        return self._of(self._timeline, columns, self._names, kinds)

    def _stack(self, logs: Sequence[Log], timeline: Timeline) -> Self:
        assert all(isinstance(log, EventLog) for log in logs)
        columns = stack_columns([columns_of(log) for log in logs])
        all_kinds = [log._kinds for log in logs]  # type: ignore[attr-defined]
        return self._of(timeline, columns, self._names, joint_kinds(all_kinds))


def log_without_events() -> EventLog:
    """A log for a column of missing histories alone; it joins with any other."""
    nothing = np.zeros(0, dtype="int64")
    clock, record = Clock("int64", "us"), Record(0, in_days=False)
    timeline = Timeline(pd.Index([]), np.zeros(1, "int64"), nothing, clock, record)
    return EventLog._of(timeline, {}, ("customer", "time"))
