"""Text does not become a VARIANT by itself: DuckDB would parse it, Snowflake refuses it (002023).

And VALUES takes no functions like PARSE_JSON (002014).
"""

from __future__ import annotations

from sqlglot import exp

from tests.snowflake.server import catalog, translate, vendor
from tests.snowflake.server.model import SnowflakeError, Statement

REFUSED_IN_VALUES = (exp.ParseJSON, exp.StarMap, exp.JSONObject, exp.Struct, exp.ToVariant)


def require(statement: Statement, expression: exp.Expression) -> None:
    """Raises for an INSERT, UPDATE or MERGE that puts text into a VARIANT, OBJECT or ARRAY column."""
    target = expression.this.this if isinstance(expression.this, exp.Schema) else expression.this
    name = translate.name_of(statement, target)
    at = catalog.kept(statement.session, name)
    known = {one.name: one.type for one in catalog.columns(statement.session, at) if one.duck == "JSON"}
    if not known:
        return
    for columns, query in sources(statement, expression, list(catalog.column_notes(statement.session, at))):
        kinds = kinds_of(statement, query)
        for column, kind in zip(columns, kinds, strict=False):
            if column in known and kind == "VARCHAR":
                raise SnowflakeError(
                    "002023",
                    "22000",
                    f"{vendor.COMPILATION}Expression type does not match column data type, expecting"
                    f" {known[column]} but got VARCHAR for column {column}",
                )


def kinds_of(statement: Statement, query: exp.Expression) -> list[str]:
    sql = f"DESCRIBE {translate.translated(statement, query)}"
    values = statement.binds if statement.batch is None else statement.batch[0]
    found = statement.session.duck.execute(sql, translate.bound(sql, values)).fetchall()
    return [kind for _, kind, *_ in found]


def sources(
    statement: Statement, expression: exp.Expression, columns: list[str]
) -> list[tuple[list[str], exp.Expression]]:
    """Queries whose columns go into those columns of the target."""
    if isinstance(expression, exp.Insert):
        named = expression.this.expressions if isinstance(expression.this, exp.Schema) else None
        into = [translate.folded(one) for one in named] if named else columns
        query = expression.expression
        if isinstance(query, exp.Values):
            if refused := query.find(*REFUSED_IN_VALUES):
                words = refused.sql("snowflake")
                raise SnowflakeError(
                    "002014", "22000", f"{vendor.COMPILATION}Invalid expression [{words}] in VALUES clause"
                )
            query = exp.select("*").from_(exp.alias_(query.copy(), "q", table=True))
        return [(into, query.copy())]
    if isinstance(expression, exp.Update):
        source = exp.Select().from_(expression.this.copy())
        if (more := expression.args.get("from_")) is not None:
            source = source.join(more.this.copy(), join_type="cross")
        return [assigned(source, expression.expressions)] if expression.expressions else []
    source = exp.Select().from_(expression.this.copy())
    source = source.join(expression.args["using"].copy(), join_type="cross")
    return [
        assigned(source.copy(), pairs) for when in expression.args["whens"].expressions if (pairs := _pairs(when))
    ]


def _pairs(when: exp.When) -> list[exp.EQ]:
    """What a WHEN clause sets or inserts, as `column = value`."""
    then = when.args["then"]
    if isinstance(then, exp.Update):
        return list(then.expressions)
    if isinstance(then, exp.Insert) and then.this is not None:
        return [
            exp.EQ(this=column, expression=value)
            for column, value in zip(then.this.expressions, then.expression.expressions, strict=False)
        ]
    return []


def assigned(source: exp.Select, pairs: list[exp.EQ]) -> tuple[list[str], exp.Expression]:
    columns = [translate.folded(one.this.find(exp.Identifier)) for one in pairs]
    return columns, source.select(*(one.expression.copy() for one in pairs), append=False)
