"""
Which segments do our customers form, by what they buy?
=======================================================

Segments are mostly made from recency, frequency and monetary value (RFM): how much and
how often, but not what. The states of an event model also depend on what was bought,
and in which order, because this predicts the next purchase. Here both are clustered,
for real grocery purchases (the Complete Journey data of 84.51°): the departments in
which a household buys on each day.

There are three limitations. RFM segments are cheaper, and mostly predict the total
spend better. The components of a state have no names: to interpret a segment, look at
what its customers bought. And clusters depend on the seed of the network.
"""

# %%
# The log on the first of October
# -------------------------------
# A quarter of the households, with a history of at least three months.
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression
from sklearn.metrics import adjusted_rand_score
from sklearn.model_selection import cross_val_predict
from sklearn.preprocessing import StandardScaler

from sklearn_seqcrm.datasets import load_complete_journey
from sklearn_seqcrm.event_model import LSTMEventModel
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.feature_extraction import RFMFeatures

TODAY, WEEK = pd.Timestamp("2017-10-01"), pd.Timedelta("7D")
N_WEEKS, N_SEGMENTS, N_DRAWS = 8, 5, 20

lines = load_complete_journey(level="line", time_zone="America/New_York").events
lines = lines[lines["household_id"] % 4 == 0]
department = lines["department"].astype(str)
common = department.value_counts().index[:8]
events = (
    lines.assign(
        day=lines["timestamp"].dt.normalize(),
        department=department.where(department.isin(common), "OTHER"),
    )
    .groupby(["household_id", "day", "department"], as_index=False)["spend"]
    .sum()
)
log = EventLog(events, "household_id", "day")
X = log.snapshots([TODAY], min_events=20)
print(f"{len(X):,} households, {X['history'].array.lengths.sum():,} events")

# %%
# Two descriptions of a household
# -------------------------------
# A state depends most on the last purchases. Its mean over the last thirteen weeks is
# more stable, and the first ten principal components of that mean are clustered. RFM
# amounts are skewed, so their logarithms are clustered. Networks of two seeds show how
# much segments depend on chance.
weeks = log.snapshots([TODAY - k * WEEK for k in range(13)])
weeks = weeks[weeks["household_id"].isin(X["household_id"])]


def mean_states(seed):
    """Train an event model, and average its states over the weeks of a household."""
    model = LSTMEventModel(hidden_size=32, max_epochs=8, random_state=seed).fit(X)
    means = model.transform(weeks).groupby(weeks["household_id"]).mean()
    return PCA(10, random_state=0).fit_transform(means.loc[X["household_id"]])


rfm = RFMFeatures(amount="spend").fit(X).transform(X)
seen = {
    "RFM": StandardScaler().fit_transform(np.log1p(rfm)),
    "states": mean_states(seed=0),
    "another seed": mean_states(seed=1),
}


def segment(numbers, rows=None):
    """Cluster some rows, and return the segment of every row."""
    learned_from = numbers if rows is None else numbers[rows]
    clusters = KMeans(N_SEGMENTS, n_init=5, random_state=0).fit(learned_from)
    return clusters.predict(numbers)


segments = {name: segment(numbers) for name, numbers in seen.items()}

# %%
# What are the segments?
# ----------------------
# The purchases of each segment so far, with the largest spenders first.
known = events[events["day"] < TODAY]
known = known[known["household_id"].isin(X["household_id"])]
spent = known.pivot_table("spend", "household_id", "department", "sum", fill_value=0)
spent = spent.loc[X["household_id"]]
days = known.drop_duplicates(["household_id", "day"])
weekend = days["day"].dt.day_of_week >= 5
tenure = (TODAY - days.groupby("household_id")["day"].min()) / WEEK
profile = pd.DataFrame(
    {
        "dollars a week": spent.sum(axis=1) / tenure,
        "days a week": days.groupby("household_id").size() / tenure,
        "dollars a day": spent.sum(axis=1) / days.groupby("household_id").size(),
        "at weekends": weekend.groupby(days["household_id"]).mean(),
    }
).loc[X["household_id"]]
share = spent.div(spent.sum(axis=1), axis=0)

for name in ("RFM", "states"):
    # 0 is the segment that spends most.
    of = pd.Series(segments[name], profile.index)
    by_spend = profile["dollars a week"].groupby(of).mean().sort_values(ascending=False)
    segments[name] = of.map({old: new for new, old in enumerate(by_spend.index)})
    table = profile.groupby(segments[name]).mean()
    table.insert(0, "households", segments[name].value_counts())
    print(f"\nSegments by {name}\n{table.round(2).to_string()}")

