"""The public estimator: a generative model of events, and simulations of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted
from skorch.callbacks import Callback

from sklearn_seqcrm._recurrent.data import RowData
from sklearn_seqcrm._recurrent.objectives import SurvivalCurve, check_return_array
from sklearn_seqcrm._recurrent.training import Cell
from sklearn_seqcrm._sklearn_compat import check_feature_names_in
from sklearn_seqcrm._store import unique_names
from sklearn_seqcrm._typing import Duration
from sklearn_seqcrm.event_model._base import CONSTRAINTS
from sklearn_seqcrm.event_model._learned import event_counts
from sklearn_seqcrm.event_model._next_values import RecommendingEventModel

# Most times at which survival functions are computed, without weekdays, hours, season.
_N_TIMES = 64
# With weekdays, further times each day and then each week: hazards in between are taken
# as constant, and the hazard of a closed day differs from that of the next one. With
# hours, further times each hour.
_HOURS, _DAYS, _WEEKS = 48, 28, 13


class LSTMEventModel(RecommendingEventModel):
    """Predict and simulate the events of customers, learned without labels.

    A recurrent network that returns, after each event of a history, the distribution of
    the next event: its time, and the values of its fields. It is fitted to histories
    by maximum likelihood, as a density estimator such as
    `sklearn.mixture.GaussianMixture`, and answers many questions: `sample` simulates
    futures, of which value, demand and churn are averages; `predict_next` recommends;
    `predict_survival_function` predicts the time of the next event; `score_samples` and
    `score_events` find surprising histories and events; and `transform` returns the
    state of the network as columns for other estimators.

    It takes raw `X`, as `EventLog.attach` returns it: simulated events have the fields
    of the log, so that the model encodes and decodes histories itself. It is the first
    step of a pipeline.

    Parameters
    ----------
    cell : {"lstm", "gru", "rnn"}, default="lstm"
        Recurrent cell. On CPUs only ``"lstm"`` has fast kernels.
    hidden_size : int, default=64
        Size of the recurrent state.
    num_layers : int, default=1
        Number of recurrent layers.
    n_components : int, default=4
        Number of components of each mixture: of interarrival times and of each numeric
        field.
    copies : bool, default=True
        Whether values may be copied: products that the customer buys again, amounts
        that are paid again, prices that other customers pay. The next level of a
        categorical field may then also be drawn by its popularity with all customers.
    min_frequency : int, float or None, default=None
        Levels of a categorical field with fewer training events than this, or a smaller
        share of them if it is a float, share one code in the softmax and the embedding.
        Where this code is drawn, a level is drawn by their shares. Copies look at
        levels, whatever their codes. Each kind of event of a merged log keeps its own
        code, however rare it is, because kinds have different fields.
    max_categories : int or None, default=1000
        At most this many levels of a field, the most frequent, have a code of their
        own, apart from kinds of events. The others are rare, as for `min_frequency`.
        None: no limit.
    moments : bool or "auto", default="auto"
        Whether the recurrent cell takes one step for all events of a customer at one
        time, such as the lines of a basket, instead of one for each event. ``"auto"``:
        if at least 30% of the training events are at the time of another one. With such
        steps, each epoch has the events of one time in a new random order, unless
        their order is informative about their values.
    yearly_seasonality : bool or "auto", default="auto"
        Whether more events come at some times of the year than at others, for all
        customers alike. ``"auto"``: if the times are datetimes, the record of the
        training rows has at least 104 weeks, and the season is significant (see Notes).
        True: from 65 weeks on, and also if it is not significant; none, with a warning,
        if it is not larger than chance. After a lasting step of the rate, set False.
    bptt_steps : int or None, default=None
        Most steps through which gradients flow (truncated backpropagation through
        time), as in `LSTMClassifier`. None: no limit.
    precision : {"float32", "bfloat16"}, default="float32"
        Arithmetic of the recurrent layers, as in `LSTMClassifier`.
    dropout : float, default=0.1
        Share of the state that training sets to 0, also between layers.
    learning_rate : float, default=0.005
        Step size of AdamW.
    weight_decay : float, default=0.01
        Decoupled weight decay of AdamW.
    averaged_steps : int, default=500
        Steps of the running mean of the weights, which validation and prediction use.
        Long simulations need it more than predictions do, as errors accumulate.
    batch_size : int or "auto", default="auto"
        Histories in a training step. ``"auto"``: a 64th of all histories, at most 512
        and at least 64; if histories are long, at least as many as have 1,024 events,
        and 8. If training stops early, at most an eighth of all histories, or 8.
    max_epochs : int, default=50
        Most passes over the training events.
    early_stopping : bool or "auto", default="auto"
        Whether to set customers aside for validation, stop when their loss no longer
        falls, and restore the best epoch. ``"auto"``: with at least 50 customers or
        1,000 histories.
    validation_fraction : float or "auto", default="auto"
        Share of the customers that are set aside. ``"auto"``: a tenth or, if that is
        fewer than 100 customers, up to a fifth.
    n_iter_no_change : int, default=5
        Epochs without improvement after which training stops.
    callbacks : list of skorch callbacks or None, default=None
        Called during training; each fit works on copies.
    device : str or torch.device, default="cpu"
        Torch device, such as ``"cuda"``.
    random_state : int, RandomState or None, default=None
        Seed of the weights, the batches, the dropout and the validation split. No
        global generator is seeded.
    warm_start : bool, default=False
        Whether `fit` continues from the network of the last fit, for `max_epochs` more
        epochs. Estimates that precede the training of the network, such as the
        levels of fields, do not change. Parameters of the network, its weight decay and
        device must not change.
    verbose : int, default=0
        1 prints a line for each epoch.

    Attributes
    ----------
    net_ : skorch.NeuralNet
        The trained net; ``net_.history`` has the loss of each epoch, the mean negative
        log likelihood of an event.
    n_iter_ : int
        Number of epochs run.
    batch_size_ : int
        Histories in a step of the last training.
    unique_times_ : ndarray of shape (n_times,)
        Times after the cutoff at which `predict_survival_function` is computed, in
        days, or in the unit of numeric times: whole steps of the log. Between them, the
        hazard is constant.
    resolutions_ : dict of str to Timedelta or float
        Width of the recorded steps, for the time column (a Timedelta; a float for
        numeric times) and for each numeric field: the largest one that all training
        values are multiples of; where there is none, a millionth of a typical
        interarrival time, or of the scale of the numbers. The likelihood of a time is
        the mean density in its step, that of a number the probability of its step.
    yearly_season_ : ndarray of shape (365,) or None
        Rates of events on the days from 1 January to 31 December, relative to their
        mean; None without a season.
    n_features_in_ : int
        Number of columns seen in `fit`, the key columns included.
    feature_names_in_ : ndarray of shape (n_columns,)
        Their names.

    See Also
    --------
    LSTMClassifier : Predicts labels.
    sklearn_seqcrm.events.EventLog.concat : Merges logs of different fields, so that
        their events are simulated together.

    Notes
    -----
    Let ``h`` be the state after an event (a learned vector before the first one), plus
    a linear map of the statics. The page :doc:`/event_model_formulas` has all formulas.

    **Time.** The interarrival time to the next event is 0 with probability ``p0`` (a
    tie), and otherwise a mixture of log-normals with distribution function ``F``. Its
    likelihood is that of the recorded step of time: if all times are whole days,
    ``F(g) - F(g - 1 day)``. With probability ``p1``, no further event ever comes. The
    time from the last event to the cutoff is right censored and has the likelihood
    ``p1 + 1 - F``. In the record, customers who have left look like those who come back
    after its end: beyond the longest history, ``p1`` extrapolates. After training, the
    state that times depend on is shrunk towards its mean, by a factor that is chosen on
    the customers set aside for early stopping, 1 without any. Then the log odds of
    ``p1`` are calibrated on landmarks within the record, if these contradict them.

    **Moments.** With `moments`, the order of the events within a moment does not matter
    to the time and the fields of later moments. The fields of a later line of a basket
    depend on the lines before it and on their order.

    **Late first events.** In a record that begins while the business is running, slow
    customers come late. If the training customers show this, the time from the start of
    the record to a customer's first event is part of the rate so far. Rows that hide
    earlier events by a lookback have no such time, nor has any row if training rows
    do. If old events were deleted from the log, fit the model again: all first events
    would be late.

    **Visits.** If a quarter of the interarrival times above 0 are shorter than a
    hundredth of their mean, as between clicks, and 100 are longer than a tenth of it,
    the latter are the times between visits, and the rate so far is that of visits.

    **Weekdays and hours.** Where weekdays, or hours of a day, differ by enough to
    predict held-out weeks or days, times are measured in operational time, which passes
    in proportion to their events: a shop that is closed on Sundays and at night gets no
    events then. This needs 500 training events over 8 weeks, or 14 days for hours. Days
    of times with a zone are those of UTC.

    **Seasons.** With `yearly_seasonality`, operational time also passes faster at the
    times of the year at which more events come. The logarithm of the rate has two
    Fourier pairs and is bounded by 3 on both sides. It is fitted beside a trend, which
    is not used further, and shrunk by ``1 - 1 / F`` with the F statistic of the season.
    By default, a season needs ``F > 4``, also beside the step of the rate that fits
    best, and a record of 104 weeks, from the first to the last week with events, with
    500 interarrival times and events in 40 of the 52 weeks of the year.

    **Fields.** Fields are predicted one after the other, in the order of the log, after
    the kind of the event, each given ``h``, the time and the fields before it. Put a
    number after those that it follows from: a spend after the product and the pieces.

    - A categorical field is a mixture of a softmax over its codes, of their shares in
      training, and of copies from the customer's history, as in RepeatNet: of levels in
      the same basket, of levels at earlier moments, counted with and without decay and
      weighted by the repeat lift of the level, and of habits: levels with at least a
      share of the customer's events. If no moment of training has a level twice, no
      simulated moment has. Softmax and gates use a shrunken state, as times do.
    - A numeric field is missing, one of up to 32 frequent values, or a mixture of
      normals on the symlog axis, whose likelihood is the probability of the numbers
      that round to the value. Datetimes are days after the event. Where training
      numbers recur, it may also be the customer's last number, the last one at an event
      with the same level of a field before it in the log, such as the product, or the
      usual one of other customers at this level; or it has the ratio of these to a
      number before it: the price of the product, times the number of pieces.
    - In merged logs, a field that the kind of event does not have is missing with
      certainty.

    The loss is the negative log likelihood of a history, divided by the mean number of
    events of a history. The time of the first event of a history is given.

    **Training rows.** Each event that some row sees is used once, up to the last cutoff
    of its customer. Statics are those of the customer's earliest cutoff; as they apply
    to all events, they should not count events but describe the customer: country, age
    or source.

    **Limits.** Simulated numbers lie within their range in training, unless they are
    earlier ones or follow from ratios. A path with more than twice the events that any
    customer had in so long a time ends with a warning. No input grows with time, so
    that simulations can be longer than training histories; but effects absent from
    training, such as the end of a contract, or a season where the record is shorter
    than two years, are not simulated.

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
    >>> from sklearn_seqcrm.event_model import LSTMEventModel
    >>> from sklearn_seqcrm.targets import future_count
    >>> journeys = make_customer_journeys(200, random_state=0)
    >>> log = EventLog(journeys.events, customer="customer_id", time="timestamp")
    >>> X = log.attach(journeys.rows[["customer_id", "cutoff"]], cutoff="cutoff")
    >>> model = LSTMEventModel(max_epochs=2, random_state=0).fit(X)
    >>> futures = model.sample(X[:3], "28D", n_paths=10, random_state=0)
    >>> futures.columns[:4].tolist()
    ['row', 'customer_id', 'path', 'timestamp']
    >>> counts = model.simulate_targets(
    ...     X[:3], lambda rows: future_count(rows, "28D"), "28D", n_paths=10
    ... )
    >>> counts.columns.tolist()
    ['mean', 'median', 'lower', 'upper']
    """

    _parameter_constraints: dict[str, list[Any]] = CONSTRAINTS

    def __init__(
        self,
        *,
        cell: Cell = "lstm",
        hidden_size: int = 64,
        num_layers: int = 1,
        n_components: int = 4,
        copies: bool = True,
        min_frequency: float | None = None,
        max_categories: int | None = 1000,
        moments: bool | Literal["auto"] = "auto",
        yearly_seasonality: bool | Literal["auto"] = "auto",
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
        callbacks: Sequence[Callback | tuple[str, Callback]] | None = None,
        device: str | torch.device = "cpu",
        random_state: int | np.random.RandomState | None = None,
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
        self.moments = moments
        self.yearly_seasonality = yearly_seasonality
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

    # Likelihood -------------------------------------------------------------------

    def score_samples(
        self, X: pd.DataFrame, *, time_unit: Duration | None = None
    ) -> np.ndarray:
        """Return the log likelihood of each history.

        Parameters
        ----------
        X : DataFrame of shape (n, n_columns)
            Rows as in `fit`.
        time_unit : Timedelta, str, number or None, default=None
            Densities of times are per this length. Another unit changes the score by a
            constant for each event that comes later than the one before it. None: a
            day, or 1 for numeric times.

        Returns
        -------
        ndarray of shape (n,)
            Natural logarithm of the likelihood of the events that the row sees, and of
            no further one before its cutoff; 0 for an empty history. It is the density
            of interarrival times, and the probability of ties, of fields and of no
            further event. Scores of models that were fitted on other rows are
            comparable if the resolutions of their numeric fields agree
            (`resolutions_`), whatever those of their times are.

        Raises
        ------
        TypeError
            If `time_unit` does not fit the times of the log.
        ValueError
            If it is not longer than 0.
        """
        return self._log_likelihoods(self._read(X), time_unit)

    def score(
        self,
        X: pd.DataFrame,
        y: ArrayLike | None = None,
        *,
        time_unit: Duration | None = None,
    ) -> float:
        """Return the mean log likelihood of an event.

        Parameters
        ----------
        X : DataFrame of shape (n, n_columns)
            Rows as in `fit`.
        y : None
            Ignored.
        time_unit : Timedelta, str, number or None, default=None
            As for `score_samples`.

        Returns
        -------
        float
            Sum of `score_samples` divided by the number of events; higher is better.

        Raises
        ------
        TypeError
            As for `score_samples`.
        ValueError
            If no row sees an event, or as for `score_samples`.
        """
        data = self._read(X)
        n_events = event_counts(data).sum()
        if not n_events:
            raise ValueError("No row of X sees an event, so that there is no mean.")
        return float(self._log_likelihoods(data, time_unit).sum() / n_events)

    def score_events(
        self, X: pd.DataFrame, *, time_unit: Duration | None = None
    ) -> pd.DataFrame:
        """Return the log likelihood of each event; low values are surprises.

        Parameters
        ----------
        X : DataFrame of shape (n, n_columns)
            Rows as in `fit`.
        time_unit : Timedelta, str, number or None, default=None
            As for `score_samples`.

        Returns
        -------
        DataFrame of shape (n_events, 4 + n_fields)
            One row per event that a row of `X` sees, in order. ``row`` is the position
            in `X` and ``event`` the position in the history. ``log_prob`` is the sum of
            ``log_prob_time``, of the interarrival time, and of ``log_prob_<field>`` of
            each field. For a field named ``time`` it is ``log_prob_time_``.
            ``log_prob_time`` is the log density per `time_unit`, the log probability of
            a tie for an event at the time of the one before, and 0 for a first event.

        Raises
        ------
        TypeError, ValueError
            As for `score_samples`.
        """
        data = self._read(X)
        row, is_timed = self.net_.timed_events(data)
        log_probs = self.net_.event_log_probs(data)
        log_probs[is_timed, 0] -= self._log_width(time_unit)
        of_fields = dict(zip(self._learned.fields, log_probs.T[1:], strict=True))
        fields = list(self._learned.encoder.fields)
        names = unique_names([f"log_prob_{name}" for name in fields], ["log_prob_time"])
        counts = event_counts(data)
        first = np.cumsum(counts) - counts
        table = {
            "row": row,
            "event": np.arange(len(row)) - first[row],
            "log_prob": log_probs.sum(axis=1),
            "log_prob_time": log_probs[:, 0],
        }
        columns = [of_fields[field] for field in fields]
        return pd.DataFrame({**table, **dict(zip(names, columns, strict=True))})

    def _log_likelihoods(self, data: RowData, time_unit: Any) -> np.ndarray:
        """Return `score_samples` of encoded rows."""
        log_width = self._log_width(time_unit)
        row, is_timed = self.net_.timed_events(data)
        widths = log_width * np.bincount(row, is_timed, len(data))
        return -self.net_.outputs(data)[:, 0].astype("float64") - widths

    def _log_width(self, time_unit: Any) -> float:
        """Return the log width of a recorded step of time, in units.

        The likelihood of the network is P(step) = (density in the step) * width.
        """
        encoder = self._learned.encoder
        unit = encoder.clock.ticks_per_day() or 1.0
        if time_unit is not None:
            unit = encoder.clock.duration(time_unit, "time_unit", positive=True)
        return float(np.log(self._learned.grid.step / unit))

    @property
    def resolutions_(self) -> dict[str, Any]:
        """Widths of the recorded steps of times and of numeric fields."""
        check_is_fitted(self, "nets_")
        step: Any = self._learned.grid.step
        per_day = self._learned.encoder.clock.ticks_per_day()
        if per_day is not None:
            step = pd.Timedelta(days=1) * (step / per_day)
        numbers = {n: one.step for n, one in self._learned.number_fields.items()}
        return {self._learned.names[1]: step, **numbers}

    @property
    def yearly_season_(self) -> np.ndarray | None:
        """Rates of events on the days of a year, relative to their mean."""
        check_is_fitted(self, "nets_")
        time = self._learned.grid.operational_time
        return None if time is None else time.days_of_year()

    # Survival ---------------------------------------------------------------------

    def predict_survival_function(
        self, X: pd.DataFrame, return_array: bool = False
    ) -> np.ndarray:
        """Return the probability of no event before each time after the cutoff.

        Parameters
        ----------
        X : DataFrame of shape (n, n_columns)
            Rows as in `fit`.
        return_array : bool, default=False
            Whether to return values at `unique_times_` instead of functions.

        Returns
        -------
        ndarray of n SurvivalCurve, or of shape (n, n_times)
            Functions of time, called like the step functions of scikit-survival. They
            are 1 for an empty history: the time of a first event is not modelled.

        Raises
        ------
        TypeError
            If `return_array` is not a boolean. For values at given times, call the
            curves.
        """
        check_return_array(return_array)
        data = self._read(X)
        hazard = self.net_.cumulative_hazards(data, self._ticks_of_times())
        if return_array:
            return np.exp(-hazard)
        curves = np.empty(len(hazard), dtype=object)
        in_days = self._learned.encoder.clock.unit is not None
        times, last = self.unique_times_, "longest history of training"
        curves[:] = [
            SurvivalCurve(times, one, in_days=in_days, last=last) for one in hazard
        ]
        return curves

    @property
    def unique_times_(self) -> np.ndarray:
        """Times after the cutoff, in days or in the unit of numeric times."""
        check_is_fitted(self, "nets_")
        return self._ticks_of_times() / (
            self._learned.encoder.clock.ticks_per_day() or 1.0
        )

    def _ticks_of_times(self) -> np.ndarray:
        """Return 0 and times from the step of the log to the longest history.

        Up to 64 times; with weekdays, hours or a season more, the latter at most 30
        days apart (and rounded to steps). All are whole steps: the survival function of
        a log in days has its steps there, and a curve between others would be too low.
        """
        grid = self._learned.grid
        longest = max(self._learned.most_events.lengths[-1], 2 * grid.step)
        times: list[np.ndarray] = [np.zeros(1)]
        times.append(np.geomspace(grid.step, longest, _N_TIMES - 1))
        if grid.operational_time is not None:
            day = float(grid.operational_time.day)
            if grid.operational_time.hours:
                times.append(np.arange(1, _HOURS) * day / 24)
            if grid.operational_time.has_weekdays:
                times += [np.arange(1, _DAYS) * day, np.arange(4, _WEEKS + 1) * 7 * day]
            if grid.operational_time.season:
                times.append(np.arange(30 * day, longest, 30 * day))
        found = np.concatenate(times)
        return np.unique(grid.steps(found[found <= longest])) * grid.step + 0.0  # no -0

    # States -----------------------------------------------------------------------

    if TYPE_CHECKING:  # scikit-learn's own has no types

        def fit_transform(self, X: Any, y: Any = None) -> pd.DataFrame: ...

    def transform(self, X: pd.DataFrame) -> pd.DataFrame:
        """Return the state of the network after each history.

        Parameters
        ----------
        X : DataFrame of shape (n, n_columns)
            Rows as in `fit`.

        Returns
        -------
        DataFrame of shape (n, hidden_size)
            The state after the last event, between -1 and 1; 0 for an empty history.
            It does not depend on the time since that event: add recency as a column.
        """
        data = self._read(X)
        states = self.net_.states_at_cutoffs(data)
        index = X.index if isinstance(X, pd.DataFrame) else None
        return pd.DataFrame(states, index, self.get_feature_names_out())

    def get_feature_names_out(
        self, input_features: ArrayLike | None = None
    ) -> np.ndarray:
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
        n_states = len(self.net_.module_.initial_output)
        return np.array([f"state{i}" for i in range(n_states)], dtype=object)
