import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib import pyplot as plt
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sklearn_seqcrm._recurrent.data._batches import Batch
from sklearn_seqcrm._recurrent.data._inputs import read_inputs
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.inspection import (
    HistoryDisplay,
    event_attributions,
)
from sklearn_seqcrm.neural_network import LSTMClassifier
from sklearn_seqcrm.preprocessing import HistoryEncoder
from sklearn_seqcrm.testing._small_data import make_events, make_table, make_y
from tests.inspection.models import (
    SMALL,
    assert_complete,
    assert_complete_by_field,
    log_odds,
    network,
)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"cell": "gru", "pooling": "attention", "bptt_steps": 3},
        {"cell": "rnn", "num_layers": 2, "head_sizes": (5, 4)},
        {"bidirectional": True, "head_sizes": ()},
        {"n_networks": 2, "num_layers": 2},
    ],
)
def test_completeness(X, options):
    model = network(X, learning_rate=0.1, **options)
    found = assert_complete_by_field(model, X)
    assert {"amount", "kind", "due", "when"} < set(found["field"])
    statics = {"age", "city", "joined", "member"}
    assert statics | {"time since the last event"} < set(found["field"])


def test_integrated_gradients_against_torch(X):
    """Against a sum over many points of plain gradients, one row at a time."""
    model = network(X, learning_rate=0.1)
    found = event_attributions(model, X, "integrated_gradients", by="field")
    encoded = model[:-1].transform(X)
    net = model[-1].net_
    row = int(X["history"].array.lengths.argmax())
    data = read_inputs(model[-1], encoded, reset=False).data
    [part] = Batch(data, [np.array([row])], share=False)
    module = net.module_.eval()
    steps = module.readers[0].embed(part.histories[0].values, part.histories[0].codes)
    steps, total, n = steps.detach(), 0.0, 200
    for k in range(n):
        at = ((k + 0.5) / n * steps).requires_grad_()
        static = (k + 0.5) / n * part.static
        [output] = module(type(part)(part.histories, static, None), [at])
        total = total + torch.autograd.grad(output[1] - output[0], at)[0] / n
    expected = (total * steps)[0].sum(dim=1)
    events = found[(found["row"] == row) & found["position"].notna()]
    actual = events.groupby("position")["attribution"].sum()
    assert expected.abs().max() > 0.02
    np.testing.assert_allclose(actual, expected, atol=2e-3)


def test_independent_of_torch_settings(X, lstm):
    method = "integrated_gradients"
    lstm.predict(X)  # after fit, the first prediction sets evaluation mode
    state, module = torch.get_rng_state(), lstm[-1].net_.module_
    modes = [one.training for one in module.modules()]
    expected = event_attributions(lstm, X, method)
    with torch.inference_mode():
        pd.testing.assert_frame_equal(event_attributions(lstm, X, method), expected)
    with torch.no_grad(), torch.autocast("cpu"):
        pd.testing.assert_frame_equal(event_attributions(lstm, X, method), expected)
    torch.set_default_dtype(torch.float64)
    try:
        pd.testing.assert_frame_equal(event_attributions(lstm, X, method), expected)
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(torch.get_rng_state(), state)
    assert [one.training for one in module.modules()] == modes
    assert all(one.requires_grad for one in module.parameters())


