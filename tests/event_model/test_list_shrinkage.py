"""Shrinkage in lists: chosen by the NDCG of lists before moments of other customers."""

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from pandas.testing import assert_frame_equal

from sklearn_seqcrm.event_model import LSTMEventModel, _shrinkage
from sklearn_seqcrm.event_model._shrinkage import calibrate_state_shrinkage
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.metrics import ndcg_at_k

ITEMS = [f"item {number:02}" for number in range(16)]


def make_lines(n_customers, seed):
    """Return lines of baskets of one to four items, of which two are favourites."""
    rng = np.random.default_rng(seed)
    n_lines = rng.integers(1, 5, 6 * n_customers)
    who = np.repeat(np.arange(6 * n_customers) // 6, n_lines)
    day = np.repeat(np.tile([1, 3, 4, 8, 9, 15], n_customers), n_lines)
    favourites = rng.integers(0, 16, (n_customers, 2))
    item = np.where(
        rng.random(len(who)) < 0.6,
        favourites[who, rng.integers(0, 2, len(who))],
        rng.integers(0, 16, len(who)),
    )
    lines = pd.DataFrame({"who": who, "day": day, "item": np.array(ITEMS)[item]})
    return lines.drop_duplicates(ignore_index=True)


def rows_of(lines):
    return EventLog(lines, "who", "day").snapshots([20])


def fitted(seed=0, **params):
    params = {"hidden_size": 8, "max_epochs": 3, "learning_rate": 0.02} | params
    model = LSTMEventModel(early_stopping=False, random_state=0, **params)
    return model.fit(rows_of(make_lines(50, seed)))


def density_of(model):
    [density] = model.net_.module_.fields
    return density


def mean_ndcg(model, lines):
    """Return the mean NDCG@10 of the lists before each basket but the first ones."""
    log = EventLog(lines, "who", "day")
    baskets = lines[["who", "day"]].drop_duplicates()
    baskets = baskets[baskets.duplicated("who")].reset_index(drop=True)
    listed = model.predict_next(log.attach(baskets, cutoff="day"), "item", n=10)
    came = lines.merge(baskets.reset_index(names="row"), on=["who", "day"])
    came = came[["row", "item"]].rename(columns={"item": "value"})
    return ndcg_at_k(came, listed, 10)


def spy_on_ndcg(monkeypatch):
    """Return a list of the factors tried, and the NDCG of rows with each."""
    found, of_rows = [], _shrinkage.ValidationLists.ndcg_of_rows

    def spy(self):
        found.append((self.density.list_shrinkage.item(), of_rows(self)))
        return found[-1][1]

    monkeypatch.setattr(_shrinkage.ValidationLists, "ndcg_of_rows", spy)
    return found


@pytest.mark.parametrize("copies", [True, False])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_the_ndcg_is_that_of_lists_before_each_basket(copies, cell, monkeypatch):
    model, others = fitted(copies=copies, cell=cell), make_lines(12, 1)
    tried = spy_on_ndcg(monkeypatch)
    calibrate_state_shrinkage(model.net_, model._read(rows_of(others)))
    n_baskets = len(others[["who", "day"]].drop_duplicates()) - 12
    for factor, sums in tried[::4]:
        density_of(model).list_shrinkage.fill_(factor)
        assert_allclose(sums.sum() / n_baskets, mean_ndcg(model, others), rtol=1e-5)


def test_an_overconfident_state_is_shrunk_in_lists(monkeypatch):
    """Though the likelihood, which is left out here, does not shrink it."""
    monkeypatch.setattr(_shrinkage, "_choose_level_factors", lambda *_: None)
    model, others, more = fitted(), make_lines(60, 1), make_lines(60, 2)
    density = density_of(model)
    with torch.no_grad():
        density.output.weight[:, :8].mul_(60)
    before = mean_ndcg(model, more)
    calibrate_state_shrinkage(model.net_, model._read(rows_of(others)))
    assert density.list_shrinkage < 0.3
    assert_array_equal(density.shrinkage, torch.ones(2, 2))
    assert mean_ndcg(model, more) > before + 0.02


@pytest.mark.parametrize(
    ("better", "chosen"),
    [
        (
            {0.7: 0.1, 0.5: 0.11, 0.35: 0.11, 0.25: 0.0},
            0.35,
        ),  # the smallest of the best
        ({0.7: 0.001, 0.5: 0.001}, 1.0),  # by chance
        ({}, 1.0),
    ],
)
def test_the_smallest_factor_within_a_standard_error(better, chosen, monkeypatch):
    model, others = fitted(), make_lines(20, 1)
    noise = np.tile([0.01, -0.0101], 10)

    def ndcg_of_rows(self):
        factor = round(self.density.list_shrinkage.item(), 2)
        if factor == 1:
            return np.full(20, 0.5)
        return 0.5 + better.get(factor, -0.1) + noise * factor

    monkeypatch.setattr(_shrinkage.ValidationLists, "ndcg_of_rows", ndcg_of_rows)
    calibrate_state_shrinkage(model.net_, model._read(rows_of(others)))
    assert_allclose(density_of(model).list_shrinkage, chosen)


def choose_half(module, i, *_):
    """The likelihood chooses 0.5 for the softmax."""
    module.fields[i].shrinkage[0, 0] = 0.5


@pytest.mark.parametrize("n_customers", [9, 20])
def test_the_factor_of_the_likelihood_is_kept(n_customers, monkeypatch):
    """If no factor is better, or too few customers decide."""
    gain = 0.3 if n_customers == 9 else 0.0

    def ndcg_of_rows(self):
        return np.full(n_customers, 0.5 + gain * (self.density.list_shrinkage < 0.3))

    monkeypatch.setattr(_shrinkage.ValidationLists, "ndcg_of_rows", ndcg_of_rows)
    monkeypatch.setattr(_shrinkage, "_choose_level_factors", choose_half)
    model = fitted()
    calibrate_state_shrinkage(model.net_, model._read(rows_of(make_lines(20, 1))))
    assert density_of(model).list_shrinkage == 0.5


def test_an_interrupted_calibration_keeps_the_factor_of_the_likelihood(monkeypatch):
    def interrupted(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(_shrinkage.ValidationLists, "ndcg_of_rows", interrupted)
    monkeypatch.setattr(_shrinkage, "_choose_level_factors", choose_half)
    model = fitted()
    with pytest.raises(KeyboardInterrupt):
        calibrate_state_shrinkage(model.net_, model._read(rows_of(make_lines(20, 1))))
    assert density_of(model).list_shrinkage == 0.5


def test_lists_of_a_good_network_keep_the_factor_of_the_likelihood():
    """Lists of baskets that follow from the state alone."""
    days = np.tile(np.arange(12), 60)
    who = np.repeat(np.arange(60), 12)
    item = np.array(ITEMS)[(who * 5 + days) % 16]
    rows = rows_of(pd.DataFrame({"who": who, "day": days, "item": item}))
    model = LSTMEventModel(
        hidden_size=24,
        max_epochs=25,
        learning_rate=0.02,
        early_stopping=False,
        random_state=0,
    ).fit(rows[:40])
    calibrate_state_shrinkage(model.net_, model._read(rows[40:]))
    density = density_of(model)
    assert density.list_shrinkage == density.shrinkage[0, 0]


def test_only_lists_have_their_factor():
    model, X = fitted(), rows_of(make_lines(10, 1))
    asked = {
        "sample": lambda: model.sample(X, 20, n_paths=20, random_state=0),
        "scores": lambda: model.score_events(X),
        "within": lambda: model.predict_next(X, "item", within=20),
    }
    before = {name: ask() for name, ask in asked.items()}
    one, basket = (model.predict_next(X, "item", basket=b) for b in (False, True))
    density_of(model).list_shrinkage.fill_(0.1)
    assert not model.predict_next(X, "item").equals(one)
    assert not model.predict_next(X, "item", basket=True).equals(basket)
    for name, ask in asked.items():  # after the lists, which change nothing
        assert_frame_equal(ask(), before[name])


def test_lists_shrink_the_softmax_of_new_moments_alone():
    density = density_of(fitted()).eval()
    context = torch.rand(3, 8, generator=torch.Generator().manual_seed(0))
    is_tie = torch.tensor([False, True, False])
    density.list_shrinkage.fill_(0.1)
    softmax, gates, _ = density._shrunken(context, is_tie, of_lists=True)
    assert_allclose(softmax, context * torch.tensor([[0.1], [1.0], [0.1]]))
    assert_array_equal(gates, context)


def test_probabilities_of_kinds_are_those_of_their_fields():
    lines = make_lines(40, 0)
    letters = lines[["who", "day"]].drop_duplicates()
    letters = letters.assign(day=letters["day"] + 1, subject="sale")
    logs = {
        "order": EventLog(lines, "who", "day"),
        "letter": EventLog(letters, "who", "day"),
    }
    X = EventLog.concat(logs).snapshots([20])
    params = {"max_epochs": 5, "learning_rate": 0.02, "random_state": 0}
    model = LSTMEventModel(hidden_size=8, **params).fit(X)
    model.net_.module_.fields[0].list_shrinkage.fill_(0.0)
    kinds = model.predict_next(X, "event", n=5).set_index(["value", "row"])
    items = model.predict_next(X, "item", n=50).groupby("row")["probability"].sum()
    assert_allclose(kinds.loc["order", "probability"], items, atol=1e-4)


def test_a_field_that_no_moment_begins_with_has_no_lists():
    """Newsletters come first, and have no product."""
    lines = make_lines(20, 0)
    letters = lines[["who", "day"]].drop_duplicates().assign(subject="sale")
    log = EventLog.concat(
        {
            "letter": EventLog(letters, "who", "day"),
            "order": EventLog(lines, "who", "day"),
        }
    )
    X = log.snapshots([20])
    model = LSTMEventModel(hidden_size=4, max_epochs=1, random_state=0).fit(X[:10])
    calibrate_state_shrinkage(model.net_, model._read(X[10:]))
    by_name = dict(zip(model._learned.fields, model.net_.module_.fields, strict=True))
    found = by_name["item"]
    assert found.list_shrinkage == found.shrinkage[0, 0]


def test_single_events_have_no_lists():
    model = fitted()
    one = make_lines(5, 1).drop_duplicates("who")
    calibrate_state_shrinkage(model.net_, model._read(rows_of(one)))
    assert density_of(model).list_shrinkage == 1


def test_continued_training_begins_without_a_factor():
    model, X = fitted(warm_start=True), rows_of(make_lines(10, 1))
    density_of(model).list_shrinkage.fill_(0.5)
    model.fit(X)
    assert density_of(model).list_shrinkage == 1
