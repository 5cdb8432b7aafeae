"""
Whom should a shop contact?
===========================

A mail changes what customers do: some buy because of it, some would have bought anyway,
some are put off. Whom to contact depends on the *effect* of the contact, not on the
chance that a customer buys. This example learns the effects from a randomised campaign,
chooses contacts under a budget, and compares the profit with the usual rules: contact
those who are most likely to buy, or contact at random.

The campaign is simulated, so that the true effect on each customer is known. Two
limitations come first. Effects cannot be learned from customers who were chosen by a
rule that is not in the data: keep a randomised part in each campaign. And effects are
small differences of noisy outcomes: they need far more customers than a model of
purchases.
"""

# %%
# A randomised campaign
# ---------------------
# Half of the customers were mailed, drawn at random. The history of a customer ends
# before the contact, which is an event at the cutoff.
import matplotlib.pyplot as plt
import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import make_pipeline

from sklearn_seqcrm.datasets import make_campaigns
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.feature_extraction import HistoryAggregator
from sklearn_seqcrm.metrics import UpliftDisplay, policy_value
from sklearn_seqcrm.neural_network import LSTMClassifier
from sklearn_seqcrm.preprocessing import make_history_pipeline
from sklearn_seqcrm.uplift import UpliftClassifier, choose_contacts


def campaign(n_customers, seed):
    """Return a campaign, and its rows with histories."""
    data = make_campaigns(n_customers, random_state=seed)
    log = EventLog(data.events, "customer_id", "timestamp")
    return data, log.attach(data.rows, cutoff="cutoff")


data, X = campaign(8_000, seed=0)
later, X_later = campaign(6_000, seed=1)
for arm, name in enumerate(data.treatments):
    own = data.treatment == arm
    print(f"{name}: {own.sum():,} customers, {data.target[own].mean():.1%} buy")

# %%
# Effects from histories
# ----------------------
# `UpliftClassifier` is a meta-learner around any pipeline. Here it fits a model of
# purchases to each arm (``learner="t"``); the difference of their probabilities is
# the effect. Two types of models are compared: networks, which take events in order,
# and boosted trees on counts, sums and times.
network = make_history_pipeline(LSTMClassifier(hidden_size=32, random_state=0))
boosting = make_pipeline(
    HistoryAggregator(), HistGradientBoostingClassifier(max_iter=50, random_state=0)
)


def outcomes(estimator):
    """Return the probability to buy in each arm, for the later customers."""
    model = UpliftClassifier(estimator, learner="t", random_state=0)
    return model.fit(X, data.target, treatment=data.treatment).predict_outcomes(X_later)


by_network, by_boosting = outcomes(network), outcomes(boosting)
effects = {
    "network": by_network[:, 1] - by_network[:, 0],
    "boosted aggregates": by_boosting[:, 1] - by_boosting[:, 0],
}
for name, effect in effects.items():
    correlation = np.corrcoef(effect, later.effect)[0, 1]
    print(f"{name}: correlation with the true effects {correlation:.2f}")

# %%
# Are customers in the right order?
# ---------------------------------
# The Qini curve needs no true effects: it compares mailed and other customers of the
# later campaign among those whom a model ranks first. The bands are over customers.
figure, ax = plt.subplots(figsize=(6.4, 4), layout="constrained")
for name, effect in effects.items():
    UpliftDisplay.from_predictions(
        later.target,
        effect,
        later.treatment,
        n_resamples=100,
        random_state=0,
        name=name,
        ax=ax,
        plot_references=name == "network",
    )

# %%
# Choose under a budget
# ---------------------
# A purchase earns 40. A mail costs 1, and 2.50 in the north. `choose_contacts` returns
# the best set of customers for a budget of 1,000.
VALUE = 40.0
cost = np.where(later.rows["region"] == "north", 2.5, 1.0)
chosen = choose_contacts(
    effects["network"],
    value=VALUE,
    cost=cost,
    budget=1000,
    treatments=later.treatments,
    customers=later.rows["customer_id"],
)
print(chosen.contacts.head().to_string(float_format="{:.2f}".format))
print(f"{len(chosen.contacts):,} contacts cost {chosen.cost:,.1f}")
print(f"expected profit {chosen.profit:,.0f}")
print(f"at most {chosen.optimality_gap:.2f} below the best choice")

# %%
# Customers are chosen because their estimated effects are high, and estimates are
# high in part by chance: the expected profit may be far off. `policy_value` estimates
# the profit from the two arms of the later campaign, which no model has seen. Its
# outcomes are profits: the value of a purchase less the cost of a mail, if the
# customer was mailed.
n = len(later.target)
policy = (chosen.treatment == "mail").astype(int)
estimate = policy_value(
    VALUE * later.target - cost * later.treatment,
    policy,
    later.treatment,
    baseline=0,
    outcomes=VALUE * by_network - np.outer(cost, [0, 1]),
)
true_profit = ((VALUE * later.effect - cost) * policy).sum()
print(f"expected by the model      {chosen.profit:,.0f}")
print(
    f"estimated by policy_value  {n * estimate.value:,.0f} "
    f"(95%: {n * estimate.lower:,.0f} to {n * estimate.upper:,.0f})"
)
print(f"true                       {true_profit:,.0f}")

# %%
# Profit by the number of contacts
# --------------------------------
# The plot shows the true profit of mails to a share of the customers, in different
# orders. The probability to buy without a mail contains no information on the effect:
# compare that order with the random one. The probability to buy with a mail contains
# the effect. If effects differ more between customers than the probability to buy
# without a mail, as in this simulation, it may rank customers as well as the effects
# do; elsewhere it need not.
rng = np.random.default_rng(0)
orders = {
    "true effects": later.effect,
    "effects by networks": effects["network"],
    "effects by boosted aggregates": effects["boosted aggregates"],
    "chance to buy if mailed, network": by_network[:, 1],
    "chance to buy if not, network": by_network[:, 0],
    "random": rng.random(n),
}
shares = np.arange(1, n + 1) / n
figure, ax = plt.subplots(figsize=(8, 4.2), layout="constrained")
for name, score in orders.items():
    order = np.argsort(-score, kind="stable")
    total = (VALUE * later.effect - cost)[order].cumsum()
    ax.plot(shares, total, label=name)
    at = {s: total[int(s * n) - 1] for s in (0.05, 0.1, 0.2, 0.5)}
    print(f"{name:33}", *(f"{s:.0%}: {one:7,.0f}" for s, one in at.items()))
ax.axhline(0, color="0.6", lw=1)
ax.set(xlabel="share of customers who are mailed", ylabel="true profit")
ax.set_xlim(0, 1)
_ = ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
