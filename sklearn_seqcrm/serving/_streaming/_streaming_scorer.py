"""Scores of customers whose events keep coming."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, Self

import numpy as np
import pandas as pd
import torch
from pandas.api.types import is_list_like

from sklearn_seqcrm._recurrent.objectives import as_numbers, refuse_outside
from sklearn_seqcrm._recurrent.training import isolated_torch_settings
from sklearn_seqcrm._sklearn_compat import is_count
from sklearn_seqcrm._store import one_or_many, refuse_missing
from sklearn_seqcrm.neural_network import (
    BaseLSTM,
    LSTMClassifier,
    LSTMRegressor,
    LSTMSurvival,
    NetworkOutputs,
)
from sklearn_seqcrm.serving._streaming._arrivals import Arrivals, tick_of
from sklearn_seqcrm.serving._streaming._customer_states import CustomerStateTable
from sklearn_seqcrm.serving._streaming._event_reader import EventReader
from sklearn_seqcrm.serving._streaming._fitted_pipeline import FittedPipeline
from sklearn_seqcrm.serving._streaming._many_customers import ManyCustomers
from sklearn_seqcrm.serving._streaming._numpy_rnn import OneNetwork
from sklearn_seqcrm.serving._streaming._one_customer import OneCustomer
from sklearn_seqcrm.serving._streaming._parquet import (
    digest_of,
    read_states,
    write_states,
)
from sklearn_seqcrm.serving._streaming._row_scores import RowScores
from sklearn_seqcrm.serving._streaming._rows_to_score import ids_like, one_id_like
from sklearn_seqcrm.serving._streaming._streamed_history import StreamedHistory

LATE = ("raise", "ignore")
DTYPES = ("float32", "float16")


class StreamingScorer(RowScores):
    """Score customers whose events keep coming, without reading their past again.

    Keeps one small state for each customer: what the network made of all events so far,
    and what the row features need. A new event changes it in less than a millisecond,
    however long the history is, and the scores are those that the pipeline would give
    on a log of the same events.

    Parameters
    ----------
    pipeline : Pipeline
        Fitted, as `make_history_pipeline` makes it: a `HistoryEncoder`, steps for the
        statics if any, and an `LSTMClassifier`, `LSTMRegressor` or `LSTMSurvival`. What
        it learned is copied: fitting it again does not change the scorer.
    customer : str or dict of str to str
        Column of the customer ids, in tables of events and in rows to be scored. A dict
        by history column, if histories are those of different things.
    time : str or dict of str to str
        Column of the times, in tables of events.
    allow_exact_matches : bool, default=False
        Whether a row sees the events at its cutoff, as in `EventLog.attach`: the
        transaction that is being judged. It should be as it was in training.
    late : {"raise", "ignore"}, default="raise"
        What to do with an event that is earlier than the last one of its customer,
        which a state cannot take in any more.
    max_customers : int or None, default=None
        How many customers to remember, for each history column. If there are more,
        those who have been silent for longest are forgotten, and a 64th of them at
        once. The customer that `score_one` scores stays. None: all.
    dtype : {"float32", "float16"}, default="float32"
        What states are stored in. With ``"float16"`` they take some 60 % of the bytes,
        and scores differ from those of the pipeline by about a hundred-thousandth. Sums
        over all events (the poolings ``"mean"`` and ``"attention"``) stay in float32.
        Where thousands of events of a customer come a hundred times as fast as is
        typical, sums of ``"decay"`` grow as well, and scores differ by a thousandth.

    Attributes
    ----------
    n_customers : dict of str to int
        Customers that are remembered, by history column.
    nbytes : int
        Bytes of all states, without the ids of the customers.

    Raises
    ------
    TypeError
        If `pipeline` is of other steps, or one of them may read events.
    ValueError
        If the pipeline cannot be streamed: its network is bidirectional, or its
        histories were cut off by a lookback. Also if a parameter is out of range.

    See Also
    --------
    sklearn_seqcrm.preprocessing.make_history_pipeline : Makes such pipelines.
    sklearn_seqcrm.events.EventLog.append : Adds events to a log that keeps them all.

    Notes
    -----
    Of each customer a network needs the states of its cells and the running sums of its
    poolings: two vectors of `hidden_size` for an LSTM's layer, and one for ``"mean"``,
    ``"max"``, ``"attention"`` and each half-life of ``"decay"``; by default, 7 of them.
    Times, counts and decayed sums are some hundred bytes beside.

    Where the pipeline computes in bfloat16 or on a GPU, the scorer does so in float32
    and on the processor.

    An event that is there twice counts twice, as it does in a log: make sure that what
    delivers events does not deliver one again. Events of one customer at the same time
    are read in the order in which they come.

    Methods may be called from several threads. There is one lock, so that calls follow
    one another, and each is done whole or, if its input is refused, not at all. Only a
    pickle does not wait for others: take it when no other thread reads events, or use
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
        pipeline: Any,
        customer: str | Mapping[str, str],
        time: str | Mapping[str, str],
        *,
        allow_exact_matches: bool = False,
        late: Literal["raise", "ignore"] = "raise",
        max_customers: int | None = None,
        dtype: Literal["float32", "float16"] = "float32",
    ) -> None:
        _check_choice(late, "late", LATE)
        _check_choice(dtype, "dtype", DTYPES)
        if max_customers is not None and not is_count(max_customers):
            raise ValueError(
                f"max_customers must be a whole number, 1 or more; got "
                f"{max_customers!r}."
            )
        self.allow_exact_matches = allow_exact_matches
        self.late = late
        self.max_customers = max_customers
        self.dtype = dtype
        kinds = LSTMClassifier, LSTMRegressor, LSTMSurvival
        self._parts = parts = FittedPipeline.of(pipeline, type(self).__name__, kinds)
        if (why := parts.streaming_obstacle()) is not None:
            raise ValueError(why)
        names = parts.estimator._reading.histories
        customers = _by_history(customer, names, "customer")
        times = _by_history(time, names, "time")
        self._keys = {name: (customers[name], times[name]) for name in names}
        for name, keys in self._keys.items():
            _refuse_repeated(keys, parts.encoders[name].schema, name)
        with isolated_torch_settings("cpu"), torch.no_grad():
            ones = [OneNetwork(network) for network in parts.networks]
            self._streams = self._make_streams(names, ones)
        exact, ignore_late = allow_exact_matches, late == "ignore"
        self._many_customers = ManyCustomers(parts, self._streams, self._keys, exact)
        self._one_customer = OneCustomer(
            parts, ones, self._streams, self._keys, exact, ignore_late
        )
        self._lock = threading.RLock()

    def _make_streams(
        self, names: Sequence[Any], ones: Sequence[OneNetwork]
    ) -> dict[Any, StreamedHistory]:
        networks = self._parts.networks
        first = networks[0].readers[0].layers
        size = first[0][0].hidden_size
        return {
            name: StreamedHistory(
                name,
                self._parts.encoders[name],
                [EventReader(network.readers[i], size) for network in networks],
                [network.steps[i] for network in ones],
                size * len(first),
                self.max_customers,
                self.dtype,
                self._parts.estimator._objective.is_linear,
            )
            for i, name in enumerate(names)
        }

    def __getstate__(self) -> dict[str, Any]:
        """All but the lock, which belongs to this process."""
        with self._lock:
            return {key: v for key, v in self.__dict__.items() if key != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take a lock of its own."""
        self.__dict__.update(state)
        self._lock = threading.RLock()

    @property
    def n_customers(self) -> dict[Any, int]:
        """Customers that are remembered, by history column."""
        return {name: len(stream.states) for name, stream in self._streams.items()}

    @property
    def nbytes(self) -> int:
        """Bytes of all states, without the ids of the customers."""
        return sum(stream.states.nbytes for stream in self._streams.values())

    # Events ---------------------------------------------------------------------------

    def update(
        self,
        events: Any,
        history: Any = None,
        *,
        on_accept: Callable[[], Any] | None = None,
    ) -> int:
        """Read new events, those of a table or of a whole log.

        Parameters
        ----------
        events : EventLog, table as EventLog takes it, list of mappings, or dict
            Events with the fields that the encoder has learned, in any order. Those of
            a customer must not be earlier than what has been read. A list holds events
            as `score_one` takes them, each with its customer.

            If the log of the training was merged of several kinds by `EventLog.concat`,
            events need the fields of their kinds only, as in `EventLog.append`: a dict
            holds events by kind, ``{"order": orders, "return": returns}``, and a table
            or a list has the field of kinds. Events of a kind that is new need all.
        history : str or None, default=None
            History column that they belong to; None: the only one.
        on_accept : callable or None, default=None
            Called without arguments when nothing can refuse the events any more, and
            before any state changes, to write them down: the commit of a transaction.
            If it raises, no event has been read. It is not called if there is no
            event to read, and must not call the scorer.

        Returns
        -------
        int
            Number of events that were read: all, unless ``late="ignore"``.

        Raises
        ------
        KeyError
            If the table lacks a column.
        TypeError
            If `events` is no table, customers are of another type than before, or a
            value is of a type that its field does not take.
        ValueError
            If events are late, times are of another kind than in training or finer, so
            that they would be rounded, or customers or times are missing. Nothing has
            been read then.

        Notes
        -----
        Each value is read by itself, and as `score_one` reads it: an event that one of
        them takes, the other takes as well, with the same result, whatever events stand
        beside it. But pandas makes floats of integers beside None, and fills fields
        that some events lack: give events that come from JSON as a list, not as a
        table.
        """
        with self._lock, isolated_torch_settings("cpu"), torch.no_grad():
            stream = self._stream(history)
            arrivals = self._arrivals(events, stream)
            late = stream.are_late(arrivals)
            if late.any():
                if self.late == "raise":
                    _refuse_late(arrivals, late, stream)
                arrivals = arrivals.only(~late)
            if len(arrivals.times):
                stream.span_with(arrivals.times.min(), arrivals.times.max())
                if on_accept is not None:
                    on_accept()
                stream.take(arrivals)
            return len(arrivals.times)

    def _arrivals(self, events: Any, stream: StreamedHistory) -> Arrivals:
        name = stream.name
        arrivals = Arrivals.of(events, *self._keys[name], stream.encoder, name)
        what = f"customers of new events for {name!r}"
        if not arrivals.customers:
            return arrivals
        one_id_like(arrivals.customers[0], stream.states.any_customer, what)
        return arrivals

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
        """Call a method of the estimator on what the networks return for rows."""
        with self._lock, isolated_torch_settings("cpu"), torch.no_grad():
            outputs = self._many_customers.outputs(rows, cutoff)
        return getattr(self._parts.estimator, method)(NetworkOutputs(outputs), *args)

    # One customer ---------------------------------------------------------------------

    def score_one(
        self,
        customer: Any,
        event: Mapping[str, Any] | None = None,
        statics: Mapping[str, Any] | None = None,
        cutoff: Any = None,
        history: Any = None,
        horizon: Any = None,
        *,
        on_accept: Callable[[], Any] | None = None,
    ) -> Any:
        """Read an event of one customer, if there is one, and score the customer.

        For a service: no table is made, unless a static is of an unusual type or the
        statics go through other steps than those of `make_history_pipeline`.

        Parameters
        ----------
        customer : id, or dict of str to id
            The customer. A dict by history column, if histories are those of different
            things.
        event : mapping of str to object or None, default=None
            Time and fields of a new event, as in a row of a table. None: there is none.
        statics : mapping of str to object or None, default=None
            The statics that the pipeline was fitted on. None: there are none.
        cutoff : datetime, number or None, default=None
            Cutoff, later than `event` and all before (with `allow_exact_matches`, not
            earlier). None: the last event that has been read, of all customers, which
            is seen then.
        history : str or None, default=None
            History column that the event belongs to; None: the only one.
        horizon : duration, float, array-like of shape (n_times,) or None, default=None
            Of an `LSTMSurvival`: one length of time from the cutoff on, or several.
            None: the risk is returned.
        on_accept : callable or None, default=None
            As in `update`: called before the event is read, and not without one.

        Returns
        -------
        ndarray or float
            Of a classifier the probabilities, shape (n_classes,) or (k,); of a
            regressor the prediction, a float or an array of shape (k,). Of an
            `LSTMSurvival` the risk, a float; with `horizon` the probability of an event
            before it, a float or an array of shape (n_times,).

        Raises
        ------
        KeyError
            If the event or the statics lack a column.
        TypeError, ValueError
            As in `update` and `predict`. The event has not been read then. One that is
            late and ignored changes nothing, and the customer is scored without it.
        """
        estimator: Any = self._parts.estimator
        times = None if horizon is None else _times_of(estimator, horizon)
        with self._lock:
            stream = None if event is None else self._stream(history)
            outputs = self._one_customer.outputs(
                customer, event, statics or {}, cutoff, stream, on_accept
            )
        if times is not None:
            outputs = [one.repeat(len(times), axis=0) for one in outputs]
            found = estimator.predict_proba_before(NetworkOutputs(outputs), times)
            return found if is_list_like(horizon) else found[0]
        rows = NetworkOutputs(outputs)
        if hasattr(estimator, "predict_proba"):
            return estimator.predict_proba(rows)[0]
        return estimator.predict(rows)[0]

    # Forgetting -----------------------------------------------------------------------

    def forget(self, customers: Any, history: Any = None) -> int:
        """Forget customers, who are unknown from then on.

        Parameters
        ----------
        customers : id or iterable of ids
            One customer, or several; unknown ones are left alone. A tuple is several.
        history : str or None, default=None
            History column in which to forget them; None: in all of them.

        Returns
        -------
        int
            Number of states that were given up.

        Raises
        ------
        TypeError
            If customers are of another type than those of the events. No customer is
            forgotten in that case.
        """
        what = "customers to forget"
        ids = pd.Index(one_or_many(customers, "customers"), tupleize_cols=False)
        refuse_missing(pd.Series(ids), what)
        chosen = self._streams if history is None else [self._stream(history).name]
        with self._lock:
            all_states = [self._streams[name].states for name in chosen]
            known = [ids_like(ids, one.any_customer, what) for one in all_states]
            return sum(map(CustomerStateTable.forget, all_states, known))

    def forget_before(self, moment: Any, history: Any = None) -> int:
        """Forget the customers whose last event lies before a moment.

        Parameters
        ----------
        moment : datetime or number
            The moment.
        history : str or None, default=None
            History column in which to forget them; None: in each column those whose
            last event in it is older.

        Returns
        -------
        int
            Number of states that were given up.
        """
        chosen = self._streams if history is None else [self._stream(history).name]
        with self._lock:
            n_gone = 0
            for stream in (self._streams[name] for name in chosen):
                tick = tick_of(stream.encoder.clock, moment, "moment")
                n_gone += stream.states.forget(stream.states.silent_since(tick))
            return n_gone

    # Files ----------------------------------------------------------------------------

    def to_parquet(self, path: Any) -> None:
        """Write all states into a Parquet file.

        It holds states and ids, and not the pipeline. The file is replaced when the new
        one is whole, and stays as it is if anything goes wrong before. A pickle of the
        scorer, as `joblib.dump` writes it, holds the pipeline as well.

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
            write_states(self._streams, self._digest(), path)

    @classmethod
    def from_parquet(
        cls,
        path: Any,
        pipeline: Any,
        customer: str | Mapping[str, str],
        time: str | Mapping[str, str],
        *,
        allow_exact_matches: bool = False,
        late: Literal["raise", "ignore"] = "raise",
        max_customers: int | None = None,
        dtype: Literal["float32", "float16"] = "float32",
    ) -> Self:
        """Make a scorer that goes on from the states in a file.

        Parameters
        ----------
        path : str or path-like
            File that `to_parquet` wrote.
        pipeline : Pipeline
            The one that the states were made by.
        customer, time : str or dict of str to str
            As in `StreamingScorer`, and so are the options below.
        allow_exact_matches : bool, default=False
            Whether a row sees the events at its cutoff.
        late : {"raise", "ignore"}, default="raise"
            What to do with late events.
        max_customers : int or None, default=None
            How many customers to remember.
        dtype : {"float32", "float16"}, default="float32"
            What states are stored in, as it was.

        Returns
        -------
        StreamingScorer
            The scorer.

        Raises
        ------
        ValueError
            If the file is damaged, or its states are those of another model or dtype.
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
        read_states(scorer._streams, scorer._digest(), path)
        return scorer

    def _digest(self) -> str:
        return digest_of(self._parts.networks, self._streams)


def _times_of(estimator: BaseLSTM, horizon: Any) -> np.ndarray:
    """One horizon or several, within the bins of a survival estimator, (n_times,)."""
    if not isinstance(estimator, LSTMSurvival):
        raise TypeError(
            f"horizon={horizon!r} is for LSTMSurvival; the pipeline has an "
            f"{type(estimator).__name__}."
        )
    objective = estimator._objective
    times = as_numbers(horizon, "horizon", objective.in_days)
    refuse_outside(times, objective.edges, "horizon")
    return times


def _check_choice(value: Any, name: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {list(choices)}; got {value!r}.")


def _by_history(value: Any, names: Sequence[Any], what: str) -> dict[Any, str]:
    """A column for each history column."""
    if not isinstance(value, Mapping):
        return dict.fromkeys(names, value)
    lost = [name for name in names if name not in value]
    if lost:
        raise ValueError(f"{what} has no entry for the history columns {lost}.")
    return {name: value[name] for name in names}


def _refuse_repeated(
    keys: tuple[str, str], fields: Iterable[str], history: Any
) -> None:
    """Raise a ValueError for a key that is another key, or a field."""
    if keys[0] == keys[1]:
        raise ValueError(f"customer and time are the same column {keys[0]!r}.")
    repeated = [key for key in keys if key in fields]
    if repeated:
        raise ValueError(
            f"customer or time are called like fields of {history!r}: {repeated}. Name "
            "the columns that hold the ids and the times of new events."
        )


def _refuse_late(arrivals: Arrivals, late: np.ndarray, stream: StreamedHistory) -> None:
    at = int(late.argmax())
    who = int(np.searchsorted(arrivals.offsets, at, side="right")) - 1
    customer, clock = arrivals.customers[who], stream.encoder.clock
    last = stream.states.records["last"][stream.states.find_one(customer)]
    raise ValueError(
        f"{late.sum()} of {len(late)} events for {stream.name!r} are late: before the "
        f"last one of their customer, the first of them of {customer!r} at "
        f"{clock.as_scalar(arrivals.times[at])}, with an event at "
        f"{clock.as_scalar(last)} read before. A state cannot take them in any more. "
        "late='ignore' leaves such events out; to count them, build a log of all "
        "events and read that into a new scorer."
    )
