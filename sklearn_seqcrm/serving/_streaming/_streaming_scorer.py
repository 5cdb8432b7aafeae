"""Scores of customers from states that are updated by each new event."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, Literal, Self

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike
from pandas.api.types import is_list_like
from sklearn.pipeline import Pipeline

from sklearn_seqcrm._recurrent.network import isolated_torch_settings
from sklearn_seqcrm._sklearn_compat import is_count
from sklearn_seqcrm._store import as_list, check_flag, check_none_missing
from sklearn_seqcrm._typing import Duration, FilePath, IntoTable, Time
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.neural_network import NetworkOutputs
from sklearn_seqcrm.serving._streaming._arrivals import Arrivals, tick_of
from sklearn_seqcrm.serving._streaming._customer_states import CustomerStateTable
from sklearn_seqcrm.serving._streaming._event_reader import EventReader
from sklearn_seqcrm.serving._streaming._fitted_pipeline import FittedPipeline
from sklearn_seqcrm.serving._streaming._parquet import read_states, write_states
from sklearn_seqcrm.serving._streaming._prediction_methods import PredictionsMixin
from sklearn_seqcrm.serving._streaming._rows_to_score import (
    TableScorer,
    ids_like,
    key_columns,
    one_id_like,
)
from sklearn_seqcrm.serving._streaming._single_customer_scorer import (
    SingleCustomerScorer,
)
from sklearn_seqcrm.serving._streaming._streamed_history import StreamedHistory

# NumPy's defaults: under np.seterr(all="raise"), a number that fades to zero would
# interrupt an update of several states, and a probability near 0 a prediction.
_NUMPY: Any = {"divide": "warn", "over": "warn", "under": "ignore", "invalid": "warn"}


class StreamingScorer(PredictionsMixin):
    """Score customers event by event, from a state instead of their whole history.

    The scorer keeps a small state for each customer: the recurrent state of the
    networks, and decayed sums for the row features. A new event updates it in less than
    a millisecond, however long the history is. The scores equal those of the pipeline
    on a log of the same events.

    Parameters
    ----------
    pipeline : Pipeline
        Fitted, as `make_history_pipeline` makes it: a `HistoryEncoder`, steps for the
        statics if any, and an `LSTMClassifier`, `LSTMRegressor`, `LSTMSurvival`,
        `LSTMUpliftClassifier` or `LSTMUpliftRegressor`. It is copied: another fit does
        not change the scorer.
    customer : str or dict of str to str
        Column of the customer ids, in tables of events and in rows to be scored. A dict
        by history column, if histories belong to different entities.
    time : str or dict of str to str
        Column of the times, in tables of events.
    allow_exact_matches : bool, default=False
        Whether a row sees the events at its cutoff, as in `EventLog.attach`, such as
        the transaction that is being scored. Use the same value as in training.
    late : {"raise", "ignore"}, default="raise"
        What to do with an event that is earlier than the last one of its customer: a
        state can only be updated in order of time. If the encoder has `moments`, a late
        event of the last moment is not late: it joins that moment.
    max_customers : int or None, default=None
        How many customers to remember, for each history column. If there are more,
        those with the oldest last events are forgotten, a 64th of them at once. The
        customer that `score_one` scores stays. None: all.
    dtype : {"float32", "float16"}, default="float32"
        Type of the stored states. With ``"float16"`` they take some 60 % of the bytes,
        and scores differ from those of the pipeline by about a hundred-thousandth. Sums
        over all events (the poolings ``"mean"`` and ``"attention"``) stay in float32.
        Where thousands of events of a customer come a hundred times as fast as is
        typical, sums of ``"decay"`` grow as well, and scores differ by a thousandth.

    Attributes
    ----------
    n_customers : dict of str to int
        Number of customers with a state, by history column.
    nbytes : int
        Bytes of all states, without the ids of the customers.

    Raises
    ------
    TypeError
        If `pipeline` has other steps, or one of them may need events. Also if the name
        of a column is no text, or `allow_exact_matches` no boolean.
    ValueError
        If the pipeline cannot be streamed: its network is bidirectional, or its
        histories were cut off by a lookback. Also if a parameter is out of range, or
        histories of different entities, such as customers and shops, have one column.

    See Also
    --------
    sklearn_seqcrm.preprocessing.make_history_pipeline : Make such pipelines.
    sklearn_seqcrm.events.EventLog.append : Add events to a log that keeps all events.

    Notes
    -----
    For each customer a network has the states of its cells and poolings: two vectors of
    size `hidden_size` for a layer of an LSTM, and one for ``"mean"``, ``"max"``,
    ``"attention"`` and each half-life of ``"decay"``; by default, 7 vectors. Times,
    counts and decayed sums take some hundred bytes more.

    The scorer computes in float32 on the CPU, also if the pipeline computes in bfloat16
    or on a GPU.

    A duplicate event counts twice, as in a log: deliver each event exactly once. Events
    of one customer at the same time are read in order of arrival.

    If the encoder joins events to moments, such as ``moments="1D"``, the last moment of
    a customer stays open. The state holds the sums over its events; the cells take
    their step when the next moment begins, and, without storing it, for each score.

    Methods may be called from several threads. A lock makes calls follow one another,
    and each call is atomic: if its input is refused, nothing has changed. Only
    pickling does not take the lock: pickle when no other thread reads events, or use
    `to_parquet`.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from sklearn_seqcrm.events import EventLog
    >>> from sklearn_seqcrm.neural_network import LSTMClassifier
    >>> from sklearn_seqcrm.serving import StreamingScorer
    >>> from sklearn_seqcrm.preprocessing import make_history_pipeline
    >>> orders = pd.DataFrame(
    ...     {"who": list("aabbbc"), "day": range(6), "amount": [5.0, 7, 6, 1, 2, 4]}
    ... )
    >>> people = pd.DataFrame({"who": list("abc"), "age": [30, 41, 52]})
    >>> log = EventLog(orders, "who", "day")
    >>> model = make_history_pipeline(LSTMClassifier(max_epochs=2, random_state=0))
    >>> X = log.attach(people, cutoff=10)
    >>> scores = model.fit(X, [0, 1, 1]).predict_proba(X)
    >>> scorer = StreamingScorer(model, customer="who", time="day")
    >>> scorer.update(log)
    6
    >>> np.allclose(scorer.predict_proba(people, cutoff=10), scores, atol=1e-6)
    True
    >>> new = {"day": 11, "amount": 3.0}
    >>> scorer.score_one("a", new, {"age": 30}, cutoff=12).shape
    (2,)
    """

    def __init__(
        self,
        pipeline: Pipeline,
        customer: str | Mapping[str, str],
        time: str | Mapping[str, str],
        *,
        allow_exact_matches: bool = False,
        late: Literal["raise", "ignore"] = "raise",
        max_customers: int | None = None,
        dtype: Literal["float32", "float16"] = "float32",
    ) -> None:
        check_flag(allow_exact_matches, "allow_exact_matches")
        _check_choice(late, "late", ["raise", "ignore"])
        _check_choice(dtype, "dtype", ["float32", "float16"])
        if max_customers is not None and not is_count(max_customers):
            raise ValueError(
                f"max_customers must be a whole number, 1 or more; got "
                f"{max_customers!r}."
            )
        self.allow_exact_matches = allow_exact_matches
        self.late = late
        self.max_customers = max_customers
        self.dtype = dtype
        self._parts = parts = FittedPipeline.of(pipeline, type(self).__name__)
        if (why := parts.streaming_obstacle()) is not None:
            raise ValueError(why)
        names = parts.estimator._roles.histories
        keys = key_columns(
            customer,
            time,
            {name: parts.encoders[name].schema for name in names},
            parts.roles.entities,
        )
        with isolated_torch_settings("cpu"), torch.no_grad():
            self._streams = self._make_streams(keys)
        exact, ignore_late = allow_exact_matches, late == "ignore"
        self._table_scorer = TableScorer(parts, self._streams, exact)
        self._single_customer_scorer = SingleCustomerScorer(
            parts, self._streams, exact, ignore_late
        )
        self._lock = threading.RLock()

    def _make_streams(
        self, keys: Mapping[Any, tuple[str, str]]
    ) -> dict[Any, StreamedHistory]:
        return {
            name: StreamedHistory(
                name,
                own,
                self._parts.encoders[name],
                [EventReader(network.readers[i]) for network in self._parts.networks],
                self.max_customers,
                self.dtype,
                self._parts.estimator._uses_sums,
            )
            for i, (name, own) in enumerate(keys.items())
        }

    def __getstate__(self) -> dict[str, Any]:
        """Return all attributes but the lock, which belongs to this process."""
        with self._lock:
            return {key: v for key, v in self.__dict__.items() if key != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore the attributes, with a new lock."""
        self.__dict__.update(state)
        self._lock = threading.RLock()

    def __repr__(self) -> str:
        network = type(self._parts.estimator).__name__
        return f"{type(self).__name__}({network}, n_customers={self.n_customers})"

    @property
    def n_customers(self) -> dict[Any, int]:
        """Number of customers with a state, by history column."""
        return {name: len(stream.states) for name, stream in self._streams.items()}

    @property
    def nbytes(self) -> int:
        """Bytes of all states, without the ids of the customers."""
        return sum(stream.states.records.nbytes for stream in self._streams.values())

    # Events ---------------------------------------------------------------------------

    def update(
        self,
        events: IntoTable | EventLog | Sequence[Mapping[str, Any]] | Mapping[str, Any],
        history: str | None = None,
        *,
        on_accept: Callable[[], Any] | None = None,
    ) -> int:
        """Update the states by new events.

        Parameters
        ----------
        events : EventLog, table as EventLog takes it, list of mappings, or dict
            Events with the fields that the encoder was fitted on, in any order, none
            earlier than the last event of its customer. A list holds events as
            `score_one` takes them, each with its customer.

            If the training log was merged from several kinds of events by
            `EventLog.concat`, events need the fields of their kind only, as in
            `EventLog.append`: a dict holds events by kind, ``{"order": orders,
            "return": returns}``, and a table or a list has the field of the kind.
            Events of a new kind need all fields.
        history : str or None, default=None
            History column of the events; None: the only one.
        on_accept : callable or None, default=None
            Called without arguments after all events were validated and before any
            state changes, to store the events durably: a write-ahead log. If it raises,
            no state changes. It is not called without any event to read, and must not
            call the scorer.

        Returns
        -------
        int
            Number of events that were read: all of them, unless ``late="ignore"``.

        Raises
        ------
        KeyError
            If the table lacks a column, or there is no history column `history`.
        TypeError
            If `events` is not a table, ids have another type than those before, or a
            value has a type that its field does not take.
        ValueError
            If events are late, times are of another type than in training or finer, so
            that they would be rounded, or customers or times are missing. No state has
            changed then.

        Notes
        -----
        Each value is read by itself, by the rules of `score_one`: both take the same
        events with the same result, whatever other events are in the table. But pandas
        converts integers beside None to floats, and fills in fields that some events
        lack: pass events from JSON as a list, not as a table. A list of one event makes
        no table, and takes a sixtieth of the time of a table of one event.
        """
        with self._lock, np.errstate(**_NUMPY):
            stream = self._stream(history)
            # As a table, a single event would take sixty times as long.
            single = (
                events[0] if isinstance(events, list) and len(events) == 1 else None
            )
            if isinstance(single, Mapping):
                return self._single_customer_scorer.take(single, stream, on_accept)
            with isolated_torch_settings("cpu"), torch.no_grad():
                arrivals = Arrivals.of(events, stream.fields, stream.name)
                return self._take(arrivals, stream, on_accept)

    def _take(
        self,
        arrivals: Arrivals,
        stream: StreamedHistory,
        on_accept: Callable[[], Any] | None,
    ) -> int:
        if arrivals.customers:
            what = f"customers of new events for {stream.name!r}"
            one_id_like(arrivals.customers[0], stream.states.any_customer, what)
        late = stream.are_late(arrivals)
        if late.any():
            if self.late == "raise":
                _refuse_late(arrivals, late, stream)
            arrivals = arrivals.only(~late)
        # All checks come before `on_accept`: a journal has no refused events.
        if len(arrivals.times):
            stream.span_with(arrivals.times.min(), arrivals.times.max())
            if on_accept is not None:
                on_accept()
            stream.take(arrivals)
        return len(arrivals.times)

    def _stream(self, history: Any) -> StreamedHistory:
        if history is None and len(self._streams) == 1:
            return next(iter(self._streams.values()))
        if history not in self._streams:
            raise KeyError(
                f"history={history!r} is none of the history columns that the pipeline "
                f"was fitted on, {list(self._streams)}."
            )
        return self._streams[history]

    # Scores ---------------------------------------------------------------------------

    def _predict(self, method: str, rows: Any, cutoff: Any, *args: Any) -> np.ndarray:
        """Call a method of the estimator with outputs of the states instead of `X`."""
        with (
            self._lock,
            np.errstate(**_NUMPY),
            isolated_torch_settings("cpu"),
            torch.no_grad(),
        ):
            outputs = NetworkOutputs(self._table_scorer.outputs(rows, cutoff))
            return getattr(self._parts.estimator, method)(outputs, *args)

    # One customer ---------------------------------------------------------------------

    def score_one(
        self,
        customer: Hashable | Mapping[str, Hashable],
        event: Mapping[str, Any] | None = None,
        statics: Mapping[str, Any] | None = None,
        cutoff: Time | None = None,
        history: str | None = None,
        horizon: Duration | ArrayLike | None = None,
        *,
        on_accept: Callable[[], Any] | None = None,
    ) -> Any:
        """Update the state of one customer by an event, if any, and score the customer.

        This is the fast path for a service. It makes no table, unless a static has an
        unusual type or the pipeline has other steps for statics than those of
        `make_history_pipeline`.

        Parameters
        ----------
        customer : id, or dict of str to id
            The customer. A dict by history column, if histories belong to different
            entities.
        event : mapping of str to object or None, default=None
            Time and fields of a new event, as in a row of a table. None: no new event.
        statics : mapping of str to object or None, default=None
            The statics that the pipeline was fitted on. None: without statics.
        cutoff : datetime, number or None, default=None
            Cutoff, after `event` and all events before (with `allow_exact_matches`, not
            before them). None: the time of the latest event of any customer; events at
            that time are included.
        history : str or None, default=None
            History column of the event; None: the only one.
        horizon : duration, float, array-like of shape (n_times,) or None, default=None
            For an `LSTMSurvival`, one or several lengths of time from the cutoff on.
            None: return the risk.
        on_accept : callable or None, default=None
            As in `update`: called before the state changes, and not without an event.

        Returns
        -------
        ndarray or float
            Probabilities of a classifier, shape (n_classes,) or (k,). Prediction of a
            regressor, a float or an array of shape (k,). Effects of treatments, a float
            or an array of shape (n_arms - 1,). Risk of an `LSTMSurvival`, a float; with
            `horizon` the probability of an event before it, a float or an array of
            shape (n_times,).

        Raises
        ------
        KeyError
            If the event or the statics lack a column, or there is no history column
            `history`.
        TypeError, ValueError
            As in `update` and `predict`. No state has changed then. A late event that
            is ignored changes nothing, and the customer is scored without it.
        """
        estimator: Any = self._parts.estimator
        times = None if horizon is None else _times_of(estimator, horizon)
        statics = {} if statics is None else statics  # a Series has no truth value
        with self._lock, np.errstate(**_NUMPY):
            stream = None if event is None else self._stream(history)
            outputs = self._single_customer_scorer.outputs(
                customer, event, statics, cutoff, stream, on_accept
            )
            if times is not None:
                outputs = [one.repeat(len(times), axis=0) for one in outputs]
                found = estimator.predict_proba_before(NetworkOutputs(outputs), times)
                return found if is_list_like(horizon) else found[0]
            objective = estimator._objective
            return objective.combine(objective.predict, outputs)[0]

    # Forgetting -----------------------------------------------------------------------

    def forget(
        self, customers: Hashable | Iterable[Hashable], history: str | None = None
    ) -> int:
        """Forget customers. They are treated as new at their next event.

        Parameters
        ----------
        customers : id or iterable of ids
            One customer, or several; unknown ones are ignored. A tuple is several ids.
        history : str or None, default=None
            History column in which to forget them; None: in all of them.

        Returns
        -------
        int
            Number of states that were dropped.

        Raises
        ------
        KeyError
            If there is no history column `history`.
        TypeError
            If ids have another type than those of the events. No customer is forgotten
            then.
        ValueError
            If an id is missing.
        """
        what = "customers to forget"
        ids = pd.Index(as_list(customers, "customers"), tupleize_cols=False)
        check_none_missing(pd.Series(ids), what)
        chosen = self._streams_of(history)
        with self._lock:
            all_states = [stream.states for stream in chosen]
            known = [ids_like(ids, one.any_customer, what) for one in all_states]
            return sum(map(CustomerStateTable.forget, all_states, known))

    def forget_before(self, moment: Time, history: str | None = None) -> int:
        """Forget the customers whose last event is before a time.

        Parameters
        ----------
        moment : datetime or number
            The time.
        history : str or None, default=None
            History column in which to forget them; None: in each column the customers
            whose last event in that column is older.

        Returns
        -------
        int
            Number of states that were dropped.
        """
        chosen = self._streams_of(history)
        with self._lock:
            n_freed = 0
            for stream in chosen:
                tick = tick_of(stream.encoder.clock, moment, "moment")
                n_freed += stream.states.forget(stream.states.last_seen_before(tick))
            return n_freed

    def _streams_of(self, history: Any) -> list[StreamedHistory]:
        """Return one history column, or with None all of them."""
        everything = list(self._streams.values())
        return everything if history is None else [self._stream(history)]

    # Files ----------------------------------------------------------------------------

    def to_parquet(self, path: FilePath) -> None:
        """Write all states to a Parquet file.

        It holds states and ids, and not the pipeline. An existing file is replaced once
        the new one is complete, and kept if writing fails. A pickle of the scorer, as
        `joblib.dump` writes it, also holds the pipeline.

        Parameters
        ----------
        path : str or path-like
            File to write; pyarrow is needed.

        Raises
        ------
        TypeError
            If customers have ids that Parquet cannot store.
        """
        with self._lock:
            write_states(self._streams, self._parts.networks, path)

    @classmethod
    def from_parquet(
        cls,
        path: FilePath,
        pipeline: Pipeline,
        customer: str | Mapping[str, str],
        time: str | Mapping[str, str],
        *,
        allow_exact_matches: bool = False,
        late: Literal["raise", "ignore"] = "raise",
        max_customers: int | None = None,
        dtype: Literal["float32", "float16"] = "float32",
    ) -> Self:
        """Make a scorer with the states in a file.

        Parameters
        ----------
        path : str or path-like
            File that `to_parquet` wrote.
        pipeline : Pipeline
            The pipeline that made the states.
        customer, time : str or dict of str to str
            As in `StreamingScorer`.
        allow_exact_matches : bool, default=False
            As in `StreamingScorer`.
        late : {"raise", "ignore"}, default="raise"
            As in `StreamingScorer`.
        max_customers : int or None, default=None
            As in `StreamingScorer`.
        dtype : {"float32", "float16"}, default="float32"
            Type of the stored states; the one that `to_parquet` wrote.

        Returns
        -------
        StreamingScorer
            The scorer.

        Raises
        ------
        ValueError
            If the file is damaged, or its states belong to another model or dtype.
        """
        scorer = cls(
            pipeline,
            customer,
            time,
            allow_exact_matches=allow_exact_matches,
            late=late,
            max_customers=max_customers,
            dtype=dtype,
        )
        read_states(scorer._streams, scorer._parts.networks, path)
        return scorer


