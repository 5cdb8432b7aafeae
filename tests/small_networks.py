"""Settings of networks that train in a moment."""

SMALL = {
    "hidden_size": 4,
    "head_sizes": (4,),
    "max_epochs": 2,
    "random_state": 0,
    "n_networks": 1,
}
# Whole batches and no dropout: then the order of rows makes no difference.
EXACT = {**SMALL, "dropout": 0.0, "batch_size": 10_000, "learning_rate": 0.01}
