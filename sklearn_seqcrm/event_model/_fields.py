"""Base classes of the types of fields: learned parameters and their distribution.

A type is one file with a `LearnedField` and a `FieldDensity`; `_learn`
and `_learned` choose them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor, nn

from sklearn_seqcrm._recurrent.data import HistorySource
from sklearn_seqcrm._store import Column
from sklearn_seqcrm.event_model._copy_mechanism import CopyMechanism
from sklearn_seqcrm.event_model._path_draws import PathDraws


class TrainingEvents(NamedTuple):
    """Training events that have a field, customer by customer, in order."""

    times: np.ndarray  # (n,): their times
    # (n,), int64: number of the moment of each, ascending; no two customers share one.
    moment: np.ndarray
    customer: np.ndarray  # (n,), int64: number of the customer of each, ascending
    # (n,), int64: number of the row of each, ascending: a customer may have several,
    # which see other events.
    row: np.ndarray


class FieldDensity(nn.Module, ABC):
    """The distribution of a field of the next event, given a context."""

    copies: CopyMechanism | None  # None: no level is copied from the history
    # Factors of the context outside of training; None: it is never shrunk.
    shrinkage: Tensor | None
    # Converts the result of `own_input` to the contribution of the value to the context
    # of later fields, shape (n, size).
    embed: nn.Module

    @abstractmethod
    def own_input(self, values: Any, codes: Any) -> Any:
        """Return the inputs of the network for this field, from channels and codes."""

    @abstractmethod
    def own_target(self, values: Any, codes: Any) -> Any:
        """Return the targets of `log_prob` for this field, from channels and codes."""

    @abstractmethod
    def candidates(self, codes: Tensor, is_tie: Tensor, row: Tensor) -> Any:
        """Return what each of n events could copy, for `log_prob`; None: nothing.

        `codes` are those of the events, row by row; `is_tie` and `row` are as in
        `copy_candidates`.
        """

    @abstractmethod
    def log_prob(
        self,
        context: Tensor,
        target: Tensor,
        candidates: Any = None,
        is_tie: Tensor | None = None,
    ) -> Tensor:
        """Return the log probability of values, shape (n,).

        `context`, of shape (n, size), is the state, the time and the fields before this
        one, and `target`, (n,) or (n, k), the values as `own_target` returns them.
        `candidates` are those of the function of this name; None: no copies. `is_tie`,
        (n,), bool, is whether the event is at the moment of the previous one; None:
        none is.
        """

    @abstractmethod
    def draw(
        self,
        context: Tensor,
        draws: PathDraws,
        state: Any = None,
        is_tie: Tensor | None = None,
        codes: Tensor | None = None,
    ) -> Any:
        """Draw values for `LearnedField.column`.

        `context` and `is_tie` are those of `log_prob`, and `draws` are the generators
        of the paths. `state` is what the paths can copy, as `observed` begins and
        `append` continues it; None: nothing. `codes`, of shape (n, C), are those of the
        events, with the fields before this one.
        """

    @abstractmethod
    def observed(self, source: HistorySource, is_tie: np.ndarray, n_levels: int) -> Any:
        """Return what rows can copy at their cutoffs; None: nothing.

        `source` has the events of the rows, `is_tie`, of shape (n_events,), says which
        are at the moment of the previous one, and the field has `n_levels`, new levels
        of the rows included. ``at_cutoff(row)`` of the result returns the state of
        paths of rows.
        """

    @abstractmethod
    def append(self, state: Any, codes: Tensor) -> Any:
        """Return the state of paths after one more event, of codes (n, C)."""

    @abstractmethod
    def write(
        self, column: Column, encoded: Any, channels: np.ndarray, codes: np.ndarray
    ) -> None:
        """Write values and their encoding to their place in channels and codes."""


class LearnedField(ABC):
    """A field with the parameters that were learned from training events."""

    @classmethod
    @abstractmethod
    def learn(
        cls, encoder: Any, column: Column, events: TrainingEvents, n_components: int
    ) -> LearnedField:
        """Learn from the values of training events, of the shapes (n,).

        `encoder` is the `Vocabulary` or `NumericField` of the field, and `n_components`
        the number of components of a mixture.
        """

    @abstractmethod
    def column(self, drawn: Any, applies: np.ndarray, times: np.ndarray) -> Column:
        """Return values drawn by `FieldDensity.draw` for n events as the log has them.

        Where `applies`, of shape (n,), bool, is False, the event lacks the field, which
        is then missing. `times`, (n,), are those of the events.
        """

    @abstractmethod
    def empty_column(self) -> Column:
        """Return a column of no events."""
