"""
Which channel earned the conversions?
=====================================

Customers see ads in several channels, and some convert. Budgets depend on which channel
gets the credit. Most reports give it to the last touch. How close to the truth are such
rules, and how close is a model?

The journeys are simulated and touches are random, so credit equals effect here. In most
shops customers who are about to buy see more channels. Then all methods below, the
model included, give credit for conversions that would have happened anyway. Only an
experiment shows the effect of a channel.
"""

# %%
# Journeys with a known truth
# ---------------------------
# There are five channels. ``display`` is the most frequent one and mostly the last
# touch, and has no effect. ``retargeting`` works only after a touch by ``search``. Some
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
# Does the model predict conversions?
# -----------------------------------
# A model that does not predict conversions cannot explain them. The true probabilities
# have the highest possible area under the ROC curve.
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
# The model predicts each customer with every subset of the channels. The credit of a
# channel is its mean contribution over all orders of adding channels (Shapley values),
# summed over all customers. The first rules use the positions of touches of converted
# customers only; the Markov chain estimates how often journeys through a channel end
# with a conversion.
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
# Mean absolute error of the shares, over channels.
display = ChannelAttributionDisplay.from_credit(ways)
errors = display.shares.sub(display.shares["truth"], axis=0).abs().mean()
print(errors.round(3).to_string())
plt.close(display.figure_)

# %%
# The answer
# ----------
# How much of the budget would go to the channel without effect?
print(display.shares.loc["display"].map("{:.0%}".format).to_string())
some = ["truth", "model", "first touch", "last touch", "Markov"]
display = ChannelAttributionDisplay.from_credit({name: ways[name] for name in some})
output = Path("demo_output")
output.mkdir(exist_ok=True)
display.figure_.savefig(output / "channels.png", dpi=120)
print(f"Picture: {output / 'channels.png'}")
