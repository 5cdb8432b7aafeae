"""Methods of an event model that simulate: paths, targets, demand, next values."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from sklearn_seqcrm._columns import ColumnRoles, Table
from sklearn_seqcrm._recurrent.data import RowData
from sklearn_seqcrm._recurrent.training import isolated_torch_settings
from sklearn_seqcrm._store import later, refuse_taken
from sklearn_seqcrm.event_model._base import check_arguments
from sklearn_seqcrm.event_model._demand import DemandCells
from sklearn_seqcrm.event_model._draws import keys_of
from sklearn_seqcrm.event_model._event_net import EventNet
from sklearn_seqcrm.event_model._futures import simulated_targets, table_of
from sklearn_seqcrm.event_model._learned import LearnedEvents
from sklearn_seqcrm.event_model._next_values import (
    BasketSimulator,
    allowed_levels,
    best_values,
    level_field,
    levels_seen,
    next_probabilities,
    probabilities_within,
)
from sklearn_seqcrm.event_model._simulate import Simulator
from sklearn_seqcrm.events import HistoryArray

# Draws that `predict_next` averages over, of the next event and of the next basket, and
# futures within a time.
_DRAWS, _BASKETS, _FUTURES = 16, 100, 100


class SimulationMixin(ABC):
    """Simulate events after the cutoffs of rows, and summarise them.

    It comes after `BaseEventModel` among the bases of a class, which has what is
    abstract here.
    """

    device: str | torch.device
    _learned: LearnedEvents
    _reading: ColumnRoles

    @property
    @abstractmethod
    def net_(self) -> EventNet:
        """The trained net."""

    @abstractmethod
    def _rows_and_histories(self, X: Any) -> tuple[RowData, HistoryArray]:
        """Any rows as the network reads them, and their raw histories."""

    def sample(
        self,
        X: Any,
        horizon: Any,
        n_paths: int = 100,
        random_state: Any = None,
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
        DataFrame of shape (n_events, 3 + n_fields)
            Simulated events: ``row``, the position in `X`; ``path``, from 0 on; the
            time and the fields, named as in the log. Paths without events, as are all
            of an empty history, are not in it. It makes an `EventLog` of its own.

        Raises
        ------
        ValueError
            If `horizon` is not longer than 0, another argument is out of range, or the
            log has a column called like `row` or `path`.

        Warns
        -----
        UserWarning
            If paths have more than twice the events that any training customer had in
            so long a time. They end there.

        Notes
        -----
        With a seed, the random numbers of a path follow from the customer, the cutoff
        and the events of its row, from its number among the paths of the row, and from
        how many rows before it in `X` are equal to it. So a row has the same paths
        alone and in any table in which it is not repeated. What remains is the rounding
        of float32, which differs with the rows of a batch: where a number falls within
        about 1e-6 of the border between two outcomes, a path may go another way.
        """
        check_arguments("sample", n_paths=n_paths, random_state=random_state)
        check_is_fitted(self, "nets_")
        taken = [*self._learned.names, *self._learned.fields]
        refuse_taken(row, taken, "The log", "row")
        refuse_taken(path, [row, *taken], "The table", "path")
        data, keys = self._rows_and_keys(X, random_state)
        events, _ = self._simulate(data, keys, horizon, n_paths)
        clock = self._learned.encoder.clock
        return table_of(events, clock, self._learned.names[1], n_paths, row, path)

    def simulate_targets(
        self,
        X: Any,
        target: Callable[[pd.DataFrame], Any],
        horizon: Any,
        n_paths: int = 100,
        random_state: Any = None,
    ) -> np.ndarray | pd.DataFrame:
        """Compute a target on simulated futures.

        Parameters
        ----------
        X : DataFrame of shape (n, n_columns)
            Rows as in `fit`.
        target : callable
            Takes rows with histories and returns one value or several for each, as the
            functions of `sklearn_seqcrm.targets` do: ``lambda rows: future_sum(rows,
            "amount", ["7D", "28D"])``. The rows have no past, and no column but the
            histories. It is called once for all rows of the same cutoff.
        horizon : Timedelta, str or number
            How long to simulate. The record ends there, so that a window of a target
            that ends later is incomplete.
        n_paths : int, default=100
            Simulated futures of each row.
        random_state : int, RandomState or None, default=None
            Seed of the draws. With the same seed, paths are those of `sample`.

        Returns
        -------
        ndarray of shape (n, n_paths), or DataFrame of n * n_paths rows
            The target of each path: its mean over paths is a prediction, and its
            quantiles an interval. If the target returns a DataFrame, so does this
            method: the same columns with their types, and an index of the levels
            ``"row"``, the position in `X`, and ``"path"``. ``groupby("row").mean()``
            is the mean over paths. From arrays of shape (m, k) it is an array of shape
            (n, n_paths, k).

        Raises
        ------
        TypeError
            If the target returns no values of rows.
        ValueError
            If it returns another number of them, or an argument is out of range.

        Warns
        -----
        UserWarning
            As for `sample`.
        """
        check_arguments(
            "simulate_targets",
            target=target,
            n_paths=n_paths,
            random_state=random_state,
        )
        data, keys = self._rows_and_keys(X, random_state)
        events, end = self._simulate(data, keys, horizon, n_paths)
        [source] = data.sources
        return simulated_targets(
            target,
            events,
            self._learned.encoder.clock,
            self._learned.names,
            source.cutoff,
            end,
            int(n_paths),
            self._reading.histories[0],
        )

    def demand(
        self,
        X: Any,
        field: str | None,
        horizon: Any,
        *,
        every: Any = None,
        value: str | None = None,
        by: Any = None,
        n_paths: int = 100,
        interval: float = 0.9,
        random_state: Any = None,
    ) -> pd.DataFrame:
        """Simulate the demand of all rows together, by period and level.

        Parameters
        ----------
        X : DataFrame of shape (n, n_columns)
            Rows as in `fit`, one for each customer.
        field : str or None
            Categorical field, such as the product, whose levels have a row each. None:
            all events together.
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
            Simulated futures of each row. Path ``k`` of all rows is one future of them
            together.
        interval : float, default=0.9
            Share of the futures between ``lower`` and ``upper``.
        random_state : int, RandomState or None, default=None
            Seed of the draws. The same seed draws the events of `sample`.

        Returns
        -------
        DataFrame of shape (n_groups * n_periods * n_levels, 4 to 6)
            A row for each group, period and level, zeros included: ``group``, if there
            is `by`; ``start``, the time from the cutoff to the start of the period;
            ``level``, if there is a `field`, one of its values in training; ``mean``
            over the futures; ``lower`` and ``upper``, the quantiles
            ``(1 - interval) / 2`` and ``(1 + interval) / 2``. Events without a value of
            `field` belong to no level.

        Raises
        ------
        TypeError
            If a length of time is of another kind than the times of the log.
        ValueError
            If `field` is no categorical field, `value` no numeric one, `by` no column,
            `horizon` no multiple of `every`, or another argument is out of range.

        Warns
        -----
        UserWarning
            As for `sample`.

        See Also
        --------
        simulate_targets : Targets of each row by itself.

        Notes
        -----
        Totals are kept, and not events, so that memory does not grow with the number of
        simulated events. Customers are drawn independently: what moves all of them at
        once is in no path, and intervals of large totals are too narrow.

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
        ['start', 'level', 'mean', 'lower', 'upper']
        >>> today = pd.Timestamp("2024-09-01")
        >>> (today + sales["start"]).dt.day.unique().tolist()
        [1, 8, 15, 22]
        """
        check_arguments(
            "demand", n_paths=n_paths, interval=interval, random_state=random_state
        )
        data, keys = self._rows_and_keys(X, random_state)
        frame = Table.of(X).frame
        cells = DemandCells.of(self._learned, frame, field, horizon, every, value, by)
        totals, _ = self._simulate(data, keys, horizon, n_paths, cells.add_up)
        return cells.table(totals, interval)

    def predict_next(
        self,
        X: Any,
        field: str,
        n: int = 10,
        *,
        within: Any = None,
        basket: bool = False,
        exclude_seen: bool = False,
        candidates: Any = None,
        n_draws: int | None = None,
    ) -> pd.DataFrame:
        """Most likely next values of a categorical field.

        Parameters
        ----------
        X : DataFrame of shape (n_rows, n_columns)
            Rows as in `fit`.
        field : str
            Name of the field.
        n : int, default=10
            Values of each row.
        within : Timedelta, str, number or None, default=None
            None: the probability that the next event has the value, whenever it comes.
            A length of time: the probability that an event with the value comes before
            it is over, among simulated futures.
        basket : bool, default=False
            Whether to ask about all events at the time of the next one: the probability
            that one of them has the value.
        exclude_seen : bool, default=False
            Leave out what the row's history has.
        candidates : value, list of values or None, default=None
            Values that may be returned; None: all of training.
        n_draws : int or None, default=None
            Draws, over which probabilities are averaged: of when the next event comes
            and of its fields before this one, of the whole next basket, or of simulated
            futures, where 1,000 are few. None: 16, 100 and 100.

        Returns
        -------
        DataFrame of shape (up to n_rows * n, 4)
            ``row``, the position in `X`; ``rank``, from 1 on; ``value`` and
            ``probability``. A row has the same probabilities in every call, whatever
            rows are beside it, but for the rounding of float32 (see `sample`).

        Raises
        ------
        ValueError
            If there is no such categorical field, a candidate was not in training,
            `basket` and `within` are both asked for, or an argument is out of range.

        Notes
        -----
        Probabilities are means over draws, whose random numbers follow from the
        customer, the cutoff and the events of a row. The draws of a row are stratified
        (Latin hypercube sampling), and each adds the probabilities that the network
        gives at its events, instead of what was drawn.

        Mean and largest absolute error of the ten most probable values of a row with
        the default number of draws, beside thousands of draws: of the next event .0014
        and .009 in simulated baskets of 1 to 15 lines, .0001 and .001 in Online Retail
        II (baskets of some 20 of 1,000 stock codes); of the next basket .003 and .03,
        and .014 and .09. Errors fall with the square root of the number of draws or
        faster. Within a time, a probability ``p`` has the standard error
        ``sqrt(p * (1 - p) / n_draws)``, .05 at most with 100 futures.
        """
        check_arguments(
            "predict_next",
            n=n,
            basket=basket,
            exclude_seen=exclude_seen,
            n_draws=n_draws,
        )
        if basket and within is not None:
            raise ValueError(
                f"basket=True asks about the next basket and within={within!r} about a "
                "time; leave one of them out."
            )
        data, array = self._rows_and_histories(X)
        known = level_field(self._learned, field)
        allowed = allowed_levels(known, candidates, field)
        keys = _row_keys(array, 0, count=False)
        found = self._probabilities(data, keys, field, within, basket, n_draws)
        seen = levels_seen(array.rows, field, known) if exclude_seen else None
        with isolated_torch_settings(self.device), torch.no_grad():
            return best_values(found, known, n, allowed, seen)

    def _probabilities(
        self,
        data: RowData,
        keys: np.ndarray,
        field: str,
        within: Any,
        basket: bool,
        n_draws: int | None,
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield rows, and the probabilities that `predict_next` sorts."""
        if within is not None:
            n_paths = n_draws or _FUTURES
            events, _ = self._simulate(
                data, keys, within, n_paths, what="within", stacklevel=4
            )
            known = level_field(self._learned, field)
            return probabilities_within(events, known, field, len(data), n_paths)
        kind = BasketSimulator if basket else Simulator
        n_draws = n_draws or (_BASKETS if basket else _DRAWS)
        simulator = kind(self.net_, self._learned)
        return next_probabilities(simulator, data, keys, field, n_draws)

    def _rows_and_keys(self, X: Any, random_state: Any) -> tuple[RowData, np.ndarray]:
        """Rows as the network reads them, and keys of their random numbers."""
        data, array = self._rows_and_histories(X)
        seed = check_random_state(random_state).randint(2**31 - 1)
        return data, _row_keys(array, seed, count=True)

    def _simulate(
        self,
        data: RowData,
        keys: np.ndarray,
        horizon: Any,
        n_paths: int,
        collect: Callable[..., Any] = Simulator.run,
        what: str = "horizon",
        stacklevel: int = 3,
    ) -> tuple[Any, np.ndarray]:
        """Return the collected simulation, and where each row's simulation ends.

        Parameters
        ----------
        data : RowData of n
            Rows.
        keys : ndarray of shape (n,), uint64
            Keys of the random numbers of rows.
        horizon, n_paths
            As for `sample`.
        collect : callable, default=Simulator.run
            Takes a simulator and the arguments of its `run`, and returns something
            with `n_cut`.
        what : str, default="horizon"
            How an error names the horizon.
        stacklevel : int, default=3
            Of the warning; 3 is the caller of the method that calls this one.
        """
        clock = self._learned.encoder.clock
        length = clock.duration(horizon, what, positive=True)
        [source] = data.sources
        end = later(source.cutoff, clock.rounded_up(horizon=horizon))
        most = self._learned.most_events.bound(float(length))
        with isolated_torch_settings(self.device), torch.no_grad():
            simulator = Simulator(self.net_, self._learned)
            found = collect(simulator, data, keys, end, int(n_paths), most)
        if found.n_cut:
            warnings.warn(
                f"{found.n_cut} of {len(data) * n_paths} simulated paths had {most} "
                f"events within {horizon}, twice as many as any customer had in "
                "training, and end there. Fit on more customers, or with more dropout, "
                "if these are more than a few.",
                UserWarning,
                stacklevel=stacklevel,
            )
        return found, end


def _row_keys(array: HistoryArray, seed: int, count: bool) -> np.ndarray:
    """Keys of rows by customer, cutoff and events, as `keys_of` returns them."""
    rows = pd.util.hash_pandas_object(pd.Series(array), index=False)
    return keys_of(rows.to_numpy(), seed, count)
