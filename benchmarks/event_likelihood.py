"""Likelihood of simulated processes, compared with the truth and with EasyTPP.

Sequences of 30 events: renewals (gamma interarrival times of shape 3) and self-exciting
ones (Hawkes, exponential kernel); 1,000 for training and 500 for the test. Printed is
the mean log density of an interarrival time, given those before it, minus that of the
process itself, in nats. EasyTPP (``pip install easy-tpp``) is optional; its models have
the size of ours, Adam with a learning rate of .005, and the same number of epochs.

``python benchmarks/event_likelihood.py --real --data FOLDER`` takes real interarrival
times, whole days between the days of a customer: log probabilities for a quarter of the
customers who are not in training, compared with simpler models. All likelihoods include
the censoring time up to the end of the log. Two simulated sets with a known truth come
first. ``--components 4 16`` compares models with more components in their mixtures.
"""

import argparse
import importlib.util
import os
from collections import namedtuple
from functools import partial
from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch
from futures_data import CUTOFFS
from scipy import stats
from scipy.optimize import minimize
from scipy.special import betaln, log_ndtr, log_softmax, logsumexp
from sklearn.mixture import GaussianMixture

from sklearn_seqcrm.event_model import LSTMEventModel
from sklearn_seqcrm.events import EventLog

N_TRAIN, N_TEST, N_EVENTS = 1000, 500, 30
HIDDEN, EPOCHS, RATE = 32, 40, 0.005


def renewals(rng, n):
    """Simulate gamma interarrival times, with their log densities."""
    gamma = stats.gamma(3, scale=1 / 3)
    gaps = gamma.rvs((n, N_EVENTS - 1), random_state=rng)
    return gaps, gamma.logpdf(gaps)


def self_exciting(rng, n):
    """Simulate a Hawkes process from a first event, with log densities."""
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


def event_model(train, test, seed, n_components=4):
    """Return the log density of test interarrival times by the event model."""

    def rows(gaps):
        times = np.column_stack([np.zeros(len(gaps)), gaps.cumsum(axis=1)])
        who = np.repeat(np.arange(len(gaps)), N_EVENTS)
        events = pd.DataFrame({"who": who, "time": times.ravel()})
        log = EventLog(events, "who", "time")
        # Sequences end with an event, so there is no censoring time.
        ends = np.nextafter(times[:, -1], np.inf)
        cutoffs = pd.DataFrame({"who": np.arange(len(gaps)), "at": ends})
        return log.attach(cutoffs, cutoff="at")

    model = LSTMEventModel(
        hidden_size=HIDDEN,
        max_epochs=EPOCHS,
        learning_rate=RATE,
        n_components=n_components,
        random_state=seed,
    ).fit(rows(train))
    found = model.score_events(rows(test))
    logs = found.loc[found["event"] > 0, "log_prob_time"]
    return logs.mean()


def unconditional(train, test, seed):
    """Return that of one mixture of four log-normals, without the past."""
    mixture = GaussianMixture(4, random_state=seed).fit(np.log(train).reshape(-1, 1))
    logs = np.log(test).reshape(-1, 1)
    return (mixture.score_samples(logs) - logs[:, 0]).mean()


def exponential(train, test, seed):
    """Return that of exponential interarrival times."""
    return stats.expon(scale=train.mean()).logpdf(test).mean()


def of_easy_tpp(name):
    """Return that of a model of EasyTPP."""

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


# Real interarrival times --------------------------------------------------------------

N_SIMULATED, SIMULATED_DAYS = 4000, 365
N_BOOTSTRAP = 2000
# Interarrival times in days, positions of customers, and censoring times in days.
Days = namedtuple("Days", ["customer", "gap", "silence"])


def simulated_days(rng, draw):
    """Simulate days of customers in the first year of a shop."""
    n = N_SIMULATED
    days = np.column_stack([rng.integers(90, size=n), draw(rng, (n, SIMULATED_DAYS))])
    days = days.cumsum(axis=1)
    customer, event = np.nonzero(days < SIMULATED_DAYS)
    start = pd.Timestamp("2024-01-01")
    day = start + pd.to_timedelta(days[customer, event], unit="D")
    events = pd.DataFrame({"customer": customer, "day": day})
    return events, start + pd.Timedelta(SIMULATED_DAYS, "D")