# %%
# How well do they predict the next weeks?
# ----------------------------------------
# Predict each household by the mean of its segment over other households. The score is
# the explained variance of the logarithm of spend, in total and for each department.
after = (events["day"] >= TODAY) & (events["day"] < TODAY + N_WEEKS * WEEK)
came = events[after].pivot_table("spend", "household_id", "department", "sum")
came = np.log1p(came.reindex(X["household_id"]).fillna(0).clip(lower=0))
came.insert(0, "ALL", np.log1p(np.expm1(came).sum(axis=1)))


def explained(labels):
    """Return the out-of-sample share of variance between segments, by column."""
    dummies = pd.get_dummies(pd.Series(np.asarray(labels))).to_numpy(float)
    guess = cross_val_predict(LinearRegression(), dummies, came.to_numpy(), cv=10)
    return 1 - ((came - guess) ** 2).mean() / came.var(ddof=0)


variance = pd.DataFrame({name: explained(segments[name]) for name in ("RFM", "states")})
print(variance.round(2).to_string())
better = variance["states"] > variance["RFM"]
print(f"Segments by states predict better: {', '.join(variance.index[better]).lower()}")
print(f"Segments by RFM predict better: {', '.join(variance.index[~better]).lower()}")

# %%
# Would other households give the same segments?
# ----------------------------------------------
# Draw bootstrap samples of households and cluster them again. The adjusted Rand index
# compares them with the segments above: 1 for equal segments and 0 for chance.
rng = np.random.default_rng(0)
drawn = [rng.integers(0, len(X), len(X)) for _ in range(N_DRAWS)]
stability = {
    name: [
        adjusted_rand_score(segments[name], segment(seen[name], rows)) for rows in drawn
    ]
    for name in ("RFM", "states")
}
other_seed = adjusted_rand_score(segments["states"], segments["another seed"])
between = adjusted_rand_score(segments["states"], segments["RFM"])
for name, found in stability.items():
    print(f"{name}: {np.median(found):.2f} between draws of households")
print(f"states: {other_seed:.2f} between two networks; {between:.2f} with RFM")

# %%
# What is a segment good for?
# ---------------------------
# Households with the same spend have different baskets, and segments by states can
# separate them: compare rows of similar spend on the left. In the middle are the shares
# of variance printed above, and on the right the adjusted Rand indices.
figure, axes = plt.subplots(
    1, 3, figsize=(13, 4.2), layout="constrained", width_ratios=(1.3, 1.2, 0.8)
)
order = share.mean().sort_values(ascending=False).index
lift = share.groupby(segments["states"]).mean()[order] / share.mean()[order]
image = axes[0].imshow(np.log2(lift), cmap="RdBu_r", vmin=-1, vmax=1, aspect="auto")
axes[0].set_xticks(range(len(order)), order, rotation=45, ha="right", fontsize="small")
spend = profile["dollars a week"].groupby(segments["states"])
names = [
    f"{n} households,\n${mean:.0f} a week"
    for n, mean in zip(spend.size(), spend.mean(), strict=True)
]
axes[0].set_yticks(range(N_SEGMENTS), names)
axes[0].set(title="Share of spend, segments by states")
bar = figure.colorbar(image, ax=axes[0], ticks=[-1, 0, 1])
bar.ax.set_yticklabels(["half", "as all", "double"])

places = np.arange(len(variance))
for shift, (name, color) in enumerate((("RFM", "tab:orange"), ("states", "tab:blue"))):
    axes[1].barh(places + 0.4 * shift, variance[name], 0.4, color=color, label=name)
axes[1].set_yticks(places + 0.2, variance.index, fontsize="small")
axes[1].invert_yaxis()
axes[1].legend(
    title="segments by", loc="upper center", bbox_to_anchor=(0.4, -0.14), ncols=2
)
axes[1].set(title=f"Spend of the next {N_WEEKS} weeks", xlabel="variance explained")

axes[2].boxplot(list(stability.values()), tick_labels=list(stability), widths=0.5)
axes[2].plot(2, other_seed, "o", color="tab:blue", label="another network")
axes[2].legend(loc="lower left")
axes[2].set(title="Stability", ylabel="adjusted Rand index", ylim=(0, 1.02))

output = Path("demo_output")
output.mkdir(exist_ok=True)
figure.savefig(output / "customer_segments.png", dpi=120)
print(f"Picture: {output / 'customer_segments.png'}")
