"""Rows, batches and padded tensors of ragged histories."""

from sklearn_seqcrm._recurrent.data._arrays import (
    Array,
    array_namespace,
    at_least_one,
    sigmoid,
    softmax,
    softplus,
)
from sklearn_seqcrm._recurrent.data._batches import (
    Batch,
    BatchIterator,
    BatchPart,
    automatic_batch_size,
    automatic_n_networks,
    cut_where_full,
    steps_of_parts,
)
from sklearn_seqcrm._recurrent.data._inputs import (
    Inputs,
    read_inputs,
    refuse_untrainable,
    warn_if_all_empty,
)
from sklearn_seqcrm._recurrent.data._moments import MomentChannels
from sklearn_seqcrm._recurrent.data._padded_histories import PaddedHistories
from sklearn_seqcrm._recurrent.data._ranks import (
    ALONE,
    Ranks,
    SharedRows,
    number_of_all,
    share_rows,
)
from sklearn_seqcrm._recurrent.data._rows import HistoryBatch, RowData, SparseRows, pad
from sklearn_seqcrm._recurrent.data._sources import (
    FieldInputs,
    HistorySource,
    HistorySpec,
    RowViews,
    join_moments,
)
from sklearn_seqcrm._recurrent.data._tensor_fields import TensorFields, change_all
