"""Learn what customers do next, and simulate it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
import torch
from sklearn.utils.validation import check_is_fitted

from sklearn_seqcrm._recurrent.objectives import SurvivalCurve
from sklearn_seqcrm._sklearn_compat import check_feature_names_in
from sklearn_seqcrm._store import unlike
from sklearn_seqcrm.event_model._base import CONSTRAINTS, BaseEventModel
from sklearn_seqcrm.event_model._likelihood import (
    cumulative_hazards,
    event_log_probs,
    states_at_cutoffs,
)
from sklearn_seqcrm.event_model._next_values import NextValuesMixin

# Times at which survival is worked out.
_N_TIMES = 64


class LSTMEventModel(BaseEventModel, NextValuesMixin):
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
    >>> from sklearn_seqcrm.event_model import LSTMEventModel
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
        data = self._read(X)
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
        data = self._read(X)
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
        data = self._read(X)
        row, log_probs = event_log_probs(self.net_, data)
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

    # Survival ---------------------------------------------------------------------

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
        ndarray of n SurvivalCurve, or of shape (n, 64)
            Functions of time, called like the step functions of scikit-survival. An
            empty history survives: nothing is known of when a first event comes.
        """
        data = self._read(X)
        hazard = cumulative_hazards(
            self.net_, data, self._learned.grid, self._ticks_of_times()
        )
        if return_array:
            return np.exp(-hazard)
        curves = np.empty(len(hazard), dtype=object)
        in_days = self._learned.encoder.clock.unit is not None
        times = self.unique_times_
        curves[:] = [SurvivalCurve(times, one, in_days=in_days) for one in hazard]
        return curves

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
            self._learned.most_events.lengths[-1], 2 * self._learned.grid.step
        )
        return np.append(
            0.0, np.geomspace(self._learned.grid.step, longest, _N_TIMES - 1)
        )

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
        data = self._read(X)
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
        n_states = len(self.net_.module_.initial_output)
        return np.array([f"state{i}" for i in range(n_states)], dtype=object)
