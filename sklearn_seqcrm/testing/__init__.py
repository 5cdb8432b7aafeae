"""Checks for estimators of histories, also those of users."""

from sklearn_seqcrm.testing._check_history_estimator import (
    all_estimators,
    check_history_estimator,
    parametrize_with_history_checks,
)

__all__ = [
    "all_estimators",
    "check_history_estimator",
    "parametrize_with_history_checks",
]
