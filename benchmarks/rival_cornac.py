"""Lists by cornac's next-basket baselines; `recommend.py` runs it in their environment.

``PYTHON rival_cornac.py known.csv lists.csv`` takes lines of baskets, with the columns
customer, day and item, and writes ten items for each customer and model.
"""

import sys

import numpy as np
import pandas as pd
from cornac.data import BasketDataset
from cornac.models import TIFUKNN, GPTop

N_BEST = 10


def main():
    """Read baskets, fit, and write lists."""
    known = pd.read_csv(sys.argv[1], dtype={"item": str})
    known["basket"] = known.groupby(["customer", "day"]).ngroup()
    columns = ["customer", "basket", "item"]
    data = BasketDataset.from_ubi(list(known[columns].itertuples(index=False)))
    items = np.array(list(data.iid_map))
    histories = {
        customer: [baskets.to_numpy() for _, baskets in own.groupby("basket")["place"]]
        for customer, own in known.assign(
            place=known["item"].map(data.iid_map)
        ).groupby("customer")
    }
    tables = []
    for model in (GPTop(), TIFUKNN()):
        model.fit(data)
        for customer, history in histories.items():
            scores = model.score(data.uid_map[customer], history)
            top = np.argsort(-scores, kind="stable")[:N_BEST]
            tables.append(
                pd.DataFrame(
                    {
                        "model": f"cornac {model.name}",
                        "row": customer,
                        "rank": np.arange(N_BEST),
                        "value": items[top],
                    }
                )
            )
    pd.concat(tables).to_csv(sys.argv[2], index=False)


if __name__ == "__main__":
    main()
