"""Kernels on ragged arrays: flat columns of events, and offsets into them.

A log keeps the events of all customers in flat arrays, sorted by customer and time. All
kernels use the same words for parts of it::

    position    0  1  2  3  4  5  6  7  8     into times, codes and values
    customer    a  a  a  a  a  b  b  b  b
    segment     [-------------)[----------)   offsets 0, 5, 9
    view           [----)                     a row sees start:stop = 1:3
    view           [-------)                  another row of customer a
    visible        [-------)                  what the rows of a customer see
    value       x  x  y  x  x  x  z  z  z
    run         [----)[-)[----)[-)[-------)   equal values of a customer

========  ==============================================================================
word      meaning
========  ==============================================================================
segment   the events of one customer, ``offsets[i]:offsets[i + 1]``
view      the events of one row, ``start:stop`` within the segment of its customer
run       adjacent events with the same value, within one segment
chunk     16, 256, ... consecutive events of a customer that are summarized once
piece     an event or a chunk: windows are put together of pieces
block     as many rows (or events) as stay in the cache while they are worked on
group     the same for things of unequal size, such as customers
portion   the rows of a group of customers, with the events that they see
========  ==============================================================================
"""

from sklearn_seqcrm._ragged._concordance import concordance
from sklearn_seqcrm._ragged._decay import decayed_sums
from sklearn_seqcrm._ragged._passes import (
    Learning,
    Moments,
    Pass,
    add_all,
    in_step,
    learn_by,
    learn_from,
    over,
    selection,
)
from sklearn_seqcrm._ragged._portions import Chunks, Portion, portions
from sklearn_seqcrm._ragged._runs import (
    LEAST_SHARE_IN_MOMENTS,
    RUN_SUMMARIES,
    is_run_start,
    n_in_long_runs,
    place_in_run,
    sort_events,
    starts_of_nonmissing_runs,
)
from sklearn_seqcrm._ragged._segments import (
    NO_ROW,
    Segments,
    blocks,
    event_blocks,
    first_at_or_after,
    groups,
    inverse_permutation,
    is_segment_start,
    look_up,
    ranges,
    segment_numbers,
    starts_in_segments,
    starts_of_nonempty,
    visible_events,
    visible_interarrival_times,
    visible_runs,
    visible_segments,
)
from sklearn_seqcrm._ragged._windows import Bands, LevelCounter, Numbers, Summary
