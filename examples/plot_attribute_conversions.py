"""
Which channel earned the conversions?
=====================================

Customers are touched by channels, and some convert. Who gets the credit decides about
budgets. The rule of most reports gives it to the last touch. What do rules and a model
say, where the truth is known?

The journeys are simulated, and touches are random, so that credit is effect here. In
most shops those who were about to buy look at more, and are shown more: then every way
below, the model as well, gives credit for what would have happened anyway. Only trying
it on some customers and not on others tells.
"""

# %%
# Journeys whose truth is known
# -----------------------------
# There are five channels. ``display`` is the most frequent one and mostly the last
# touch, and does nothing. ``retargeting`` works after a touch by ``search`` alone. Some
# customers convert without any touch.
from pathlib import Path

import matplotlib.pyplot as plt
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline

from sklearn_seqcrm.datasets import make_campaign_journeys
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.feature_extraction import HistoryAggregator
from sklearn_seqcrm.inspection import (
    ChannelAttributionDisplay,
    channel_attribution,
    first_touch_credit,
    last_touch_credit,
    linear_credit,
    markov_credit,
    position_based_credit,
    time_decay_credit,
)

data = make_campaign_journeys(4000, random_state=0)
log = EventLog(data.events, "customer_id", "timestamp")
X, y = log.attach(data.rows, cutoff="cutoff"), data.target
print(X["history"][0].to_frame())
print(f"{y.mean():.0%} of {len(y):,} customers convert")

# %%
# A model, checked before it is asked
# -----------------------------------
# A model that cannot tell who converts has nothing to say about why. The best possible
# area under the ROC curve is that of the true probabilities.
trees = HistGradientBoostingClassifier(
    max_iter=60, learning_rate=0.05, max_leaf_nodes=8, random_state=0
)
model = make_pipeline(HistoryAggregator(), trees)
model.fit(X[:2000], y[:2000])
reached = roc_auc_score(y[2000:], model.predict_proba(X[2000:])[:, 1])
possible = roc_auc_score(y[2000:], data.probability[2000:])
print(f"AUC on other customers: {reached:.3f}, and {possible:.3f} is possible")

# %%
# Credit
# ------
# The model is asked what each customer is worth with some channels and without the
# others; a channel gets what it adds, on average over all orders (Shapley values). It
# is asked about all customers. Rules look at those alone who converted, and all but the
# last of them at places in the journey alone; the chain of Markov asks how often
# journeys through a channel end well.
model.fit(X, y)
converted = X[y == 1]
ways = {
    "truth": data.credit,
    "model": channel_attribution(model, X, "channel"),
    "last touch": last_touch_credit(converted, "channel"),
    "first touch": first_touch_credit(converted, "channel"),
    "linear": linear_credit(converted, "channel"),
    "time decay": time_decay_credit(converted, "channel", half_life="7D"),
    "position based": position_based_credit(converted, "channel"),
    "Markov": markov_credit(X, "channel", y),
}

# %%
# How far shares are from the truth, on average over channels.
display = ChannelAttributionDisplay.from_credit(ways)
errors = display.shares.sub(display.shares["truth"], axis=0).abs().mean()
print(errors.round(3).to_string())
plt.close(display.figure_)

# %%
# The answer
# ----------
# The last touch would move more than a third of the budget to the channel that does
# nothing, and the chain of Markov a quarter. The model gives it a twentieth.
some = ["truth", "model", "first touch", "last touch", "Markov"]
display = ChannelAttributionDisplay.from_credit({name: ways[name] for name in some})
output = Path("demo_output")
output.mkdir(exist_ok=True)
display.figure_.savefig(output / "channels.png", dpi=120)
print(f"Picture: {output / 'channels.png'}")
