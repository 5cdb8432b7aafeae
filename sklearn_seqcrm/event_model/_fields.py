"""Base classes of the types of fields: learned parameters and their distribution.

A type is one file with a `LearnedField` and a `FieldDensity`; `_learned._learn_fields`
chooses it by the encoder of the field.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, NamedTuple

import numpy as np
from torch import Tensor, nn

from sklearn_seqcrm._store import Column
from sklearn_seqcrm.event_model._copy_counts import CopyCandidates
from sklearn_seqcrm.event_model._copy_mechanism import CopyMechanism
from sklearn_seqcrm.event_model._copy_state import CopyState
from sklearn_seqcrm.event_model._distributions import PathDraws


class TrainingEvents(NamedTuple):
    """Training events that have a field, customer by customer, in order."""

    times: np.ndarray  # (n,): their times
    # (n,), int64: number of the moment of each, ascending; no two customers share one.
    moment: np.ndarray
    customer: np.ndarray  # (n,), int64: number of the customer of each, ascending


class FieldBlocks(NamedTuple):
    """Channels and codes of a field in the encoded events."""

    code: int | None  # column of its codes; None: it has none
    # Column of its levels, in which rare and new ones have numbers of their own.
    level: int | None
    # Its channels: the scaled number, and a mark of missing ones if there are any.
    channels: list[int]
    # Channels of its targets for the likelihood, which the network does not take in.
    targets: slice


class FieldDensity(nn.Module, ABC):
    """The distribution of a field of the next event, given a context.

    Parameters
    ----------
    size : int
        Length of a context.
    field : LearnedField
        Learned parameters of the field.
    blocks : FieldBlocks
        Channels and codes of the field in the encoded events.
    copies : bool
        Whether values may be copied from the history, for types that support it.
    generator : torch.Generator
        Draws first weights.

    Attributes
    ----------
    copies : CopyMechanism or None
        None: no value is copied from the history.
    shrinkage : Tensor or None
        Factors of the context outside of training; None: it is never shrunk.
    embed : Module
        Converts the result of `own_input` to the contribution of the value to the
        context of later fields, shape (n, size).
    """

    copies: CopyMechanism | None
    shrinkage: Tensor | None
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

        Parameters
        ----------
        context : Tensor of shape (n, size)
            State, time and fields before this one.
        target : Tensor of shape (n,) or (n, k)
            The values, as `own_target` returns them.
        candidates : CopyCandidates of n or None, default=None
            Counts of copies; None: no copies.
        is_tie : Tensor of shape (n,), bool, or None, default=None
            Whether the event is at the moment of the previous one; None: none is.
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

        Parameters
        ----------
        context, is_tie
            As in `log_prob`.
        draws : PathDraws of n
            Random numbers.
        state : CopyState of n or None, default=None
            State of copies; None: no copies.
        """

    @abstractmethod
    def write(
        self, column: Column, encoded: Any, channels: np.ndarray, codes: np.ndarray
    ) -> None:
        """Write values and their encoding to their place in channels and codes."""


class LearnedField(ABC):
    """A field with the parameters that were learned from training events."""

    # Channels that the likelihood needs in addition to the inputs of the network.
    n_targets: ClassVar[int]
    density: ClassVar[type[FieldDensity]]

    @classmethod
    @abstractmethod
    def learn(
        cls, encoder: Any, column: Column, events: TrainingEvents, n_components: int
    ) -> LearnedField:
        """Learn from the values of training events.

        Parameters
        ----------
        encoder : Vocabulary, NumericField
            Encoder of the field.
        column : Column of n
            The values.
        events : TrainingEvents of n
            Their times, moments and customers.
        n_components : int
            Components of a mixture.
        """

    @abstractmethod
    def targets(self, column: Column, times: np.ndarray) -> np.ndarray:
        """Return targets of the likelihood, shape (n, n_targets), float32."""

    @abstractmethod
    def column(self, drawn: Any, applies: np.ndarray, times: np.ndarray) -> Column:
        """Return drawn values as the log has them.

        Parameters
        ----------
        drawn : object
            Result of `FieldDensity.draw` for n events.
        applies : ndarray of shape (n,), bool
            Whether the event has the field; otherwise it is missing.
        times : ndarray of shape (n,)
            Times of the events.
        """

    @abstractmethod
    def empty_column(self) -> Column:
        """Return a column of no events."""