def test_paths_of_some_fields(X):
    """The baseline is the output of the row without these fields."""
    model = network(X, learning_rate=0.1)
    options = {"by": "field", "fields": ["amount", "kind"], "return_outputs": True}
    found, outputs = event_attributions(model, X, "integrated_gradients", **options)
    assert found["field"].unique().tolist() == ["amount", "kind"]
    assert found["position"].notna().all()
    encoded = model[:-1].transform(X)
    row = int(X["history"].array.lengths.argmax())
    data = read_inputs(model[-1], encoded, reset=False).data
    layout = encoded["history"].array.log.layout
    [part] = Batch(data, [np.array([row])], share=False)
    module = model[-1].net_.module_.eval()
    batch = part.histories[0]
    steps = module.readers[0].embed(batch.values, batch.codes).detach()
    n_channels = len(layout.channels)
    for j, source in enumerate(layout.sources[:n_channels]):
        if source in ("amount", "kind"):
            steps[:, :, j] = 0
    steps[:, :, n_channels:] = 0  # the only code is that of the kind
    [output] = module(part, [steps]).detach()
    expected = float(output[1] - output[0])
    assert outputs["baseline"][row] == pytest.approx(expected, abs=1e-5)
    assert abs(outputs["baseline"][row] - outputs["output"][row]) > 0.01
    assert_complete(found, outputs)
    whole, _ = event_attributions(
        model, X, "integrated_gradients", **{**options, "by": "event"}
    )
    np.testing.assert_allclose(
        whole["attribution"],
        found.groupby(["row", "position"])["attribution"].sum(),
        atol=1e-6,
    )


def test_paths_from_other_events(X):
    model = network(X, learning_rate=0.1, n_networks=2)
    options = {"by": "field", "fields": ["amount"], "return_outputs": True}
    method = "integrated_gradients"
    found, outputs = event_attributions(model, X, method, n_baselines=3, **options)
    again, _ = event_attributions(model, X, method, n_baselines=3, **options)
    pd.testing.assert_frame_equal(found, again)
    assert_complete(found, outputs)
    other, _ = event_attributions(
        model, X, method, n_baselines=3, random_state=1, **options
    )
    assert (other["attribution"] - found["attribution"]).abs().max() > 1e-4
    # Equal values in all events: baseline and input are equal.
    events = make_events(6).assign(amount=5.0)
    log = EventLog(events, "who", "when", categorical=[])
    same = log.attach(X.drop(columns="history"), cutoff="at")
    found = event_attributions(
        network(same), same, method, n_baselines=1, fields=["amount"]
    )
    np.testing.assert_allclose(found["attribution"], 0, atol=1e-7)
    # Rows without any event have nothing to draw from.
    empty = X["history"].array.log.attach(
        X.drop(columns="history"), cutoff="2000-01-01"
    )
    assert event_attributions(
        model, empty, method, n_baselines=2, fields=["kind"]
    ).empty


@pytest.mark.parametrize("fields", [None, ["amount", "due"]])
def test_blanking(X, fields):
    """For a row with one event, it is the sum of integrated gradients."""
    model = network(X, learning_rate=0.1)
    log = X["history"].array.log
    statics = X.drop(columns="history")
    one = log.attach(statics, cutoff="at", lookback="300D").pipe(
        lambda Z: Z[Z["history"].array.lengths == 1]
    )
    assert len(one)
    blank = event_attributions(model, one, "blanking", fields=fields)
    found = event_attributions(model, one, "integrated_gradients", fields=fields)
    found = found[found["position"].notna()]
    if fields is not None:  # otherwise row features are on the path as well
        np.testing.assert_allclose(
            blank["attribution"], found["attribution"], atol=1e-3
        )
    blank, outputs = event_attributions(
        model, X, "blanking", fields=fields, return_outputs=True
    )
    np.testing.assert_allclose(outputs["output"], log_odds(model, X), atol=1e-5)
    assert outputs["baseline"].isna().all()
    assert blank["attribution"].abs().max() > 0.01
    parts = event_attributions(model, X, "blanking", by="field", fields=fields)
    names = ["amount", "due"] if fields else ["amount", "kind", "due", "when"]
    assert set(parts["field"]) == set(names)
    same = event_attributions(model, X, "blanking", by="field", fields=["due"])
    np.testing.assert_allclose(
        parts.loc[parts["field"] == "due", "attribution"], same["attribution"]
    )


