"""The roles of the columns of X: histories, keys, and statics by kind."""

from sklearn_seqcrm._columns._roles import ColumnRoles
from sklearn_seqcrm._columns._static_parts import (
    ColumnsOfKind,
    LevelEncoder,
    MarkingImputer,
    static_parts,
)
from sklearn_seqcrm._columns._statics import (
    as_levels,
    bounded,
    coded_levels,
    days_before,
    kind_of,
    numbers_of,
    text_of,
)
from sklearn_seqcrm._columns._survival_targets import (
    SurvivalTargets,
    read_survival_targets,
)
from sklearn_seqcrm._columns._table import (
    Table,
    as_history_array,
    check_raw,
    customers_of,
    has_histories,
    holds_histories,
    one_history,
    ranked_customers,
    refuse_repeated_columns,
    row_customers,
    split_customers,
)

__all__ = [
    "ColumnRoles",
    "ColumnsOfKind",
    "LevelEncoder",
    "MarkingImputer",
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
