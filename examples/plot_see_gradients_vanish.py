"""
Does a network hear events of long ago?
=======================================

An LSTM was made to remember, and a plain recurrent network forgets: so say textbooks.
How far back does one's own network hear, before training and after, and what can be
done where it does not?
"""

# %%
# A task that needs the first of fifty events
# -------------------------------------------
# Customers sign up, by a friend or by an advert, and then visit or order 49 times.
# Those that came by a friend stay. Nothing but the event 50 events before the cutoff
# says so; all later ones are noise.
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
# The forget gate of an LSTM starts at ``sigmoid(1)``, or .73: of what happened, 2e-7
# are left after 49 more events. Whether a gate that forgets less would be better cannot
# be learned from that. Biases between the logarithms of 1 and 49 let some units forget
# at once, and others hardly within 50 events (Tallec and Ollivier, "Can recurrent
# neural networks warp time?", ICLR 2018). A callback of skorch sets them before
# training; in a GRU the gate to be opened is called update, and a plain cell has none.
def keep_for(bias, n_gates, n_events=N_EVENTS):
    """Open the second of the gates, so that units keep 1 to `n_events` events."""
    size = len(bias) // n_gates
    start = torch.linspace(1, n_events - 1, size).log()
    with torch.no_grad():
        bias[size : 2 * size] = start
        if n_gates == 4:  # what an LSTM keeps it need not take in
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
            batch_size=64,
            early_stopping=False,
            callbacks=callbacks,
            random_state=2,
        )
    )


# %%
# Before and after training
# -------------------------
# With ``pooling="last"`` the output is read from the last state alone, as in textbooks.
# One epoch with steps of next to nothing leaves a network as it starts.
everything = ("last", "mean", "decay")  # what is pooled unless one says otherwise
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
# Norm of the derivative of the output by the state 50 events before the cutoff, over
# that at the last event, and how well other customers are told apart (.5 is chance).
table = pd.DataFrame(table).T
print(
    table.to_string(formatters={"AUC": "{:.2f}".format}, float_format="{:.0e}".format)
)

# %%
# Neither a GRU nor an LSTM is of use as it starts: both forget before they could learn
# not to. With open gates both learn the task. So does the LSTM whose pooling reads old
# outputs as well, a short way for gradients, which is why that is the default.
#
# A derivative is about small changes. The LSTM with open gates has learned a switch,
# which small changes leave where it is, so that its derivative is smaller after
# training than before. With ``random_state`` 0 and 1 the plain cell came upon such a
# switch as well, by chance: it then was right about all other customers, with a
# derivative of 0. Hearing far back helps to learn, and is not memory itself.

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
output = Path("demo_output")
output.mkdir(exist_ok=True)
figure.savefig(output / "gradients.png", dpi=120)
print(f"Picture: {output / 'gradients.png'}")
