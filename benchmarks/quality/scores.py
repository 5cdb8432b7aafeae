"""Scores of predictions; the tables have the first score of each type."""

import numpy as np
from sklearn.metrics import log_loss, mean_poisson_deviance, roc_auc_score

from sklearn_seqcrm.metrics import aggregate_bias

# The first one is compared. Larger is better for these, smaller for all others.
MAIN = {"class": "auc", "count": "deviance", "number": "rmse"}
LARGER_IS_BETTER = {"auc"}


def scores_of(task, model, X, y):
    """Return the scores of a fitted model on some rows, a dict of floats."""
    if task.kind == "class":
        probability = model.predict_proba(X)[:, 1]
        return {
            "auc": score("auc", y, probability),
            "log_loss": log_loss(y, probability),
            "accuracy": np.mean((probability > 0.5) == y),
        }
    predicted = model.predict(X)
    scores = {
        "rmse": score("rmse", y, predicted),
        "mae": np.mean(np.abs(predicted - y)),
        "bias": aggregate_bias(y, predicted),
    }
    if task.kind == "count":
        scores["deviance"] = score("deviance", y, predicted)
    return scores


def score(name, y, predicted, weight=None):
    """Return one score of predictions, a float; rows may have weights."""
    if name == "auc":
        return roc_auc_score(y, predicted, sample_weight=weight)
    if name == "deviance":
        predicted = np.maximum(predicted, 1e-9)
        return mean_poisson_deviance(y, predicted, sample_weight=weight)
    return float(np.sqrt(np.average((predicted - y) ** 2, weights=weight)))
