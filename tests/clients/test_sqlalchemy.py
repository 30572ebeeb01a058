"""SQLAlchemy over Flight SQL with the dialect in clients/python, and pandas on top of it."""

import datetime
import decimal
import pathlib
import sys
import time
import warnings

import pandas
import pytest
import sqlalchemy as sa
from sqlalchemy import orm
from sqlalchemy.dialects import registry
from server import Server

PACKAGE = pathlib.Path(__file__).resolve().parents[2] / "clients" / "python" / "sqlalchemy-whimbrel" / "src"
sys.path.insert(0, str(PACKAGE))
registry.register("whimbrel", "sqlalchemy_whimbrel.dialect", "WhimbrelDialect")

from sqlalchemy_whimbrel import STRUCT, WhimbrelWarning, dbapi  # noqa: E402


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("sqlalchemy")).start()
    yield server
    server.stop()


def engine_of(server, place="", **options):
    return sa.create_engine(server.url.replace("grpc://", "whimbrel://") + place, **options)


@pytest.fixture(scope="module")
def engine(shared):
    engine = engine_of(shared, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for statement in SHOP.split(";"):
            connection.execute(sa.text(statement))
    yield engine
    engine.dispose()


SHOP = """
    CREATE SCHEMA shop COMMENT 'Orders';
    CREATE TABLE shop."Orders" (id BIGINT NOT NULL COMMENT 'It''s the key', customer STRING, amount DECIMAL(10, 2),
      at TIMESTAMP WITH TIME ZONE, tags ARRAY<STRING>, place STRUCT<lat DOUBLE, lon DOUBLE>,
      day DATE GENERATED ALWAYS AS (CAST(at AS DATE)), "per % cent" TINYINT,
      PRIMARY KEY (id, "per % cent"), CONSTRAINT positive CHECK (amount > 0))
    PARTITIONED BY (day) COMMENT 'All orders';
    CREATE VIEW shop.ids COMMENT 'Only keys' AS SELECT id FROM shop."Orders";
    CREATE MATERIALIZED VIEW shop.counted AS SELECT count(*) AS n FROM shop."Orders"
""".replace('"per % cent"', '"per%cent"')


def test_what_there_is_is_reflected(engine):
    inspector = sa.inspect(engine)
    assert {"main", "shop"} <= set(inspector.get_schema_names())
    assert inspector.default_schema_name == "main"
    assert inspector.get_table_names("shop") == ["Orders"]
    assert inspector.get_view_names("shop") == ["ids"]
    assert inspector.get_materialized_view_names("shop") == ["counted"]
    assert inspector.get_table_names("nowhere") == []
    assert inspector.has_table("Orders", "shop") and inspector.has_table("ids", "shop")
    assert not inspector.has_table("orders", "shop") and not inspector.has_table("Orders")
    assert "SELECT id FROM" in inspector.get_view_definition("ids", "shop")
    assert inspector.get_table_comment("Orders", "shop") == {"text": "All orders"}
    assert inspector.get_table_comment("ids", "shop") == {"text": "Only keys"}
    assert inspector.get_pk_constraint("Orders", "shop")["constrained_columns"] == ["id", "per%cent"]
    assert inspector.get_check_constraints("Orders", "shop") == [{"name": "positive", "sqltext": "amount > 0"}]
    assert inspector.get_foreign_keys("Orders", "shop") == inspector.get_indexes("Orders", "shop") == []
    for ask in (inspector.get_columns, inspector.get_pk_constraint, inspector.get_indexes, inspector.get_table_comment):
        with pytest.raises(sa.exc.NoSuchTableError, match="shop.nowhere"):
            ask("nowhere", "shop")


def test_columns_have_types_comments_and_expressions(engine):
    columns = {column["name"]: column for column in sa.inspect(engine).get_columns("Orders", "shop")}
    types = {name: column["type"].compile(dialect=engine.dialect) for name, column in columns.items()}
    assert types == {
        "id": "BIGINT",
        "customer": "STRING",
        "amount": "DECIMAL(10, 2)",
        "at": "TIMESTAMP WITH TIME ZONE",
        "tags": "ARRAY<STRING>",
        "place": "STRUCT<lat DOUBLE, lon DOUBLE>",
        "day": "DATE",
        "per%cent": "TINYINT",
    }
    assert (columns["id"]["comment"], columns["id"]["nullable"]) == ("It's the key", False)
    assert columns["day"]["computed"] == {"sqltext": "CAST(at AS DATE)", "persisted": True}
    assert isinstance(columns["amount"]["type"], sa.Numeric) and isinstance(columns["tags"]["type"], sa.ARRAY)


METADATA = sa.MetaData()
ORDERS = sa.Table(
    "Made by SQLAlchemy",
    METADATA,
    sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False, comment="The key"),
    sa.Column("select", sa.String(20)),
    sa.Column("price", sa.Numeric(10, 2), sa.CheckConstraint("price > 0", name="positive")),
    sa.Column("half", sa.Float),
    sa.Column("is_new", sa.Boolean),
    sa.Column("raw", sa.LargeBinary),
    sa.Column("day", sa.Date),
    sa.Column("at", sa.DateTime),
    sa.Column("zoned", sa.DateTime(timezone=True)),
    sa.Column("tags", sa.ARRAY(sa.BigInteger)),
    sa.Column("place", STRUCT(("lat", sa.Float), ("name", sa.String))),
    sa.Column("year", sa.Integer, sa.Computed("CAST(date_part('year', day) AS INT)")),
    comment="It's made",
    whimbrel_partitioned_by=["day"],
    whimbrel_tblproperties={"owner.team": "sales"},
)
NOW = datetime.datetime(2024, 2, 29, 12, 30, 0, 123456)
ROW = {
    "id": 1,
    "select": "it's ä🐦",
    "price": decimal.Decimal("12.30"),
    "half": 0.5,
    "is_new": True,
    "raw": b"\x00\xff",
    "day": NOW.date(),
    "at": NOW,
    "zoned": NOW.replace(tzinfo=datetime.timezone.utc),
    "tags": [1, None, 3],
    "place": {"lat": 1.5, "name": "x"},
}


