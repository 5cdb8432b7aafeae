"""Rows, labels, features and scores by partition on a local cluster of Spark."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.feature_extraction import HistoryAggregator, RFMFeatures
from sklearn_seqcrm.partitions import PartitionedLog, load_rows
from sklearn_seqcrm.serving import predict_partition
from sklearn_seqcrm.targets import churned, next_value
from sklearn_seqcrm.testing._small_data import make_events
from tests.partitions.random_tables import (
    N_TABLES,
    assert_same_rows,
    check_case,
    random_case,
)
from tests.spark_sessions import ZONE, spark_session

pytest.importorskip("pyspark")
# What Spark and py4j do with sockets, files and newer versions of pandas.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning:pyspark"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:pyspark"),
    pytest.mark.filterwarnings("ignore::UserWarning:pyspark"),
]
CUTOFFS = ["2023-06-01", "2024-06-01"]
UNTIL = "2025-01-01"
EVENTS = make_events(60, mean_events=20)[["who", "when", "amount", "kind"]]
EVENTS["when"] = EVENTS["when"].dt.as_unit("us")


@pytest.fixture(scope="module")
def spark():
    with spark_session() as session:
        yield session


def spark_table(spark, table, *, instants=False):
    """Return a table of Spark whose times are instants, or show what pandas shows."""
    types = []
    for name, dtype in table.dtypes.items():
        if isinstance(dtype, pd.DatetimeTZDtype):
            types.append((name, "timestamp"))
        elif dtype.kind == "M":
            types.append((name, "timestamp" if instants else "timestamp_ntz"))
        elif dtype.kind in "iub":
            types.append((name, "boolean" if dtype.kind == "b" else "bigint"))
        elif dtype.kind == "f":
            types.append((name, "double"))
        else:
            known = table[name].dropna()
            is_flag = len(known) and isinstance(known.iloc[0], bool)
            types.append((name, "boolean" if is_flag else "string"))
    if instants:
        table = table.assign(
            **{
                name: table[name].dt.tz_localize("UTC")
                for name, own in types
                if own == "timestamp" and table[name].dt.tz is None
            }
        )
    # Without this, missing text would become the text "nan".
    objects = [name for name, own in types if own in ("string", "boolean")]
    table = table.assign(
        **{n: table[n].astype(object).where(table[n].notna(), None) for n in objects}
    )
    schema = ", ".join(f"`{name}` {own}" for name, own in types)
    return spark.createDataFrame(table, schema)


def collected(table):
    """Return a table of Spark in pandas; instants are in UTC."""
    from pyspark.sql import functions as F

    zoned = [f.name for f in table.schema if f.dataType.typeName() == "timestamp"]
    for name in zoned:
        table = table.withColumn(name, F.unix_micros(name))
    found = table.toPandas()
    return found.assign(
        **{n: pd.to_datetime(found[n], unit="us", utc=True) for n in zoned}
    )


@pytest.mark.parametrize("seed", range(N_TABLES or 6))
def test_random_tables_by_partition_equal_one_process(spark, seed):
    case = random_case(seed)
    table = pd.concat(case.parts, ignore_index=True)
    naive = table["when"].dtype.kind == "M" and table["when"].dt.tz is None
    # Naive times are those of a zone, or instants that are shown in it.
    instants = naive and table["who"].dtype.kind != "M" and seed % 2 == 1
    zone = "UTC" if instants or naive else None
    events = spark_table(spark, table, instants=instants).cache()
    statics = spark_table(spark, case.statics)
    check_case(case, events, statics, collected, time_zone=zone, n_partitions=3)


def test_the_session_time_zone_changes_nothing(spark):
    """Instants stay, also in the hour of autumn that New York has twice."""
    events = pd.DataFrame(
        {
            "who": ["a", "a", "b", "b"],
            "when": pd.to_datetime(
                [f"2024-11-03 0{time}" for time in ("5:30", "6:30", "1:00", "7:00")]
            ).as_unit("us"),
        }
    )
    expected = EventLog(events, "who", "when").snapshots(["2024-11-03 06:00"])
    table = spark_table(spark, events, instants=True)
    rows = PartitionedLog(table, "who", "when", n_partitions=2).snapshots(
        ["2024-11-03 06:00"]
    )
    found = rows.map(lambda X: X["history"].array.lengths)
    keys = expected[["who", "cutoff"]]
    lengths = expected["history"].array.lengths
    assert_same_rows(collected(found), keys.assign(**{"0": lengths}))
    assert str(found.schema["cutoff"].dataType.typeName()) == "timestamp_ntz"


def test_names_that_spark_takes_for_paths_are_refused(spark):
    table = spark.createDataFrame(
        [(1, 2.5, 3)], "`customer.id` int, when double, `a`` ` int"
    )
    with pytest.raises(ValueError, match=r"dots or backticks.*'customer.id', 'a` '"):
        PartitionedLog(table, "customer.id", "when")


def test_the_page(spark, tmp_path):
    """Rows, labels and features by the code of the page; then files and scores."""
    table = EVENTS.rename(columns={"who": "customer_id", "when": "timestamp"})
    people = pd.DataFrame({"customer_id": table["customer_id"].unique()})
    people["age"] = np.arange(len(people)) % 50 + 20.0
    spark_table(spark, table, instants=True).createOrReplaceTempView("orders")
    spark_table(spark, people).createOrReplaceTempView("people")
    page = (Path(__file__).parents[1] / "docs" / "scale.md").read_text()
    [code] = [one for one in page.split("```python") if "spark.table" in one]
    code = code.split("```")[0]
    names = {
        "spark": spark,
        "churned": churned,
        "PartitionedLog": PartitionedLog,
        "HistoryAggregator": HistoryAggregator,
    }
    exec(compile(code, "scale.md", "exec"), names)
    rows, folder = names["rows"], tmp_path / "rows"

    log = EventLog(table, "customer_id", "timestamp", observed_until=UNTIL)
    X = log.snapshots(["2023-09-01", "2023-12-01"])
    X = X.merge(people, on="customer_id", how="left")
    by = {"customer_id": "who"}
    keys, y = X[["customer_id", "cutoff"]].rename(columns=by), churned(X, "30D")
    labels = collected(names["labels"]).rename(columns=by)
    assert_same_rows(labels, keys.assign(churned=y))
    features = collected(names["features"]).rename(columns=by)
    expected = HistoryAggregator().fit_transform(X)
    assert_same_rows(features, pd.concat([keys, expected], axis=1))
    assert rows.counts()["n_unmatched"].sum() == 0
    rows.to_disk(folder, y=lambda X: churned(X, "30D"))

    # A model of the parts on disk scores the partitions.
    model = make_pipeline(RFMFeatures(), StandardScaler(), LogisticRegression())
    model.fit(*load_rows(folder))
    scores = rows.map(lambda X: model.predict_proba(X)[:, 1])
    probability = model.predict_proba(X)[:, 1]
    found = collected(scores).sort_values(["customer_id", "cutoff"])["0"]
    order = keys.sort_values(["who", "cutoff"]).index
    np.testing.assert_allclose(found, probability[order], rtol=1e-12)


def test_types_and_ids_of_partitions(spark):
    events = pd.DataFrame(
        {
            "who": np.arange(90) % 30,
            "day": np.arange(90) / 3,
            "shop": np.where(np.arange(90) % 30 < 15, "n", "s"),
        }
    )
    people = pd.DataFrame({"who": np.arange(30), 0: np.arange(30)})
    log = PartitionedLog(spark_table(spark, events), "who", "day", n_partitions=3)
    rows = log.snapshots([20], statics=people[people["who"] != 7])
    found = rows.map(lambda X: X[["0"]]).toPandas()
    assert found["0"].isna().sum() == 1
    assert (found["0"] == found["who"]).sum() == 29
    shops = rows.map(lambda X: next_value(X, "shop")).toPandas()
    assert (shops.iloc[:, 2] == np.where(shops["who"] < 15, "n", "s")).all()
    pairs = rows.map(lambda X: pd.DataFrame(np.zeros((len(X), 2)))).toPandas()
    assert pairs.columns.tolist() == ["who", "cutoff", "0", "1"]
    halves = rows.map(lambda X: X["0"] / 2, meta=pd.DataFrame({"0": [1]}))
    with pytest.raises(
        Exception, match=r"Column '0' of partition . has the type float"
    ):
        halves.toPandas()
    with pytest.raises(ValueError, match=r"customer 0\.5"):
        log.snapshots([20], statics=people.assign(who=people["who"] + 0.5))
    with pytest.raises(TypeError, match="no id would match"):
        log.snapshots([20], statics=people.assign(who=people["who"].astype(str)))
    mixed = people.assign(size=pd.Series([1, "XL"] * 15, dtype=object))
    with pytest.raises(TypeError, match=r"'size' holds values of the types int, str"):
        log.snapshots([20], statics=mixed)
    flags = people.assign(flag=pd.Series([True, None] * 15, dtype=object))
    with pytest.raises(TypeError, match=r"the types bool, and .* by .convert_dtypes"):
        log.snapshots([20], statics=flags)
    known = log.snapshots([20], statics=flags.convert_dtypes())
    found = known.map(lambda X: X[["flag"]].astype("boolean")).toPandas()
    assert found["flag"].isna().sum() == 15
    assert rows.map(lambda X: pd.Series([None] * len(X))).toPandas()["0"].isna().all()
    lists = rows.map(lambda X: pd.Series([[1]] * len(X)))
    with pytest.raises(Exception, match="Column '0' holds values of the types list"):
        lists.toPandas()
    with pytest.raises(ValueError, match="rename it"):
        log.snapshots([20], statics=people.rename(columns={0: "__partition"}))


def test_predict_partition_in_a_session_of_another_zone(spark):
    """Spark hands instants over in its zone; a model of UTC refuses them."""
    orders = spark_table(spark, EVENTS, instants=True)
    X = EventLog(EVENTS, "who", "when").snapshots(CUTOFFS)[["history"]]
    model = make_pipeline(RFMFeatures(), LogisticRegression())
    model.fit(X, np.arange(len(X)) % 2)

    def score(pieces, time_zone="UTC"):
        yield predict_partition(
            pieces,
            model=model,
            customer="who",
            time="when",
            cutoff=CUTOFFS[1],
            fields=["amount", "kind"],
            observed_until=UNTIL,
            time_zone=time_zone,
        )

    def in_zone(pieces):
        yield from score(pieces, ZONE)

    schema = "who string, cutoff timestamp_ntz, prediction bigint"
    by_customer = orders.repartition(2, "who")
    with pytest.raises(Exception, match="session time zone"):
        by_customer.mapInPandas(score, schema).collect()
    assert by_customer.mapInPandas(in_zone, schema).count() == 60
