"""Train a skorch net: epochs, averaging, parameters, pretrained weights."""

from sklearn_seqcrm._recurrent.training._net import (
    AveragedWeights,
    EpochSteps,
    HistoryClassifierNet,
    HistoryNet,
)
from sklearn_seqcrm._recurrent.training._set_aside import (
    set_aside,
    stops_early,
)
from sklearn_seqcrm._recurrent.training._training import (
    CONSTRAINTS,
    COUNT,
    Pooling,
    Seeds,
    best_n_epochs,
    copy_pretrained_weights,
    draw_seeds,
    keep_network_parameters,
    names_of_poolings,
    optimizer_parameters,
    refuse_absent_device,
    refuse_absent_precision,
    refuse_changes,
    refuse_other_architecture,
    refuse_other_sizes,
    train,
)
