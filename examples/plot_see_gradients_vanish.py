"""
Does a network remember old events?
===================================

Textbooks say that an LSTM remembers and a plain recurrent network forgets. How much
does the output of your own network depend on old events, before and after training, and
what can you do if it does not?
"""

# %%
# A task that needs the first of fifty events
# -------------------------------------------
# Customers sign up through a friend or through an ad, and then visit or order 49 times.
# Those who came through a friend stay. Only the first event, 50 events before the
# cutoff, contains this; all later events are noise.
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from sklearn.metrics import roc_auc_score
from skorch.callbacks import Initializer

from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.inspection import GradientFlowDisplay, gradient_flow
from sklearn_seqcrm.neural_network import LSTMClassifier
from sklearn_seqcrm.preprocessing import make_history_pipeline

N_EVENTS = 50
rng = np.random.default_rng(0)
kinds = rng.choice(np.array(["visit", "order"], dtype=object), (2000, N_EVENTS))
kinds[:, 0] = rng.choice(np.array(["by a friend", "by advert"], dtype=object), 2000)
events = pd.DataFrame(
    {
        "customer": np.repeat(np.arange(2000), N_EVENTS),
        "day": np.tile(np.arange(N_EVENTS), 2000),
        "kind": kinds.ravel().astype(str),
        "amount": rng.normal(size=2000 * N_EVENTS),
    }
)
log = EventLog(events, "customer", "day")
X = log.attach(pd.DataFrame({"customer": np.arange(2000)}))
y = (kinds[:, 0] == "by a friend").astype(int)
X_train, y_train, X_test, y_test = X[:1500], y[:1500], X[1500:], y[1500:]


# %%
# Gates that are open from the start
# ----------------------------------
# The forget gate of an LSTM starts at ``sigmoid(1)``, or .73: after 49 more events,
# 2e-7 of the state is left, and the gradient is too small to learn a gate that forgets
# less. With biases between the logarithms of 1 and 49, some units forget at once, and
# others hardly forget within 50 events (Tallec and Ollivier, "Can recurrent neural
# networks warp time?", ICLR 2018). A skorch callback sets them before training. In a
# GRU the gate is called update gate, and a plain cell has none.
def keep_for(bias, n_gates, n_events=N_EVENTS):
    """Open the second of the gates, so that units keep 1 to `n_events` events."""
    size = len(bias) // n_gates
    start = torch.linspace(1, n_events - 1, size).log()
    with torch.no_grad():
        bias[size : 2 * size] = start
        if n_gates == 4:  # the input gate of an LSTM: closed where it keeps
            bias[:size] = -start


def network(cell, pooling="last", n_gates=None, max_epochs=15, learning_rate=0.005):
    callbacks = None
    if n_gates is not None:
        callbacks = [Initializer("*bias_hh*", lambda bias: keep_for(bias, n_gates))]
    return make_history_pipeline(
        LSTMClassifier(
            cell=cell,
            pooling=pooling,
            hidden_size=16,
            head_sizes=(),
            dropout=0,
            max_epochs=max_epochs,
            learning_rate=learning_rate,
            averaged_steps=1,
            n_networks=1,
            batch_size=64,
            early_stopping=False,
            callbacks=callbacks,
            random_state=2,
        )
    )


# %%
# Before and after training
# -------------------------
# With ``pooling="last"`` the output depends on the last state only, as in textbooks.
# One epoch with a tiny learning rate leaves a network as it starts.
everything = ("last", "mean", "decay")  # the default
networks = {
    "rnn": {"cell": "rnn"},
    "gru": {"cell": "gru"},
    "lstm": {"cell": "lstm"},
    "gru, open gates": {"cell": "gru", "n_gates": 3},
    "lstm, open gates": {"cell": "lstm", "n_gates": 4},
    "lstm, default pooling": {"cell": "lstm", "pooling": everything},
}
before, after, table = {}, {}, {}
for name, options in networks.items():
    start = network(**options, max_epochs=1, learning_rate=1e-9).fit(X_train, y_train)
    model = network(**options).fit(X_train, y_train)
    before[name] = gradient_flow(start, X_test[:200])
    after[name] = gradient_flow(model, X_test[:200])
    table[name] = {
        "AUC": roc_auc_score(y_test, model.predict_proba(X_test)[:, 1]),
        **{
            when: norm[N_EVENTS] / norm[1]
            for when, norm in (
                ("before", before[name].groupby("age")["norm"].median()),
                ("after", after[name].groupby("age")["norm"].median()),
            )
        },
    }

# %%
# The norm of the gradient of the output with respect to the state 50 events before the
# cutoff, divided by that at the last event, and the AUC on other customers (0.5 is
# chance).
table = pd.DataFrame(table).T
print(
    table.to_string(formatters={"AUC": "{:.2f}".format}, float_format="{:.0e}".format)
)
learned = table["AUC"] > 0.9
print("Learned the task:", "; ".join(table.index[learned]))
print("Did not:", "; ".join(table.index[~learned]))
falls = table["after"] < table["before"]
print("Smaller gradient after training:", "; ".join(table.index[falls]))

# %%
# With its usual initial weights, a cell forgets so fast that it cannot learn to
# remember. Open gates let gradients reach old events, and so does a pooling that also
# uses old outputs; therefore this is the default.
#
# A gradient measures small changes. A network that remembers by a saturated unit, which
# small changes do not affect, has a small gradient: a large one helps to learn, but is
# not the same as memory.

# %%
# The answer
# ----------
figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True, layout="constrained")
for ax, flows, title in zip(
    axes, (before, after), ("before training", "after training"), strict=True
):
    display = GradientFlowDisplay.from_flows(flows, ax=ax)
    ax.set_title(title)
axes[0].get_legend().remove()
axes[1].set_ylabel("")
figure.supxlabel(axes[0].get_xlabel(), fontsize="medium")
for ax in axes:
    ax.set_xlabel("")
output = Path("demo_output")
output.mkdir(exist_ok=True)
figure.savefig(output / "gradients.png", dpi=120)
print(f"Picture: {output / 'gradients.png'}")
