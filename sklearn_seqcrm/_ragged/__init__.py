"""Kernels on ragged arrays: flat columns of events, and offsets into them."""

from sklearn_seqcrm._ragged._concordance import concordance
from sklearn_seqcrm._ragged._decay import decayed_sums
from sklearn_seqcrm._ragged._portions import Chunks, Portion, portions
from sklearn_seqcrm._ragged._runs import (
    RUN_SUMMARIES,
    begins_run,
    sort_events,
    starts_of_filled,
)
from sklearn_seqcrm._ragged._search import Repeated, first_at_or_after, look_up, ranked
from sklearn_seqcrm._ragged._segments import (
    NO_ROW,
    Views,
    blocks,
    event_blocks,
    first_of_filled,
    groups,
    is_first_of,
    ranges,
    starts_among,
    visible_events,
    visible_gaps,
    visible_runs,
    visible_segments,
)
from sklearn_seqcrm._ragged._windows import Bands, Levels, Numbers, Summary

__all__ = [
    "NO_ROW",
    "RUN_SUMMARIES",
    "Bands",
    "Chunks",
    "Levels",
    "Numbers",
    "Portion",
    "Repeated",
    "Summary",
    "Views",
    "begins_run",
    "blocks",
    "concordance",
    "decayed_sums",
    "event_blocks",
    "first_at_or_after",
    "first_of_filled",
    "groups",
    "is_first_of",
    "look_up",
    "portions",
    "ranges",
    "ranked",
    "sort_events",
    "starts_among",
    "starts_of_filled",
    "visible_events",
    "visible_gaps",
    "visible_runs",
    "visible_segments",
]
