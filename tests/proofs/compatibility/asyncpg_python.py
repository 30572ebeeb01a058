"""asyncpg, on the Postgres port."""

from __future__ import annotations

import asyncio
import importlib.metadata
import ssl

import asyncpg
from cases import NOTHING_STAYED, NoSuchCall, Place, Runner, driver_does, joined, written


class Asyncpg(Runner):
    driver = "asyncpg"
    version = importlib.metadata.version("asyncpg")
    parameters = ("$1", "$2")

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self.loop = asyncio.new_event_loop()
        self.connection = self.wait(self.connect())

    def wait(self, work):
        return self.loop.run_until_complete(work)

    async def connect(self, **options):
        host, port = self.place.host_port("postgres")
        return await asyncpg.connect(**{"host": host, "port": port, "database": "whimbrel", "user": "ada", "ssl": False, **options})

    def rows(self, sql, parameters=()):
        return [tuple(row) for row in self.wait(self.connection.fetch(sql, *parameters))]

    def effect(self, sql, rows=None):
        if rows is None:
            told = self.wait(self.connection.execute(sql)).split()[-1]
            return int(told) if told.isdigit() else -1
        self.wait(self.connection.executemany(sql, rows))
        return len(rows)  # it is not told

    def read(self, case):
        value = self.rows(f"SELECT {case['sql']} AS v")[0][0]
        return written(case["kind"], value)

    @driver_does("parameters `?` or `%s`")
    def marks(self):
        raise NoSuchCall

    @driver_does("query without rows has its columns")
    def empty(self):
        async def work():
            statement = await self.connection.prepare("SELECT 1 AS a, 'x' AS b WHERE false")
            return joined((",".join(a.name for a in statement.get_attributes()), len(await statement.fetch())))

        return self.wait(work())

    @driver_does("columns before execution")
    def before(self):
        async def work():
            statement = await self.connection.prepare("SELECT 1 AS a, 'x' AS b")
            return ",".join(a.name for a in statement.get_attributes())

        return self.wait(work())

    @driver_does("prepared query, run again")
    def again(self):
        table, found = self.table("a BIGINT"), []
        statement = self.wait(self.connection.prepare(f"SELECT count(*) FROM {table} WHERE a > $1"))
        for n in (1, 2):
            self.effect(f"INSERT INTO {table} VALUES ({n})")
            found.append(self.wait(statement.fetchval(0)))
        return joined(found)

    def is_told(self, error):
        return isinstance(error, asyncpg.exceptions.UndefinedTableError)

    def cancelled(self, sql, runs):
        async def work():
            other = await self.connect()
            running = asyncio.ensure_future(other.execute(sql))
            for _ in range(400):
                await asyncio.sleep(0.05)
                if await self.connection.fetchval(
                    "SELECT count(*) FROM system.queries WHERE state = 'RUNNING' AND sql = $1", sql
                ):
                    break
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await other.close(timeout=20)

        self.wait(work())

    @driver_does("bulk ingest: create, append, replace")
    def ingest(self):
        table, told = self.table("id BIGINT"), []
        for ids in ([1, 2], [3, 4], [5]):
            if ids == [5]:
                self.effect(f"TRUNCATE {table}")
            self.wait(self.connection.copy_records_to_table(table, records=[(n,) for n in ids]))
            told.append(self.rows(f"SELECT count(*) FROM {table}")[0][0])
        return joined(told)

    @driver_does("rollback of a write")
    def rollback(self):
        table = self.table("a BIGINT")

        async def work():
            transaction = self.connection.transaction()
            await transaction.start()
            await self.connection.execute(f"INSERT INTO {table} VALUES (1)")
            await transaction.rollback()
            rows = await self.connection.fetchval(f"SELECT count(*) FROM {table}")
            return NOTHING_STAYED if rows == 0 else f"{rows} rows stayed"

        return self.wait(work())

    @driver_does("schema of the session")
    def schema(self):
        async def work():
            other = await self.connect(server_settings={"search_path": "compat_schema"})
            try:
                return str(await other.fetchval("SELECT count(*) FROM orders"))
            finally:
                await other.close()

        return self.wait(work())

    def login(self, password):
        host, port = self.place.host_port("tls_postgres")
        tls = ssl.create_default_context(cafile=self.place.authority)

        async def work():
            other = await self.connect(host=host, port=port, user=self.place.user, password=password, ssl=tls)
            try:
                return await other.fetchval("SELECT current_user")
            finally:
                await other.close()

        return self.wait(work())

    def is_refused(self, error):
        return isinstance(error, asyncpg.exceptions.InvalidPasswordError)


RUNNERS = [Asyncpg]