def test_signs_of_blanking_and_gradients_agree():
    """Blanking and integrated gradients have the same baseline."""
    rng = np.random.default_rng(0)
    n, length = 300, 15
    events = pd.DataFrame(
        {
            "who": np.repeat(np.arange(n), length),
            "day": np.cumsum(rng.integers(1, 9, n * length)),
            "amount": rng.normal(size=n * length),
            "kind": rng.choice(list("AB"), n * length),
        }
    )
    Z = EventLog(events, "who", "day").attach(pd.DataFrame({"who": np.arange(n)}))
    amount = (events["amount"] * (events["kind"] == "A")).to_numpy().reshape(n, length)
    y = (amount @ np.linspace(0, 1, length) > 0).astype(int)
    model = network(Z, y, max_epochs=6, learning_rate=0.01)
    found = event_attributions(model, Z[:60], "integrated_gradients")
    blank = event_attributions(model, Z[:60], "blanking").rename(
        columns={"attribution": "blank"}
    )
    both = found.merge(blank[["row", "position", "blank"]], on=["row", "position"])
    both["size"] = both["blank"].abs()
    strongest = both.sort_values("size").groupby("row").tail(10)
    assert (strongest["blank"] * strongest["attribution"] > 0).mean() > 0.9


@pytest.mark.parametrize(
    ("names", "values"),
    [
        # The level "zone_A" of "city", or the level "A" of "city_zone"?
        (["city", "city_zone"], [["zone_A", "north"], ["A", "B"]]),
        # The level "zone_A" of "city", or a number "city_zone_A"?
        (["city", "city_zone"], [["zone", "north"], [1.5, 2.5]]),
        # Whether a number "city" is missing, or a level?
        (["city", "missingindicator_city"], [[1.5, np.nan], ["A", "B"]]),
    ],
)
def test_names_of_statics_that_begin_alike(X, names, values):
    X = X.drop(columns=["age", "city", "joined", "member"])
    drawn = np.random.default_rng(0).integers(0, 2, (2, len(X)))
    statics = [np.array(own)[one] for own, one in zip(values, drawn, strict=True)]
    found = []
    for first, second in (names, ["one", "two"]):
        table = X.assign(**{first: statics[0], second: statics[1]})
        lines = event_attributions(network(table), table, "integrated_gradients")
        found.append(
            lines[lines["history"].isna()].pivot(
                index="row", columns="field", values="attribution"
            )[[first, second]]
        )
    assert found[0].abs().to_numpy().min() > 0
    np.testing.assert_array_equal(*found)


def test_columns_that_the_network_leaves_out(X):
    """A step of the user adds a column that is called like the cutoffs, a key."""

    def with_a_key(X):
        return X[["history"]].assign(at=X["age"], age=X["age"].fillna(0) / 50)

    model = make_pipeline(
        HistoryEncoder(), FunctionTransformer(with_a_key), LSTMClassifier(**SMALL)
    )
    model.set_output(transform="pandas").fit(X, make_y(X))
    method = "integrated_gradients"
    found, outputs = event_attributions(model, X, method, return_outputs=True)
    assert_complete(found, outputs)
    assert set(found["field"][found["history"].isna()]) == {"age"}


def test_a_vector_is_one_field():
    """Attributions of its components are summed in one line."""
    X = make_table(n_customers=6, n_cutoffs=2, n_components=3)
    model = network(X)
    for method in ("occlusion", "integrated_gradients"):
        lines, ends = event_attributions(
            model, X, method, by="field", return_outputs=True
        )
        of_events = lines[lines["position"].notna()]
        own = of_events[of_events["field"] == "vector"]
        frame = X["history"].array.to_frame()
        assert len(own) == len(frame)
        for shown, value in zip(own["value"], frame["vector"], strict=True):
            assert (shown is None and value is None) or (shown == value).all()
        assert own["attribution"].abs().max() > 0
    assert_complete(lines, ends, atol=1e-4)
    whole = event_attributions(model, X, method)
    by_event = of_events.groupby(["row", "position"])["attribution"].sum()
    expected = whole[whole["position"].notna()].set_index(["row", "position"])
    np.testing.assert_allclose(by_event, expected["attribution"], atol=1e-9)
    HistoryDisplay.from_estimator(model, X.iloc[[0]])
    plt.close("all")