def test_a_table_is_created_written_and_read(engine):
    METADATA.drop_all(engine)
    METADATA.create_all(engine)
    try:
        with engine.connect() as connection:
            assert connection.execute(ORDERS.insert(), ROW).rowcount == 1
            found = connection.execute(sa.select(ORDERS)).mappings().one()
            assert dict(found) == ROW | {"year": 2024}
            others = [{name: None for name in ROW} | {"id": n} for n in range(2, 1002)]
            assert connection.execute(ORDERS.insert(), others).rowcount == 1000
            history = connection.execute(sa.text('DESCRIBE HISTORY main."Made by SQLAlchemy"')).all()
            assert [row.version for row in history] == [2, 1, 0]
            assert connection.execute(ORDERS.update().where(ORDERS.c.id > 500).values(half=1.5)).rowcount == 501
            assert connection.execute(ORDERS.delete().where(ORDERS.c.id.in_([1000, 1001, 5000]))).rowcount == 2
            page = sa.select(ORDERS.c.id).order_by(ORDERS.c.id.desc()).limit(2).offset(1)
            assert connection.scalars(page).all() == [998, 997]
            assert connection.scalar(sa.select(ORDERS.c.half / 3 * 3).where(ORDERS.c.id == 999)) == 1.5
            assert connection.scalars(sa.select(ORDERS.c.id).where(ORDERS.c["select"].regexp_match("^it"))).all() == [1]
        reflected = sa.Table("Made by SQLAlchemy", sa.MetaData(), autoload_with=engine)
        assert reflected.comment == "It's made" and reflected.c.id.comment == "The key"
        assert [column.name for column in reflected.primary_key] == ["id"]
    finally:
        METADATA.drop_all(engine)


def test_the_orm_keeps_objects(engine):
    class Base(orm.DeclarativeBase):
        pass

    class Visit(Base):
        __tablename__ = "visits"
        id: orm.Mapped[int] = orm.mapped_column(sa.BigInteger, primary_key=True, autoincrement=False)
        who: orm.Mapped[str | None]

    Base.metadata.create_all(engine)
    with orm.Session(engine) as session:
        session.add_all([Visit(id=1, who="Ada"), Visit(id=2, who=None)])
        session.commit()
        session.get(Visit, 2).who = "Emmy"
        session.commit()
        session.delete(session.get(Visit, 1))
        session.commit()
        assert [(visit.id, visit.who) for visit in session.scalars(sa.select(Visit))] == [(2, "Emmy")]


ERRORS = [
    ("SELEC 1", sa.exc.ProgrammingError),
    ("SELECT * FROM nowhere", sa.exc.ProgrammingError),
    ("CREATE SCHEMA shop", sa.exc.ProgrammingError),
    ("CREATE TABLE t (a BIGINT DEFAULT 1)", sa.exc.NotSupportedError),
    ("SELECT * FROM shop.counted VERSION AS OF 999", sa.exc.ProgrammingError),
]


@pytest.mark.parametrize(("sql", "kind"), ERRORS, ids=[sql for sql, _ in ERRORS])
def test_errors_have_the_class_of_their_status(engine, sql, kind):
    with engine.connect() as connection:
        with pytest.raises(kind):
            connection.execute(sa.text(sql))
        assert connection.scalar(sa.text("SELECT 1")) == 1


def test_a_statement_that_was_lost_on_the_way_is_told_as_a_broken_connection(tmp_path):
    server = Server(tmp_path).start()
    engine = engine_of(server)
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT 1")) == 1
        server.stop()
        with pytest.raises(sa.exc.OperationalError) as raised:
            connection.execute(sa.text("SELECT 1"))
        assert raised.value.connection_invalidated and dbapi.status(raised.value.orig) == "Unavailable"


