"""Methods of a log that cut histories: for given rows, or at chosen times."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from sklearn_seqcrm._store import RawLog, events_of_kinds
from sklearn_seqcrm._typing import Duration, IntoTable, ListLike, Time
from sklearn_seqcrm.events._cut import (
    histories_of_rows,
    read_rows,
    rows_at_cutoffs,
    rows_of_snapshots,
)
from sklearn_seqcrm.events._snapshots import (
    Snapshots,
    minimal_history,
    parse_bounds,
    parse_cutoffs,
    regular_cutoffs,
    snapshots_at_cutoffs,
    snapshots_at_random_times,
    snapshots_before_events,
)
from sklearn_seqcrm.events._warnings import (
    warn_early_cutoffs,
    warn_late_cutoffs,
    warn_unknown_customers,
)


class ViewableLog(RawLog):
    """A raw log with the methods that attach histories to rows or make the rows."""

    def attach(
        self,
        rows: IntoTable,
        customer: str | None = None,
        cutoff: Time | None = None,
        lookback: Duration | None = None,
        allow_exact_matches: bool = False,
        name: str = "history",
    ) -> pd.DataFrame:
        """Attach to each row the history that was known at its cutoff.

        Parameters
        ----------
        rows : pandas, polars or pyarrow table of shape (n, n_columns)
            One row per prediction. A query is run: a lazy frame of polars, a relation
            of DuckDB, or any other object with ``__arrow_c_stream__``.
        customer : str or None, default=None
            Column of `rows` with the customer; None: the same name as in the log.
            Customers who are not in the log get an empty history.
        cutoff : str, datetime, number or None, default=None
            Column of `rows` with the cutoff of each row, or one cutoff for all rows,
            which may be text in ISO 8601.
            Events *at* the cutoff belong to the future. A cutoff between two ticks of
            the log's unit of time is rounded up; with `allow_exact_matches`, down.

            None: everything known so far. The cutoff is then `observed_until` of the
            log, or the last event if it is later, with the events at that time. In a
            log of whole days, or of whole numbers such as years, this is the last day
            itself, so that horizons and simulations begin with it, although it is over.
            To begin after it, pass the next day or number as the cutoff.
        lookback : Timedelta, str or number, default=None
            See only events in ``[cutoff - lookback, cutoff)``; None: all before.
        allow_exact_matches : bool, default=False
            Also see the events at the cutoff: the transaction that is scored, or the
            rest of the basket, whose facts are known at that time.
        name : str, default="history"
            Name of the new column.

        Returns
        -------
        DataFrame of shape (n, n_columns + 1)
            `rows` in their order, with their index and columns, and the histories. A
            pandas DataFrame, whatever the type of `rows`.

        Raises
        ------
        KeyError
            If `rows` lacks a column, or `cutoff` is text that is neither a column nor a
            time like those of the log.
        TypeError
            If `rows` is not a table, its customers are of another type, `cutoff` is
            neither a column nor one time, such as a list, `lookback` is a plain number
            and the times are datetimes, or the other way round, or
            `allow_exact_matches` is no boolean.
        ValueError
            If customers or cutoffs are missing, the cutoffs do not suit the times of
            the log or are beyond the range of its unit, text has no time zone and the
            log has one, `lookback` is negative, or the column `name` exists already.

        Warns
        -----
        UserWarning
            If a cutoff lies so long after the end of observation that customers look
            inactive only because nothing was recorded: by more than a day, if the user
            gave `observed_until`; by more than a week and twice the longest time
            between days with events, if the log has 100 events or more; or by more than
            a tenth of its time span and 31 days (for plain numbers, only the whole span
            and 20). If ten or more customers are in `rows` and none of them in the log,
            or some are not in the log because their ids have other leading zeros.
        """
        rows = read_rows(rows)
        array = histories_of_rows(
            self, rows, customer, cutoff, lookback, allow_exact_matches, name
        )
        warn_unknown_customers(rows[array.dtype.customer], array)
        warn_late_cutoffs(self, array.rows.cutoff)
        return rows.assign(**{name: array})

    def snapshots(
        self,
        cutoffs: Time | ListLike,
        *,
        min_events: int = 1,
        active_within: Duration | None = None,
        lookback: Duration | None = None,
        name: str = "history",
        kinds: str | Sequence[str] | None = None,
        kind_field: str = "event",
    ) -> pd.DataFrame:
        """Make rows of all customers at given cutoffs.

        Parameters
        ----------
        cutoffs : datetime, number or sequence of them
            Times at which all customers are viewed; as text, in ISO 8601.
        min_events : int, default=1
            Leave out customers with fewer events before the cutoff. With 0, there are
            also rows of customers whose first event is still to come, and who were
            unknown at that time.
        active_within : Timedelta, str or number, default=None
            Leave out customers without an event in ``[cutoff - active_within,
            cutoff)``; None keeps them.
        lookback : Timedelta, str or number, default=None
            As in `attach`; the two filters above also count earlier events.
        name : str, default="history"
            Name of the history column.
        kinds : str, sequence of str or None, default=None
            Kinds of events that count for `min_events` and `active_within`, such as
            the orders in a log with newsletters; None: all. The histories hold all
            kinds in either case.
        kind_field : str, default="event"
            Name of the categorical field that holds the kinds.

        Returns
        -------
        DataFrame of shape (n, 3)
            The customer under the name it has in the log, ``"cutoff"``, and the
            history; sorted by cutoff, then customer.

        Raises
        ------
        KeyError
            If `kinds` are given, and the log has no field `kind_field`.
        TypeError
            If `active_within` or `lookback` is a plain number and the times are
            datetimes, or the other way round.
        ValueError
            If there is no cutoff, one is missing or does not suit the times of the log,
            a number is out of its range, there is no event of one of `kinds`, or two of
            the three columns have the same name.

        Warns
        -----
        UserWarning
            If no cutoff lies after the first event of the log, so that there is no row,
            or if one lies long after the end of observation, as in `attach`.

        See Also
        --------
        snapshots_every : At regular cutoffs.
        snapshots_before_events : Right before each event of each customer.
        snapshots_at_random : Each customer once, at any time.

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
        """
        ticks = parse_cutoffs(self._timeline, cutoffs)
        rows = rows_at_cutoffs(
            self, ticks, min_events, active_within, lookback, name, kinds, kind_field
        )
        warn_late_cutoffs(self, rows[name].array.rows.cutoff)
        if min_events and len(self):
            warn_early_cutoffs(self._timeline, ticks)
        return rows

    def snapshots_every(
        self,
        step: Duration,
        *,
        start: Time | None = None,
        end: Time | None = None,
        min_events: int = 1,
        active_within: Duration | None = None,
        lookback: Duration | None = None,
        name: str = "history",
        kinds: str | Sequence[str] | None = None,
        kind_field: str = "event",
    ) -> pd.DataFrame:
        """Make rows of all customers at regular cutoffs.

        Parameters
        ----------
        step : Timedelta, str or number
            Distance between the cutoffs.
        start : datetime or number, default=None
            First cutoff, as text in ISO 8601; None: one step after the first event.
        end : datetime or number, default=None
            Bound of the last cutoff; None: `observed_until` of the log.
        min_events, active_within, lookback, name, kinds, kind_field : object
            As in `snapshots`.

        Returns
        -------
        DataFrame of shape (n, 3)
            As in `snapshots`.

        Raises
        ------
        KeyError
            As in `snapshots`.
        TypeError
            As in `snapshots`, also for `step`.
        ValueError
            As in `snapshots`; also if there is no cutoff between the bounds, or `step`
            is not a whole number of ticks of the log, or varies with the calendar, such
            as a month. List such cutoffs instead.

        Warns
        -----
        UserWarning
            If a cutoff lies long after the end of observation, as in `attach`.

        Examples
        --------
        >>> import pandas as pd
        >>> from sklearn_seqcrm.events import EventLog
        >>> visits = pd.DataFrame({"who": ["a", "a", "b"], "day": [1, 9, 12]})
        >>> log = EventLog(visits, customer="who", time="day")
        >>> log.snapshots_every(4)["cutoff"].tolist()
        [5, 9]
        """
        known = minimal_history(
            self, name, min_events, active_within, kinds, kind_field
        )
        first, last = parse_bounds(self._timeline.clock, start, end)
        cutoffs = regular_cutoffs(self._timeline, step, first, last)
        snapshots = snapshots_at_cutoffs(self._timeline, cutoffs, known)
        return self._rows_at(snapshots, lookback, name)

    def snapshots_before_events(
        self,
        kinds: str | Sequence[str] | None = None,
        *,
        kind_field: str = "event",
        start: Time | None = None,
        end: Time | None = None,
        min_events: int = 1,
        active_within: Duration | None = None,
        lookback: Duration | None = None,
        name: str = "history",
    ) -> pd.DataFrame:
        """Make a row of each customer right before each of their events.

        Several events at the same time have one row, which sees none of them.

        Parameters
        ----------
        kinds : str, sequence of str or None, default=None
            Make rows only before events of these kinds; None: before all. The histories
            hold all kinds in either case.
        kind_field : str, default="event"
            Name of the categorical field that holds the kinds.
        start, end : datetime or number, default=None
            Earliest and latest cutoff; None: no bound.
        min_events, active_within, lookback, name : object
            As in `snapshots`, of events of all kinds. With ``min_events=0`` there is
            also a row before the first event of a customer.

        Returns
        -------
        DataFrame of shape (n, 3)
            As in `snapshots`, but sorted by customer, then cutoff.

        Raises
        ------
        KeyError, TypeError, ValueError
            As in `snapshots`.

        Examples
        --------
        >>> import pandas as pd
        >>> from sklearn_seqcrm.events import EventLog
        >>> visits = pd.DataFrame({"who": ["a", "a", "b"], "day": [1, 9, 12]})
        >>> log = EventLog(visits, customer="who", time="day")
        >>> log.snapshots_before_events(min_events=0)["cutoff"].tolist()
        [1, 9, 12]
        """
        known = minimal_history(self, name, min_events, active_within)
        chosen = None
        if kinds is not None:
            chosen = events_of_kinds(self, kinds, kind_field)
        first, last = parse_bounds(self._timeline.clock, start, end)
        snapshots = snapshots_before_events(self._timeline, chosen).within(first, last)
        snapshots = known.among(snapshots, self._timeline)
        return self._rows_at(snapshots, lookback, name)

    def snapshots_at_random(
        self,
        *,
        start: Time | None = None,
        end: Time | None = None,
        random_state: int | np.random.RandomState | None = None,
        min_events: int = 1,
        active_within: Duration | None = None,
        lookback: Duration | None = None,
        name: str = "history",
        kinds: str | Sequence[str] | None = None,
        kind_field: str = "event",
    ) -> pd.DataFrame:
        """Make a row of each customer at one cutoff, drawn uniformly.

        Parameters
        ----------
        start : datetime or number, default=None
            Earliest cutoff; None, or a time before the first event of a customer: right
            after that event.
        end : datetime or number, default=None
            Latest cutoff; None: `observed_until` of the log. Customers whose first
            event is at or after it have no row.
        random_state : int, RandomState or None, default=None
            Source of the cutoffs.
        min_events, active_within, lookback, name, kinds, kind_field : object
            As in `snapshots`.

        Returns
        -------
        DataFrame of shape (n, 3)
            As in `snapshots`, but sorted by customer.

        Raises
        ------
        KeyError, TypeError, ValueError
            As in `snapshots`; a TypeError also if `random_state` is a Generator.

        Warns
        -----
        UserWarning
            If a cutoff lies long after the end of observation, as in `attach`.

        Examples
        --------
        >>> import pandas as pd
        >>> from sklearn_seqcrm.events import EventLog
        >>> visits = pd.DataFrame({"who": ["a", "a", "b"], "day": [1, 9, 12]})
        >>> log = EventLog(visits, customer="who", time="day", observed_until=20)
        >>> log.snapshots_at_random(random_state=0)["cutoff"].between(2, 20).tolist()
        [True, True]
        """
        known = minimal_history(
            self, name, min_events, active_within, kinds, kind_field
        )
        first, last = parse_bounds(self._timeline.clock, start, end)
        # Filters follow the draws, so that they do not change the cutoffs of others.
        snapshots = snapshots_at_random_times(self._timeline, random_state, first, last)
        snapshots = known.among(snapshots, self._timeline)
        return self._rows_at(snapshots, lookback, name)

    def _rows_at(self, snapshots: Snapshots, lookback: Any, name: str) -> pd.DataFrame:
        """Return the rows of snapshots; warn of late cutoffs."""
        rows = rows_of_snapshots(self, snapshots, lookback, name)
        warn_late_cutoffs(self, snapshots.cutoff)
        return rows
