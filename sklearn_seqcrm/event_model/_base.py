"""Training of an event model: rows of raw events to a trained net."""

from __future__ import annotations

from numbers import Real
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from sklearn_seqcrm._columns import ColumnRoles, Table, row_customers
from sklearn_seqcrm._encoding import EventEncoder
from sklearn_seqcrm._recurrent.data import ALONE, Ranks, RowData
from sklearn_seqcrm._recurrent.network import isolated_torch_settings
from sklearn_seqcrm._recurrent.training import CONSTRAINTS as OF_NETWORKS
from sklearn_seqcrm._recurrent.training import (
    COUNT,
    EpochSteps,
    Seeds,
    Training,
    deletes_diverged,
    draw_seeds,
    keep_network_parameters,
    optimizer_parameters,
    refuse_absent_hardware,
    set_aside,
    train,
)
from sklearn_seqcrm._sklearn_compat import (
    DOC_LINK,
    CallbackSupportMixin,
    FitTask,
    HistoryTransformerMixin,
    Interval,
    StrOptions,
    with_callbacks,
)
from sklearn_seqcrm.event_model._event_batches import mixed_batch_size
from sklearn_seqcrm.event_model._event_net import EventNet
from sklearn_seqcrm.event_model._learn import join_views, learn_events
from sklearn_seqcrm.event_model._learned import (
    LearnedEvents,
    event_counts,
    n_statics,
    select_raw,
)
from sklearn_seqcrm.event_model._network import EventNetwork
from sklearn_seqcrm.event_model._never_share import calibrate_never_share
from sklearn_seqcrm.event_model._shrinkage import (
    calibrate_state_shrinkage,
    reset_state_shrinkage,
)

# Parameters of heads and of reading prefixes, which an event model does not have.
_WITHOUT = (
    "bidirectional",
    "head_sizes",
    "static_pieces",
    "category_dropout",
    "n_networks",
    "pooling",
)

CONSTRAINTS: dict[str, list[Any]] = {
    **{name: one for name, one in OF_NETWORKS.items() if name not in _WITHOUT},
    "max_epochs": [COUNT],
    "copies": ["boolean"],
    "n_components": [COUNT],
    "min_frequency": [COUNT, Interval(Real, 0, 1, closed="neither"), None],
    "max_categories": [COUNT, None],
    "moments": ["boolean", StrOptions({"auto"})],
    "yearly_seasonality": ["boolean", StrOptions({"auto"})],
}


