"""The quick start of docs/mysql.md, run as a reader would: its user, its tables, its commands."""

from __future__ import annotations

import duckdb

from tests.docs.markdown import ROOT, blocks
from tests.docs.test_readme import assert_said, typed

PAGE = ROOT / "docs/mysql.md"
QUICK = "Quick start"


def below(language: str) -> list[str]:
    return [block.text for block in blocks(PAGE) if (block.language, block.heading) == (language, QUICK)]


def test_the_quick_start_runs_and_every_row_is_there(mariadb, tmp_path):
    database = mariadb.database().database
    who, tables = below("sql")
    assert who.count("shop.") == 1
    for statement in who.replace("shop.", f"{database}.").replace("'reader'", "'quick'").split(";"):
        if statement.strip():
            mariadb.sql(statement)
    with mariadb.connection(database) as connection, connection.cursor() as cursor:
        cursor.execute("SET sql_mode = ''")
        for statement in tables.split(";"):
            if statement.strip():
                cursor.execute(statement)
    [commands] = below("sh")
    url = f"mysql://quick@127.0.0.1:{mariadb.port}/{database}"
    assert commands.count("mysql://reader@127.0.0.1:3306/shop") == 1
    said = typed(commands.replace("mysql://reader@127.0.0.1:3306/shop", url), tmp_path)
    [answer] = below("text")
    assert_said(answer, said)
    with duckdb.connect(tmp_path / "warehouse.duckdb") as connection:
        found = connection.execute(
            "SELECT id, customer, amount::VARCHAR, shipped::VARCHAR FROM orders ORDER BY 1"
        ).fetchall()
        countries = connection.execute("SELECT code, name FROM countries ORDER BY 1").fetchall()
    assert found == [(1, "Ada 🦅", "12.50", "2025-03-01"), (2, "Ben", "8.00", None)]
    assert countries == [("NO", "Norway"), ("SE", "Sweden")]
    mariadb.sql("DROP USER 'quick'@'%'")
