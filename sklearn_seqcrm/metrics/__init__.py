"""Metrics of amounts, probabilities, ranks and effects; their scorers and displays."""

from sklearn_seqcrm.metrics._bootstrap_interval import bootstrap_interval
from sklearn_seqcrm.metrics._calibration_by_decile_display import (
    CalibrationByDecileDisplay,
)
from sklearn_seqcrm.metrics._deciles import aggregate_bias, decile_mape, decile_table
from sklearn_seqcrm.metrics._gain_curve import (
    cumulative_gain_curve,
    lift_at,
    normalized_gini,
)
from sklearn_seqcrm.metrics._gain_display import GainDisplay
from sklearn_seqcrm.metrics._pit_histogram import pit_histogram
from sklearn_seqcrm.metrics._policy_value import policy_value
from sklearn_seqcrm.metrics._rankings import (
    hit_rate_at_k,
    mean_reciprocal_rank,
    ndcg_at_k,
    recall_at_k,
)
from sklearn_seqcrm.metrics._scorers import get_scorer
from sklearn_seqcrm.metrics._uplift_curves import qini_curve, uplift_curve
from sklearn_seqcrm.metrics._uplift_display import UpliftDisplay
from sklearn_seqcrm.metrics._uplift_scores import (
    qini_auc_score,
    uplift_at_k,
    uplift_auc_score,
)

__all__ = [
    "CalibrationByDecileDisplay",
    "GainDisplay",
    "UpliftDisplay",
    "aggregate_bias",
    "bootstrap_interval",
    "cumulative_gain_curve",
    "decile_mape",
    "decile_table",
    "get_scorer",
    "hit_rate_at_k",
    "lift_at",
    "mean_reciprocal_rank",
    "ndcg_at_k",
    "normalized_gini",
    "pit_histogram",
    "policy_value",
    "qini_auc_score",
    "qini_curve",
    "recall_at_k",
    "uplift_at_k",
    "uplift_auc_score",
    "uplift_curve",
]
