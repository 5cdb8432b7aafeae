"""Read X: which columns hold histories, which are keys, and what the others are."""

from sklearn_seqcrm._reading._customers import (
    customers_of,
    ranked_customers,
    row_customers,
    split_customers,
)
from sklearn_seqcrm._reading._find import (
    as_history_array,
    holds_histories,
    refuse_repeated_columns,
)
from sklearn_seqcrm._reading._reading import Reading
from sklearn_seqcrm._reading._static_parts import (
    ColumnsOfKind,
    LevelEncoder,
    MarkingImputer,
    static_parts,
)
from sklearn_seqcrm._reading._statics import (
    as_levels,
    bounded,
    coded_levels,
    days_before,
    kind_of,
    numbers_of,
    text_of,
)
from sklearn_seqcrm._reading._survival_targets import (
    SurvivalTargets,
    read_survival_targets,
)
from sklearn_seqcrm._reading._table import Table, check_raw, has_histories, one_history

__all__ = [
    "ColumnsOfKind",
    "LevelEncoder",
    "MarkingImputer",
    "Reading",
    "SurvivalTargets",
    "Table",
    "as_history_array",
    "as_levels",
    "bounded",
    "check_raw",
    "coded_levels",
    "customers_of",
    "days_before",
    "has_histories",
    "holds_histories",
    "kind_of",
    "numbers_of",
    "one_history",
    "ranked_customers",
    "read_survival_targets",
    "refuse_repeated_columns",
    "row_customers",
    "split_customers",
    "static_parts",
    "text_of",
]
