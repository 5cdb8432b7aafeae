"""The store of all events of all customers, and the histories cut from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from sklearn_seqcrm._store import Kinds, entry_of, events_of_kinds, one_or_many
from sklearn_seqcrm.events._append import append_events, write_parts
from sklearn_seqcrm.events._concat import check_mergeable, merge_logs
from sklearn_seqcrm.events._disk import open_log, write_log_to
from sklearn_seqcrm.events._html import log_html
from sklearn_seqcrm.events._look_like_ids import warn_of_ids
from sklearn_seqcrm.events._parquet import read_log, record_note, record_of, write_log
from sklearn_seqcrm.events._read import read_events, read_table
from sklearn_seqcrm.events._resample import resample_events
from sklearn_seqcrm.events._viewable_log import ViewableLog


class EventLog(ViewableLog):
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
        allowed, datetimes as datetimes, everything else as categories. A column of
        lists or arrays of numbers, all of one length, is a field of *vectors*, such as
        embeddings of texts, products or images: of objects, where ``events["vector"] =
        list(matrix)`` puts the rows of a matrix, or a list column of polars or Arrow.
        They are stored as float32; None is a missing vector, and so is one of NaN
        alone.
    observed_until : datetime or number, default=None
        The last moment that the table has recorded, which tells a customer who was
        silent from one who was not looked at any more. None: the last event. Of a table
        of March it is the midnight after it, ``"2024-04-01"``: until 23:59:59 the last
        second would be unknown, and targets refuse windows that end at midnight. Where
        all times are midnights, a day is recorded to its end: ``"2024-03-31"``.
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
        than numbers of their unit can tell (292 years of nanoseconds), ids are
        floats too large to tell whole numbers apart (from 2**53 on), or vectors have
        different lengths, or numbers in them are missing or infinite.

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
        super().__init__(timeline, columns, (customer, time))

    def _repr_html_(self) -> str:
        """Sizes, fields and histograms, in notebooks."""
        return log_html(self)

    def append(
        self,
        more: Any,
        observed_until: Any = None,
        *,
        duplicates: Literal["warn", "keep", "drop", "raise"] = "warn",
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
        joint = self.of(*events, self._names, kinds)
        same = len(joint) == len(self) and kinds == self._kinds
        if same and joint.timeline.record == self.timeline.record:
            return self
        return joint

    @classmethod
    def concat(
        cls,
        logs: Mapping[str, EventLog],
        kind_field: str = "event",
        observed_until: Any = None,
    ) -> EventLog:
        """Merge logs of different kinds of events into one.

        Parameters
        ----------
        logs : dict of str to EventLog
            The logs by the name of their kind. Where customer and time are equal, the
            events of an earlier log come first.
        kind_field : str, default="event"
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
            or a log has a field called `kind_field`.

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
        check_mergeable(logs, kind_field, cls)
        events, kinds = merge_logs(logs, kind_field, observed_until)
        first = next(iter(logs.values()))
        return cls.of(*events, first._names, kinds)

    def only(self, *kinds: str, kind_field: str = "event") -> EventLog:
        """Return a log of the events of some kinds.

        Parameters
        ----------
        *kinds : str
            Kinds to keep, as `concat` named them.
        kind_field : str, default="event"
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
            If `kind_field` is no categorical field, or there is no event of a kind.

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
        if len(kinds) == 1:
            kinds = tuple(one_or_many(kinds[0], "kinds"))  # a list is fine, too
        index = events_of_kinds(self.column(kind_field), kinds, kind_field)
        log = self.take(self._timeline.at(index), index)
        if self._kinds is not None and self._kinds.field == kind_field:
            log._kinds = self._kinds.only(kinds)
        return log

    def resample(
        self,
        period: Any = None,
        *,
        gap: Any = None,
        offset: Any = None,
        how: Mapping[str, str] | None = None,
        count_field: str = "n_events",
    ) -> EventLog:
        """Return a log in which the events of a period or a session are one event.

        The lines of a basket become one purchase, the clicks of a visit one visit. A
        merged event stands at the *last moment at which another event could have
        joined it*: at the end of its period, or when its session is over. So a row
        sees all of it or, if its cutoff is not later than that, nothing of it.

        Parameters
        ----------
        period : Timedelta, str or number, default=None
            Merge the events of each customer within periods of this length. Periods
            begin at the epoch of the log's times, 1970-01-01 00:00 or 0, and whole
            multiples of their length from there: days begin at midnight (of UTC, where
            times have a time zone), weeks on Thursdays; see `offset`.
        gap : Timedelta, str or number, default=None
            Merge the events of each customer within sessions: an event belongs to the
            session of the one before if it comes no later than `gap` after it. With 0,
            only what happens at the same moment is merged, and stays there. Either
            `period` or `gap` is to be given.
        offset : Timedelta, str or number, default=None
            Begin periods so much later than the epoch: ``"4D"`` makes weeks from Monday
            to Sunday, ``"5h"`` days from 05:00 to 05:00.
        how : dict of str to str, default=None
            What to make of the values of a field, if not the default:

            - numbers: ``"sum"`` (default), ``"mean"``, ``"min"``, ``"max"``,
              ``"first"``, ``"last"``, ``"count_distinct"``;
            - categories: ``"most_frequent"`` (default; the one that came first, if
              several are), ``"first"``, ``"last"``, ``"count_distinct"``;
            - datetimes: ``"last"`` (default), ``"first"``, ``"min"``, ``"max"``,
              ``"count_distinct"``;
            - vectors: ``"mean"`` (default), ``"first"``, ``"last"``.

            Missing values are left out; of nothing but missing values, the result is
            missing, sums and counts included. Counts are numbers, all else has the type
            of the field.
        count_field : str, default="n_events"
            Name of a new field that holds the number of merged events.

        Returns
        -------
        EventLog
            The merged events, with the customers, fields and record of this log. Kinds
            of events that `concat` merged stay apart: events are merged within a kind.

        Raises
        ------
        KeyError
            If `how` has a field that the log does not have.
        TypeError
            If a length of time is of another kind than the times of the log, or `how`
            is no dict.
        ValueError
            If neither or both of `period` and `gap` are given, or `offset` with `gap`,
            a length is negative, no length, or one of the calendar such as a month,
            `period` is 0 or would end between two ticks of the log, a field cannot be
            made what `how` says, the log has a field `count_field`, or merged events
            would lie further apart than its numbers can tell.

        See Also
        --------
        concat : Merge logs of different kinds of events into one.

        Notes
        -----
        At the beginning of its period, a merged event would tell every cutoff within
        the period what is still to come. At its last event, its *absence* would tell:
        a customer who bought at 10:00 would be known at noon only if they did not come
        back in the afternoon. At the last moment of the period neither can happen: what
        rows see is the same if all events from their cutoff on are deleted.

        - A cutoff at midnight sees the days before it, the last one included, although
          only events strictly before the cutoff count: a day ends at its last tick,
          such as 23:59:59.999999. A cutoff at noon does not see the morning.
        - A session ends `gap` after its last event, and is seen by cutoffs after that.
        - In a log of days (all its times are midnights) and in one of whole numbers,
          merged events stand at the last *day* or *number* at which another could have
          joined: ``"1D"`` leaves events at their day, where rows see them that are
          attached with ``allow_exact_matches=True`` or a cutoff later that day, as they
          see those of the log itself.
        - What is not over at the end of the record holds what was recorded so far, at
          the moment at which it would end, after `observed_until`; only rows without a
          cutoff see it. To add events, append them to this log and resample it again:
          all that was over by then comes out as before.
        - Targets count merged events from where they stand. A cutoff within a period
          finds the whole of it ahead, also what happened before the cutoff: choose
          cutoffs at which periods begin, and a horizon, without which the next event
          may be one that is not over.

        Examples
        --------
        >>> import pandas as pd
        >>> from sklearn_seqcrm.events import EventLog
        >>> lines = pd.DataFrame(
        ...     {
        ...         "who": ["a", "a", "a", "b"],
        ...         "hour": [9, 17, 32, 12],
        ...         "price": [2.0, 3.0, 4.0, 8.0],
        ...         "shop": ["north", "south", "south", "north"],
        ...     }
        ... )
        >>> log = EventLog(lines, customer="who", time="hour")
        >>> days = log.resample(24)
        >>> days.to_frame()
          who  hour  price   shop  n_events
        0   a    23    5.0  north       2.0
        1   a    47    4.0  south       1.0
        2   b    23    8.0  north       1.0
        >>> days.snapshots([10, 24])
          who  cutoff       history
        0   a      24  1 event 23
        1   b      24  1 event 23
        >>> log.resample(gap=10, how={"price": "max"}).to_frame()
          who  hour  price   shop  n_events
        0   a    27    3.0  north       2.0
        1   a    42    4.0  south       1.0
        2   b    22    8.0  north       1.0
        """
        events, kinds = resample_events(
            self, self._kinds, period, gap, offset, how, count_field
        )
        return self.of(*events, self._names, kinds)

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
        FileNotFoundError
            If the folder of the file is missing.
        PermissionError
            If the file is there and may not be written.
        TypeError
            If ids or levels are of a type that parquet cannot store, such as the
            intervals of ``pd.cut`` and periods.
        ValueError
            If there is something else than a file at `path`.

        Notes
        -----
        The metadata of the file hold a SHA-256 of all its bytes, under the key
        ``sklearn_seqcrm.seal``, which `from_parquet` compares.
        """
        note = {"record": record_note(self._timeline.record), "kinds": self._kinds}
        columns: dict[Any, Any] = dict(self.to_frame().items())
        columns |= {name: self.column(name).stored() for name in self.fields}
        write_log(columns, self._names, note, path)

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
            time are, if any byte of it was changed or lost since it was written, or if
            a later version of this library wrote it.
        """
        frame, names, note = read_log(path)
        log = cls(frame, *names, categorical=[])
        record = record_of(note, log.timeline.clock, path)
        kinds = entry_of(note, "kinds", list | None, path)
        return cls.of(
            log.timeline.with_record(record),
            log.columns,
            names,
            None if kinds is None else Kinds.of(*kinds),
        )

    def to_disk(self, path: Any) -> None:
        """Write the log into a new folder, from which `open` reads it piece by piece.

        Parameters
        ----------
        path : str or path-like
            The folder, which must not be there, in a folder that is. It gets its name
            when all of it is on the disk. A process that is killed before leaves
            ``.<name>.<digits>.part`` beside it, which does not open, and which the next
            writer of `path` removes.

        Raises
        ------
        FileExistsError
            If something is at `path`: a log may be in use, and is never replaced.
        FileNotFoundError
            If the folder that `path` is in is missing.
        TypeError
            If ids or levels are of a type that parquet cannot store.

        See Also
        --------
        from_parts : Write a log that does not fit into memory.
        to_parquet : A table in one file, for any reader.

        Notes
        -----
        Times, offsets and the values of each field are files of NumPy (``.npy``), the
        ids of customers and the levels of categories are Parquet, for which pyarrow is
        needed. ``log.json`` says what they mean, and holds the size and a SHA-256 of
        each of them and of itself; see `open`.
        """
        write_log_to(path, self, self._kinds)

    @classmethod
    def open(cls, path: Any, *, verify: bool = False) -> EventLog:
        """Open a log that `to_disk` or `from_parts` wrote, and leave it on the disk.

        Parameters
        ----------
        path : str or path-like
            The folder.
        verify : bool, default=False
            Compare every byte with what was written, which reads all files once (about
            a second per gigabyte). By default only what opening reads anyway is
            compared; see the notes.

        Returns
        -------
        EventLog
            The same events, customers and fields. Of the events, no more is in memory
            than is being read; the ids of the customers and the levels of categories
            are.

        Raises
        ------
        FileNotFoundError
            If there is no such folder.
        ValueError
            If it holds no log that was written to its end, a file is damaged or comes
            from another log, or a later version of this library wrote it. With
            `verify`, also if version 0.1.0 wrote it, which noted no checksums.

        Notes
        -----
        Opening compares ``log.json``, the ids, the levels and the offsets with their
        checksums as a whole. Of times and fields, which it does not read, it compares
        the sizes and the first and the last 4,096 bytes: that finds files that were cut
        off, mixed up or written anew, but no bit that was flipped in the middle. Open
        a folder with ``verify=True`` once after it was copied or restored from a
        backup. Pickles and workers open logs without.

        A pickle of the log, or of rows that view it, holds its path and no events.
        Whoever reads it needs the same folder at the same path, be it another process,
        a worker of Dask, or the model of last month. `HistoryEncoder` leaves the events
        of such rows on the disk, too, and encodes them when a batch asks for them.

        What returns another log holds that one in memory: `append`, `only`, `resample`,
        `concat`, and tables of rows that were joined from two logs.

        Examples
        --------
        >>> import tempfile, pandas as pd
        >>> from pathlib import Path
        >>> from sklearn_seqcrm.events import EventLog
        >>> visits = pd.DataFrame({"who": ["a", "a", "b"], "day": [1, 9, 12]})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     EventLog(visits, "who", "day").to_disk(Path(folder) / "visits")
        ...     log = EventLog.open(Path(folder) / "visits")
        ...     log.snapshots([10])
          who  cutoff        history
        0   a      10  2 events 1..9
        """
        return open_log(cls, path, verify=verify)

    @classmethod
    def from_parts(
        cls,
        parts: Iterable[Any],
        path: Any,
        customer: str,
        time: str,
        fields: Sequence[str] | None = None,
        observed_until: Any = None,
        categorical: Sequence[str] | None = None,
    ) -> EventLog:
        """Build a log on the disk from tables, one of which is in memory at a time.

        Parameters
        ----------
        parts : iterable of tables
            The events, in parts that `EventLog` would take. All customers of a part
            come after those of the part before, but that the last customer there may
            go on at the same or a later time; within a part, rows have any order.
            So a query that is sorted by customer and time can be cut anywhere.
        path : str or path-like
            The folder, as of `to_disk`.
        customer, time, fields, observed_until, categorical : object
            As `EventLog` takes them. The first part says which type each field has,
            and for None which fields there are.

        Returns
        -------
        EventLog
            The log, opened from the disk.

        Raises
        ------
        FileExistsError
            If something is at `path`.
        KeyError
            If a part lacks one of the columns.
        TypeError
            If a part is no table, or its customers or levels are of another type.
        ValueError
            If there are no events, parts are not in the order of their customers, a
            field has another type than before, or for the reasons of `EventLog`.

        Warns
        -----
        UserWarning
            If numbers of the first part look like ids, as of `EventLog`.

        See Also
        --------
        open : Open it the next time.

        Examples
        --------
        A query that sorts a data set larger than memory, in DuckDB (see the page
        :doc:`/scale`), gives the same kind of parts as this list.

        >>> import tempfile, pandas as pd
        >>> from pathlib import Path
        >>> from sklearn_seqcrm.events import EventLog
        >>> visits = pd.DataFrame({"who": ["a", "a", "b"], "day": [1, 9, 12]})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     EventLog.from_parts(
        ...         [visits[:1], visits[1:]], Path(folder) / "visits", "who", "day"
        ...     )
        EventLog(3 events, 2 customers, 1..12, fields: none)
        """
        write_parts(parts, path, customer, time, fields, observed_until, categorical)
        return open_log(cls, path)