def _times_of(estimator: Any, horizon: Any) -> np.ndarray:
    """Return horizons within the bins of a survival estimator, shape (n_times,)."""
    if not hasattr(estimator, "predict_proba_before"):
        raise TypeError(
            f"horizon={horizon!r} is for LSTMSurvival; the pipeline has an "
            f"{type(estimator).__name__}."
        )
    return estimator._objective.times(horizon, "horizon")


def _check_choice(value: Any, name: str, choices: list[str]) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {choices}; got {value!r}.")


def _refuse_late(arrivals: Arrivals, late: np.ndarray, stream: StreamedHistory) -> None:
    at = int(late.argmax())
    who = int(np.searchsorted(arrivals.offsets, at, side="right")) - 1
    customer, clock = arrivals.customers[who], stream.encoder.clock
    last = stream.states.records["last"][stream.states.find_one(customer)]
    raise ValueError(
        f"{late.sum()} of {len(late)} events for {stream.name!r} are late: before the "
        f"last one of their customer, the first of them of {customer!r} at "
        f"{clock.as_scalar(arrivals.times[at])}, with an event at "
        f"{clock.as_scalar(last)} read before. States are updated in order of time "
        "only. late='ignore' leaves such events out; to count them, build a log of all "
        "events and read that into a new scorer."
    )
