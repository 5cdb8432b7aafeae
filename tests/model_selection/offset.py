"""A model that predicts a column plus a number, and its data."""

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin

RNG = np.random.default_rng(0)
N = 60
X, Y = RNG.normal(size=(N, 3)), RNG.integers(2, size=N)


class Offset(RegressorMixin, BaseEstimator):
    """Predicts the first column plus a number; fit number `fails` + 1 interrupts."""

    def __init__(self, offset=0.0, fails=None):
        self.offset = offset
        self.fails = fails

    def fit(self, X, y):
        Offset.n_fits = getattr(Offset, "n_fits", 0) + 1
        if self.fails is not None and Offset.n_fits > self.fails:
            raise KeyboardInterrupt
        return self

    def predict(self, X):
        return np.asarray(X)[:, 0] + self.offset
