"""Baskets: one step a moment, and the lines of a moment one by one."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_seqcrm._recurrent.network import trains_in_bfloat16
from sklearn_seqcrm.event_model import LSTMEventModel
from sklearn_seqcrm.event_model._event_batches import EventBatches, VisibleEvents
from sklearn_seqcrm.event_model._network import EventNetwork
from sklearn_seqcrm.event_model._simulate import Simulator
from sklearn_seqcrm.events import EventLog

CUTOFFS, END = [20, 40], 70
READERS = {
    "lstm": {},
    "gru": {"cell": "gru", "num_layers": 2},
    "rnn": {"cell": "rnn"},
    "stretches": {"num_layers": 2, "bptt_steps": 2},
}


def make_lines(n_baskets=60, seed=0):
    """Return baskets of one to five lines at whole days before day 40."""
    rng = np.random.default_rng(seed)
    who, day = rng.integers(0, 12, n_baskets), rng.integers(0, 40, n_baskets)
    baskets = pd.DataFrame({"who": who, "day": day}).drop_duplicates()
    n_lines = rng.integers(1, 6, len(baskets))
    lines = baskets.loc[baskets.index.repeat(n_lines)].reset_index(drop=True)
    lines["item"] = rng.choice([*"abcdefgh"], len(lines))
    return lines.assign(amount=rng.gamma(2, 5, len(lines)).round(2))


LINES = make_lines()


def rows_of(lines, cutoffs=CUTOFFS):
    return EventLog(lines, "who", "day").snapshots(cutoffs)


def fitted(**parameters):
    model = LSTMEventModel(
        hidden_size=8, max_epochs=2, random_state=0, **parameters
    ).fit(rows_of(LINES))
    with torch.no_grad():
        for weight in model.net_.module_.parameters():
            weight.mul_(1.5)  # so that the lines of a basket matter
    return model


@pytest.fixture(scope="module", params=READERS.values(), ids=READERS)
def model(request):
    return fitted(**request.param)


def is_first_line(X, scores):
    days = X["history"].array.to_frame()["day"].to_numpy()
    is_same = (np.diff(days) == 0) & (np.diff(scores["row"]) == 0)
    return np.append(True, ~is_same)


# The likelihood -----------------------------------------------------------------------


def test_order_of_lines_matters_within_their_moment_only(model):
    X = rows_of(LINES)
    other = rows_of(LINES.sample(frac=1, random_state=0))
    scores, others = model.score_events(X), model.score_events(other)
    first = is_first_line(X, scores)
    time = "log_prob_time"
    assert_allclose(others[time][first], scores[time][first], rtol=1e-6)
    assert np.abs(others["log_prob"] - scores["log_prob"]).max() > 0.1
    assert_array_equal(model.transform(other), model.transform(X))
    survival = model.predict_survival_function(X, return_array=True)
    after = model.predict_survival_function(other, return_array=True)
    assert_array_equal(after, survival)


def test_state_before_a_line_is_that_of_a_history_that_ends_there(model):
    """Each prefix of a history has one state, whether its moment goes on or not."""
    X = rows_of(LINES, [40])
    events = X["history"].array.to_frame()
    data = model._read(X)
    module = model.net_.module_.eval()
    found = {}
    with torch.no_grad():
        for rows, part in model.net_.parts(data, with_events=True):
            states, visible = module.states(part).states, part.events
            for row, step, state in zip(
                visible.row, visible.position, states, strict=True
            ):
                found[rows[row], int(step)] = state.numpy()
    row = events.index.get_level_values(0).to_numpy()
    who = X["who"].to_numpy()[np.unique(row, return_inverse=True)[1]]
    table = events.reset_index(drop=True).assign(who=who)[LINES.columns]
    n_checked = 0
    for i, one in enumerate(X["who"]):
        own = table[table["who"] == one]
        for n in range(1, len(own)):
            state = model.transform(rows_of(own.iloc[:n], [40])).to_numpy()[0]
            assert_allclose(found[i, n], state, atol=1e-6)
            n_checked += own["day"].iloc[n] == own["day"].iloc[n - 1]
    assert n_checked > 50


def test_rows_have_the_same_scores_alone(model):
    X = rows_of(LINES)
    together = model.score_samples(X)
    alone = [model.score_samples(X.iloc[[i]])[0] for i in range(len(X))]
    assert_allclose(alone, together, rtol=1e-5)
    order = np.random.default_rng(0).permutation(len(X))
    assert_allclose(model.score_samples(X.iloc[order]), together[order], rtol=1e-5)
    sums = model.score_events(X).groupby("row")["log_prob"].sum()
    assert (sums >= together[sums.index] - 1e-3).all()  # without the survival term


def test_events_behind_the_cutoff_change_nothing(model):
    late = LINES["day"] >= CUTOFFS[0]
    changed = LINES.assign(
        item=LINES["item"].where(~late, "a"), amount=LINES["amount"].where(~late, 1.0)
    )
    X, other = rows_of(LINES, CUTOFFS[:1]), rows_of(changed, CUTOFFS[:1])
    assert_array_equal(model.score_samples(other), model.score_samples(X))
    assert_array_equal(model.transform(other), model.transform(X))


# Simulation ---------------------------------------------------------------------------


def sample(model, X):
    """Simulate a path of each row until `END`, with the customers of the rows."""
    with warnings.catch_warnings():
        # Larger weights make baskets longer than any in training.
        warnings.filterwarnings("ignore", ".*simulated paths had", UserWarning)
        futures = model.sample(X, END - 40, n_paths=1, random_state=0)
    return futures.assign(who=X["who"].to_numpy()[futures["row"]])


def test_simulated_states_are_those_of_the_history_read_afresh(model, monkeypatch):
    X = rows_of(LINES, [40])
    append, outputs = Simulator.append, {}

    def kept(self, paths, values, codes):
        paths = append(self, paths, values, codes)
        outputs.update(zip(paths.number.tolist(), paths.output.numpy(), strict=True))
        return paths

    monkeypatch.setattr(Simulator, "append", kept)
    futures = sample(model, X)
    n_ties = futures.duplicated(["row", "day"]).sum()
    assert 10 < n_ties < len(futures) - 10
    both = pd.concat([LINES.sort_values("day", kind="stable"), futures])
    afresh = rows_of(both[LINES.columns], [END])
    place = pd.Index(afresh["who"]).get_indexer(X["who"])
    states = model.transform(afresh).to_numpy()[place[list(outputs)]]
    assert_allclose(np.stack([*outputs.values()]), states, atol=1e-6)


def test_draws_see_the_context_of_the_likelihood(monkeypatch):
    """Contexts of simulated lines are those that score the same lines."""
    model, drawn = fitted(), []
    X = rows_of(LINES, [40])
    draw = type(model.net_.module_.fields[0]).draw

    def kept(self, context, *args):
        drawn.append(context.numpy())
        return draw(self, context, *args)

    density = type(model.net_.module_.fields[0])
    monkeypatch.setattr(density, "draw", kept)
    futures = sample(model, X)
    number = futures.groupby("row").cumcount()
    order = np.lexsort((futures["row"], number))
    both = pd.concat([LINES.sort_values("day", kind="stable"), futures])
    afresh = rows_of(both[LINES.columns], [END])
    contexts = EventNetwork.field_contexts
    scored = []

    def seen(self, states):
        events = states.events
        for i, context in enumerate(contexts(self, states)):
            if i == 0:
                scored.append((events.row.numpy(), events.position.numpy(), context))
            yield context

    monkeypatch.setattr(EventNetwork, "field_contexts", seen)
    rows = [rows for rows, _ in model.net_.parts(model._read(afresh))]
    model.score_events(afresh)
    had = LINES.groupby("who").size().reindex(afresh["who"]).fillna(0).to_numpy()
    found = {}
    for own, (row, step, context) in zip(rows, scored, strict=True):
        for i, k, one in zip(own[row], step, context.numpy(), strict=True):
            if k >= had[i]:
                found[afresh["who"].iloc[i], k - had[i]] = one
    keys = zip(futures["who"].iloc[order], number.iloc[order], strict=True)
    expected = np.stack([found[key] for key in keys])
    assert_allclose(np.concatenate(drawn), expected, atol=1e-5)


# Everything else ----------------------------------------------------------------------


def test_no_ties_need_no_moments():
    """Events at times of their own have the steps and the weights that they had."""
    single = LINES.drop_duplicates(["who", "day"])
    model = LSTMEventModel(hidden_size=4, max_epochs=1, random_state=0)
    module = model.fit(rows_of(single)).net_.module_
    assert module.reader.moments is None
    assert module.lines_before is None


@pytest.mark.parametrize("moments", [True, False, "auto"])
def test_moments_can_be_chosen(moments):
    X = rows_of(LINES)
    model = fitted(moments=moments)
    assert (model.net_.module_.lines_before is None) == (moments is False)
    scores = model.score_events(X)
    others = model.score_events(rows_of(LINES.sample(frac=1, random_state=0)))
    first = is_first_line(X, scores)
    change = np.abs(others["log_prob_time"] - scores["log_prob_time"])[first].max()
    assert (change > 1e-3) == (moments is False)
    with pytest.raises(ValueError, match="moments"):
        LSTMEventModel(moments="1D").fit(X)


def test_pickles_and_more_training():
    X = rows_of(LINES)
    model = fitted(warm_start=True)
    back = pickle.loads(pickle.dumps(model))
    assert_array_equal(back.score_samples(X), model.score_samples(X))
    before = model.score(X)
    assert model.set_params(max_epochs=5).fit(X).score(X) > before


def test_bfloat16_simulates():
    if not trains_in_bfloat16("cpu"):
        pytest.skip("The processor has no LSTM in bfloat16.")
    model = fitted(precision="bfloat16", num_layers=2)
    X = rows_of(LINES, [40])
    assert len(sample(model, X))
    assert np.isfinite(model.score_samples(X)).all()


def test_parts_have_as_many_events_as_memory_allows():
    X = rows_of(LINES)
    data = fitted()._read(X)
    [source] = data.sources
    counts = source.events.lengths
    batches = EventBatches(data, 1000, share=False, steps_at_once=30, most_steps=10**6)
    parts = [part for batch in batches.plan() for part in batch]
    assert_array_equal(np.sort(np.concatenate(parts)), np.arange(len(X)))
    assert all(counts[part].sum() <= 30 or len(part) == 1 for part in parts)
    assert max(len(part) for part in parts) > 1


def test_events_of_rows_stand_row_by_row():
    X = rows_of(LINES)
    data = fitted()._read(X)
    rows = np.array([3, 0])
    events = VisibleEvents.of(data.sources[0], rows)
    days = [X["history"].array[i].to_frame()["day"].to_numpy() for i in rows]
    steps = [np.unique(own, return_inverse=True)[1] for own in days]
    assert_array_equal(events.row, np.repeat([0, 1], [len(own) for own in days]))
    assert_array_equal(events.step, np.concatenate(steps))
    n_before = [(np.arange(len(own)) - np.searchsorted(own, own)) for own in days]
    assert_array_equal(events.n_before, np.concatenate(n_before))
    position = np.concatenate([np.arange(len(own)) for own in days])
    assert_array_equal(events.position, position)
    assert_array_equal(events.n_steps, [len(np.unique(own)) for own in days])