def log_normal_days(rng):
    """Return two log-normals, and the log probabilities of days."""
    truth = np.log([0.6, 0.4]), np.log([5.0, 60.0]), np.array([0.5, 1.0])

    def draw(rng, shape):
        late = (rng.random(shape) < 0.4).astype(int)
        logs = rng.normal(truth[1][late], truth[2][late])
        return np.ceil(np.exp(logs)).astype("int64")

    return *simulated_days(rng, draw), by_customer(*of_mixture(*truth))


def exponential_days(rng):
    """Return one rate for all, and the log probabilities of days."""
    rate = 0.05

    def draw(rng, shape):
        return np.ceil(rng.exponential(1 / rate, shape)).astype("int64")

    return *simulated_days(rng, draw), by_customer(*of_rate(rate))


def recorded(name):
    """Return days of real customers, without a known truth."""

    def run(rng, options):
        events = CUTOFFS[name][0](options)
        return events, events["day"].max() + pd.Timedelta("1D"), None

    return run


def days_of(X, events, end):
    """Return interarrival and censoring times of the rows of X."""
    place = pd.Series(np.arange(len(X)), X["customer"])
    own = events[events["customer"].isin(X["customer"])]
    own = own.assign(row=own["customer"].map(place)).sort_values(["row", "day"])
    gap = own.groupby("row")["day"].diff().dt.days
    some = gap.notna()
    silence = (end - own.groupby("row")["day"].max()).dt.days
    row = own.loc[some, "row"].to_numpy()
    return Days(row, gap[some].to_numpy("int64"), silence.to_numpy())


def by_customer(log_prob, log_survival):
    """Score interarrival and censoring times of customers by functions of days."""

    def score(days):
        sums = np.bincount(days.customer, log_prob(days.gap), len(days.silence))
        # The last day is not observed: an event there is after the cutoff.
        return sums, log_survival(days.silence - 1)

    return score


def event_model_of_days(X, X_test, seed, n_components):
    """Score by the event model, which also has the spend as a field."""
    model = LSTMEventModel(n_components=n_components, random_state=seed).fit(X)
    found = model.score_events(X_test).groupby("row")
    silence = model.score_samples(X_test) - found["log_prob"].sum().to_numpy()
    return found["log_prob_time"].sum().to_numpy(), silence


def mixture_of_days(train):
    """One mixture of four log-normals, by maximum likelihood."""
    gap, n_gaps = np.unique(train.gap, return_counts=True)
    quiet, n_quiet = np.unique(train.silence - 1, return_counts=True)
    begun = np.log(np.concatenate([train.gap, 2 * train.silence]))

    def cost(parameters):
        log_prob, log_survival = of_mixture(*unpacked(parameters))
        total = n_gaps @ log_prob(gap) + n_quiet @ log_survival(quiet)
        return -total / len(train.gap)

    rng = np.random.default_rng(0)
    centers = np.quantile(begun, [0.125, 0.375, 0.625, 0.875])
    found = []
    for _ in range(8):
        start = np.concatenate([np.zeros(4), centers, np.zeros(4)])
        start += rng.normal(0, 0.5, size=12)
        found.append(minimize(cost, start, method="L-BFGS-B"))
    best = min(found, key=lambda one: one.fun).x
    return by_customer(*of_mixture(*unpacked(best)))


def unpacked(parameters):
    """Return log weights, means and scales."""
    logits, centers, log_scales = parameters.reshape(3, 4)
    return log_softmax(logits), centers, np.exp(log_scales.clip(-4.6, 4.6))


def of_mixture(log_shares, centers, scales):
    """Log probability of a day, and of none until the end of one."""

    def standard(days):
        with np.errstate(divide="ignore"):
            logs = np.log(days)
        return (logs[:, None] - centers) / scales

    def log_prob(gap):
        low, high = standard(gap - 1), standard(gap)
        # Taken where both tails are small, which keeps the digits of the difference.
        low, high = np.where(low > 0, [-high, -low], [low, high])
        larger = log_ndtr(high)
        with np.errstate(divide="ignore"):
            inside = larger + np.log(-np.expm1(log_ndtr(low) - larger))
        return logsumexp(log_shares + inside, axis=1)

    def log_survival(silence):
        return logsumexp(log_shares + log_ndtr(-standard(silence)), axis=1)

    return log_prob, log_survival


