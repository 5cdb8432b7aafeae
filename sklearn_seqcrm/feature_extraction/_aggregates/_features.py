"""The list of aggregates of a history, their names and their priorities."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

# These are 0 for an empty history; all others are missing.
_COUNTS = {"n_events", "n_events_decayed", "n_events_now", "active", "n_levels"}
_COUNTS |= {"sum", "decayed_sum", "n_moments"}

# Statistics of moments, each as the statistic of a log with one event per moment, whose
# numbers are the sums over the moment. Chosen forward in time among training rows of
# invoices and groceries by line, see docs/defaults_trees.md. Rejected there: number of
# events per moment, standard deviation and extremes of sums, means of sums in
# lookbacks, and interarrival times of moments beside those of active days.
_OF_MOMENTS = {
    "n_moments": "n_events",
    "n_moments_trend": "n_events_trend",
    "moment_mean": "mean",
    "moment_last": "last",
}

# Priorities if there are too many: round by round, in a round the first statistic of
# all fields before the second of any, the shortest lookback first. " in" marks the
# statistic in a lookback, as opposed to over all events. The order was chosen on
# validation cutoffs of three shops; see Notes of HistoryAggregator.
_ROUNDS: tuple[tuple[str, ...], ...] = (
    ("recency", "tenure", "n_events", "n_moments", "active"),
    (
        *("interarrival_mean", "interarrivals_since_last", "interarrival_last"),
        *("interarrival_std", "interarrival_max"),
    ),
    ("n_events_now", "recency_past", "now_ratio", "now_zscore", "now_share"),
    (
        *("n_events in", "n_moments in", "active in", "n_events_decayed in"),
        *("n_events_trend in", "n_moments_trend in"),
    ),
    (
        *("sum", "mean", "moment_mean", "last", "moment_last", "n_levels"),
        *("std", "max", "min"),
    ),
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
# LightGBM refuses names with these characters.
_SPECIAL = re.compile(r'[\[\]{}<>:",]')


class Feature(NamedTuple):
    """One aggregate."""

    statistic: str  # its name
    # Name of the field; None for a statistic of the events themselves.
    field: str | None = None
    level: int | None = None  # position among the frequent levels of the field
    # Position of the lookback or of the half-life; None for the whole history.
    length: int | None = None

    @property
    def is_count(self) -> bool:
        """Whether it is 0 for an empty history."""
        return self.statistic in _COUNTS

    @property
    def is_category(self) -> bool:
        """Whether it is a level instead of a number."""
        return self.statistic == "last_level"

    @property
    def is_decayed(self) -> bool:
        """Whether its length is a half-life instead of a lookback."""
        return self.statistic in ("n_events_decayed", "decayed_sum")

    @property
    def of_moments(self) -> Feature | None:
        """The same aggregate of a log with one event per moment; None for events."""
        statistic = _OF_MOMENTS.get(self.statistic)
        return None if statistic is None else self._replace(statistic=statistic)

    def rank(self) -> tuple[int, ...]:
        """Return the sort key by priority: round, level, statistic, lookback."""
        statistic = "last" if self.is_category else self.statistic
        in_length = "" if self.length is None else " in"
        number, place = _RANK[statistic + in_length]
        return number, self.level or 0, place, self.length or 0

    def name(
        self,
        lookbacks: Sequence[str],
        half_lives: Sequence[str],
        levels: Mapping[str, Sequence[str]],
        period: str,
    ) -> str:
        """Return ``<field>[=<level>]_<statistic>[_<length>]``: "amount_sum_90D".

        It is made of the texts of all lengths and levels. `period` is the name of the
        time unit, "days" or "periods".
        """
        words = []
        if self.field is not None:
            words.append(str(self.field))
            if self.level is not None:
                level = levels[self.field][self.level]
                words = [f"{self.field}={_SPECIAL.sub('_', level)}"]
        special = {"active": f"active_{period}", "last_level": "last"}
        words.append(special.get(self.statistic, self.statistic))
        if self.length is not None:
            words.append((half_lives if self.is_decayed else lookbacks)[self.length])
        return "_".join(words)


def all_features(
    numeric: Iterable[str],
    levels: Mapping[str, Sequence[str]],
    n_lookbacks: int,
    n_half_lives: int,
    sees_own: bool,
    summed: Collection[str] | None,
) -> list[Feature]:
    """List every aggregate of a history, in the order of the output.

    They are the aggregates of the events, then of each numeric and each categorical
    field; the categorical aggregates come last.

    `levels` are the frequent levels of each categorical field, `sees_own` says whether
    histories include events at their cutoff, and `summed` are the numeric fields whose
    sums over moments are aggregated; None for no aggregates of moments.
    """
    lookbacks, decays = range(n_lookbacks), range(n_half_lives)
    everything_and = (None, *lookbacks)  # the whole history, then each lookback
    found = [Feature(name) for name in ("recency", "tenure")]
    has_moments = summed is not None
    counts = ("n_events", *["n_moments"] * has_moments, "active")
    found += _in_each(everything_and, *counts)
    trends = ("n_events_trend", *["n_moments_trend"] * has_moments)
    found += _in_each(lookbacks, *trends)
    found += _in_each(decays, "n_events_decayed")
    times = [f"interarrival_{name}" for name in ("mean", "std", "max", "last")]
    found += [Feature(name) for name in (*times, "interarrivals_since_last")]
    if sees_own:
        found += [Feature("n_events_now"), Feature("recency_past")]
    for field in numeric:
        names = ("sum", "mean", "std", "min", "max")
        found += _in_each(everything_and, *names, field=field)
        found += [Feature("last", field), *_in_each(lookbacks, "trend", field=field)]
        if summed is not None and field in summed:
            found += [Feature("moment_mean", field), Feature("moment_last", field)]
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
    """Yield each statistic with each length."""
    for statistic in statistics:
        for length in lengths:
            yield Feature(statistic, field, level, length)


def first_of(features: Sequence[Feature], most: int | None) -> list[Feature]:
    """Keep the `most` aggregates of highest priority, in their order; all for None."""
    by_rank = sorted(range(len(features)), key=lambda i: features[i].rank())
    return [features[i] for i in sorted(by_rank[:most])]
