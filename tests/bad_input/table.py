"""Print all bad input and what a user reads, as a Markdown table.

Run it by ``python -m tests.bad_input.table``.
"""

import warnings
from inspect import getdoc

from tests.bad_input import (
    test_event_models,
    test_logs,
    test_networks,
    test_odd_input,
    test_pipelines,
    test_survival_targets,
)
from tests.bad_input.inputs import refused

REFUSED = {
    "EventLog": test_logs.LOGS,
    "targets, splits, RFM": test_logs.TARGETS,
    "pipeline.predict": test_pipelines.PREDICT,
    "pipeline.fit": test_pipelines.FIT,
    "targets and weights": test_pipelines.NUMERIC_TARGETS_AND_WEIGHTS,
    "survival targets": test_survival_targets.SURVIVAL_TARGETS,
    "networks": test_networks.NETWORK,
    "padded tensors": test_networks.TENSORS,
    "parameters": test_networks.PARAMETERS,
    "event models": test_event_models.EVENT_MODELS,
}


def table():
    """Yield the lines of the table."""
    yield "| Where | Bad input | What a user reads |"
    yield "|---|---|---|"
    for where, cases in REFUSED.items():
        for case, how in cases.items():
            error = refused(*how)
            text = " ".join(str(error).replace("|", "\\|").split())
            yield f"| {where} | {case} | {type(error).__name__}: {text} |"
    for name, test in list(vars(test_odd_input).items()):
        if name.startswith("test_odd_"):
            test()
            case = name.removeprefix("test_odd_").replace("_", " ")
            yield f"| pipeline | {case} | No error: {getdoc(test)} |"


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    print(*table(), sep="\n")