def exponential_of_days(train):
    """One daily probability for all: the share of complete days with an event."""
    n = len(train.gap)
    over = (train.gap - 1).sum() + (train.silence - 1).sum()
    return by_customer(*of_rate(np.log1p(n / over)))


def of_rate(rate):
    """Log probability of a day, and of none until the end of one."""
    return (
        lambda gap: np.log(-np.expm1(-rate)) - rate * (gap - 1),
        lambda silence: -rate * silence,
    )


def own_rates(train):
    """Beta-binomial: a daily probability per customer, updated by the past days."""

    def log_likelihood(a, b, days):
        """Return the log probabilities of interarrival times and censoring times."""
        n = len(days.silence)
        ended = np.bincount(days.customer, minlength=n)
        over = np.bincount(days.customer, days.gap - 1, n)
        gaps = betaln(a + ended, b + over) - betaln(a, b)
        both = betaln(a + ended, b + over + days.silence - 1) - betaln(a, b)
        return gaps, both - gaps

    def cost(logs):
        return -sum(log_likelihood(*np.exp(logs), train)).mean()

    found = minimize(cost, [0.0, 3.0], method="Nelder-Mead").x
    return lambda days: log_likelihood(*np.exp(found), days)


def real(options):
    """Print log probabilities of days of test customers."""
    sets = {
        "log-normal": lambda rng, _: log_normal_days(rng),
        "exponential": lambda rng, _: exponential_days(rng),
        **{name: recorded(name) for name in ("cdnow", "retail", "journey")},
    }
    for name in options.sets or sets:
        for seed in options.seeds:
            rng = np.random.default_rng(seed)
            events, end, truth = sets[name](rng, options)
            log = EventLog(
                events, "customer", "day", observed_until=end - pd.Timedelta("1s")
            )
            X = log.snapshots([end])
            is_test = rng.random(len(X)) < 0.25
            train, test = (days_of(X[own], events, end) for own in (~is_test, is_test))
            scores = {
                f"LSTMEventModel, {n}": event_model_of_days(
                    X[~is_test], X[is_test], seed, n
                )
                for n in options.components
            } | {
                "four log-normals": mixture_of_days(train)(test),
                "exponential gaps": exponential_of_days(train)(test),
                "a rate of each customer": own_rates(train)(test),
            }
            if truth:
                scores["the truth"] = truth(test)
            n_gaps, n = len(test.gap), len(test.silence)
            print(f"{name}, seed {seed}: {n:,} customers, {n_gaps:,} gaps", flush=True)
            tell(scores, np.bincount(test.customer, minlength=n), rng)


def tell(scores, n_gaps, rng):
    """Print means, and differences to the first model with 95% intervals."""
    n = len(n_gaps)
    drawn = rng.multinomial(n, np.full(n, 1 / n), size=N_BOOTSTRAP)
    first = next(iter(scores))
    for way, (gaps, silence) in scores.items():
        line = f"  {way:25s}"
        # A customer has as many events as interarrival times plus one censoring time.
        for own, best, count in (
            (gaps, scores[first][0], n_gaps),
            (gaps + silence, sum(scores[first]), n_gaps + 1),
        ):
            line += f"{own.sum() / count.sum():+9.4f}"
            if way != first:
                ahead = best - own
                low, high = np.quantile(drawn @ ahead / (drawn @ count), [0.025, 0.975])
                mean = ahead.sum() / count.sum()
                line += f" behind by {mean:+.4f} [{low:+.4f}, {high:+.4f}]"
        print(line, flush=True)


def main():
    """Print a table of means and standard deviations over seeds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--real", action="store_true")
    parser.add_argument("--sets", nargs="+", help="which of the sets of --real")
    parser.add_argument("--components", nargs="+", type=int, default=[4])
    parser.add_argument("--data", default=os.environ.get("SEQCRM_DATA"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.real:
        real(options)
        return
    ways = {
        f"LSTMEventModel, {n}": partial(event_model, n_components=n)
        for n in options.components
    } | {
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
