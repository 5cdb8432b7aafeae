import subprocess
import sys

LIGHT = [
    "calibration",
    "datasets",
    "events",
    "feature_extraction",
    "inspection",
    "metrics",
    "model_selection",
    "partitions",
    "preprocessing",
    "targets",
]
HEAVY = ["matplotlib", "skorch", "torch"]


def test_import_is_light():
    # In a new interpreter: this one has loaded everything already.
    code = "\n".join(
        [
            "import sys",
            "import sklearn_seqcrm",
            *[f"import sklearn_seqcrm.{package}" for package in LIGHT],
            f"print([name for name in {HEAVY} if name in sys.modules])",
        ]
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == "[]"
