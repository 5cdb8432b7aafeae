"""Small data, quick settings, and callbacks that record a fit."""

import copy

import numpy as np
import pandas as pd
from sklearn.base import clone
from skorch.callbacks import Callback

from sklearn_seqcrm.preprocessing import HistoryEncoder
from sklearn_seqcrm.testing._small_data import make_table, make_y


def make_frame(n_customers=10, **options):
    """Return encoded histories, and the customer number as the last static."""
    table = make_table(n_customers, **options)
    number = pd.factorize(table["who"])[0]
    return HistoryEncoder().fit_transform(table)[["history"]].assign(number=number)


X = make_frame()
Y = make_y(X)
COUNTS = np.random.default_rng(0).poisson(2, len(X)).astype(float)


class Watcher(Callback):
    """Callback with a list of what it saw, which its copies in fits share."""

    def __init__(self, seen):
        self.seen = seen

    def __deepcopy__(self, memo):
        return type(self)(self.seen)


class Spy(Watcher):
    """Record the rows of a fit, and losses and weights after each epoch."""

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        self.seen.append(X)

    def on_epoch_end(self, net, **kwargs):
        weights = copy.deepcopy(net.module_.state_dict())
        self.seen.append((net.history[-1].get("valid_loss"), weights))


def fit_and_see(model, X, y, **fit_params):
    seen = []
    model = clone(model).set_params(callbacks=[Spy(seen)])
    return model.fit(X, y, **fit_params), seen
