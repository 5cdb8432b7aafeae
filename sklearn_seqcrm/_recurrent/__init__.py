"""The torch core of the recurrent estimators: data, network, objectives, training."""
