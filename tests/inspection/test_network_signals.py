import matplotlib
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib import pyplot as plt
from sklearn.dummy import DummyClassifier
from sklearn.model_selection import GridSearchCV

from sklearn_seqcrm._recurrent.network import CELLS
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.inspection import (
    GateDisplay,
    GradientFlowDisplay,
    gradient_flow,
    lstm_gates,
)
from sklearn_seqcrm.inspection._gate_display import _GATES
from sklearn_seqcrm.neural_network import LSTMClassifier, LSTMRegressor
from sklearn_seqcrm.preprocessing import make_history_pipeline

matplotlib.use("agg")
LENGTHS = [4, 0, 7, 1, 2]
SIZES = {"hidden_size": 3, "head_sizes": (), "n_networks": 1}
SMALL = {**SIZES, "max_epochs": 1, "random_state": 0}


@pytest.fixture(scope="module", name="X")
def _table():
    rng = np.random.default_rng(0)
    events = pd.DataFrame(
        {
            "who": np.repeat(np.arange(5), LENGTHS),
            "day": np.arange(14),
            "amount": rng.normal(size=14),
            "kind": rng.choice(list("ab"), 14),
        }
    )
    rows = pd.DataFrame({"who": np.arange(5), "x": rng.normal(size=5)})
    return EventLog(events, "who", "day").attach(rows)


def network(X, estimator=LSTMClassifier, **options):
    model = make_history_pipeline(estimator(**{**SMALL, **options}))
    return model.fit(X, [0, 1, 0, 1, 0])


def steps_of(model, X, row):
    """Embedded events of a row, and the reader, whatever batches do."""
    array = model[:-1].transform(X)["history"].array
    at = slice(array.rows.start[row], array.rows.stop[row])
    reader = model[-1].nets_[-1].module_.readers[0].eval()
    channels = torch.from_numpy(array.log.channels[at].copy())
    codes = torch.from_numpy(array.log.codes[at].astype("int64"))
    return reader, reader.embed(channels[None], codes[None])[0]


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("layer", [0, -1])
def test_gates_against_torch(X, cell, layer):
    model = network(X, cell=cell, num_layers=2, n_networks=2)
    found = lstm_gates(model, X, layer=layer, network=1, as_frame=False)
    assert found.events["row"].tolist() == np.repeat(range(5), LENGTHS).tolist()
    row = 2
    reader, steps = steps_of(model, X, row)
    layers = [layer_[0] for layer_ in reader.layers][: 1 if layer == 0 else 2]
    own = (found.events["row"] == row).to_numpy()
    cells = []
    for one in layers:
        kind = torch.nn.LSTMCell if cell == "lstm" else torch.nn.GRUCell
        like = kind(one.input_size, one.hidden_size)
        like.load_state_dict(
            {name.removesuffix("_l0"): w for name, w in one.state_dict().items()}
        )
        cells.append(like)
    with torch.no_grad():
        for like in cells:
            before, states, below = None, [], steps
            for step in below:
                before = like(step[None], before)
                states.append(before)
            steps = torch.cat([s[0] if cell == "lstm" else s for s in states])
    np.testing.assert_allclose(found.hidden_state[own], steps, atol=1e-6)
    h = np.vstack([np.zeros(3), steps[:-1]])
    w, u, b, c = (p.detach().numpy() for p in cells[-1].parameters())
    x = below.detach().numpy() @ w.T + b
    if cell == "lstm":
        memory = torch.cat([s[1] for s in states]).numpy()
        np.testing.assert_allclose(found.cell_state[own], memory, atol=1e-6)
        names = ("input", "forget", "cell", "output")
        parts = np.split(x + h @ u.T + c, 4, axis=1)
        for name, part in zip(names, parts, strict=True):
            gate = np.tanh(part) if name == "cell" else 1 / (1 + np.exp(-part))
            np.testing.assert_allclose(found[name][own], gate, atol=1e-6)
    else:
        z = 1 / (1 + np.exp(-(x + h @ u.T + c)[:, 3:6]))
        np.testing.assert_allclose(found["update"][own], z, atol=1e-6)
        state = (1 - z) * found.new[own] + z * h
        np.testing.assert_allclose(found.hidden_state[own], state, atol=1e-6)
        reset = 1 / (1 + np.exp(-(x + h @ u.T + c)[:, :3]))
        np.testing.assert_allclose(found.reset[own], reset, atol=1e-6)


