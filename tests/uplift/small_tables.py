"""Small tables with known effects, and linear meta-learners."""

import numpy as np
from sklearn.linear_model import LinearRegression, LogisticRegression

from sklearn_seqcrm.uplift import UpliftRegressor

LEARNERS = ["s", "t", "x", "dr", "r"]
# One model of effects, of rows without weights that the propensities define.
PLAIN = {"calibrate": False, "overlap_weights": False}
POINTS = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [-1.0, 2.0]])


def table(n=600, seed=0, confounded=True):
    """Rows whose effect is 1 + x_0 - x_1, and the probability of treatment."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 2))
    propensity = 1 / (1 + np.exp(-X[:, 0])) if confounded else np.full(n, 0.5)
    treated = (rng.random(n) < propensity).astype(int)
    y = 2 * X[:, 0] + X[:, 1] + treated * effect(X) + rng.normal(size=n)
    return X, y, treated, propensity


def effect(X):
    return 1 + X[:, 0] - X[:, 1]


def three_folds(n=600):
    fold = np.arange(n) % 3
    return [(np.flatnonzero(fold != i), np.flatnonzero(fold == i)) for i in range(3)]


def linear(learner="dr", **params):
    params = {"propensity_estimator": LogisticRegression(), **params}
    return UpliftRegressor(LinearRegression(), learner=learner, **params)


def pseudo_outcomes(X, y, treated, propensity):
    """Doubly robust pseudo-outcomes with three folds, row by row."""
    pseudo = np.zeros(len(y))
    for train, test in three_folds(len(y)):
        own = [train[treated[train] == arm] for arm in (0, 1)]
        outcome = [LinearRegression().fit(X[rows], y[rows]) for rows in own]
        for i in test:
            m_0, m_1 = (float(one.predict(X[[i]])[0]) for one in outcome)
            pseudo[i] = m_1 - m_0
            if treated[i]:
                pseudo[i] += (y[i] - m_1) / propensity[i]
            else:
                pseudo[i] -= (y[i] - m_0) / (1 - propensity[i])
    return pseudo
