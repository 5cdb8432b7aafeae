"""What tests of several pages share."""

import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Times depend on what else a machine does, and a test that fails must fail again: no
# deadline, no slow start, the same examples in each run.
settings.register_profile(
    "repeatable",
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("repeatable")

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture(scope="module")
def one_network() -> Iterator[None]:
    """Let ``n_networks="auto"`` be 1: with five, pages take three times as long."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sklearn_seqcrm._recurrent.data._batches._LARGEST_EPOCH", 1)
        yield


@pytest.fixture(scope="session")
def code_of() -> Callable[[str], str]:
    """Return a function that gives the code of a page, to run it as it is."""

    def read(page: str) -> str:
        text = (DOCS / page).read_text(encoding="utf-8")
        cells = re.findall(
            r"^```\{code-cell\}\n(.*?)^```", text, re.DOTALL | re.MULTILINE
        )
        return "\n".join(re.sub(r"\A:tags: .*\n", "", cell) for cell in cells)

    return read


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Let `_thread.interrupt_main` raise a KeyboardInterrupt.

    Background processes of a shell ignore the signal of an interruption.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
