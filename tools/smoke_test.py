"""Install a wheel or an sdist into a new environment, and use it: `make dist`.

Run as ``python tools/smoke_test.py FILE [FILE ...]``. The environment is outside of the
checkout, so only the contents of the file can be imported.
"""

import subprocess
import sys
import tempfile
import venv
from pathlib import Path

VERSION = """
from importlib.metadata import version
from importlib.resources import files
import pkgutil
from importlib import import_module
import sklearn_seqcrm

assert version("sklearn-seqcrm") == sklearn_seqcrm.__version__
assert files("sklearn_seqcrm").joinpath("py.typed").is_file()
for module in pkgutil.walk_packages(sklearn_seqcrm.__path__, "sklearn_seqcrm."):
    import_module(module.name)
print(sklearn_seqcrm.__version__, "from", sklearn_seqcrm.__path__[0])
"""
USE = """
import pickle
from sklearn_seqcrm.datasets import make_customer_journeys
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.neural_network import LSTMClassifier
from sklearn_seqcrm.preprocessing import make_history_pipeline

journeys = make_customer_journeys(200, random_state=0)
log = EventLog(journeys.events, customer="customer_id", time="timestamp")
X = log.attach(journeys.rows, cutoff="cutoff")
model = make_history_pipeline(LSTMClassifier(max_epochs=2, random_state=0))
model.fit(X, journeys.target)
again = pickle.loads(pickle.dumps(model))
assert (again.predict_proba(X) == model.predict_proba(X)).all()
print("fitted, saved and loaded")
"""


def main(files: list[str]) -> None:
    """Test each file in an environment of its own."""
    for file in files:
        print(file, flush=True)
        with tempfile.TemporaryDirectory() as folder:
            venv.create(folder, with_pip=True)
            python = Path(folder) / "bin" / "python"
            install = [python, "-m", "pip", "install", "--quiet", Path(file).resolve()]
            subprocess.run(install, check=True)
            for code in (VERSION, USE):
                subprocess.run([python, "-c", code], check=True, cwd=folder)


if __name__ == "__main__":
    main(sys.argv[1:])
