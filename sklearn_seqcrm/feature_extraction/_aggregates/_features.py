"""Which aggregates there are of a history, how they are called, and which go first."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

# Those of an empty history are 0; all others are missing.
_COUNTS = {"n_events", "n_events_decayed", "n_events_now", "active", "n_levels"}
_COUNTS |= {"sum", "decayed_sum"}

# What goes first if there are too many, round by round. In a round the first statistic
# of all fields goes before the second of any; the shortest lookback goes first.
_ROUNDS: tuple[tuple[str, ...], ...] = (
    ("recency", "tenure", "n_events", "active"),
    ("gap_mean", "gaps_since_last", "gap_last", "gap_std", "gap_max"),
    ("n_events_now", "recency_past", "now_ratio", "now_zscore", "now_share"),
    ("n_events in", "active in", "n_events_decayed in", "n_events_trend in"),
    ("sum", "mean", "last", "n_levels", "std", "max", "min"),
    ("sum in", "mean in"),
    ("share", "since_last"),
    ("decayed_sum in",),
    ("trend in", "n_levels in"),
    ("max in", "std in", "min in"),
    ("share in",),
)
_RANK = {
    statistic: (number, place)
    for number, statistics in enumerate(_ROUNDS)
    for place, statistic in enumerate(statistics)
}
# LightGBM takes no name with these.
_SPECIAL = re.compile(r'[\[\]{}<>:",]')


class Feature(NamedTuple):
    """One aggregate.

    Parameters
    ----------
    statistic : str
        What is computed.
    field : str or None, default=None
        Of which field; None: of the events as such.
    level : int or None, default=None
        Of which of its frequent levels.
    length : int or None, default=None
        In which lookback, or with which half-life; None: of all that the row sees.
    """

    statistic: str
    field: str | None = None
    level: int | None = None
    length: int | None = None

    @property
    def is_count(self) -> bool:
        """Whether it is 0 of an empty history."""
        return self.statistic in _COUNTS

    @property
    def is_category(self) -> bool:
        """Whether it is a level, and no number."""
        return self.statistic == "last_level"

    @property
    def is_decayed(self) -> bool:
        """Whether its length is a half-life, and no lookback."""
        return self.statistic in ("n_events_decayed", "decayed_sum")

    def rank(self) -> tuple[int, ...]:
        """Small for what goes first."""
        statistic = "last" if self.is_category else self.statistic
        in_length = "" if self.length is None else " in"
        number, place = _RANK[statistic + in_length]
        return number, self.level or 0, place, self.length or 0


def all_features(
    numeric: Iterable[str],
    levels: Mapping[str, Sequence[str]],
    n_lookbacks: int,
    n_half_lives: int,
    sees_own: bool,
) -> list[Feature]:
    """List every aggregate of a history, in the order of the output.

    Parameters
    ----------
    numeric : iterable of str
        Names of the numeric fields.
    levels : mapping of str to sequence of str
        The frequent levels of each categorical field.
    n_lookbacks, n_half_lives : int
        Number of lookbacks and of half-lives.
    sees_own : bool
        Whether rows see events at their cutoff.

    Returns
    -------
    list of Feature
        Those of the events, then of each numeric and each categorical field; what is a
        category comes last.
    """
    lookbacks, decays = range(n_lookbacks), range(n_half_lives)
    everything_and = (None, *lookbacks)
    found = [Feature(name) for name in ("recency", "tenure")]
    found += _in_each(everything_and, "n_events", "active")
    found += _in_each(lookbacks, "n_events_trend")
    found += _in_each(decays, "n_events_decayed")
    gaps = ("gap_mean", "gap_std", "gap_max", "gap_last", "gaps_since_last")
    found += [Feature(name) for name in gaps]
    if sees_own:
        found += [Feature("n_events_now"), Feature("recency_past")]
    for field in numeric:
        names = ("sum", "mean", "std", "min", "max")
        found += _in_each(everything_and, *names, field=field)
        found += [Feature("last", field), *_in_each(lookbacks, "trend", field=field)]
        found += _in_each(decays, "decayed_sum", field=field)
        if sees_own:
            found += [Feature("now_ratio", field), Feature("now_zscore", field)]
    for field, own in levels.items():
        found += _in_each(everything_and, "n_levels", field=field)
        found += [Feature("now_share", field)] if sees_own else []
        for level in range(len(own)):
            found += _in_each(everything_and, "share", field=field, level=level)
            found.append(Feature("since_last", field, level))
    return [
        *found,
        *(Feature("last_level", field) for field, own in levels.items() if own),
    ]


def _in_each(
    lengths: Iterable[int | None],
    *statistics: str,
    field: str | None = None,
    level: int | None = None,
) -> Iterator[Feature]:
    for statistic in statistics:
        for length in lengths:
            yield Feature(statistic, field, level, length)


def first_of(features: Sequence[Feature], most: int | None) -> list[Feature]:
    """Those that go first, in the order that they had.

    Parameters
    ----------
    features : sequence of Feature
        What there is.
    most : int or None
        Largest number; None for all.

    Returns
    -------
    list of Feature
        Not more than `most`.
    """
    by_rank = sorted(range(len(features)), key=lambda i: features[i].rank())
    return [features[i] for i in sorted(by_rank[:most])]


class Labels(NamedTuple):
    """The words of names.

    Parameters
    ----------
    lookbacks, half_lives : sequence of str
        Lengths of time.
    levels : mapping of str to sequence of str
        Frequent levels of each categorical field.
    period : {"days", "periods"}
        What the time unit is.
    """

    lookbacks: Sequence[str]
    half_lives: Sequence[str]
    levels: Mapping[str, Sequence[str]]
    period: str

    def name(self, feature: Feature) -> str:
        """A name that explains itself, such as ``"amount_sum_90D"``."""
        statistic, field, level, length = feature
        words = [] if field is None else [str(field)]
        if field is not None and level is not None:
            words = [f"{field}={_SPECIAL.sub('_', self.levels[field][level])}"]
        words.append(
            {"active": f"active_{self.period}", "last_level": "last"}.get(
                statistic, statistic
            )
        )
        if length is not None:
            lengths = self.half_lives if feature.is_decayed else self.lookbacks
            words.append(lengths[length])
        return "_".join(words)
