"""The same work with pytorch-lifestream 0.6.0, in a separate environment.

``train FILE HIDDEN_SIZE`` trains an epoch on pickled arrays, ``preprocess FILE`` makes
sequences of a pickled table. Both print seconds as JSON.
"""

import json
import logging
import pickle
import sys
import time
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch
import torchmetrics
from ptls.data_load.datasets import MemoryMapDataset
from ptls.frames import PtlsDataModule
from ptls.frames.supervised import SeqToTargetDataset, SequenceToTarget
from ptls.nn import RnnSeqEncoder, TrxEncoder
from ptls.preprocessing import PandasDataPreprocessor


def train(rows, hidden_size):
    """Return the seconds of an epoch, with a tenth of the rows for validation."""
    names = [f"field_{i}" for i in range(rows["values"].shape[1])]
    ends = np.cumsum(rows["lengths"])
    records = [
        {
            **{
                name: torch.from_numpy(rows["values"][a:b, i].copy())
                for i, name in enumerate(names)
            },
            "event_time": torch.arange(b - a),
            "y": int(y),
        }
        for a, b, y in zip(ends - rows["lengths"], ends, rows["y"], strict=True)
    ]
    n_train = len(records) - len(records) // 10
    data = PtlsDataModule(
        train_data=SeqToTargetDataset(MemoryMapDataset(records[:n_train]), "y"),
        valid_data=SeqToTargetDataset(MemoryMapDataset(records[n_train:]), "y"),
        train_batch_size=128,
    )
    encoder = RnnSeqEncoder(
        TrxEncoder(numeric_values=dict.fromkeys(names, "identity")),
        hidden_size=hidden_size,
        type="lstm",
    )
    model = SequenceToTarget(
        encoder,
        head=torch.nn.Linear(hidden_size, 2),
        loss=torch.nn.CrossEntropyLoss(),
        metric_list=torchmetrics.MeanMetric(),
        optimizer_partial=partial(torch.optim.AdamW, lr=0.001),
        lr_scheduler_partial=partial(torch.optim.lr_scheduler.StepLR, step_size=100),
    )
    model.train_metrics.clear()
    model.valid_metrics.clear()
    trainer = pl.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    start = time.perf_counter()
    trainer.fit(model, data)
    return time.perf_counter() - start


def preprocess(events):
    """Return the seconds for making sequences of a table of events."""
    preprocessor = PandasDataPreprocessor(
        col_id="customer",
        col_event_time="time",
        cols_category=["category"],
        cols_numerical=["amount"],
    )
    start = time.perf_counter()
    preprocessor.fit_transform(events)
    return time.perf_counter() - start


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    logging.disable(logging.INFO)
    torch.set_num_threads(1)
    what, file, *options = sys.argv[1:]
    work = {"train": train, "preprocess": preprocess}[what]
    data = pickle.loads(Path(file).read_bytes())
    print(json.dumps({"seconds": work(data, *map(int, options))}))
