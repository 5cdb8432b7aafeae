"""Learn what customers do next, and simulate it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import pandas as pd
import torch
from sklearn.base import TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from sklearn_seqcrm._reading import Table
from sklearn_seqcrm._sklearn_compat import (
    check_feature_names_in,
    of_history_transformer,
    with_callbacks,
)
from sklearn_seqcrm._store import later, refuse_taken, unlike
from sklearn_seqcrm.events import HistoryArray
from sklearn_seqcrm.neural_network._event_model import (
    CONSTRAINTS,
    BaseEventModel,
    BasketSimulator,
    DemandCells,
    Simulator,
    allowed_levels,
    best_values,
    check_arguments,
    cumulative_hazards,
    event_log_probs,
    keys_of,
    level_field,
    levels_seen,
    next_probabilities,
    probabilities_within,
    simulated_targets,
    states_at_cutoffs,
    table_of,
)
from sklearn_seqcrm.neural_network._rows import RowData
from sklearn_seqcrm.neural_network._settings import own_settings
from sklearn_seqcrm.neural_network._time_curve import TimeCurve

# Times at which survival is worked out.
_N_TIMES = 64
# Draws that `predict_next` averages over, of the next event and of the next basket, and
# futures within a time.
_DRAWS, _BASKETS, _FUTURES = 16, 100, 100


class LSTMEventModel(TransformerMixin, BaseEventModel):
    """Learn what customers do next, without labels, and simulate it.

    A recurrent network that after every event gives the distribution of the next one:
    when it comes, and what its fields are. It is fitted to the histories themselves, as
    a density is (`sklearn.mixture.GaussianMixture`), and answers many questions:
    `sample` simulates futures, of which value, demand and churn are averages,
    `predict_next` recommends, `score_samples` tells how surprising a history is, and
    `transform` returns what the network knows of a customer as columns.

    It reads raw `X`, as `EventLog.attach` makes it: what it simulates are events as the
    log has them, so that it encodes histories itself. Nothing comes before it in a
    pipeline.

    Parameters
    ----------
    cell : {"lstm", "gru", "rnn"}, default="lstm"
        Kind of recurrent cell. On CPUs only ``"lstm"`` has fast kernels.
    hidden_size : int, default=64
        Size of the recurrent state.
    num_layers : int, default=1
        Number of recurrent layers.
    n_components : int, default=4
        Number of components of each mixture, of gaps and of each numeric field.
    copies : bool, default=True
        Whether the next value of a categorical field may be copied from what the
        customer has had, for what is bought again and again, or be as popular as with
        all customers.
    min_frequency : int, float or None, default=None
        Levels of a categorical field with fewer training events than this, or a smaller
        share of them if it is a float, have one code together. Where it is drawn, one
        of them is, by their shares. Each kind of events of a merged log has a code of
        its own, however rare it is, as its events have fields of their own.
    max_categories : int or None, default=1000
        At most this many levels of a field, the most frequent, have a code of their
        own, and all kinds of events.
    bptt_steps : int or None, default=None
        Longest stretch of events through which gradients flow, as in `LSTMClassifier`.
    precision : {"float32", "bfloat16"}, default="float32"
        Arithmetic of the recurrent layers, as in `LSTMClassifier`.
    dropout : float, default=0.1
        Share of the state that training drops, also between layers.
    learning_rate : float, default=0.005
        Step size of AdamW.
    weight_decay : float, default=0.01
        Decoupled weight decay of AdamW.
    averaged_steps : int, default=500
        Steps over which weights are averaged, a running mean, which is what validation
        and prediction see. Long simulations need it more than predictions do: they
        repeat what little error there is.
    batch_size : int or "auto", default="auto"
        Histories in a step of training. ``"auto"``: a 64th of all, 512 at most, and not
        less than 64 or, of long histories, than what has 1,024 events, or 8.
    max_epochs : int, default=50
        Most passes over the training events.
    early_stopping : bool or "auto", default="auto"
        Set customers aside, stop when their loss no longer falls, and go back to the
        best epoch. ``"auto"``: with 50 customers or more, or 1,000 histories.
    validation_fraction : float or "auto", default="auto"
        Share of the customers that are set aside. ``"auto"``: a tenth or, if that is
        less than 100 customers, up to a fifth.
    n_iter_no_change : int, default=5
        Epochs without improvement after which training stops.
    callbacks : list of skorch callbacks or None, default=None
        Called during training; each fit works on copies.
    device : str or torch.device, default="cpu"
        Device of torch, such as ``"cuda"``.
    random_state : int, RandomState or None, default=None
        Seed of the weights, the batches, the dropout and the validation split. No
        global generator is seeded.
    warm_start : bool, default=False
        Go on from the network of the last fit, for `max_epochs` more. What was learned
        of the events before the training of the network, such as the levels of fields,
        stays as it was, and so do the network and its weight decay and device: other
        values for these are an error.
    verbose : int, default=0
        1 prints a line for each epoch.

    Attributes
    ----------
    net_ : skorch.NeuralNet
        The trained net; ``net_.history`` has the loss of each epoch, an event's mean
        negative log likelihood.
    n_iter_ : int
        Number of epochs run.
    batch_size_ : int
        Histories in a step of the last training.
    unique_times_ : ndarray of shape (64,)
        Times after the cutoff at which `predict_survival_function` is worked out, in
        days, or in the numbers of the log.
    n_features_in_ : int
        Number of columns seen in `fit`, the keys included.
    feature_names_in_ : ndarray of shape (n_columns,)
        Their names.

    See Also
    --------
    LSTMClassifier : Predicts labels.
    sklearn_seqcrm.events.EventLog.concat : Merges logs of different fields, whose
        events are then simulated together.

    Notes
    -----
    With the state ``h`` after an event (and before the first one, where it is learned),
    to which a linear map of the statics is added:

    - The gap ``g`` to the next event is 0 with a probability of its own, and otherwise
      a mixture of log-normals, which is asked for the probability of the step of time
      that was recorded: if all gaps are whole days, ``F(g) - F(g - 1 day)``.
    - Where weekdays differ much in how many events they have (by .02 nats of an event,
      in training events of 8 weeks and 500 moments or more), gaps and silences are
      measured in a time that passes as fast as each weekday has events: a shop that is
      closed on Sundays has none then. These are the days of the clock of the log, in
      naive datetimes alone: times with a zone are stored as UTC, whose days are others.
      For local weekdays, build the log of ``times.dt.tz_localize(None)``.
    - No event between the last one and the cutoff has the probability ``1 - F`` of that
      silence. Without it a model would believe that everybody comes back.
    - Fields come one after the other, in the order of the log, or with the kind of the
      event first, each given ``h``, the time and the fields before it. A categorical
      field is a mixture of a softmax over its codes, of the shares that they have in
      training, and of what the customer has had, as in RepeatNet: what is in the same
      basket, at the very same moment, already; and what was at earlier moments and is
      not in this one, counted so that it fades within 1, 4, 16 or 64 moments, or never,
      and weighted by how often it comes again with all customers. Gates depend on the
      state. So what one customer buys again and again is likely to be next, though
      others never bought it. How far softmax and gates trust the state, at new moments
      and in baskets that have begun, is what makes those customers most likely who are
      set aside for early stopping, if there are any.
      A numeric field is missing, or one of up to 32 values that are frequent, or from a
      mixture of normals of the scaled number with its tails folded in, asked for the
      probability of what rounds to the number. Datetimes are days after the event.
    - In merged logs, a field that a kind of event does not have is missing and costs
      nothing.

    The loss is the sum of all these over the events of a history, over the mean number
    of events. The first event of a history has no gap, and is given as to its time.

    Each event that some row can see is learned from once, up to the last cutoff of its
    customer. Statics are those of the customer's first row; as they stand beside all of
    its events, they should not be counts of those, but what a customer is: country, age
    or where it came from.

    What simulated events are is bounded by what training saw: numbers lie within their
    range there, and a path with more than twice the events that any customer had in so
    long a time ends with a warning. No input grows with time, so that simulations can
    go on for longer than training did; but what was never seen, such as a season or the
    end of a contract, is not in them.

    References
    ----------
    O. Shchur, M. Biloš and S. Günnemann (2020), "Intensity-Free Learning of Temporal
    Point Processes", ICLR, https://arxiv.org/abs/1909.12127.

    P. Ren, Z. Chen, J. Li, Z. Ren, J. Ma and M. de Rijke (2019), "RepeatNet: A Repeat
    Aware Neural Recommendation Machine for Session-based Recommendation", AAAI,
    https://arxiv.org/abs/1812.02646.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_seqcrm.datasets import make_customer_journeys
    >>> from sklearn_seqcrm.events import EventLog
    >>> from sklearn_seqcrm.neural_network import LSTMEventModel
    >>> from sklearn_seqcrm.targets import future_count
    >>> journeys = make_customer_journeys(200, random_state=0)
    >>> log = EventLog(journeys.events, customer="customer_id", time="timestamp")
    >>> X = log.attach(journeys.rows[["customer_id", "cutoff"]], cutoff="cutoff")
    >>> model = LSTMEventModel(max_epochs=2, random_state=0).fit(X)
    >>> futures = model.sample(X[:3], "28D", n_paths=10, random_state=0)
    >>> futures.columns[:3].tolist()
    ['row', 'path', 'timestamp']
    >>> counts = model.simulate_targets(
    ...     X[:3], lambda rows: future_count(rows, "28D"), "28D", n_paths=10
    ... )
    >>> counts.shape
    (3, 10)
    """

    _parameter_constraints: dict[str, list[Any]] = CONSTRAINTS

    def __init__(
        self,
        *,
        cell: Literal["lstm", "gru", "rnn"] = "lstm",
        hidden_size: int = 64,
        num_layers: int = 1,
        n_components: int = 4,
        copies: bool = True,
        min_frequency: float | None = None,
        max_categories: int | None = 1000,
        bptt_steps: int | None = None,
        precision: Literal["float32", "bfloat16"] = "float32",
        dropout: float = 0.1,
        learning_rate: float = 0.005,
        weight_decay: float = 0.01,
        averaged_steps: int = 500,
        batch_size: int | Literal["auto"] = "auto",
        max_epochs: int = 50,
        early_stopping: bool | Literal["auto"] = "auto",
        validation_fraction: float | Literal["auto"] = "auto",
        n_iter_no_change: int = 5,
        callbacks: Sequence[Any] | None = None,
        device: str | torch.device = "cpu",
        random_state: Any = None,
        warm_start: bool = False,
        verbose: int = 0,
    ) -> None:
        self.cell = cell
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.n_components = n_components
        self.copies = copies
        self.min_frequency = min_frequency
        self.max_categories = max_categories
        self.bptt_steps = bptt_steps
        self.precision = precision
        self.dropout = dropout
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.averaged_steps = averaged_steps
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.callbacks = callbacks
        self.device = device
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose

    # Fit --------------------------------------------------------------------------

    @with_callbacks
    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn from the events that the rows can see.

        Parameters
        ----------
        X : DataFrame of shape (n, n_columns)
            Rows with one column of raw histories, and statics of any kind.
        y : None
            Ignored.

        Returns
        -------
        LSTMEventModel
            The fitted estimator.

        Raises
        ------
        TypeError
            If the histories are encoded.
        ValueError
            If there are several history columns or none, no row sees an event, events
            have a field of vectors (which cannot be drawn), a parameter is out of
            range, or the machine lacks `device` or `precision`.
        """
        self._check_parameters()
        return self._fit(X, y)

    def partial_fit(self, X: Any, y: Any = None) -> Self:
        """Go once over more rows, from the network as it is.

        One epoch of training, without customers set aside: how far the network is
        trusted stays as it is. The first call settles what is learned of the events
        before the training of the network: levels, what comes again, scales, weekdays
        and the resolution of times. Its rows should be like those to come.

        Parameters
        ----------
        X : DataFrame of shape (n, n_columns)
            Rows with one column of raw histories, and statics of any kind.
        y : None
            Ignored.

        Returns
        -------
        LSTMEventModel
            The fitted estimator.

        Raises
        ------
        TypeError
            If the histories are encoded.
        ValueError
            As for `fit`.
        """
        self._check_parameters()
        return self._partial_fit(X)

    # Likelihood -------------------------------------------------------------------

    def score_samples(self, X: Any) -> np.ndarray:
        """Log likelihood of each row: of its events, and of none after them.

        Parameters
        ----------
        X : DataFrame of shape (n, n_columns)
            Rows as in `fit`.

        Returns
        -------
        ndarray of shape (n,)
            Natural logarithms of probabilities, the sum over the events that the row
            sees and the silence up to its cutoff; 0 for an empty history. Where times
            or numbers have no resolution that shows, it is taken to be a millionth of a
            typical gap, or of the spread of the numbers.
        """
        data = self._rows_of(X)
        return -self.net_.outputs(data)[:, 0].astype("float64")

    def score(self, X: Any, y: Any = None) -> float:
        """Mean log likelihood of an event.

        Parameters
        ----------
        X : DataFrame of shape (n, n_columns)
            Rows as in `fit`.
        y : None
            Ignored.

        Returns
        -------
        float
            Sum of `score_samples` over the number of events; the higher the better.

        Raises
        ------
        ValueError
            If no row sees an event.
        """
        data = self._rows_of(X)
        [source] = data.sources
        n_events = int((source.stop - source.start).sum())
        if not n_events:
            raise ValueError("No row of X sees an event, so that there is no mean.")
        total = self.net_.outputs(data)[:, 0].astype("float64").sum()
        return float(-total / n_events)

    def score_events(self, X: Any) -> pd.DataFrame:
        """Log likelihood of each event: how much of a surprise it was.

        Parameters
        ----------
        X : DataFrame of shape (n, n_columns)
            Rows as in `fit`.

        Returns
        -------
        DataFrame of shape (n_events, 4 + n_fields)
            A row for each event that a row of `X` sees, in order. ``row`` is the
            position in `X` and ``event`` that in its history. ``log_prob`` is the sum
            of ``log_prob_time``, that of the gap, which is 0 for a first event, and
            ``log_prob_<field>`` of each field; that of a field called ``time`` is
            ``log_prob_time_``.
        """
        data = self._rows_of(X)
        row, log_probs, _ = event_log_probs(self.net_, data)
        [source] = data.sources
        of_fields = dict(zip(self._learned.fields, log_probs.T[1:], strict=True))
        fields = list(self._learned.encoder.fields)
        names = unlike([f"log_prob_{name}" for name in fields], ["log_prob_time"])
        first = np.cumsum(source.stop - source.start) - (source.stop - source.start)
        table = {
            "row": row,
            "event": np.arange(len(row)) - first[row],
            "log_prob": log_probs.sum(axis=1),
            "log_prob_time": log_probs[:, 0],
        }
        columns = [of_fields[field] for field in fields]
        return pd.DataFrame({**table, **dict(zip(names, columns, strict=True))})

    # What comes next --------------------------------------------------------------

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

        Each path goes on from what the row has seen, and from the time that has passed
        since its last event.

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
            Categorical field whose levels are told apart, such as the product. None:
            all events together.
        horizon : Timedelta, str or number
            How long to simulate: events lie in ``[cutoff, cutoff + horizon)``.
        every : Timedelta, str, number or None, default=None
            Length of a period, of which `horizon` must be a multiple. Periods begin at
            the cutoff of each row. None: the horizon is one period.
        value : str or None, default=None
            Numeric field that is summed, missing values as 0. None: events are counted.
        by : str or None, default=None
            Column of `X`, each value of which has a demand of its own, such as the
            region of the customers. Missing values are a group.
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
        >>> from sklearn_seqcrm.neural_network import LSTMEventModel
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

    def predict_survival_function(
        self, X: Any, return_array: bool = False
    ) -> np.ndarray:
        """Chance of no event before each time after the cutoff.

        Parameters
        ----------
        X : DataFrame of shape (n, n_columns)
            Rows as in `fit`.
        return_array : bool, default=False
            Whether to return values at `unique_times_` instead of functions.

        Returns
        -------
        ndarray of n TimeCurve, or of shape (n, 64)
            Functions of time, called like the step functions of scikit-survival. An
            empty history survives: nothing is known of when a first event comes.
        """
        data = self._rows_of(X)
        hazard = cumulative_hazards(
            self.net_, data, self._learned.gaps, self._ticks_of_times()
        )
        if return_array:
            return np.exp(-hazard)
        curves = np.empty(len(hazard), dtype=object)
        in_days = self._learned.encoder.clock.unit is not None
        times = self.unique_times_
        curves[:] = [TimeCurve(times, one, in_days=in_days) for one in hazard]
        return curves

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
        if n_draws is None:
            n_draws = _FUTURES
            if within is None:
                n_draws = _BASKETS if basket else _DRAWS
        if within is None:
            kind = BasketSimulator if basket else Simulator
            simulator = kind(self.net_, self._learned)
            found = next_probabilities(simulator, data, keys, field, n_draws)
        else:
            events, _ = self._simulate(data, keys, within, n_draws, what="within")
            found = probabilities_within(events, known, field, len(data), n_draws)
        seen = None
        if exclude_seen:
            seen = levels_seen(array.rows, field, known)
        with own_settings(self.device), torch.no_grad():
            return best_values(found, known, n, allowed, seen)

    # States -----------------------------------------------------------------------

    if TYPE_CHECKING:  # scikit-learn's own has no types

        def fit_transform(self, X: Any, y: Any = None) -> pd.DataFrame: ...

    def transform(self, X: Any) -> pd.DataFrame:
        """What the network remembers of each history at the cutoff.

        Parameters
        ----------
        X : DataFrame of shape (n, n_columns)
            Rows as in `fit`.

        Returns
        -------
        DataFrame of shape (n, hidden_size)
            The state after the last event, between -1 and 1; 0 for an empty history.
            It does not know how long ago that event was, which recency tells.
        """
        data = self._rows_of(X)
        states = states_at_cutoffs(self.net_, data)
        index = X.index if isinstance(X, pd.DataFrame) else None
        return pd.DataFrame(states, index, self.get_feature_names_out())

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the names of the output columns.

        Parameters
        ----------
        input_features : array-like of str or None, default=None
            None, or the names that `fit` saw.

        Returns
        -------
        ndarray of shape (hidden_size,), object
            ``state0``, ``state1``, ...
        """
        check_is_fitted(self, "nets_")
        check_feature_names_in(self, input_features)
        n_states = self.net_.module_.first.shape[0]
        return np.array([f"state{i}" for i in range(n_states)], dtype=object)

    def __sklearn_tags__(self) -> Any:
        return of_history_transformer(super().__sklearn_tags__())

    # Simulation -------------------------------------------------------------------

    @property
    def unique_times_(self) -> np.ndarray:
        """Times after the cutoff, in days or in the numbers of the log."""
        check_is_fitted(self, "nets_")
        return self._ticks_of_times() / (
            self._learned.encoder.clock.ticks_per_day() or 1.0
        )

    def _ticks_of_times(self) -> np.ndarray:
        """0, and times from a step of the log to the longest history."""
        longest = max(
            self._learned.most_events.lengths[-1], 2 * self._learned.gaps.step
        )
        return np.append(
            0.0, np.geomspace(self._learned.gaps.step, longest, _N_TIMES - 1)
        )

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
        """
        clock = self._learned.encoder.clock
        length = clock.duration(horizon, what, positive=True)
        [source] = data.sources
        end = later(source.cutoff, clock.rounded_up(horizon=horizon))
        most = self._learned.most_events.bound(float(length))
        with own_settings(self.device), torch.no_grad():
            simulator = Simulator(self.net_, self._learned)
            found = collect(simulator, data, keys, end, int(n_paths), most)
        if found.n_cut:
            warnings.warn(
                f"{found.n_cut} of {len(data) * n_paths} simulated paths had {most} "
                f"events within {horizon}, twice as many as any customer had in "
                "training, and end there. Fit on more customers, or with more dropout, "
                "if these are more than a few.",
                UserWarning,
                stacklevel=3,
            )
        return found, end


def _row_keys(array: HistoryArray, seed: int, count: bool) -> np.ndarray:
    """Keys of rows by customer, cutoff and events, as `keys_of` returns them."""
    rows = pd.util.hash_pandas_object(pd.Series(array), index=False)
    return keys_of(rows.to_numpy(), seed, count)
