"""Likelihood of simulated processes, beside their own and EasyTPP's models.

Sequences of 30 events: renewals (gaps of a gamma distribution of shape 3) and
self-exciting ones (Hawkes, exponential kernel). 1,000 are trained on and 500 are for
the test. Printed is the mean log density of a gap, given those before it, less that of
the process itself, in nats. EasyTPP (``pip install easy-tpp``) may be missing; its
models have the size of ours, Adam with a learning rate of .005, and as many passes.
"""

import argparse
import importlib.util
from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch
from scipy import stats
from sklearn.mixture import GaussianMixture

from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.neural_network import LSTMEventModel

N_TRAIN, N_TEST, N_EVENTS = 1000, 500, 30
HIDDEN, EPOCHS, RATE = 32, 40, 0.005


def renewals(rng, n):
    """Gaps, and their log densities."""
    gamma = stats.gamma(3, scale=1 / 3)
    gaps = gamma.rvs((n, N_EVENTS - 1), random_state=rng)
    return gaps, gamma.logpdf(gaps)


def self_exciting(rng, n):
    """Gaps of a Hawkes process that begins with an event, and their log densities."""
    base, jump, decay = 0.3, 1.0, 1.5
    gaps, logs = np.empty((2, n, N_EVENTS - 1))
    for i in range(n):
        excited = jump
        for j in range(N_EVENTS - 1):
            time = 0.0
            while True:  # thinning: the intensity falls until the next event
                bound = base + excited * np.exp(-decay * time)
                time += rng.exponential(1 / bound)
                rate = base + excited * np.exp(-decay * time)
                if rng.random() * bound < rate:
                    break
            area = base * time + excited / decay * (1 - np.exp(-decay * time))
            gaps[i, j], logs[i, j] = time, np.log(rate) - area
            excited = excited * np.exp(-decay * time) + jump
    return gaps, logs


def event_model(train, test, seed):
    """Log density of test gaps, as the event model has it."""

    def rows(gaps):
        times = np.column_stack([np.zeros(len(gaps)), gaps.cumsum(axis=1)])
        who = np.repeat(np.arange(len(gaps)), N_EVENTS)
        events = pd.DataFrame({"who": who, "time": times.ravel()})
        log = EventLog(events, "who", "time")
        # Sequences end with an event, and nothing is known of what follows.
        ends = np.nextafter(times[:, -1], np.inf)
        cutoffs = pd.DataFrame({"who": np.arange(len(gaps)), "at": ends})
        return log.attach(cutoffs, cutoff="at")

    model = LSTMEventModel(
        hidden_size=HIDDEN, max_epochs=EPOCHS, learning_rate=RATE, random_state=seed
    ).fit(rows(train))
    found = model.score_events(rows(test))
    logs = found.loc[found["event"] > 0, "log_prob_time"]
    return logs.mean() - np.log(model._learned.gaps.step)


def unconditional(train, test, seed):
    """The same by a mixture of four log-normals, whatever was before."""
    mixture = GaussianMixture(4, random_state=seed).fit(np.log(train).reshape(-1, 1))
    logs = np.log(test).reshape(-1, 1)
    return (mixture.score_samples(logs) - logs[:, 0]).mean()


def exponential(train, test, seed):
    """The same by exponential gaps."""
    return stats.expon(scale=train.mean()).logpdf(test).mean()


def of_easy_tpp(name):
    """The same by a model of EasyTPP."""

    def run(train, test, seed):
        from easy_tpp.model.intensity_free import IntensityFree
        from easy_tpp.model.rmtpp import RMTPP

        class Config(SimpleNamespace):
            def get(self, key, default):
                return getattr(self, key, default)

        log_gaps = np.log(train)
        config = Config(
            loss_integral_num_sample_per_step=20,
            hidden_size=HIDDEN,
            num_event_types=1,
            num_event_types_pad=2,
            pad_token_id=1,
            thinning=None,
            gpu=-1,
            use_mc_samples=True,
            model_specs={"num_mix_components": 4},
            mean_log_inter_time=float(log_gaps.mean()),
            std_log_inter_time=float(log_gaps.std()),
        )
        torch.manual_seed(seed)
        model = {"RMTPP": RMTPP, "IntensityFree": IntensityFree}[name](config)

        def batch(gaps):
            deltas = torch.tensor(np.column_stack([np.zeros(len(gaps)), gaps])).float()
            kinds = torch.zeros(deltas.shape, dtype=torch.int64)
            return {
                "time_seqs": deltas.cumsum(dim=1),
                "time_delta_seqs": deltas,
                "type_seqs": kinds,
                "seq_non_pad_mask": kinds == 0,
            }

        held = N_TRAIN // 10
        optimizer = torch.optim.Adam(model.parameters(), RATE)
        best, found = np.inf, np.nan
        rng = np.random.default_rng(seed)
        for _ in range(EPOCHS):
            model.train()
            for rows in np.array_split(held + rng.permutation(N_TRAIN - held), 14):
                loss, n = model.loglike_loss(**batch(train[rows]))
                optimizer.zero_grad()
                (loss / n).backward()
                optimizer.step()
            model.eval()
            with torch.no_grad():
                loss, n = model.loglike_loss(**batch(train[:held]))
                if loss.item() / n < best:
                    best = loss.item() / n
                    loss, n = model.loglike_loss(**batch(test))
                    found = -loss.item() / n
        return found

    return run


def main():
    """Print a table, of means and of spreads over the seeds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    options = parser.parse_args()
    torch.set_num_threads(1)
    ways = {
        "LSTMEventModel": event_model,
        "mixture of four log-normals": unconditional,
        "exponential": exponential,
    }
    if importlib.util.find_spec("easy_tpp"):
        ways["EasyTPP, RMTPP"] = of_easy_tpp("RMTPP")
        ways["EasyTPP, IntensityFree"] = of_easy_tpp("IntensityFree")
    for process in (renewals, self_exciting):
        for way, run in ways.items():
            found = []
            for seed in options.seeds:
                rng = np.random.default_rng(seed)
                train, _ = process(rng, N_TRAIN)
                test, truth = process(rng, N_TEST)
                found.append(run(train, test, seed) - truth.mean())
            ends = f"({min(found):+.3f} to {max(found):+.3f})"
            print(f"{process.__name__:15s}{way:30s}{np.mean(found):+8.3f} {ends}")


if __name__ == "__main__":
    main()
