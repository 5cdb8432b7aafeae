"""A field of levels: what was learned of it, and the distribution of its next one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from sklearn_seqcrm._encoding import FIRST_LEVEL, MISSING, UNSEEN, Vocabulary
from sklearn_seqcrm._recurrent.network import draw_vectors, without_drawing
from sklearn_seqcrm._store import Column
from sklearn_seqcrm.event_model._copy_mechanism import CopyCandidates, CopyMechanism
from sklearn_seqcrm.event_model._draws import PathDraws
from sklearn_seqcrm.event_model._own_levels import OwnLevels
from sklearn_seqcrm.event_model._time_density import (
    choose,
    choose_by_weight,
    new_output,
)

# As if each level had come again so often more, as its counts say.
_PRIOR = 30.0


def repeat_purchase_lift(
    codes: np.ndarray, moment: np.ndarray, customer: np.ndarray, n_codes: int
) -> np.ndarray:
    """How much each code counts for what comes again.

    Customers come back to what they had, but to milk rather than to a lamp. Of all
    levels that come again at a later moment, each would have its share of what the
    customer had until then, if counts were all that mattered. How often it has, over
    how often it should have, is its weight.

    Parameters
    ----------
    codes : ndarray of shape (n,), int64
        Codes of events, in order, customer by customer.
    moment : ndarray of shape (n,), int64
        Number of the moment of each, ascending; no two customers share one.
    customer : ndarray of shape (n,), int64
        Number of the customer of each, ascending.
    n_codes : int
        Number of codes.

    Returns
    -------
    ndarray of shape (n_codes,), float64
        About 1; 0 for codes of what is no level.
    """
    is_level = codes >= FIRST_LEVEL
    codes, moment, customer = codes[is_level], moment[is_level], customer[is_level]
    moment = np.cumsum(np.diff(moment, prepend=moment[:1]) != 0)
    order = np.lexsort((codes, customer))  # events of a level stay in their order
    is_new = np.ones(len(codes), dtype=bool)
    is_new[1:] = (np.diff(codes[order]) != 0) | (np.diff(customer[order]) != 0)
    is_again = ~is_new
    is_again[1:] &= np.diff(moment[order]) != 0
    again = order[is_again]
    # By moment: how many came again, and how many the customer had before.
    begin = np.flatnonzero(np.diff(moment, prepend=-1))
    n_again = np.bincount(moment[again], minlength=len(begin))
    first = np.searchsorted(customer, customer[begin])
    share = n_again / np.maximum(begin - first, 1)
    # What each event should have of those that came again after it.
    after = share[::-1].cumsum()[::-1] - share
    last = np.searchsorted(customer[begin], customer[begin], side="right") - 1
    expected = np.bincount(codes, (after - after[last])[moment], n_codes)
    weights = (np.bincount(codes[again], minlength=n_codes) + _PRIOR) / (
        np.maximum(expected, 0) + _PRIOR
    )
    weights[:FIRST_LEVEL] = 0.0
    return weights


# Logits at once, 32 MiB. Of thousands of levels there would be gigabytes in a batch
# otherwise; for gradients, those of a portion are computed again.
_LOGITS_AT_ONCE = 2**23


@dataclass(frozen=True, eq=False)
class LevelField:
    """What was learned of a categorical field.

    Parameters
    ----------
    levels : Index
        Levels with a code of their own, then those that share the last code.
    n_codes : int
        Number of codes.
    shares : ndarray of shape (n_codes,)
        Share of each code in the training events.
    rare : ndarray of shape (n_rare,)
        Share of each level that shares the last code, among them.
    repeats : ndarray of shape (n_codes,)
        Weight of each code among repeats, see `repeat_purchase_lift`.
    n_events : int
        Number of training events.
    some_missing : bool
        Whether some of them have no level, or there are none; otherwise no simulated
        event lacks one.
    """

    levels: pd.Index
    n_codes: int
    shares: np.ndarray
    rare: np.ndarray
    repeats: np.ndarray
    n_events: int
    some_missing: bool

    @classmethod
    def of(
        cls,
        vocabulary: Vocabulary,
        column: Column,
        moment: np.ndarray,
        customer: np.ndarray,
    ) -> LevelField:
        """Learn from the values of the training events.

        Parameters
        ----------
        vocabulary : Vocabulary
            Codes of the levels.
        column : Column of n
            Values, customer by customer, in order.
        moment, customer : ndarray of shape (n,), int64
            As for `repeat_purchase_lift`.
        """
        levels = vocabulary.levels.append(vocabulary.rare)
        assert column.categories is not None
        place = levels.get_indexer(column.categories)
        had = column.values >= 0
        level = np.full(len(had), -1, dtype="int64")
        level[had] = place[column.values[had]]
        n_own, n_codes = len(vocabulary.levels), vocabulary.n_codes
        codes = np.where(had, np.minimum(level + FIRST_LEVEL, n_codes - 1), MISSING)
        of_codes = np.bincount(codes, minlength=n_codes).astype("float64")
        # As if there had been half an event of each code more.
        shares = (of_codes + 0.5) / (of_codes + 0.5)[MISSING:].sum()
        rare = np.bincount(level[level >= n_own] - n_own, minlength=len(levels) - n_own)
        return cls(
            levels,
            n_codes,
            shares,
            rare / max(rare.sum(), 1),
            repeat_purchase_lift(codes, moment, customer, n_codes),
            len(had),
            not had.all() or not len(had),
        )

    @property
    def n_targets(self) -> int:
        """Channels that a likelihood needs beside the codes."""
        return 0

    def no_column(self) -> Column:
        """Values of no events."""
        return Column(np.zeros(0, "int32"), self.levels)

    def column(self, codes: np.ndarray, draws: PathDraws) -> Column:
        """Values of some events by their codes; rare ones are drawn.

        Parameters
        ----------
        codes : ndarray of shape (n,), int64
            From 1, missing, on.
        draws : PathDraws of n
            Draws which of the rare levels.
        """
        values = codes - FIRST_LEVEL
        n_rare = len(self.rare)
        if n_rare:
            is_rare = np.flatnonzero(codes == self.n_codes - 1)
            reached = torch.from_numpy(self.rare).cumsum(dim=0)
            place = draws.take(is_rare).uniform(reached) * reached[-1]
            drawn = torch.searchsorted(reached, place, right=True).numpy()
            # Rounding may take what was drawn up to the end.
            drawn = drawn.clip(max=n_rare - 1)
            values[is_rare] = len(self.levels) - n_rare + drawn
        return Column(values.astype("int32"), self.levels)


class LevelDensity(nn.Module):
    """Distribution of the code of the next event: a softmax, what is popular, copies.

    Parameters
    ----------
    size : int
        Numbers of a state.
    field : LevelField
        What was learned of the field.
    copies : bool
        Whether levels may be copied that the customer has had, or be as popular as
        with all customers.
    generator : torch.Generator
        Draws first weights.
    """

    def __init__(
        self, size: int, field: LevelField, copies: bool, generator: torch.Generator
    ) -> None:
        super().__init__()
        bias = np.log(field.shares).tolist()
        self.output = new_output(size + 1, bias, generator)
        self.vectors = draw_vectors(
            without_drawing(nn.Embedding, field.n_codes, size, padding_idx=UNSEEN),
            generator,
        )
        self.lowest = MISSING if field.some_missing else FIRST_LEVEL
        # A level that n events did not have is the next one once in n + 1 times.
        self.log_unseen = -float(np.log(field.n_events + 1))
        self.copies = (
            CopyMechanism(size + 1, field.repeats, generator) if copies else None
        )
        popular = torch.tensor(field.shares, dtype=torch.float32, device="cpu")
        popular[: self.lowest] = 0.0
        self.register_buffer("popular", popular / popular.sum())
        self.register_buffer(
            "trust", torch.ones(2, 2, dtype=torch.float32, device="cpu")
        )

    def log_prob(
        self,
        states: torch.Tensor,
        codes: torch.Tensor,
        past: CopyCandidates | None = None,
        is_tie: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Log probability of codes, shape (n,).

        Parameters
        ----------
        states : Tensor of shape (n, size)
            What is known before.
        codes : Tensor of shape (n,), int64
            Codes of the events.
        past : CopyCandidates of n or None, default=None
            How much there is to copy; None: all is generated.
        is_tie : Tensor of shape (n,), bool, or None, default=None
            Whether an event is at the moment of the one before, which says how much the
            network is trusted; None: none is.
        """
        of_output, of_gates = self._trusted(states, is_tie)
        log_prob = self._generated(of_output, codes)
        if self.copies is not None and past is not None:
            popular = self.popular[codes]
            log_prob = self.copies.log_prob(of_gates, past, log_prob, popular)
        return log_prob.masked_fill(codes == UNSEEN, self.log_unseen)

    def _trusted(
        self, states: torch.Tensor, is_tie: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What the softmax and the gates are told, two of shape (n, size + 1).

        States, shrunk as far as they are not trusted, and whether a moment is new.
        """
        if is_tie is None:
            is_tie = torch.zeros(len(states), dtype=torch.bool, device=states.device)
        is_new = (~is_tie).to(states.dtype)[:, None]
        if self.training or (self.trust == 1).all():
            told = torch.cat([states, is_new], dim=1)
            return told, told
        trust = self.trust[:, is_tie.long(), None]
        of_output, of_gates = (torch.cat([states * t, is_new], dim=1) for t in trust)
        return of_output, of_gates

    def _generated(self, states: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        """Log probability that known codes are generated, shape (n,)."""
        at_once = max(1, _LOGITS_AT_ONCE // self.output.out_features)
        portions = list(zip(states.split(at_once), codes.split(at_once), strict=True))
        if len(portions) == 1 or not torch.is_grad_enabled():
            return torch.cat([self._log_prob(*portion) for portion in portions])
        saving: dict[str, Any] = {"use_reentrant": False, "preserve_rng_state": False}
        return torch.cat(
            [checkpoint(self._log_prob, *portion, **saving) for portion in portions]
        )

    def _log_prob(self, states: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        known = (codes - MISSING).clamp(min=0)
        logits = self.output(states)[:, MISSING:]
        return -nn.functional.cross_entropy(logits, known, reduction="none")

    def probabilities(
        self,
        states: torch.Tensor,
        own: OwnLevels | None = None,
        is_tie: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Probability that each code is drawn, shape (n, n_codes).

        Parameters
        ----------
        states : Tensor of shape (n, size)
            What is known before.
        own : OwnLevels of n or None, default=None
            What may be copied; None: all is generated.
        is_tie : Tensor of shape (n,), bool, or None, default=None
            As in `log_prob`.
        """
        of_output, of_gates = self._trusted(states, is_tie)
        logits = self.output(of_output)
        logits[:, : self.lowest] = -torch.inf
        shares = torch.softmax(logits, dim=1)
        if self.copies is None or own is None:
            return shares
        left = own.left()
        gates = self.copies.log_gates(of_gates, left).exp()
        weights = torch.where(left > 0, gates[:, 2:] / left, 0.0)
        shares.mul_(gates[:, :1]).addr_(gates[:, 1], self.popular)
        return own.add_shares(weights, shares)

    def draw(
        self,
        states: torch.Tensor,
        draws: PathDraws,
        own: OwnLevels | None = None,
        is_tie: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Draw codes, shape (n,), int64: never that of unseen levels.

        Parameters
        ----------
        states, own, is_tie
            As in `probabilities`.
        draws : PathDraws of n
            Draws.
        """
        of_output, of_gates = self._trusted(states, is_tie)
        if self.copies is None or own is None:
            return self._draw_new(of_output, draws)
        gates = self.copies.log_gates(of_gates, own.left()).exp()
        way = choose_by_weight(gates, draws)
        codes = torch.zeros_like(way)
        new, popular, copied = (
            some.nonzero()[:, 0] for some in (way == 0, way == 1, way > 1)
        )
        codes[new] = self._draw_new(of_output[new], draws.take(new))
        codes[popular] = self._draw_popular(draws.take(popular))
        codes[copied] = own.take(copied).draw(way[copied] - 2, draws.take(copied))
        return codes

    def _draw_new(self, states: torch.Tensor, draws: PathDraws) -> torch.Tensor:
        """Draw codes that are generated, shape (n,), int64."""
        return choose(self.output(states)[:, self.lowest :], draws) + self.lowest

    def _draw_popular(self, draws: PathDraws) -> torch.Tensor:
        """Draw codes by their shares among all customers, shape (n,), int64."""
        reached = self.popular.double().cumsum(dim=0)
        drawn = draws.uniform(reached)
        codes = torch.searchsorted(reached, drawn * reached[-1], right=True)
        return codes.clamp(max=len(reached) - 1)

    def told(self, codes: torch.Tensor) -> torch.Tensor:
        """What codes tell the fields after this one, shape (n, size)."""
        return self.vectors(codes)
