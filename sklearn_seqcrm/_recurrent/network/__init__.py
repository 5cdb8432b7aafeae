"""The network: layers, cells, poolings, a reader per history column, and a head."""

from sklearn_seqcrm._recurrent.network._cells import CELLS, layer_products
from sklearn_seqcrm._recurrent.network._layers import (
    Dropout,
    Linear,
    RandomInTraining,
    float32_tensor,
    new_embedding,
    new_generator,
    new_linear,
)
from sklearn_seqcrm._recurrent.network._linear_part import LinearPart, log_sums
from sklearn_seqcrm._recurrent.network._module import HistoryNetwork
from sklearn_seqcrm._recurrent.network._poolings import (
    LOWEST,
    POOLINGS,
    PaddedOutputs,
    Pooling,
    order_poolings,
)
from sklearn_seqcrm._recurrent.network._reader import (
    PRECISIONS,
    HistoryReader,
    RecurrentState,
    run_both_ways,
    trains_in_bfloat16,
)
from sklearn_seqcrm._recurrent.network._settings import (
    isolated_torch_settings,
    limited_kernels,
)
from sklearn_seqcrm._recurrent.network._static_pieces import Pieces
from sklearn_seqcrm._recurrent.network._step_network import (
    OpenMoment,
    StepHead,
    StepReader,
    event_poolings,
)
