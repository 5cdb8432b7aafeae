"""Train a skorch net: epochs, averaging, parameters, pretrained weights."""

from sklearn_seqcrm._recurrent.training._averaging import AveragedWeights
from sklearn_seqcrm._recurrent.training._callbacks import EpochSteps
from sklearn_seqcrm._recurrent.training._early_stopping import best_n_epochs
from sklearn_seqcrm._recurrent.training._fields import useless_fields
from sklearn_seqcrm._recurrent.training._net import (
    HistoryClassifierNet,
    HistoryNet,
    outputs_of_networks,
)
from sklearn_seqcrm._recurrent.training._parameters import (
    CONSTRAINTS,
    COUNT,
    Cell,
    Pooling,
    keep_network_parameters,
    names_of_poolings,
    refuse_absent_hardware,
    refuse_changes,
    refuse_other_sizes,
)
from sklearn_seqcrm._recurrent.training._pretrained import (
    copy_pretrained_weights,
    refuse_other_architecture,
)
from sklearn_seqcrm._recurrent.training._rare_levels import fields_without_effects
from sklearn_seqcrm._recurrent.training._set_aside import set_aside, stops_early
from sklearn_seqcrm._recurrent.training._threads import run_in_threads
from sklearn_seqcrm._recurrent.training._training import (
    Seeds,
    Training,
    TrainingDivergedError,
    deletes_diverged,
    draw_seeds,
    optimizer_parameters,
    train,
)
