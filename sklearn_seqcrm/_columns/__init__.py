"""The roles of the columns of X: histories, keys, and statics by type."""

from sklearn_seqcrm._columns._customers import (
    connected_note,
    customer_hashes,
    customers_of,
    n_history_columns,
    ranked_customers,
    refuse_few_customers,
    row_customers,
    split_customers,
)
from sklearn_seqcrm._columns._decision_in_history import refuse_shown_treatments
from sklearn_seqcrm._columns._forward_split import (
    Cutoffs,
    ForwardSplit,
    cutoffs_of,
    split_forward,
)
from sklearn_seqcrm._columns._horizons import (
    NoForwardSplitError,
    known_horizon,
    store_horizon,
    stored_lengths,
    warn_short_horizon,
)
from sklearn_seqcrm._columns._roles import ColumnRoles
from sklearn_seqcrm._columns._seen_histories import SeenHistories
from sklearn_seqcrm._columns._static_transformers import (
    LevelEncoder,
    MarkingImputer,
    StaticsTransformer,
    SteadyScaler,
    plain_name,
    to_customer_levels,
    to_days,
    to_floats,
    to_levels,
)
from sklearn_seqcrm._columns._static_types import (
    STATIC_TYPES,
    ColumnsOfKind,
    static_parts,
    static_type_of,
)
from sklearn_seqcrm._columns._statics import (
    RARE,
    bounded,
    learn_categories,
    numbers_of,
    text_of,
)
from sklearn_seqcrm._columns._survival_split import split_survival
from sklearn_seqcrm._columns._survival_targets import (
    SurvivalTargets,
    censor,
    read_survival_targets,
)
from sklearn_seqcrm._columns._table import (
    Table,
    as_history_array,
    as_pandas,
    check_raw,
    has_histories,
    holds_histories,
    one_history,
    refuse_repeated_columns,
)
from sklearn_seqcrm._columns._target_encoder import CustomerTargetEncoder
from sklearn_seqcrm._columns._targets import (
    has_keys,
    read_labels,
    read_numbers,
    refuse_classes_in_columns,
    refuse_not_finite,
    warn_other_order,
    with_attrs_of,
)
