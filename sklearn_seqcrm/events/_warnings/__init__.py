"""Warnings about input that is probably wrong, and what is checked when.

===================  ==================================================================
when                 what is checked, in this order
===================  ==================================================================
a log is made        ids that are numbers, time zones of fields, infinite numbers,
                     numbers as text, numbers as dates, wrong dates, copies of events
tables are appended  of each table: time zones of fields, infinite numbers; of all:
                     ids in another notation, repeated events, wrong new dates
logs are merged      without `observed_until`: a kind that ends early; ids in another
                     notation; with `observed_until`: a far end of observation
`attach`             unknown customers, late cutoffs
`snapshots`          late cutoffs, early cutoffs
`snapshots_...`      late cutoffs
===================  ==================================================================

`PartitionedLog` has most checks of a new log, from summaries of all partitions and in
its own order, but not that of ids.
"""

from sklearn_seqcrm.events._warnings._far_times import (
    warn_early_cutoffs,
    warn_early_end,
    warn_late_cutoffs,
)
from sklearn_seqcrm.events._warnings._field_values import (
    count_infinite,
    fields_of_other_zone,
    warn_infinite,
    warn_other_zone,
)
from sklearn_seqcrm.events._warnings._new_events import NewEventChecks
from sklearn_seqcrm.events._warnings._numbers_as_text import warn_numbers_as_text
from sklearn_seqcrm.events._warnings._repeated_events import (
    count_copied_events,
    repeated_events,
    warn_copied_events,
)
from sklearn_seqcrm.events._warnings._unknown_customers import (
    warn_other_notation,
    warn_unknown_customers,
)
from sklearn_seqcrm.events._warnings._wrong_dates import (
    are_date_like,
    warn_date_like_times,
    warn_far_beginning,
    warn_far_observation,
    warn_isolated_times,
    warn_wrong_new_dates,
)
