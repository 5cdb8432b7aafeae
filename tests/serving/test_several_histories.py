"""Streams of rows with several histories, of one entity or of different ones."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.neural_network import LSTMClassifier, LSTMRegressor
from sklearn_seqcrm.preprocessing import make_history_pipeline
from sklearn_seqcrm.serving import StreamingScorer
from tests.serving.streams import (
    AFTER,
    EVENTS,
    EXACT,
    LOG,
    PEOPLE,
    ROWS,
    SMALL,
    as_event,
    predicted,
)


@pytest.mark.parametrize(
    ("estimator", "moments"), [(LSTMClassifier, False), (LSTMRegressor, "30D")]
)
def test_several_history_columns(estimator, moments):
    """Histories of customers, and of the cities in which they live."""
    visits = EVENTS.assign(city=np.array(["Rome", "Oslo"])[EVENTS.index % 2])
    visits = visits.drop(columns=["who", "due"])
    cities = EventLog(visits, "city", "when", observed_until=AFTER)
    X = LOG.attach(ROWS.assign(place=ROWS["city"].fillna("Rome")), cutoff="at")
    X = cities.attach(X, customer="place", cutoff="at", name="visits")
    y = np.arange(len(X)) % 2
    model = make_history_pipeline(estimator(**SMALL))
    model.set_params(encoder__moments=moments).fit(X, y)
    keys = {"history": "who", "visits": "place"}
    for one_column in ("who", dict.fromkeys(keys, "who")):
        with pytest.raises(ValueError, match=r"'history' and 'visits'.*different enti"):
            StreamingScorer(model, one_column, "when")
    scorer = StreamingScorer(model, keys, "when")
    with pytest.raises(KeyError, match="history=None is none of"):
        scorer.update(LOG)
    scorer.update(LOG, history="history")
    table = visits.rename(columns={"city": "place"})
    scorer.update(table.iloc[:20], history="visits")
    scorer.update(table.iloc[20:], history="visits")
    assert scorer.n_customers == {"history": 10, "visits": 2}
    shown = "n_customers={'history': 10, 'visits': 2}"
    assert repr(scorer) == f"StreamingScorer({estimator.__name__}, {shown})"
    people = PEOPLE.assign(place=PEOPLE["city"].fillna("Rome"))
    X = EventLog(EVENTS, "who", "when", observed_until=AFTER).attach(
        people, cutoff=AFTER
    )
    X = cities.attach(X, customer="place", cutoff=AFTER, name="visits")
    expected = predicted(model, X)
    assert_allclose(predicted(scorer, people, AFTER), expected, **EXACT)
    for row, wanted in zip(people.to_dict("records"), expected, strict=True):
        ids = {"history": row["who"], "visits": row["place"]}
        found = scorer.score_one(ids, None, as_event(row), AFTER)
        assert_allclose(found, wanted, **EXACT)
    with pytest.raises(ValueError, match=r"no entry for the history columns \['hist"):
        scorer.score_one({"visits": "Rome"}, None, as_event(row), AFTER)
    with pytest.raises(ValueError, match=r"'c1' is one id, but .*'visits'\] belong to"):
        scorer.score_one("c1", None, as_event(row), AFTER)


def test_entities_are_found_by_their_ids():
    """Not by the name of their column, which may be that of another log."""
    X = LOG.attach(ROWS, cutoff="at").rename(columns={"who": "client"})
    X["who"] = X["city"].fillna("Rome")
    cities = EventLog(EVENTS.assign(who="Rome"), "who", "when", observed_until=AFTER)
    X = cities.attach(X, cutoff="at", name="visits")
    model = make_history_pipeline(LSTMClassifier(**SMALL)).fit(X, np.arange(len(X)) % 2)
    with pytest.raises(ValueError, match=r"'history' and 'visits'.*different enti"):
        StreamingScorer(model, "who", "when")


def test_histories_of_the_same_customers_have_one_id():
    """Also if the column of the ids was renamed, or new events call it otherwise."""
    X = LOG.attach(ROWS, cutoff="at").rename(columns={"who": "client"})
    X = LOG.attach(X, customer="client", cutoff="at", name="again")
    model = make_history_pipeline(LSTMClassifier(**SMALL)).fit(X, np.arange(len(X)) % 2)
    people, scores = PEOPLE.assign(user=PEOPLE["who"]), []
    for keys in ("who", {"history": "who", "again": "user"}):
        scorer = StreamingScorer(model, keys, "when")
        scorer.update(LOG, history="history")
        scorer.update(EVENTS.assign(user=EVENTS["who"]), history="again")
        scores.append(scorer.score_one("c1", None, as_event(people.iloc[1]), AFTER))
    assert_array_equal(*scores)
