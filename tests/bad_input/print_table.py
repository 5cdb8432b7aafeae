"""Print a Markdown table of bad input and of the messages that a user reads.

Run it by ``python -m tests.bad_input.print_table``.
"""

import warnings
from inspect import getdoc

from tests.bad_input import (
    test_event_model,
    test_fit_and_predict,
    test_logs_and_targets,
    test_networks,
    test_odd_input,
    test_survival_times,
)
from tests.bad_input.inputs import refused

REFUSED = {
    **test_logs_and_targets.REFUSED,
    **test_fit_and_predict.REFUSED,
    **test_survival_times.REFUSED,
    **test_networks.REFUSED,
    **test_event_model.REFUSED,
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
    for name, test in [*vars(test_odd_input).items()]:
        if name.startswith("test_odd_"):
            test()
            case = name.removeprefix("test_odd_").replace("_", " ")
            yield f"| pipeline | {case} | No error: {getdoc(test)} |"


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    print(*table(), sep="\n")
