"""A rank of `fit_on_ranks`, which torchrun starts with the folder of the task."""

import sys
from pathlib import Path

from sklearn_seqcrm.distributed._fit_on_ranks import main

if __name__ == "__main__":
    main(Path(sys.argv[1]))
