"""Kernels on ragged arrays: flat columns of events, and offsets into them."""

from sklearn_seqcrm._ragged._blocks import blocks, event_blocks, groups
from sklearn_seqcrm._ragged._chunks import Chunks
from sklearn_seqcrm._ragged._codes import look_up
from sklearn_seqcrm._ragged._concordance import concordance
from sklearn_seqcrm._ragged._decay import decayed_sums
from sklearn_seqcrm._ragged._levels import Levels
from sklearn_seqcrm._ragged._portions import Portion, portions
from sklearn_seqcrm._ragged._ranges import first_of_filled, is_first_of, ranges
from sklearn_seqcrm._ragged._ranked import Repeated, ranked
from sklearn_seqcrm._ragged._runs import RUN_SUMMARIES, begins_run, starts_of_filled
from sklearn_seqcrm._ragged._search import first_at_or_after
from sklearn_seqcrm._ragged._segments import (
    starts_among,
    visible_events,
    visible_gaps,
    visible_runs,
    visible_segments,
)
from sklearn_seqcrm._ragged._sort import sort_events
from sklearn_seqcrm._ragged._summaries import Bands, Numbers, Summary
from sklearn_seqcrm._ragged._views import NO_ROW, Views

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
