"""The log of all events of all customers: built, appended to, merged, resampled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import pandas as pd

from sklearn_seqcrm._store import (
    as_list,
    check_none_missing,
    events_of_kinds,
    plain_text,
)
from sklearn_seqcrm._typing import Duration, IntoTable, ListLike, Time
from sklearn_seqcrm.events._append import append_events
from sklearn_seqcrm.events._html import log_html
from sklearn_seqcrm.events._merge import check_mergeable, merge_logs
from sklearn_seqcrm.events._read import read_events, read_table
from sklearn_seqcrm.events._resample import resample_events
from sklearn_seqcrm.events._stored_log import StoredLog
from sklearn_seqcrm.events._warnings import (
    NewEventChecks,
    warn_far_observation,
    warn_wrong_new_dates,
)


class EventLog(StoredLog):
    """Events of many customers, sorted by customer and time.

    Build it once from a table of events, then cut histories from it with `attach` or
    `snapshots`. It is immutable: `append` returns a new log, and a shallow copy, a deep
    copy or a `sklearn.base.clone` is the log itself.

    Parameters
    ----------
    events : pandas, polars or pyarrow table, lazy frame or Arrow stream
        One row per event, in any order. Events of one customer at the same time keep
        this order. A query is run: a polars LazyFrame, a DuckDB relation, or any other
        object with ``__arrow_c_stream__`` (for which pyarrow is needed).
    customer : str
        Column of customer ids, of one type that can be sorted, without missing values.
        Whole numbers are stored exactly, as integers, whatever their dtype.
    time : str
        Column of times, without missing values: datetimes, naive or time-zone aware
        (stored as UTC), or plain numbers.
    fields : sequence of str or None, default=None
        Columns to keep as facts of the event; None keeps all other columns. Numbers
        and booleans are stored as floats, and may be missing or infinite; datetimes as
        datetimes (in UTC if times have a time zone); everything else as categories. A
        column of lists or arrays of numbers of one length is a field of *vectors*, such
        as embeddings of texts, products or images: a list column of polars or Arrow, or
        objects, as in ``events["vector"] = list(matrix)``. Vectors are stored as
        float32; None, or only NaN, is a missing vector.
    observed_until : datetime or number, default=None
        The last time that the table covers, which separates customers without events
        from customers who were no longer observed. None: the last event. For a table of
        March it is the midnight after it, ``"2024-04-01"``, or its last second,
        ``"2024-03-31 23:59:59"``, which counts to its end. Where all times are
        midnights, a day is covered to its end: ``"2024-03-31"``. If times are whole
        numbers, such as years, the last one is covered to its end too: ``5``. Text is
        in ISO 8601.
    categorical : sequence of str or None, default=None
        Fields to store as categories, whatever their dtype: ids of products, shops or
        baskets are not quantities, even if they are numbers. None: fields that are not
        numbers, and a warning if a field of whole numbers looks like ids. With a list,
        even an empty one, all other numbers are quantities, without a warning.

    Raises
    ------
    KeyError
        If `events` lacks one of the columns.
    TypeError
        If `events` is not a table, `customer` or `time` is not the name of a column, or
        a column has a type that cannot be stored.
    ValueError
        If there are no events, customers or times are missing, times lie further apart
        than int64 can count in their unit (292 years of nanoseconds), ids are floats
        too large to represent whole numbers exactly (from 2**53 on), vectors have
        different lengths, or numbers in vectors are missing or infinite.

    Warns
    -----
    UserWarning
        If `categorical` is None and a field of whole numbers looks like ids: among a
        thousand events or more, hardly any number is repeated, or there are more than
        10,000 different ones, distributed unlike quantities. Floats look like ids only
        if some are missing.

        If most levels of a field look like numbers with decimal commas, "12,50", with
        commas or spaces between thousands, "1,024" and "1 024,50", with currency or
        percent signs, "€12.50", or, among a hundred levels or more, with decimal
        points, "12.50", and it is not in `categorical`.

        If numbers of a field are infinite: encoders and features count them as missing.

        If datetimes of a field have a time zone and the times have none, or the other
        way round, dates without a time of day aside: both are compared as UTC.

        If dates are probably wrong: `observed_until` is None, and one event of a
        hundred or more, or a thousandth of all, come after a silence of more than a
        tenth of the time span before it (for plain numbers, all of it), 31 days, and
        ten times any earlier silence; or `observed_until` is more than three years
        after the last of a hundred events or more, and more than their time span; or
        at most a fifth of the events are more than three years before all others, and
        more than the time span of those, such as events of 1900-01-01. These must be
        on ten days at most, or be a thousandth of all.

        If each of the first events is in the table at least twice, with the same
        customer, time and fields.

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
    EventLog(3 events, 2 customers, 2024-01-02..2024-03-05, numeric: amount)
    >>> rows = pd.DataFrame({"customer": ["ann", "bob", "eve"]})
    >>> log.attach(rows, cutoff="2024-03-05")
      customer             history
    0      ann  1 event 2024-01-09
    1      bob  1 event 2024-01-02
    2      eve            0 events
    """

    def __init__(
        self,
        events: IntoTable,
        customer: str,
        time: str,
        fields: Sequence[str] | None = None,
        observed_until: Time | None = None,
        categorical: Sequence[str] | None = None,
    ) -> None:
        # A query runs once, here: the checks below need its columns again.
        table = read_table(events)
        customer, time = plain_text(customer), plain_text(time)
        found = read_events(
            table,
            customer,
            time,
            fields,
            categorical=() if categorical is None else categorical,
            observed_until=observed_until,
        )
        checks = NewEventChecks(categorical)
        checks.add(table, found)
        checks.warn_about_log(found, time, observed_until)
        super().__init__(*found, (customer, time))

    def _repr_html_(self) -> str:
        """Return sizes, fields and histograms, for notebooks."""
        return log_html(self)

    def append(
        self,
        more: IntoTable | EventLog | Mapping[str, IntoTable | EventLog],
        observed_until: Time | None = None,
        *,
        duplicates: Literal["warn", "keep", "drop", "raise"] = "warn",
        new_kinds: bool = False,
    ) -> EventLog:
        """Return a log with more events.

        Parameters
        ----------
        more : table, EventLog or dict of str to either
            Events with the same columns as the log; further columns are ignored. Fields
            are read in the types of the log: integers as categories if the log has
            categories. Where customer and time are equal, the new events come last.

            For a log that `concat` made, a table for each kind of events:
            ``{"order": orders, "return": returns}``. A table needs only the fields of
            its kind, and other columns are ignored. One table of several kinds needs a
            column of kinds; a field that a kind does not have is missing in its events,
            whatever the table holds.
        observed_until : datetime or number, default=None
            The last time that both the log and `more` cover. None: the last event of
            `more`, or the `observed_until` of an EventLog, if that is later than
            before. With kinds, that of the kind that ends first, in `more` or not.
        duplicates : {"warn", "keep", "drop", "raise"}, default="warn"
            How to treat events that are in the log already, with the same customer,
            time and fields, for example after a day was appended twice: count them
            twice, with ("warn") or without ("keep") a warning, leave them out, or raise
            an error. An event that is twice in `more` itself counts as two. Numbers are
            compared in the dtype of the log, float32 or float64.
        new_kinds : bool, default=False
            Accept kinds of events that the log does not have; in a dict, with all
            columns of their table. Otherwise they are refused.

        Returns
        -------
        EventLog
            The joint log, or this one if there is nothing new. This log and the
            histories cut from it do not change.

        Raises
        ------
        KeyError
            If `more` lacks a column.
        TypeError
            If `more` is not a table, is a dict for a log without kinds, or its
            customers or categories are of another type than those of the log.
        ValueError
            If a field or the times are of another type than in the log, times are finer
            than its unit, a kind is new or has a field with the name of a key column,
            `observed_until` is too early, or there are duplicates and `duplicates` is
            "raise".

        Warns
        -----
        UserWarning
            If there are duplicates and `duplicates` is "warn", datetimes of a field in
            a table have a time zone and its times have none, or the other way round,
            new events are long after or before all others, a given `observed_until` is
            long after them, or new customers seem to be those of the log with ids in
            another notation, such as ``"7"`` and ``"007"``.

        Examples
        --------
        >>> import pandas as pd
        >>> from sklearn_seqcrm.events import EventLog
        >>> march = pd.DataFrame({"who": ["a", "b"], "day": [1, 2], "price": [5, 8]})
        >>> april = pd.DataFrame({"who": ["b", "b"], "day": [2, 35], "price": [8, 9]})
        >>> log = EventLog(march, "who", "day", observed_until=31)
        >>> log.append(april, observed_until=61, duplicates="drop")
        EventLog(3 events, 2 customers, 1..35, numeric: price)
        """
        events, kinds = append_events(self, more, observed_until, duplicates, new_kinds)
        joint = self.of(*events, self._names, kinds)
        time = self._names[1]
        warn_wrong_new_dates(joint.timeline, time, observed_until, self.timeline)
        # Without new events, kinds or observation, the log itself: its rows and those
        # of the result then share a log, and can be concatenated without a copy.
        same = len(joint) == len(self) and kinds == self._kinds
        if same and joint.timeline.observation == self.timeline.observation:
            return self
        return joint

    @classmethod
    def concat(
        cls,
        logs: Mapping[str, EventLog],
        kind_field: str = "event",
        observed_until: Time | None = None,
    ) -> EventLog:
        """Merge logs of different kinds of events into one.

        Parameters
        ----------
        logs : dict of str to EventLog
            The logs by the name of their kind. Where customer and time are equal,
            events keep the order of the logs. For predictions, a kind of the training
            log that has no events may be left out.
        kind_field : str, default="event"
            Name of a new categorical field that holds the kind of each event.
        observed_until : datetime, number or None, default=None
            The last time that all logs cover, which may lie before the last event.
            None: the earliest `observed_until` among them.

        Returns
        -------
        EventLog
            All events, with the kind and the fields of all logs. A field that a kind
            does not have is missing in its events. Times have the finest unit.

        Raises
        ------
        TypeError
            If `logs` is not a dict of logs, or customers are of different types.
        ValueError
            If times are of different types, a field has different types in two logs, or
            a log has a field with the name `kind_field`.

        Warns
        -----
        UserWarning
            If `observed_until` is None, and a kind whose log was built without
            `observed_until` ends earlier than the last one by more than a tenth of the
            time span of all (of datetimes, by more than 7 days; plain numbers need more
            than 20 events): the log of a rare kind then ends with its last event, and
            limits the merged log. Also if customers of two logs seem to be different
            only because their ids are written differently, such as ``"7"`` and
            ``"007"``, or if a log has no customer in common with the others, and both
            it and the largest other log have ten or more.

        Notes
        -----
        A fact belongs to the time at which it became *known*. Whether an order was
        returned is known weeks after the order. So a column ``returned`` in the row of
        the order leaks the future into every history: yesterday's order, seen from
        today, already has the return of next week. A network with this field has high
        scores in validation and fails in production. The remedy is a separate event at
        the time of the return:

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
        if observed_until is not None:
            warn_far_observation(events.timeline)
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
            These events with all fields. Customers without such events are unknown to
            it.

        Raises
        ------
        KeyError
            If the log has no such field.
        ValueError
            If `kind_field` is not a categorical field, or there is no event of a kind.

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
            kinds = tuple(as_list(kinds[0], "kinds"))  # a list is accepted, too
        index = events_of_kinds(self, kinds, kind_field)
        log = self.take(self._timeline.at(index), index)
        # `append` then accepts tables of the remaining kinds, with their own fields.
        if self._kinds is not None and self._kinds.field == kind_field:
            log._kinds = self._kinds.only(kinds)
        return log

    def for_customers(self, customers: ListLike) -> EventLog:
        """Return a log of the events of some customers.

        It divides a log into parts, such as those of the processes that train together.

        Parameters
        ----------
        customers : sequence of shape (n,)
            Ids of the type of the log's customers, in any order; an id may be repeated.
            Customers who are not in the log have no events, and are left out.

        Returns
        -------
        EventLog
            All events of these customers, with the kinds of events, the fields and the
            `observed_until` of this log.

        Raises
        ------
        TypeError
            If ids are of another type than those of the log.
        ValueError
            If an id is missing, or no customer is in the log.

        See Also
        --------
        only : Events of some kinds.

        Examples
        --------
        >>> import pandas as pd
        >>> from sklearn_seqcrm.events import EventLog
        >>> visits = pd.DataFrame({"who": ["a", "a", "b"], "day": [1, 9, 12]})
        >>> log = EventLog(visits, "who", "day", observed_until=20)
        >>> part = log.for_customers(["a"])
        >>> part, part.observed_until
        (EventLog(2 events, 1 customers, 1..9, fields: none), 20)
        """
        is_array = getattr(customers, "ndim", 0) == 1
        ids = pd.Series(customers if is_array else as_list(customers, "customers"))
        check_none_missing(ids, "sequence customers")
        codes = np.unique(self._timeline.identities_of(ids, "customers"))
        codes = codes[codes >= 0]  # unknown ids have negative numbers
        if not len(codes):
            raise ValueError(
                f"None of the {len(ids):,} customers is in the log, and a log needs at "
                "least one event."
            )
        return self.subset(codes)

    def resample(
        self,
        period: Duration | None = None,
        *,
        timeout: Duration | None = None,
        offset: Duration | None = None,
        how: Mapping[str, str] | None = None,
        count_field: str = "n_events",
    ) -> EventLog:
        """Return a log in which the events of a period or a session are one event.

        The lines of a basket become one purchase, the clicks of a visit one visit. The
        time of a merged event is the *last time at which another event could have
        joined it*: the end of its period, or the time when its session is over. So a
        row sees either the whole merged event or, with an earlier cutoff, nothing of
        it.

        Parameters
        ----------
        period : Timedelta, str or number, default=None
            Merge the events of each customer within periods of this length. Periods
            begin at whole multiples of their length from the epoch of the log's times,
            1970-01-01 00:00 or 0: days begin at midnight (of UTC, if times have a time
            zone), weeks on Thursdays; see `offset`.
        timeout : Timedelta, str or number, default=None
            Merge the events of each customer within sessions: an event belongs to the
            session of the event before if it comes at most `timeout` later, such as the
            session timeout of web analytics. With 0, only events at the same time are
            merged. Exactly one of `period` and `timeout` is required.
        offset : Timedelta, str or number, default=None
            Shift the beginning of all periods by this length: ``"4D"`` makes weeks from
            Monday to Sunday, ``"5h"`` days from 05:00 to 05:00.
        how : dict of str to str, default=None
            How to merge the values of a field, if not by the default:

            - numbers: ``"sum"`` (default), ``"mean"``, ``"min"``, ``"max"``,
              ``"first"``, ``"last"``, ``"count_distinct"``;
            - categories: ``"most_frequent"`` (default; of several, the first one),
              ``"first"``, ``"last"``, ``"count_distinct"``;
            - datetimes: ``"last"`` (default), ``"first"``, ``"min"``, ``"max"``,
              ``"count_distinct"``;
            - vectors: ``"mean"`` (default), ``"first"``, ``"last"``.

            Missing values are ignored; if all values are missing, so is the result,
            even of sums and counts. Counts are numbers, other results keep the type of
            the field.
        count_field : str, default="n_events"
            Name of a new field that holds the number of merged events.

        Returns
        -------
        EventLog
            The merged events, with the customers, fields and `observed_until` of this
            log. In a log of several kinds, only events of the same kind are merged.

        Raises
        ------
        KeyError
            If `how` has a field that the log does not have.
        TypeError
            If a length of time does not fit the times of the log (a number for
            datetimes), or `how` is not a dict.
        ValueError
            If neither or both of `period` and `timeout` are given, or `offset` with
            `timeout`; a length is negative, cannot be parsed, or varies with the
            calendar, such as a month; `period` is 0 or would end between two ticks of
            the log; `how` does not suit the type of a field; the log has a field
            `count_field`; or merged events would lie further apart than its numbers can
            count.

        See Also
        --------
        concat : Merge logs of different kinds of events into one.

        Notes
        -----
        At the beginning of its period, a merged event would leak later events of the
        period to every cutoff within it. At the time of its last event, its *absence*
        would leak: a customer who bought at 10:00 would be visible at noon only if they
        did not come back in the afternoon. At the end of the period neither can
        happen: rows see the same if all events from their cutoff on are deleted.

        - A cutoff at midnight sees the days before it, the last one included, although
          only events strictly before the cutoff count: a day ends at its last tick,
          such as 23:59:59.999999. A cutoff at noon does not see the morning.
        - A session ends `timeout` after its last event; later cutoffs see it.
        - In a log of days (all its times are midnights) and in a log of whole numbers,
          the time of a merged event is the last *day* or *number* at which another
          event could have joined it. ``"1D"`` leaves events at their day: as in the log
          itself, rows see them that are attached with ``allow_exact_matches=True`` or
          with a cutoff later on that day.
        - A period or session that is not over at `observed_until` contains the events
          so far. It has the time at which it would end, after `observed_until`;
          only rows without a cutoff see it. To add events, append them to this log and
          resample it again: periods that were over do not change.
        - Targets count merged events at their times. For a cutoff within a period, the
          whole merged event lies ahead, including what happened before the cutoff. So
          choose cutoffs at which periods begin, and a horizon: without one, the next
          event may be one that is not over.

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
        >>> log.resample(timeout=10, how={"price": "max"}).to_frame()
          who  hour  price   shop  n_events
        0   a    27    3.0  north       2.0
        1   a    42    4.0  south       1.0
        2   b    22    8.0  north       1.0
        """
        events, kinds = resample_events(self, period, timeout, offset, how, count_field)
        return self.of(*events, self._names, kinds)