class BaseEventModel(HistoryTransformerMixin, CallbackSupportMixin, BaseEstimator):
    """Base of event models: learn from raw rows, and encode new rows.

    Attributes
    ----------
    nets_ : list of EventNet
        The trained net, as its only element.
    """

    nets_: list[EventNet]
    _learned: LearnedEvents
    _network_parameters: dict[str, Any]
    # Set during a fit of several processes.
    _ranks: Ranks = ALONE

    _doc_link_module = "sklearn_seqcrm"
    _doc_link_template = DOC_LINK

    @property
    def net_(self) -> EventNet:
        """The trained net."""
        return self.nets_[0]

    @property
    def n_iter_(self) -> int:
        """Number of epochs."""
        return len(self.net_.history)

    @property
    def _encoders(self) -> dict[Any, EventEncoder]:
        """Encoder of the events by history column, as a `HistoryEncoder` has it."""
        check_is_fitted(self, "nets_")
        [name] = self._learned.roles.histories
        return {name: self._learned.encoder}

    @with_callbacks
    def fit(self, X: pd.DataFrame, y: ArrayLike | None = None) -> Self:
        """Learn from the events that the rows see.

        Parameters
        ----------
        X : DataFrame of shape (n, n_columns)
            Rows with one column of raw histories, and statics of any type. Include
            customers who have left: from active ones alone, the model learns that no
            customer ever leaves.
        y : None
            Ignored.

        Returns
        -------
        LSTMEventModel
            The fitted estimator.

        Raises
        ------
        TypeError
            If `X` is not a DataFrame, the histories are encoded, or `callbacks` has one
            that is not a callback of skorch.
        ValueError
            If there are several history columns or none, no row sees an event, events
            have a field of vectors or, in a first fit, numbers too large beside the
            others (which cannot be drawn), a parameter is out of range, training
            diverges, the machine lacks `device` or `precision`, or
            ``yearly_seasonality=True`` and the record is too short for a season.
        """
        is_continuation = self.warm_start and hasattr(self, "nets_")
        table, data, customers = self._start(X, is_continuation)
        task = FitTask(self, X, y, n_steps=self.max_epochs)
        seeds, net = self._net_to_train(data, is_continuation)
        data, valid, _ = set_aside(self, net, data, customers, None, seeds.split)
        self.nets_ = [net]
        net.module_.time.offset_never(0.0)
        # An older shrinkage does not fit the new weights.
        reset_state_shrinkage(net)
        epochs = EpochSteps(task, self.nets_)
        with deletes_diverged(self):
            train(self, Training(net, seeds, self.max_epochs, data, valid), epochs)
        if valid is not None:
            calibrate_state_shrinkage(net, valid)
        calibrate_never_share(net, self._learned, table)
        task.end()
        return self

    def partial_fit(self, X: pd.DataFrame, y: ArrayLike | None = None) -> Self:
        """Train one more epoch on rows.

        No customers are set aside. The shrinkage of the state stays as it is, and so
        does the calibration of the probability that no further event ever comes. The
        first call fixes the estimates that precede the training of the network: levels,
        repeats, scales, weekdays, the season, the resolution of times, the prior of
        rates, and whether the order of lines is random. Its rows should be like those
        to come.

        Parameters
        ----------
        X : DataFrame of shape (n, n_columns)
            Rows with one column of raw histories, and statics of any type.
        y : None
            Ignored.

        Returns
        -------
        LSTMEventModel
            The fitted estimator.

        Raises
        ------
        TypeError, ValueError
            As for `fit`.
        """
        is_continuation = hasattr(self, "nets_")
        _, data, _ = self._start(X, is_continuation)
        seeds, net = self._net_to_train(data, is_continuation)
        batch_size = self._batch_size_of(data, may_stop=False)
        self.batch_size_ = net.batch_size = batch_size
        self.nets_ = [net]
        with deletes_diverged(self):
            train(self, Training(net, seeds, 1, data, continues=True))
        return self

    def _read(self, X: Any) -> RowData:
        """Return any rows encoded for the network."""
        check_is_fitted(self, "nets_")
        learned, table, array = self._learned.read(X, self)
        return learned.encode(table, array.rows)

    # Before training --------------------------------------------------------------

    def _start(
        self, X: Any, is_continuation: bool
    ) -> tuple[Table, RowData, np.ndarray]:
        """Return training rows; their events as encoded rows, and their customers.

        Each event is in one of the rows, whatever the number of rows of `X` that see
        it. Unless training continues, the estimates that precede it are made here.
        """
        self._validate_params()
        refuse_absent_hardware(self.device, self.precision)

        def read() -> tuple[ColumnRoles, Table]:
            table = Table.of(X)
            keep_network_parameters(self, is_continuation)
            if is_continuation:
                roles = self._learned.roles
            else:
                roles = ColumnRoles.of(table)
                roles.set_names(table.frame, self)
            return roles, select_raw(roles, table, self)

        roles, table = self._ranks.attempt(read)
        [(name, array)] = table.histories.items()
        rows, row = join_views(array.rows)
        n_rows, n_seen = self._ranks.sum(np.array([len(array), len(row)])).astype(int)
        if not n_seen:
            raise ValueError(
                f"All {n_rows} histories in {name!r} are empty, so that there is "
                "nothing to learn from. Do the customers and cutoffs of the rows fit "
                "those of the log?"
            )
        if not is_continuation:
            sample = self._ranks.sample(table)
            [of_sample] = sample.histories.values()
            self._learned = learn_events(
                sample,
                roles,
                rows if sample is table else join_views(of_sample.rows)[0],
                self,
            )
        rows = rows._replace(log=self._learned.histories_of(table).log)
        data = self._learned.encode(table, rows, row, is_training=True)
        return table, *self._ranks.share_events(data, row_customers([array])[row])

    def _batch_size_of(self, data: RowData, may_stop: bool) -> int:
        if self.batch_size != "auto":
            return int(self.batch_size)
        n_events = int(event_counts(data).sum())
        return mixed_batch_size(len(data), n_events, self._ranks.size, may_stop)

    def _net_to_train(
        self, data: RowData, is_continuation: bool
    ) -> tuple[Seeds, EventNet]:
        """Return seeds, and the net so far or a new one for rows like these."""
        n_before = len(self.net_.history) if is_continuation else 0
        seeds = self._ranks.agree(draw_seeds(self.random_state, [n_before]))[0]
        if is_continuation:
            return seeds, self.net_
        net = EventNet(
            EventNetwork,
            criterion=torch.nn.Identity,
            events_in_row=float(event_counts(data).mean()),
            module__learned=self._learned,
            module__n_static=n_statics(data.static),
            module__cell=self.cell,
            module__hidden_size=int(self.hidden_size),
            module__num_layers=int(self.num_layers),
            module__bidirectional=False,
            module__dropout=self.dropout,
            module__copies=self.copies,
            module__seed=seeds.weights,
            **optimizer_parameters(self),
            share_sequences=False,
        )
        net.ranks = self._ranks
        with isolated_torch_settings(self.device):
            net.initialize()
        return seeds, net
