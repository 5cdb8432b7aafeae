"""Features of a table with one history column."""

from functools import partial

from sklearn_seqcrm.feature_extraction import HistoryAggregator, RFMFeatures

# With the default, small tables would lose most columns.
Aggregator = partial(HistoryAggregator, min_rows=0)


def aggregates(X, **options):
    """Return the aggregates of one history column, without its name."""
    model = Aggregator(remainder="drop", **options)
    table = model.fit_transform(X)
    return table.rename(columns=lambda name: name.removeprefix("history__"))


def features_of(X, **options):
    table = RFMFeatures(remainder="drop", **options).fit_transform(X)
    return table.rename(columns=lambda name: name.removeprefix("history__"))