def test_a_rollback_of_what_took_effect_is_told(shared, engine):
    with engine_of(shared).connect() as connection:
        connection.execute(sa.text("CREATE TABLE kept (a BIGINT)"))
        with pytest.warns(WhimbrelWarning, match="had taken effect"):
            connection.rollback()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            connection.execute(sa.text("SELECT * FROM kept")).all()
            connection.rollback()
            connection.execute(sa.text("INSERT INTO kept VALUES (1)"))
            connection.commit()
            with pytest.raises(NotImplementedError, match="savepoints"):
                connection.begin_nested()
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM kept")) == 1
    with pytest.raises(sa.exc.ArgumentError, match="SERIALIZABLE"):
        engine_of(shared, isolation_level="SERIALIZABLE").connect()


def test_a_transaction_is_one_commit_or_nothing(shared, engine):
    with engine.connect() as connection:
        connection.execute(sa.text("CREATE TABLE bought (a BIGINT)"))
    count = sa.text("SELECT count(*) FROM bought")
    buyers = engine_of(shared, isolation_level="REPEATABLE READ")
    with buyers.begin() as one, engine.connect() as other:
        assert one.scalar(count) == 0
        other.execute(sa.text("INSERT INTO bought VALUES (1)"))
        assert (one.scalar(count), other.scalar(count)) == (0, 1)
        one.execute(sa.text("INSERT INTO bought VALUES (2)"))
        one.execute(sa.text("INSERT INTO bought VALUES (3)"))
        assert other.scalar(count) == 1
    with pytest.raises(ZeroDivisionError), warnings.catch_warnings():
        warnings.simplefilter("error")
        with buyers.begin() as one:
            one.execute(sa.text("INSERT INTO bought VALUES (4)"))
            raise ZeroDivisionError
    with engine.connect() as connection:
        assert connection.scalar(count) == 3
        connection.rollback()
        connection = connection.execution_options(isolation_level="REPEATABLE READ")
        connection.execute(sa.text("INSERT INTO bought VALUES (5)"))
        connection.rollback()
    with engine.connect() as connection:
        assert connection.scalar(count) == 3
        assert connection.get_isolation_level() == "AUTOCOMMIT"


def test_a_transaction_that_the_server_has_ended_is_a_broken_connection(stopped):
    stopped.environment["WHIMBREL__SERVER__HANDLE_TTL"] = "500ms"
    engine = engine_of(stopped.start(), isolation_level="REPEATABLE READ")
    with engine.connect() as connection:
        connection.execute(sa.text("SELECT 1")).all()
        time.sleep(1.5)
        with pytest.raises(sa.exc.DBAPIError) as raised:
            connection.execute(sa.text("SELECT 1"))
        assert raised.value.connection_invalidated
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT 1")) == 1
    # In the pool there is none to be ended.
    time.sleep(1.5)
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT 1")) == 1


def test_the_schema_of_the_url_is_that_of_names(shared, engine):
    with engine_of(shared, "/shop").connect() as connection:
        assert connection.scalar(sa.text('SELECT count(*) FROM "Orders"')) == 0
        assert sa.inspect(connection).get_table_names() == ["Orders"]


def test_pandas_writes_and_reads_frames(engine):
    frame = pandas.DataFrame(
        {
            "n": [1, 2, 3],
            "name": ["a", None, "c"],
            "at": pandas.to_datetime(["2024-01-01", None, "2024-01-03"]),
            "x": [0.5, None, 1.5],
        }
    )
    assert frame.to_sql("frames", engine, schema="shop", if_exists="replace", index=False) == 3
    found = pandas.read_sql_table("frames", engine, schema="shop").sort_values("n", ignore_index=True)
    assert found["n"].tolist() == [1, 2, 3] and found["x"].tolist()[::2] == [0.5, 1.5]
    assert found["at"].isna().tolist() == [False, True, False] and found["at"][2] == pandas.Timestamp("2024-01-03")
    frame.to_sql("frames", engine, schema="shop", if_exists="append", index=False)
    counted = pandas.read_sql("SELECT count(*) AS n FROM shop.frames WHERE n > ?", engine, params=(1,))
    assert counted["n"].tolist() == [4]
    with pytest.warns(WhimbrelWarning, match="index"):
        frame.to_sql("indexed", engine)


URLS = [
    ("/?tls=yes", "tls is 'true' or 'false'"),
    ("/?tls_ca=x.pem", "add tls=true"),
    ("/?sslmode=require", "no parameter 'sslmode'"),
]


@pytest.mark.parametrize(("place", "text"), URLS, ids=[place for place, _ in URLS])
def test_a_url_with_a_mistake_says_so(shared, place, text):
    with pytest.raises(sa.exc.ArgumentError, match=text):
        engine_of(shared, place).connect()


def test_users_log_in(stopped):
    stopped.add_user("ann", "pä:ss@word")
    stopped.start()
    url = sa.make_url(stopped.url.replace("grpc://", "whimbrel://")).set(username="ann", password="pä:ss@word")
    with sa.create_engine(url).connect() as connection:
        assert connection.scalar(sa.text("SELECT current_user")) == "ann"
    with pytest.raises(sa.exc.OperationalError, match="password"):
        sa.create_engine(url.set(password="wrong")).connect()
