"""Common alternatives: skorch and Keras on arrays, pytorch-lifestream."""

import json
import os
import pickle
import subprocess
import tempfile
from pathlib import Path

import torch
from skorch import NeuralNetClassifier
from skorch.callbacks import EarlyStopping
from skorch.dataset import ValidSplit
from torch.nn.utils.rnn import pack_padded_sequence

HERE = Path(__file__).parent
LIFESTREAM = HERE.parent / ".venv-lifestream"


class TextbookLSTM(torch.nn.Module):
    """One LSTM over the whole padded array, with the output of the last event."""

    def __init__(self, n_channels, hidden_size):
        super().__init__()
        self.lstm = torch.nn.LSTM(n_channels, hidden_size, batch_first=True)
        self.head = torch.nn.Linear(hidden_size, 2)

    def forward(self, values, lengths):
        """Return the logits of two classes."""
        steps, _ = self.lstm(values)
        return self.head(steps[torch.arange(len(steps)), lengths - 1])


class PackedLSTM(TextbookLSTM):
    """The same network on packed sequences, which skip the padding."""

    def forward(self, values, lengths):
        """Return the logits of two classes."""
        packed = pack_padded_sequence(
            values, lengths, batch_first=True, enforce_sorted=False
        )
        _, (last, _) = self.lstm(packed)
        return self.head(last[0])


def skorch_net(module, n_channels, hidden_size, n_epochs):
    """Make a skorch classifier with early stopping, as in tutorials."""
    return NeuralNetClassifier(
        module,
        module__n_channels=n_channels,
        module__hidden_size=hidden_size,
        criterion=torch.nn.CrossEntropyLoss,
        optimizer=torch.optim.AdamW,
        batch_size=128,
        max_epochs=n_epochs,
        train_split=ValidSplit(10, stratified=True),
        callbacks=[EarlyStopping(patience=5)],
        iterator_train__shuffle=True,
        verbose=0,
    )


def keras_model(n_steps, n_channels, hidden_size):
    """Make a Keras network on torch with masked padding; None without Keras."""
    os.environ.setdefault("KERAS_BACKEND", "torch")
    try:
        import keras
    except ImportError:
        return None
    model = keras.Sequential(
        [
            keras.layers.Input((n_steps, n_channels)),
            keras.layers.Masking(),
            keras.layers.LSTM(hidden_size),
            keras.layers.Dense(2),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer="adamw", loss=loss)
    return model


def fit_keras(model, values, y, n_epochs):
    """Train, with a tenth of the rows for validation."""
    model.fit(
        values, y, batch_size=128, epochs=n_epochs, validation_split=0.1, verbose=0
    )


def has_lifestream():
    """Return whether the environment of pytorch-lifestream exists."""
    return (LIFESTREAM / ".installed").exists()


def lifestream_seconds(work, data, *options):
    """Run pytorch-lifestream in another process.

    Parameters
    ----------
    work : {"train", "preprocess"}
        What `rival_lifestream.py` knows to do.
    data : object
        What it works on.
    *options : int
        What else it takes.

    Returns
    -------
    float or None
        Seconds, without starting and reading; None if it is not installed.
    """
    if not has_lifestream():
        return None
    with tempfile.NamedTemporaryFile() as file:
        pickle.dump(data, file)
        file.flush()
        script = HERE / "rival_lifestream.py"
        command = [LIFESTREAM / "bin" / "python", script, work, file.name]
        done = subprocess.run(
            [*command, *map(str, options)], stdout=subprocess.PIPE, check=True
        )
    return json.loads(done.stdout.splitlines()[-1])["seconds"]
