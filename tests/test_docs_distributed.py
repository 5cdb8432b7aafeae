"""Run the page about training by several processes."""

import matplotlib
import numpy as np
from matplotlib import pyplot as plt


def test_page(code_of, tmp_path, monkeypatch):
    """Two ranks have the losses of one process."""
    monkeypatch.chdir(tmp_path)
    matplotlib.use("agg")
    page = {"print": lambda *values: None}
    exec(compile(code_of("distributed.md"), "distributed.md", "exec"), page)
    plt.close("all")
    assert len(page["one"]) == len(page["two"]) == 8
    np.testing.assert_allclose(page["one"], page["two"], rtol=1e-5)