def test_table_of_gates(X):
    model = network(X)
    table = lstm_gates(model, X)
    arrays = lstm_gates(model, X, as_frame=False)
    assert list(table)[:6] == [
        "row",
        "history",
        "position",
        "customer",
        "time",
        "unit",
    ]
    assert len(table) == 14 * 3
    line = table.iloc[3 * 6 + 2]
    assert (line["row"], line["position"], line["unit"]) == (2, 2, 2)
    assert line["forget"] == arrays.forget[6, 2]
    assert line["time"] == 6
    assert lstm_gates(model, X.iloc[[1]]).empty


@pytest.mark.parametrize(
    "options",
    [
        {"cell": "rnn", "pooling": "last"},
        {"cell": "gru", "head_sizes": (4,)},
        {"cell": "lstm", "num_layers": 2, "bptt_steps": 2},
        {"cell": "lstm", "estimator": LSTMRegressor},
    ],
)
def test_norms_against_differences(X, options):
    """Against a change of each number of a state, by hand."""
    model = network(X, **options)
    found = gradient_flow(model, X)
    assert found["age"].tolist() == [k for n in LENGTHS for k in range(n, 0, -1)]
    row, at, change = 2, 3, 3e-3
    reader, steps = steps_of(model, X, row)
    network_ = model[-1]
    module = network_.net_.module_.eval().double()
    encoded = model[:-1].transform(X.iloc[[row]])
    data = network_._read_to_predict(encoded).data
    [part] = next(iter(network_.net_.get_iterator(data)))[0]
    history, static = part.histories[0], part.static.double()
    steps = steps.double()[None]

    def output_of(i, k, of, change):
        """What is explained if a number of the state is changed."""
        outputs, state = reader.run(steps[:, : at + 1], history.lengths)
        state.cells[i][of][0, k] += change
        outputs = torch.cat([outputs[:, :at], state.output[:, None]], dim=1)
        outputs = outputs.double()
        for step in steps[:, at + 1 :].split(1, dim=1):
            more, state = reader.run(step, history.lengths, state)
            outputs = torch.cat([outputs, more.double()], dim=1)
        pooled = reader.pool(outputs, history)
        parts = [pooled, static]
        returned = module.head(torch.cat(parts, dim=1))
        if module.linear is not None:
            returned = returned + module.linear(part.linear_inputs.double())
        if hasattr(network_, "classes_"):
            return returned[0, 1] - returned[0, 0]
        objective = network_._objective
        return returned[0, 0] * objective.scale[0] * 2.0 ** objective.exponent[0]

    with torch.no_grad():
        n_tensors = 2 if options["cell"] == "lstm" else 1
        slopes = [
            (output_of(i, k, of, change) - output_of(i, k, of, -change)) / (2 * change)
            for i in range(len(reader.layers))
            for k in range(3)
            for of in range(n_tensors)
        ]
    module.float()
    norm = found[(found["row"] == row) & (found["position"] == at)]["norm"].item()
    assert norm == pytest.approx(float(np.linalg.norm(slopes)), rel=1e-2)


@pytest.mark.parametrize("cell", CELLS)
def test_the_display_has_the_gates_of_every_cell(cell):
    """All but candidates for the new state, which are not between 0 and 1."""
    assert {*CELLS[cell].gate_names} <= {*_GATES, "cell", "new"}


