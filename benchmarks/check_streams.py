"""The law of streams on many random interleavings, not the few of the tests.

Up to 40 events of ten customers come in at random, in tables and one by one, and all
customers are scored after each; scores from states must be those of a log to 1e-5. Now
and then the scorer is restored from a file. Lines of baskets also come late, after
others of their moment. An interleaving takes about a fifth of a second.
"""

import argparse
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
from measure import one_thread, seconds

ROOT = Path(__file__).parents[1]
ALLOWED = 1e-5


def main():
    """Play the given number of streams, with each network in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--interleavings", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--baskets", action="store_true", help="networks with moments")
    options = parser.parse_args()
    one_thread()
    sys.path.insert(0, str(ROOT))
    from tests.serving.streams import MODELS, MOMENTS, play

    names = list(MOMENTS if options.baskets else MODELS)
    rng = np.random.default_rng(options.seed)
    worst = dict.fromkeys(names, 0.0)
    done = 0

    def play_all():
        nonlocal done
        for i in range(options.interleavings):
            name, size = names[i % len(names)], int(rng.integers(1, 41))
            found = play(name, int(rng.integers(2**31)), size)
            worst[name] = max(worst[name], found)
            done = i + 1

    with suppress(KeyboardInterrupt):  # prints those played so far
        took, _ = seconds(play_all)
        print(f"in {took:,.0f} s")
    print(f"{done:,} interleavings of up to 40 events")
    for name, found in worst.items():
        print(f"{name:16s} largest difference {found:.1e}")
    beyond = [name for name, found in worst.items() if not found < ALLOWED]
    if beyond:
        raise SystemExit(f"Beyond {ALLOWED:g}: {beyond}.")


if __name__ == "__main__":
    main()
