"""Simulations of an event model: paths, targets on paths, and demand."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from sklearn_seqcrm._columns import Table, customers_of
from sklearn_seqcrm._recurrent.data import RowData
from sklearn_seqcrm._recurrent.training import COUNT
from sklearn_seqcrm._sklearn_compat import Interval, validate_parameter_constraints
from sklearn_seqcrm._stacklevel import warn_user
from sklearn_seqcrm._store import MAX_TICK, Clock, check_name_free, unique_names
from sklearn_seqcrm._typing import Duration
from sklearn_seqcrm.event_model._base import BaseEventModel
from sklearn_seqcrm.event_model._demand import DemandCells
from sklearn_seqcrm.event_model._futures import (
    simulated_targets,
    summarise_targets,
    table_of,
)
from sklearn_seqcrm.event_model._learned import LearnedEvents
from sklearn_seqcrm.event_model._simulate import SimulationPlan, Simulator, row_keys

_CONSTRAINTS: dict[str, list[Any]] = {
    "n": [COUNT],
    "n_paths": [COUNT],
    "n_draws": [COUNT, None],
    "interval": [Interval(Real, 0, 1, closed="neither")],
    "return_paths": ["boolean"],
    "basket": ["boolean"],
    "open_basket": ["boolean"],
    "at_cutoff": ["boolean"],
    "exclude_seen": ["boolean"],
    "random_state": ["random_state"],
    "target": [callable],
}


def check_arguments(method: str, **given: Any) -> None:
    """Raise an error for arguments of a method that are of a wrong type or range.

    scikit-learn's decorator would rename errors of a target that a user passes.
    """
    validate_parameter_constraints(_CONSTRAINTS, given, f"LSTMEventModel.{method}")


def _refuse_repeated_customers(
    customers: np.ndarray, group: np.ndarray, index: pd.Index
) -> None:
    """Raise a ValueError if totals would count the demand of a customer twice."""
    again = pd.DataFrame({"customer": customers, "group": group}).duplicated()
    if again.any():
        raise ValueError(
            f"X has {int(again.sum())} rows of customers who have a row already, such "
            f"as row {index[again].tolist()[0]!r}, so that their demand would count "
            "twice. Keep one row of each customer, such as that at the latest cutoff, "
            "or group by the cutoff with by=..."
        )


def _refuse_beyond_axis(
    cutoff: np.ndarray, ahead: float, clock: Clock, given: str
) -> None:
    """Raise a ValueError if simulations end after the last time that a log can hold.

    Paths would end there without notice. `ahead` are the ticks of a horizon, which an
    error calls `given`; `Clock.rounded_up` returns the largest tick for all beyond it.
    """
    if clock.dtype == "float64":
        return
    if ahead == MAX_TICK or (cutoff > MAX_TICK - ahead).any():
        way = "Choose a shorter one"
        if clock.unit == "ns":
            way += (
                ", or convert the times of the events to microseconds, .dt.as_unit"
                "('us'), build the log again, and fit on it: nanoseconds end in 2262"
            )
        raise ValueError(
            f"{given} from the cutoff {clock.as_scalar(cutoff.max())} on ends after "
            f"the last time that a log of times in {clock.unit or 'integers'} can "
            f"hold. {way}."
        )


def insert_customers(
    found: pd.DataFrame, table: Table, learned: LearnedEvents, row: str = "row"
) -> pd.DataFrame:
    """Insert the customer of each line as the second column, and return the table.

    Customers come from the key column of X, `table`, which may have some that the log
    lacks. Without one, they come from the histories and are named as in the log. The
    first column of `found`, called `row`, is the position in X.
    """
    array = table.frame[learned.roles.histories[0]].array
    name = array.dtype.customer
    ids = table.frame[name] if name in table.frame else pd.Series(array.customers)
    [name] = unique_names([name or learned.names[0]], found.columns)
    customers: Any = ids.array.take(found[row].to_numpy())
    found.insert(1, name, customers)
    return found


class SimulatingEventModel(BaseEventModel):
    """Simulate events after the cutoffs of rows, and summarise them."""

    def sample(
        self,
        X: pd.DataFrame,
        horizon: Duration,
        n_paths: int = 100,
        random_state: int | np.random.RandomState | None = None,
        *,
        row: str = "row",
        path: str = "path",
    ) -> pd.DataFrame:
        """Simulate futures of each row, from its cutoff on.

        Each path continues the history of its row, given the time since the last event
        of the history.

        Parameters
        ----------
        X : DataFrame of shape (n, n_columns)
            Rows as in `fit`.
        horizon : Timedelta, str or number
            How long to simulate: events lie in ``[cutoff, cutoff + horizon)``.
        n_paths : int, default=100
            Simulated futures of each row.
        random_state : int, RandomState or None, default=None
            Seed of the draws.
        row, path : str, default="row", "path"
            Names of two columns of the table; choose others if the log has columns of
            these names.

        Returns
        -------
        DataFrame of shape (n_events, 4 + n_fields)
            Simulated events: ``row``, the position in `X`; the customer, named as in
            `X`, or as in the log if `X` has no such column; ``path``, from 0 on; the
            time and the fields, named as in the log. Paths without events, such as all
            paths of an empty history, have no row. An `EventLog` can be built from it.

        Raises
        ------
        TypeError
            If `horizon` does not fit the times of the log.
        ValueError
            If `horizon` is not longer than 0 or ends after the last time that the log
            can hold (2262 in nanoseconds), another argument is out of range, or the log
            has a column called like `row` or `path`.

        Warns
        -----
        UserWarning
            If paths have more than twice the events that any training customer had in
            so long a time. These paths end there.

        Notes
        -----
        With a seed, the random numbers of a path follow from the customer, the cutoff
        and the events of its row, from its number among the paths of the row, and from
        the number of equal rows before in `X`. So a row has the same paths alone and in
        any table in which it is not repeated, up to the rounding of float32, which
        depends on the rows of a batch: where a number falls within about 1e-6 of the
        border between two outcomes, a path may take the other one.
        """
        check_arguments("sample", n_paths=n_paths, random_state=random_state)
        check_is_fitted(self, "nets_")
        taken = [*self._learned.names, *self._learned.fields]
        check_name_free(row, taken, "The log", "row")
        check_name_free(path, [row, *taken], "The table", "path")
        learned, data, keys = self._rows_and_keys(X, random_state)
        events, _ = self._simulate(learned, data, keys, horizon, n_paths)
        found = table_of(events, learned, n_paths, row, path)
        return insert_customers(found, Table.of(X), learned, row)

    def simulate_targets(
        self,
        X: pd.DataFrame,
        target: Callable[[pd.DataFrame], Any],
        horizon: Duration,
        n_paths: int = 100,
        random_state: int | np.random.RandomState | None = None,
        *,
        interval: float = 0.9,
        return_paths: bool = False,
    ) -> pd.DataFrame | np.ndarray:
        """Compute a target on simulated futures: mean, median and interval.

        Parameters
        ----------
        X : DataFrame of shape (n, n_columns)
            Rows as in `fit`. Rows without events have the target of no event: first
            events are not modelled.
        target : callable
            Takes rows with histories and returns one value or several for each, as the
            functions of `sklearn_seqcrm.targets` do: ``lambda rows: future_sum(rows,
            "amount", ["7D", "28D"])``. These rows have empty histories, behind which
            the simulated events come, and no other column. It is called once for all
            rows of the same cutoff.
        horizon : Timedelta, str or number
            How long to simulate. The log of simulated events is recorded until then:
            a window of a target that ends later is incomplete.
        n_paths : int, default=100
            Simulated futures of each row.
        random_state : int, RandomState or None, default=None
            Seed of the draws. With the same seed, paths are those of `sample`.
        interval : float, default=0.9
            Probability that a further path is between ``lower`` and ``upper``. With too
            few paths for it, they are the smallest and the largest path: n_paths of
            19 are enough for .9 and 39 for .95, ``(1 + interval) / (1 - interval)``.
        return_paths : bool, default=False
            Whether to return the target of each path instead of their summary.

        Returns
        -------
        DataFrame of shape (n, 4), with the index of `X`
            ``mean`` over paths, the prediction with the least squared error;
            ``median``, that with the least absolute error; ``lower`` and ``upper``, the
            quantiles ``(1 - interval) / 2`` and ``(1 + interval) / 2``. Paths without
            events count as the target counts them, such as 0. Paths on which the target
            is missing are left out. Truth values are 0 and 1, durations and times keep
            their type. If the target returns a DataFrame, or arrays of shape (m, k),
            there are these four columns for each of its columns: ``found["7D"]`` is the
            table of one, if its columns have such names.

            With `return_paths`, an ndarray of shape (n, n_paths), or (n, n_paths, k) if
            the target returns arrays of shape (m, k). If it returns a DataFrame, a
            DataFrame of n * n_paths rows with the same columns and types, and a
            MultiIndex of ``"row"``, the position in `X`, and ``"path"``.

        Raises
        ------
        TypeError
            If `horizon` does not fit the times of the log. If the target does not
            return values for rows, or neither numbers nor durations nor times, and
            `return_paths` is False.
        ValueError
            If it returns another number of values or no columns, `horizon` ends after
            the last time that the log can hold, or an argument is out of range.

        Warns
        -----
        UserWarning
            As for `sample`.

        See Also
        --------
        demand : Totals over rows, by period and level.

        Examples
        --------
        >>> import pandas as pd
        >>> from sklearn_seqcrm.datasets import make_order_returns
        >>> from sklearn_seqcrm.events import EventLog
        >>> from sklearn_seqcrm.event_model import LSTMEventModel
        >>> from sklearn_seqcrm.targets import future_sum
        >>> orders = make_order_returns(50, random_state=0).orders
        >>> log = EventLog(orders, "customer_id", "timestamp", fields=["price"])
        >>> X = log.snapshots(["2024-09-01"])
        >>> model = LSTMEventModel(max_epochs=1, random_state=0).fit(X)
        >>> def spend(rows):
        ...     return future_sum(rows, "price", "28D")
        >>> found = model.simulate_targets(X, spend, "28D", random_state=0)
        >>> found.columns.tolist()
        ['mean', 'median', 'lower', 'upper']
        >>> bool((found["lower"] <= found["median"]).all())
        True
        """
        given: dict[str, Any] = {"n_paths": n_paths, "random_state": random_state}
        given |= {"interval": interval, "return_paths": return_paths}
        check_arguments("simulate_targets", target=target, **given)
        learned, data, keys = self._rows_and_keys(X, random_state)
        events, end = self._simulate(learned, data, keys, horizon, n_paths)
        [source] = data.sources
        found = simulated_targets(
            target, events, learned, source.cutoff, end, int(n_paths)
        )
        if return_paths:
            return found
        return summarise_targets(found, Table.of(X).frame.index, n_paths, interval)

    def demand(
        self,
        X: pd.DataFrame,
        field: str | None,
        horizon: Duration,
        *,
        every: Duration | None = None,
        value: str | None = None,
        by: str | None = None,
        n_paths: int = 100,
        interval: float = 0.9,
        random_state: int | np.random.RandomState | None = None,
    ) -> pd.DataFrame:
        """Simulate the total demand of rows, by period and level.

        Parameters
        ----------
        X : DataFrame of shape (n, n_columns)
            Rows as in `fit`, one for each customer, or for each customer of a group.
            Rows without events add nothing: first events are not modelled.
        field : str or None
            Categorical field, such as the product, by whose levels demand is split.
            None: all events together.
        horizon : Timedelta, str or number
            How long to simulate: events lie in ``[cutoff, cutoff + horizon)``.
        every : Timedelta, str, number or None, default=None
            Length of a period, of which `horizon` must be a multiple. Periods begin at
            the cutoff of each row. None: the horizon is one period.
        value : str or None, default=None
            Numeric field that is summed, missing values as 0. None: events are counted.
        by : str or None, default=None
            Column of `X` to group by, such as the region of the customers. Missing
            values are a group. None: all rows are one group.
        n_paths : int, default=100
            Simulated futures of each row. The paths ``k`` of all rows together are one
            future of the total.
        interval : float, default=0.9
            Probability that a further future is between ``lower`` and ``upper``. Few
            futures as for `simulate_targets`.
        random_state : int, RandomState or None, default=None
            Seed of the draws. The same seed draws the events of `sample`.

        Returns
        -------
        DataFrame of shape (n_groups * n_periods * n_levels, 5 to 7)
            A row for each group, period and level, also if the demand is 0: ``group``,
            if `by` is given; ``start``, the time from the cutoff to the start of the
            period; ``level``, if `field` is given, a value that it has in training or
            in the histories of `X`; ``mean`` and ``median`` over the futures; ``lower``
            and ``upper``, the quantiles ``(1 - interval) / 2`` and ``(1 + interval) /
            2``. Events without a value of `field` belong to no level.

        Raises
        ------
        TypeError
            If a duration does not fit the times of the log.
        ValueError
            If a customer has several rows in a group, so that the demand would count
            several times, `field` is no categorical field, `value` no numeric one, `by`
            no column, `horizon` is no multiple of `every` or ends after the last time
            that the log can hold, the table would have more than 10 million rows, or
            another argument is out of range.

        Warns
        -----
        UserWarning
            As for `sample`.

        See Also
        --------
        simulate_targets : Targets of each row.

        Notes
        -----
        Totals are kept in place of events, so that memory does not grow with the number
        of simulated events. Customers are drawn independently: paths have no shocks
        that are common to all customers, so that intervals of large totals are too
        narrow.

        Examples
        --------
        >>> import pandas as pd
        >>> from sklearn_seqcrm.datasets import make_order_returns
        >>> from sklearn_seqcrm.events import EventLog
        >>> from sklearn_seqcrm.event_model import LSTMEventModel
        >>> orders = make_order_returns(50, random_state=0).orders
        >>> fields = ["category", "price"]
        >>> log = EventLog(orders, "customer_id", "timestamp", fields=fields)
        >>> X = log.snapshots(["2024-09-01"])
        >>> model = LSTMEventModel(max_epochs=1, random_state=0).fit(X)
        >>> sales = model.demand(X, "category", "28D", every="7D", value="price")
        >>> sales.columns.tolist()
        ['start', 'level', 'mean', 'median', 'lower', 'upper']
        >>> today = pd.Timestamp("2024-09-01")
        >>> (today + sales["start"]).dt.day.unique().tolist()
        [1, 8, 15, 22]
        """
        check_arguments(
            "demand", n_paths=n_paths, interval=interval, random_state=random_state
        )
        learned, data, keys = self._rows_and_keys(X, random_state)
        # The column of groups need not be a feature, nor exist in the training rows.
        frame = Table.of(X).frame
        cells = DemandCells.of(learned, frame, field, horizon, every, value, by)
        _refuse_repeated_customers(customers_of(frame), cells.group, frame.index)
        totals, _ = self._simulate(learned, data, keys, horizon, n_paths, cells.add_up)
        return cells.table(totals, interval)

    def _rows_and_keys(
        self, X: Any, random_state: Any
    ) -> tuple[LearnedEvents, RowData, np.ndarray]:
        """Return learned events, encoded rows, and keys of their random numbers."""
        check_is_fitted(self, "nets_")
        learned, table, array = self._learned.read(X, self)
        seed = check_random_state(random_state).randint(2**31 - 1)
        keys = row_keys(array, seed, count=True)
        return learned, learned.encode(table, array.rows), keys

    def _simulate(
        self,
        learned: LearnedEvents,
        data: RowData,
        keys: np.ndarray,
        horizon: Any,
        n_paths: int,
        collect: Callable[..., Any] = Simulator.run,
        name: str = "horizon",
    ) -> tuple[Any, np.ndarray]:
        """Return the collected simulation, and where each row's simulation ends.

        `collect` takes a simulator and a plan, and returns an object with `n_cut`.
        Errors call the horizon `name`.
        """
        # A horizon between ticks is rounded up: it holds the last tick before its end.
        clock = learned.encoder.clock
        length = clock.duration(horizon, name, positive=True)
        [source] = data.sources
        ahead = clock.rounded_up(horizon=horizon)
        _refuse_beyond_axis(source.cutoff, ahead, clock, f"{name}={horizon!r}")
        end = source.cutoff + ahead
        most = learned.most_events.bound(float(length))
        with self.net_.evaluation():
            simulator = Simulator(self.net_, learned)
            plan = SimulationPlan(data, keys, end, int(n_paths), most)
            found = collect(simulator, plan)
        if found.n_cut:
            warn_user(
                f"{found.n_cut} of {len(data) * n_paths} simulated paths had {most} "
                f"events within {horizon}, at least twice as many as any customer had "
                "in training, and end there. Fit on more customers, or with more "
                "dropout, if these are more than a few."
            )
        return found, end