def test_errors(X):
    both = X.assign(other=X["history"])
    model = network(X, cell="rnn")
    with pytest.raises(ValueError, match="'rnn' has no gates"):
        lstm_gates(model, X)
    with pytest.raises(KeyError, match="no column 'nothing'"):
        gradient_flow(model, X, history="nothing")
    with pytest.raises(ValueError, match="network=3 is none of the 1 networks"):
        gradient_flow(model, X, network=3)
    model = network(both, bidirectional=True)
    with pytest.raises(ValueError, match="choose one of them with history="):
        lstm_gates(model, both)
    with pytest.raises(ValueError, match="layer=1 is none of the 1 layers"):
        lstm_gates(model, both, history="other", layer=1)
    assert len(lstm_gates(model, both, history="other")) == 14 * 3
    with pytest.raises(ValueError, match="bidirectional"):
        gradient_flow(model, both, history="other")
    dummy = DummyClassifier().fit(X[["x"]], [0, 1, 0, 1, 0])
    with pytest.raises(TypeError, match=r"lstm_gates needs a pipeline .* got Dummy"):
        lstm_gates(dummy, X)
    search = GridSearchCV(make_history_pipeline(LSTMClassifier(**SMALL)), {}, cv=2)
    with pytest.raises(TypeError, match=r"got GridSearchCV.*`best_estimator_`"):
        lstm_gates(search.fit(X[X["who"] != 1], [0, 1, 0, 1]), X)
    search = GridSearchCV(DummyClassifier(), {}, cv=2).fit(X[["x"]], [0, 1, 0, 1, 0])
    with pytest.raises(TypeError, match=r"no gradients\.$"):
        lstm_gates(search, X)


def test_displays_of_one_of_two_histories(X):
    both = X.assign(other=X["history"])
    model = network(both)
    display = GateDisplay.from_estimator(model, both, 2, history="other")
    own = lstm_gates(model, both, history="other").query("row == 2")
    pd.testing.assert_series_equal(
        display.gates["forget"].reset_index(drop=True),
        own["forget"].reset_index(drop=True),
        atol=1e-6,
    )
    flow = gradient_flow(model, both, history="other", target=0)
    shown = GradientFlowDisplay.from_estimator(model, both, history="other", target=0)
    assert shown.norms.at[1, "lstm"] == flow.query("age == 1")["norm"].median()


def test_gates_of_a_row_by_position(X):
    model = network(X)
    for row, match in [(5, "row=5 is none of the 5 rows"), (-6, "row=-6 is none")]:
        with pytest.raises(IndexError, match=match):
            GateDisplay.from_estimator(model, X, row)
    with pytest.raises(TypeError, match="row must be an integer"):
        GateDisplay.from_estimator(model, X, True)
    last = GateDisplay.from_estimator(model, X, -1)
    assert (last.gates["row"] == 4).all()
    with pytest.raises(ValueError, match="Row 1 has no events"):
        GateDisplay.from_estimator(model, X, -4)


def test_displays(X):
    model = network(X)
    display = GateDisplay.from_estimator(model, X, 2)
    [line] = display.ax_[1].lines
    own = lstm_gates(model, X).query("row == 2").groupby("position")["forget"]
    np.testing.assert_allclose(line.get_ydata(), own.mean(), atol=1e-6)
    display.figure_.canvas.draw()
    with pytest.raises(ValueError, match="Row 1 has no events"):
        GateDisplay.from_estimator(model, X, 1)
    with pytest.raises(ValueError, match=r"rows of \['lstm'\] have no events"):
        GradientFlowDisplay.from_estimator(model, X.iloc[[1]])
    flow = gradient_flow(model, X)
    _, ax = plt.subplots()
    display = GradientFlowDisplay.from_flows({"a": flow, "b": flow}, max_age=3, ax=ax)
    expected = [flow.loc[flow["age"] == k, "norm"].median() for k in (1, 2, 3)]
    np.testing.assert_allclose(display.norms["b"], expected)
    np.testing.assert_allclose(ax.lines[0].get_ydata(), expected / expected[0])
    display.figure_.canvas.draw()
    alone = GradientFlowDisplay.from_estimator(model, X)
    assert list(alone.norms) == ["lstm"]
    many = GradientFlowDisplay.from_flows(dict.fromkeys("abcdef", flow)).ax_.lines
    assert [many[0].get_linestyle(), many[4].get_linestyle()] == ["-", "--"]  # blues
    with pytest.raises(TypeError, match="must be a dict"):
        GradientFlowDisplay.from_flows(flow)
    plt.close("all")
