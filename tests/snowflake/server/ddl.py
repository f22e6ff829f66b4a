"""DDL: databases, schemas, tables, views, comments. The handler of transactions has ended an open one before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import duckdb
from sqlglot import exp

from tests.snowflake.server import altering, catalog, creating, names, translate, vendor
from tests.snowflake.server.model import Answer, Name, SnowflakeError, Statement, done

VERBS = {"CREATE", "ALTER", "DROP", "COMMENT", "TRUNCATE"}


def handle(statement: Statement, proceed: Callable[[Statement], Answer]) -> Answer:
    """The handler of this module."""
    if statement.words() not in VERBS:
        return proceed(statement)
    expression = translate.prepared(statement)
    change = CHANGES.get(type(expression))
    if change is None:
        raise catalog.refuse(statement.bare[:80])
    with statement.server.ddl:
        try:
            if isinstance(expression, exp.TruncateTable):
                return change(statement, expression)
            return whole(statement, lambda: change(statement, expression))
        except duckdb.Error as error:
            raise vendor.explained(error) from error


def whole(statement: Statement, change: Callable[[], Answer]) -> Answer:
    """All of a DDL statement or nothing, so that nobody finds a replaced table missing."""
    duck = statement.session.duck
    duck.execute("BEGIN")
    try:
        answer = change()
    except BaseException:
        duck.execute("ROLLBACK")
        raise
    duck.execute("COMMIT")
    return answer


def create(statement: Statement, expression: exp.Create) -> Answer:
    kind = str(expression.kind).upper()
    if kind == "DATABASE":
        return create_database(statement, expression)
    if kind == "SCHEMA":
        return create_schema(statement, expression)
    if kind == "TABLE":
        return creating.table(statement, expression)
    if kind == "VIEW":
        return creating.view(statement, expression)
    raise catalog.refuse(f"CREATE {kind}")


def create_database(statement: Statement, expression: exp.Create) -> Answer:
    session, name = statement.session, translate.folded(expression.this.this)
    if catalog.has_database(session, name):
        if expression.args.get("exists"):
            return done(f"{name} already exists, statement succeeded.")
        if not expression.args.get("replace"):
            raise vendor.exists("Object", name)
        session.duck.execute(f"DETACH {names.quoted(name)}")
    catalog.create_database(statement.server, name)
    session.enter(name, "PUBLIC")
    return done(f"Database {name} successfully created.")


def create_schema(statement: Statement, expression: exp.Create) -> Answer:
    session = statement.session
    database, schema = schema_of(statement, expression.this)
    if not catalog.has_database(session, database):
        raise vendor.missing("Database", database)
    if catalog.has_schema(session, database, schema):
        if expression.args.get("exists"):
            return done(f"{schema} already exists, statement succeeded.")
        if not expression.args.get("replace"):
            raise vendor.exists("Object", schema)
        drop_schema(statement, database, schema)
    session.duck.execute(f"CREATE SCHEMA {names.quoted(database)}.{names.quoted(schema)}")
    session.enter(database, schema)
    return done(f"Schema {schema} successfully created.")


def schema_of(statement: Statement, table: exp.Table) -> tuple[str, str]:
    """Database and schema that `[database.]schema` names, which sqlglot reads as a table without its own name."""
    parts = [translate.folded(part) for part in table.parts if part.name]
    if len(parts) == 1:
        if statement.session.database is None:
            raise SnowflakeError("090105", "22000", "This session does not have a current database.")
        parts.insert(0, statement.session.database)
    return parts[0], parts[1]


def drop_schema(statement: Statement, database: str, schema: str) -> None:
    statement.session.duck.execute(f"DROP SCHEMA {names.quoted(database)}.{names.quoted(schema)} CASCADE")
    drop_stages(statement, lambda name: (name.database, name.schema) == (database, schema))


def drop_stages(statement: Statement, gone: Callable[[Name], bool]) -> None:
    """Stages go with what they lie in."""
    stages = statement.server.stages
    with statement.server.lock:
        for name in [name for name in stages if gone(name)]:
            stages.pop(name).remove()


def drop(statement: Statement, expression: exp.Drop) -> Answer:
    kind, session = str(expression.args["kind"]).upper(), statement.session
    table = expression.this or expression.args["tables"][0]
    exists = expression.args.get("exists")
    if kind in ("TABLE", "VIEW"):
        return drop_table(statement, translate.name_of(statement, table), kind, exists=exists)
    if kind == "SCHEMA":
        database, schema = schema_of(statement, table)
        if catalog.has_schema(session, database, schema):
            drop_schema(statement, database, schema)
            if (session.database, session.schema) == (database, schema):
                session.enter(database, None)
        elif not exists:
            raise vendor.missing("Schema", f"{database}.{schema}")
        return done(f"{schema} successfully dropped.")
    if kind == "DATABASE":
        name = translate.folded(table.this)
        if catalog.has_database(session, name):
            drop_stages(statement, lambda one: one.database == name)
            if session.database == name:
                session.enter(None, None)
            session.duck.execute(f"DETACH {names.quoted(name)}")
        elif not exists:
            raise vendor.missing("Database", name)
        return done(f"{name} successfully dropped.")
    raise catalog.refuse(f"DROP {kind}")


def drop_table(statement: Statement, name: Name, kind: str, *, exists: bool) -> Answer:
    session = statement.session
    found = catalog.find(session, name)
    if found is None:
        if exists:
            return done(f"Drop statement executed successfully ({name.name} already dropped).")
        raise vendor.missing(kind.capitalize(), name)
    if found != kind:
        raise SnowflakeError(
            "002203", "42601", f"{vendor.COMPILATION}Object found is of type '{found}', not '{kind}'."
        )
    session.duck.execute(f"DROP {kind} {catalog.kept(session, name).duck}")
    session.temporary.pop(name, None)
    return done(f"{name.name} successfully dropped.")


def truncate(statement: Statement, expression: exp.TruncateTable) -> Answer:
    """Rows and load metadata go."""
    [table] = expression.expressions
    session, name = statement.session, translate.name_of(statement, table)
    if expression.args.get("exists") and catalog.find(session, name) is None:
        return done()
    at = catalog.require(session, name)
    session.duck.execute(f"DELETE FROM {at.duck}")
    known = catalog.noted(session, at).get("id")
    session.duck.execute(f"DELETE FROM {names.quoted(name.database)}.sw.loads WHERE table_id = ?", [known])
    return done()


def comment(statement: Statement, expression: exp.Comment) -> Answer:
    session, kind = statement.session, str(expression.args["kind"]).upper()
    words = expression.expression.name
    if kind in ("SCHEMA", "DATABASE", "STAGE", "WAREHOUSE"):
        return done()
    table = expression.this
    column = translate.folded(table.this) if kind == "COLUMN" else None
    if kind == "COLUMN":
        parts = [part for part in table.parts[:-1]]
        table = exp.Table(**dict(zip(("this", "db", "catalog"), reversed(parts), strict=False)))
    name = translate.name_of(statement, table)
    found = catalog.find(session, name)
    if found is None:
        if expression.args.get("exists"):
            return done()
        raise vendor.missing("Object", name)
    at = catalog.kept(session, name)
    if column is None:
        catalog.note(session, found, at.duck, {**catalog.noted(session, at, found), "comment": words})
    else:
        altering.note_column(session, at, column, {"comment": words})
    return done()


CHANGES: dict[type[exp.Expression], Callable[[Statement, Any], Answer]] = {
    exp.Create: create,
    exp.Drop: drop,
    exp.Alter: altering.alter,
    exp.TruncateTable: truncate,
    exp.Comment: comment,
}
