"""How an event model is fitted: rows of raw events to a trained net."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from sklearn_seqcrm._columns import ColumnRoles, Table, row_customers
from sklearn_seqcrm._encoding import EventEncoder
from sklearn_seqcrm._recurrent.data import RowData, set_customers_aside
from sklearn_seqcrm._recurrent.training import CONSTRAINTS as OF_NETWORKS
from sklearn_seqcrm._recurrent.training import (
    EpochSteps,
    Seeds,
    draw_seeds,
    isolated_torch_settings,
    network_parameters,
    optimized_as_asked,
    refuse_absent_device,
    refuse_absent_precision,
    refuse_changes,
    refuse_other_device,
    train_as_asked,
)
from sklearn_seqcrm._sklearn_compat import (
    DOC_LINK,
    CallbackSupportMixin,
    FitTask,
    Interval,
    validate_parameter_constraints,
)
from sklearn_seqcrm._store import Rows
from sklearn_seqcrm.event_model._event_net import EventNet, rows_in_mixed_batch
from sklearn_seqcrm.event_model._learned import (
    LearnedEvents,
    StaticNumbers,
    learn_events,
    one_row_per_stretch,
)
from sklearn_seqcrm.event_model._likelihood import (
    calibrate_state_shrinkage,
    trust_fully,
)
from sklearn_seqcrm.event_model._network import EventNetwork
from sklearn_seqcrm.events import HistoryArray

# What concerns heads, and what a row reads of outputs, it does not have.
_WITHOUT = ("bidirectional", "head_sizes", "category_dropout", "n_networks", "pooling")

CONSTRAINTS: dict[str, list[Any]] = {
    **{name: one for name, one in OF_NETWORKS.items() if name not in _WITHOUT},
    "max_epochs": [Interval(Integral, 1, None, closed="left")],
    "copies": ["boolean"],
    "n_components": [Interval(Integral, 1, None, closed="left")],
    "min_frequency": [
        Interval(Integral, 1, None, closed="left"),
        Interval(Real, 0, 1, closed="neither"),
        None,
    ],
    "max_categories": [Interval(Integral, 1, None, closed="left"), None],
}

_COUNT = Interval(Integral, 1, None, closed="left")
_OF_METHODS: dict[str, list[Any]] = {
    "n": [_COUNT],
    "n_draws": [_COUNT, None],
    "n_paths": [_COUNT],
    "interval": [Interval(Real, 0, 1, closed="neither")],
    "basket": ["boolean"],
    "exclude_seen": ["boolean"],
    "random_state": ["random_state"],
    "target": [callable],
}


def check_arguments(method: str, **given: Any) -> None:
    """Raise an error for arguments of a method that are of a wrong type or range.

    scikit-learn's decorator would rename errors of a target that a user hands in.
    """
    validate_parameter_constraints(_OF_METHODS, given, f"LSTMEventModel.{method}")


class BaseEventModel(CallbackSupportMixin, BaseEstimator):
    """Learns from raw rows, and reads others as they were read then.

    Attributes
    ----------
    nets_ : list of EventNet
        The trained net, alone.
    """

    nets_: list[EventNet]
    _reading: ColumnRoles
    _learned: LearnedEvents
    _statics: StaticNumbers
    _network_parameters: dict[str, Any]

    _doc_link_module = "sklearn_seqcrm"
    _doc_link_template = DOC_LINK

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Refuse a model of version 0.1.0, whose parts lack what newer code reads."""
        if "nets_" in state and "_network_parameters" not in state:
            raise ValueError(
                f"This {type(self).__name__} was pickled by version 0.1.0 of "
                "sklearn_seqcrm, and cannot be used by this version. Load it with "
                "version 0.1.0, or fit it again."
            )
        super().__setstate__(state)

    @property
    def net_(self) -> EventNet:
        """The trained net."""
        return self.nets_[0]

    def _fit(self, X: Any, y: Any) -> Self:
        """Train to the end, from the start or, with `warm_start`, from where it is."""
        again = self.warm_start and hasattr(self, "nets_")
        data, customers = self._start(X, again)
        task = FitTask(self, X, y, n_steps=self.max_epochs)
        seeds = self._draw_seeds(again)
        net = self.net_ if again else self._build(data, seeds)
        batch_size = self._rows_in_batch(data)
        data, valid = set_customers_aside(
            data, customers, self.early_stopping, self.validation_fraction, seeds.split
        )
        if valid is not None:
            # Scoring callbacks of skorch see rows in the order of their predictions.
            order = EventNet.rows_of_batches(valid, batch_size, share=False)
            valid = valid.take(order)
        self._train(net, seeds, batch_size, self.max_epochs, data, valid, task)
        task.end()
        return self

    def _partial_fit(self, X: Any) -> Self:
        """Train for one epoch on all rows, from where it is if it has begun."""
        again = hasattr(self, "nets_")
        data, _ = self._start(X, again)
        seeds = self._draw_seeds(again)
        net = self.net_ if again else self._build(data, seeds)
        self._train(net, seeds, self._rows_in_batch(data), 1, data, None, None)
        return self

    @property
    def _encoders(self) -> dict[Any, EventEncoder]:
        """How events are encoded, by history column; as a `HistoryEncoder` has it."""
        check_is_fitted(self, "nets_")
        [name] = self._reading.histories
        return {name: self._learned.encoder}

    # Before training --------------------------------------------------------------

    def _check_parameters(self) -> None:
        self._validate_params()
        refuse_absent_device(self.device)
        refuse_absent_precision(self.precision, self.device)

    def _start(self, X: Any, again: bool) -> tuple[RowData, np.ndarray]:
        """Rows to learn from, and the customer of each; a first call learns of events.

        Each event is in one of the rows, whatever the number of rows of `X` that see
        it.
        """
        table = Table.of(X)
        if again:
            refuse_changes(self._network_parameters, network_parameters(self))
        else:
            if hasattr(self, "nets_"):
                # Should this fit fail, what it sets until then would not go with it.
                del self.nets_
            self._network_parameters = network_parameters(self)
            self._reading = ColumnRoles.of(table)
            self._reading.set_names(table.frame, self)
        table = self._read(table)
        [(name, array)] = table.histories.items()
        stretches, row = one_row_per_stretch(array.rows)
        if not len(row):
            raise ValueError(
                f"All {len(array)} histories in {name!r} are empty, so that there is "
                "nothing to learn from. Do the customers and cutoffs of the rows fit "
                "those of the log?"
            )
        if not again:
            self._statics = StaticNumbers().fit(table)
            self._learned = learn_events(
                stretches, self.min_frequency, self.max_categories, self.n_components
            )
        return self._data(table, stretches, row), row_customers([array])[row]

    def _read(self, X: Any) -> Table:
        """The columns that were learned, with one column of raw histories."""
        name, histories = type(self).__name__, self._reading.histories
        if len(histories) > 1:
            raise ValueError(
                f"X has {len(histories)} history columns, {list(histories)}, and "
                f"{name} draws one sequence of events. EventLog.concat merges logs of "
                "different fields, so that it is known what came before what."
            )
        table = self._reading.select(X, self).refuse_no_rows(name)
        return table.refuse_encoded(name).refuse_missing()

    def _data(self, table: Table, rows: Rows, row: np.ndarray) -> RowData:
        """Rows as the network reads them; `row` says whose statics each has."""
        [name] = table.histories
        source, log_censoring_time = self._learned.source(rows, name)
        static = self._statics.transform(table)[row]
        return RowData((source,), np.column_stack([static, log_censoring_time]))

    def _draw_seeds(self, again: bool) -> Seeds:
        n_before = len(self.net_.history) if again else 0
        return draw_seeds(self.random_state, [n_before])[0]

    def _rows_in_batch(self, data: RowData) -> int:
        if self.batch_size == "auto":
            [source] = data.sources
            n_events = int((source.stop - source.start).sum())
            return rows_in_mixed_batch(len(data), n_events)
        return int(self.batch_size)

    # The net ----------------------------------------------------------------------

    def _build(self, data: RowData, seeds: Seeds) -> EventNet:
        """Make the net for rows like these, with its first weights."""
        [source] = data.sources
        net = EventNet(
            EventNetwork,
            criterion=torch.nn.Identity,
            events_in_row=float((source.stop - source.start).mean()),
            module__learned=self._learned,
            module__n_static=data.static.shape[1] - 1,
            module__cell=self.cell,
            module__hidden_size=self.hidden_size,
            module__num_layers=self.num_layers,
            module__bidirectional=False,
            module__bptt_steps=self.bptt_steps,
            module__precision=self.precision,
            module__dropout=self.dropout,
            module__copies=self.copies,
            module__seed=seeds.weights,
            **optimized_as_asked(self),
            share_sequences=False,
        )
        with isolated_torch_settings(self.device):
            net.initialize()
        return net

    def _train(
        self,
        net: EventNet,
        seeds: Seeds,
        batch_size: int,
        max_epochs: int,
        data: RowData,
        valid: RowData | None,
        task: FitTask | None,
    ) -> None:
        """Train the net with the parameters that may change from call to call."""
        refuse_other_device(self.device, net.device)
        self.nets_ = [net]
        self.batch_size_ = net.batch_size = batch_size
        if valid is not None:
            # What was chosen for the weights so far would have a say in when to stop.
            trust_fully(net)
        epochs = None if task is None else EpochSteps(task, self.nets_)
        train_as_asked(self, net, seeds, max_epochs, data, valid, epochs)
        self.n_iter_ = len(net.history)
        if not all(p.isfinite().all() for p in net.module_.parameters()):
            del self.nets_
            raise ValueError(
                f"Training diverged in {self.n_iter_} epochs: weights of the network "
                "are not finite. Lower learning_rate, and fit from the start."
            )
        if valid is not None:
            calibrate_state_shrinkage(net, valid)

    # After training ---------------------------------------------------------------

    def _rows_of(self, X: Any) -> RowData:
        """Any rows as the network reads them."""
        return self._rows_and_histories(X)[0]

    def _rows_and_histories(self, X: Any) -> tuple[RowData, HistoryArray]:
        """Any rows as the network reads them, and their raw histories."""
        check_is_fitted(self, "nets_")
        table = self._read(X)
        [array] = table.histories.values()
        return self._data(table, array.rows, np.arange(len(array))), array
