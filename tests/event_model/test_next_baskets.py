"""The next basket: against simulations, and in any batch of rows."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from sklearn_seqcrm.event_model import LSTMEventModel, _copy_state, _path_draws
from sklearn_seqcrm.event_model._busiest_windows import BusiestWindows
from sklearn_seqcrm.events import EventLog


def make_rows(n_customers=60):
    """Return baskets of one to nine lines; each customer has favourites."""
    rng = np.random.default_rng(0)
    taste = rng.dirichlet(np.full(12, 0.3), n_customers)
    n_lines = 1 + rng.poisson(rng.choice([0, 4], 8 * n_customers))
    basket = np.repeat(np.arange(8 * n_customers), n_lines)
    who, day = basket % n_customers, basket // n_customers * 7 + basket % 5
    item = [f"i{rng.choice(12, p=taste[i])}" for i in who]
    events = pd.DataFrame({"who": who, "day": day, "price": day % 3, "item": item})
    log = EventLog(events, "who", "day", categorical=[])
    return log.attach(pd.DataFrame({"who": range(n_customers)}), cutoff=60)


@pytest.fixture(scope="module", name="X")
def rows():
    return make_rows()


@pytest.fixture(scope="module")
def model(X):
    params = {"max_epochs": 4, "learning_rate": 0.02, "random_state": 0}
    fitted = LSTMEventModel(hidden_size=8, **params).fit(X)
    # Nobody leaves, so that all simulated paths have a basket.
    fitted.net_.module_.time.offset_never(-30.0)
    return fitted


def probabilities(found):
    return found.pivot(index="row", columns="value", values="probability")


@pytest.mark.filterwarnings("ignore:.* simulated paths had")
def test_errors_are_small(model, X, monkeypatch):
    """Against the share of 1,000 simulated baskets of each row."""
    rows, n_paths = X[:8], 1000
    # The first basket is enough of a path.
    monkeypatch.setattr(BusiestWindows, "bound", lambda *_: 20)
    asked = {"n": 12, "basket": True, "n_draws": 100}
    found = probabilities(model.predict_next(rows, "item", **asked))
    futures = model.sample(rows, 2000, n_paths, random_state=1)
    first = futures.groupby(["row", "path"])["day"].transform("min")
    basket = futures[futures["day"] == first].drop_duplicates(["row", "path", "item"])
    counts = pd.crosstab(basket["row"], basket["item"]) / n_paths
    error = (found - counts[found.columns]).to_numpy()
    noise = (counts * (1 - counts)).to_numpy().mean() / n_paths
    assert found.to_numpy().max() > 0.4
    assert np.sqrt(np.square(error).mean() - noise) < 0.02
    assert np.abs(error).max() < 0.1


@pytest.mark.filterwarnings("ignore:.* simulated paths had")
@pytest.mark.parametrize(
    "params",
    [{}, {"basket": True, "n_draws": 4}, {"within": 9, "n_draws": 20}],
    ids=["next event", "basket", "within"],
)
def test_probabilities_do_not_depend_on_the_batch(model, X, params):
    whole = probabilities(model.predict_next(X, "item", n=12, **params))
    few = [40, 3, 17]
    some = probabilities(model.predict_next(X.iloc[few], "item", n=12, **params))
    # Rounding may send a draw another way once in 100,000 times.
    assert_allclose(some.to_numpy(), whole.loc[few].to_numpy(), atol=1e-4)
    twice = X.iloc[[5, 5]]
    both = probabilities(model.predict_next(twice, "item", n=12, **params))
    assert_allclose(both.loc[1], both.loc[0], atol=1e-5)


@pytest.mark.filterwarnings("ignore:.* simulated paths had")
@pytest.mark.parametrize("tries", [0, 4], ids=["copies", "all levels"])
def test_probabilities_do_not_depend_on_portions(monkeypatch, tries):
    """Regression test: portions of paths parted those of a row, and its strata.

    Draws of an item that the basket has already are repeated, some paths at a time.
    """
    rng = np.random.default_rng(0)
    items = rng.permuted(np.tile([*"abcdefgh"], (200, 1)), axis=1)[:, :4].ravel()
    lines = pd.DataFrame({"who": np.arange(800) // 20, "day": np.arange(800) // 4 % 5})
    lines["item"], lines["shop"] = items, rng.choice([*"xyz"], 800)
    log = EventLog(lines, "who", "day")
    X = log.attach(pd.DataFrame({"who": range(40)}), cutoff=6)
    params = {"max_epochs": 2, "learning_rate": 0.02, "random_state": 0}
    model = LSTMEventModel(hidden_size=6, **params).fit(X)
    monkeypatch.setattr(_copy_state, "_TRIES", tries)
    asked = {"field": "shop", "basket": True, "n_draws": 16}
    whole = probabilities(model.predict_next(X, **asked))
    # Seven paths at a time.
    monkeypatch.setattr(_path_draws, "_PROBABILITIES_AT_ONCE", 70)
    parted = probabilities(model.predict_next(X, **asked))
    assert_allclose(parted, whole, atol=1e-5)
