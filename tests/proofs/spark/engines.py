"""Whimbrel and Spark behind the same three calls, and rows of both as comparable values."""

import datetime
import decimal
import os
import pathlib

import adbc_driver_manager
from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import Row, SparkSession


class Refused(Exception):
    """An engine said no."""


class Whimbrel:
    def __init__(self, cursor, lake: pathlib.Path) -> None:
        self.cursor = cursor
        self.lake = lake

    def run(self, sql: str) -> None:
        try:
            self.cursor.execute(sql)
            self.cursor.fetchall()
        except adbc_driver_manager.Error as error:
            raise Refused(str(error)) from error

    def rows(self, query: str) -> list:
        try:
            self.cursor.execute(query)
            return comparable(self.cursor.fetch_arrow_table().to_pylist(maps_as_pydicts="strict"))
        except adbc_driver_manager.Error as error:
            raise Refused(str(error)) from error


class Spark:
    def __init__(self, folder: pathlib.Path, threads: int = 2) -> None:
        builder = SparkSession.builder.master(f"local[{threads}]").appName("proofs")
        for key, value in {
            "spark.jars": os.environ["SPARK_JARS"],
            "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
            "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
            "spark.sql.session.timeZone": "UTC",
            "spark.sql.warehouse.dir": str(folder / "warehouse"),
            "spark.sql.shuffle.partitions": "2",
            "spark.databricks.delta.snapshotPartitions": "2",
            "spark.databricks.delta.retentionDurationCheck.enabled": "false",
            "spark.ui.enabled": "false",
            "spark.ui.showConsoleProgress": "false",
            "spark.driver.memory": "3g",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.driver.extraJavaOptions": f"-Dderby.system.home={folder}",
        }.items():
            builder = builder.config(key, value)
        self.session = builder.getOrCreate()
        self.session.sparkContext.setLogLevel("OFF")

    def run(self, sql: str) -> None:
        try:
            self.session.sql(sql).collect()
        except (PySparkException, Py4JJavaError) as error:
            raise Refused(str(error)) from error

    def rows(self, query: str) -> list:
        try:
            return comparable([row.asDict(recursive=True) for row in self.session.sql(query).collect()])
        except (PySparkException, Py4JJavaError) as error:
            raise Refused(str(error)) from error

    def stop(self) -> None:
        self.session.stop()


def comparable(rows: list) -> list:
    """Rows in an order of their own, with values that are equal when they mean the same."""
    return sorted((plain(row) for row in rows), key=repr)


def plain(value):
    match value:
        case dict():
            return {key: plain(part) for key, part in value.items()}
        case Row():
            return plain(value.asDict())
        case list() | tuple():
            return [plain(part) for part in value]
        case bytearray():
            return bytes(value)
        case datetime.datetime() if value.tzinfo is not None:
            return value.astimezone(datetime.timezone.utc).replace(tzinfo=None)
        case float() if value != value:
            return "NaN"  # which is not equal to itself
        case float():
            return value + 0.0
        case decimal.Decimal():
            return value.normalize()
    return value
