"""Customers with favourites: predictions and simulations keep their tastes."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest

from sklearn_seqcrm.event_model import LSTMEventModel
from tests.logs import log_of_table

# Three favourites of 30 items have .525 of the purchases; the others are alike.
N_ITEMS, N_FAVOURITES, MASS, N_EVENTS = 30, 3, 0.525, 60
OF_FAVOURITE = MASS / N_FAVOURITES
OF_OTHER = (1 - MASS) / (N_ITEMS - N_FAVOURITES)
QUARTER = 90.0


def histories(n_customers, seed):
    """Return rows with 60 purchases each, their items and their favourites."""
    rng = np.random.default_rng(seed)
    every = np.tile(np.arange(N_ITEMS), (n_customers, 1))
    favourites = rng.permuted(every, axis=1)[:, :N_FAVOURITES]
    shares = np.full(every.shape, OF_OTHER)
    np.put_along_axis(shares, favourites, OF_FAVOURITE, axis=1)
    drawn = rng.random((n_customers, N_EVENTS, 1))
    items = (drawn > shares.cumsum(axis=1)[:, None]).sum(axis=2).clip(max=N_ITEMS - 1)
    days = rng.exponential(6, items.shape).cumsum(axis=1)
    who = np.repeat(np.arange(n_customers), N_EVENTS)
    events = pd.DataFrame({"who": who, "day": days.ravel()})
    events["item"] = np.char.add("item ", items.ravel().astype(str))
    rows = pd.DataFrame({"who": range(n_customers), "at": days[:, -1] + 0.01})
    return log_of_table(events).attach(rows, cutoff="at"), items, favourites


def posterior_mass(items, favourites):
    """Return the predictive mass of the favourites, by Bayes over all sets of three."""
    counts = np.stack([np.bincount(own, minlength=N_ITEMS) for own in items])
    sets = np.array([*combinations(range(N_ITEMS), N_FAVOURITES)])
    weights = counts[:, sets].sum(axis=2) * np.log(OF_FAVOURITE / OF_OTHER)
    weights = np.exp(weights - weights.max(axis=1, keepdims=True))
    weights /= weights.sum(axis=1, keepdims=True)
    n_right = (sets[:, :, None] == favourites[:, None, None]).any(axis=3).sum(axis=2)
    expected = (weights * n_right).sum(axis=1)  # favourites that are in the set
    return expected * OF_FAVOURITE + (N_FAVOURITES - expected) * OF_OTHER


@pytest.fixture(scope="module")
def model():
    X, _, _ = histories(900, 0)
    params = {"hidden_size": 8, "max_epochs": 8, "n_iter_no_change": 3}
    return LSTMEventModel(**params, random_state=0).fit(X)


def test_favourites_have_their_mass_and_keep_it(model):
    """Within .02 of the best possible, and of the truth in four simulated quarters."""
    X, items, favourites = histories(250, 1)
    names = np.char.add("item ", favourites.astype(str))

    def is_favourite(found, column):
        return (names[found["row"]] == found[column].to_numpy()[:, None]).any(axis=1)

    found = model.predict_next(X, "item", n=N_ITEMS)
    mass = found["probability"][is_favourite(found, "value")].sum() / len(X)
    best = posterior_mass(items, favourites).mean()
    assert abs(mass - best) < 0.02
    futures = model.sample(X, 4 * QUARTER, n_paths=20, random_state=0)
    since = futures["day"] - X["at"].to_numpy()[futures["row"]]
    shares = pd.Series(is_favourite(futures, "item")).groupby(since // QUARTER).mean()
    # After a year, with 120 purchases, the posterior is nearly certain.
    assert shares.between(best - 0.02, MASS + 0.02).all()
    assert shares.max() - shares.min() < 0.02
