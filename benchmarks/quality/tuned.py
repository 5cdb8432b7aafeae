"""LightGBM on window aggregates, tuned as a careful user would."""

from lightgbm import LGBMClassifier, LGBMRegressor
from scipy.stats import loguniform, randint, uniform
from sklearn.model_selection import RandomizedSearchCV
from sklearn.pipeline import make_pipeline

from sklearn_seqcrm.feature_extraction import HistoryAggregator
from sklearn_seqcrm.model_selection import CutoffSplit

_SPACE = {
    "n_estimators": randint(50, 600),
    "learning_rate": loguniform(0.01, 0.1),
    "num_leaves": randint(5, 64),
    "min_child_samples": randint(10, 300),
    "colsample_bytree": uniform(0.3, 0.7),
    "subsample": uniform(0.5, 0.5),
    "reg_lambda": loguniform(0.01, 100),
}
_SCORING = {
    "class": "roc_auc",
    "count": "neg_mean_poisson_deviance",
    "number": "neg_root_mean_squared_error",
}


def lightgbm(task, seed, settings=None):
    """Make a pipeline of window aggregates and LightGBM."""
    settings = {"subsample_freq": 1, "verbose": -1, "n_jobs": 1} | (settings or {})
    trees = LGBMClassifier if task.kind == "class" else LGBMRegressor
    if task.kind == "count":
        settings = {"objective": "poisson"} | settings
    return make_pipeline(HistoryAggregator(), trees(random_state=seed, **settings))


def tune(task, X, y, n_iter=20):
    """Return the settings that predict the latest training cutoff best, a dict.

    They are searched for among training rows alone, forward in time.
    """
    pipeline = lightgbm(task, 0)
    name = pipeline.steps[-1][0]
    space = dict(_SPACE)
    if task.kind == "number":
        # Sums that are never negative may have a Poisson loss.
        space["objective"] = ["regression"] + ["tweedie"] * bool(y.min() >= 0)
    search = RandomizedSearchCV(
        pipeline,
        {f"{name}__{key}": value for key, value in space.items()},
        n_iter=n_iter,
        scoring=_SCORING[task.kind],
        cv=CutoffSplit(1),
        random_state=0,
        refit=False,
    ).fit(X, y)
    return {
        key.removeprefix(f"{name}__"): value.item() if hasattr(value, "item") else value
        for key, value in search.best_params_.items()
    }
