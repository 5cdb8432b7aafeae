"""Base classes of the types of fields: learned parameters and their distribution.

A type is one file with a `LearnedField` and a `FieldDensity`; `_learn`
and `_learned` choose them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor, nn

from sklearn_seqcrm._store import Column
from sklearn_seqcrm.event_model._copy_mechanism import CopyCandidates, CopyMechanism
from sklearn_seqcrm.event_model._copy_state import CopyState
from sklearn_seqcrm.event_model._path_draws import PathDraws


class TrainingEvents(NamedTuple):
    """Training events that have a field, customer by customer, in order."""

    times: np.ndarray  # (n,): their times
    # (n,), int64: number of the moment of each, ascending; no two customers share one.
    moment: np.ndarray
    customer: np.ndarray  # (n,), int64: number of the customer of each, ascending


class FieldDensity(nn.Module, ABC):
    """The distribution of a field of the next event, given a context."""

    copies: CopyMechanism | None  # None: no value is copied from the history
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
    def log_prob(
        self,
        context: Tensor,
        target: Tensor,
        candidates: CopyCandidates | None = None,
        is_tie: Tensor | None = None,
    ) -> Tensor:
        """Return the log probability of values, shape (n,).

        `context`, of shape (n, size), is the state, the time and the fields before this
        one, and `target`, (n,) or (n, k), the values as `own_target` returns them.
        `candidates` are counts of copies; None: no copies. `is_tie`, (n,), bool, is
        whether the event is at the moment of the previous one; None: none is.
        """

    @abstractmethod
    def draw(
        self,
        context: Tensor,
        draws: PathDraws,
        state: CopyState | None = None,
        is_tie: Tensor | None = None,
    ) -> Any:
        """Draw values for `LearnedField.column`.

        `context` and `is_tie` are those of `log_prob`, and `draws` are the generators
        of the paths. `state` is the state of copies; None: no copies.
        """

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
