"""The end of the chain: queries and DML, translated and run by DuckDB."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import duckdb
from sqlglot import exp

from tests.snowflake.server import merge, translate, types, variants, vendor, wire
from tests.snowflake.server.model import Answer, Column, SnowflakeError, Statement

warnings.filterwarnings("ignore", message="Arrow output on a DB-API result")

WRITES = {
    exp.Insert: ("inserted", wire.INSERT),
    exp.Update: ("updated", wire.UPDATE),
    exp.Delete: ("deleted", wire.DELETE),
}


def run(statement: Statement, _proceed: Callable[[Statement], Answer]) -> Answer:
    """Every error leaves as `SnowflakeError`."""
    expression = translate.prepared(statement)
    try:
        if isinstance(expression, exp.Merge | exp.Insert | exp.Update):
            variants.require(statement, expression)
        if isinstance(expression, exp.Merge):
            return merge.run(statement, expression)
        if type(expression) in WRITES:
            return changed(statement, expression)
        if isinstance(expression, exp.Query | exp.Values):
            return asked(statement, expression)
    except duckdb.Error as error:
        raise vendor.explained(error) from error
    raise SnowflakeError("000002", "0A000", f"Unsupported feature of the test server: {statement.bare[:80]}")


def asked(statement: Statement, expression: exp.Expression) -> Answer:
    """A query."""
    if (found := expression.find(exp.TableFromRows)) and "RESULT_SCAN" in found.sql().upper():
        return scanned(statement, expression)
    sql = translate.translated(statement, named(expression))
    duck = statement.session.duck
    duck.execute(sql, translate.bound(sql, statement.binds))
    return tabled(duck)


def named(expression: exp.Expression) -> exp.Expression:
    """An expression without a name is called as it stands there, in upper case."""
    for select in [expression] if isinstance(expression, exp.Select) else []:
        for one in select.expressions:
            if not isinstance(one, exp.Alias | exp.Column | exp.Star) and not one.find(exp.Star, exp.Window):
                one.replace(exp.alias_(one.copy(), one.sql("snowflake").upper(), quoted=True))
            elif isinstance(one, exp.Count):
                one.replace(exp.alias_(one.copy(), "COUNT(*)", quoted=True))
    return expression


def described(statement: Statement, proceed: Callable[[Statement], Answer]) -> Answer:
    """A handler: a request that only asks for the columns of a statement, as `executemany` makes it first."""
    if not statement.request.get("describeOnly"):
        return proceed(statement)
    expression = translate.prepared(statement)
    marks = [mark for mark in expression.find_all(exp.Placeholder)]
    extra = {"numberOfBinds": len(marks), "arrayBindSupported": isinstance(expression, exp.Insert)}
    if not isinstance(expression, exp.Query):
        word, kind = WRITES.get(type(expression), ("touched", 0))
        return Answer([Column(f"number of rows {word}", "fixed", 19, 0)], [], kind, extra=extra)
    for mark in marks:
        mark.replace(exp.Null())
    try:
        answer = asked(statement, exp.select("*").from_(named(expression).subquery("q")).limit(0))
    except duckdb.Error as error:
        raise vendor.explained(error) from error
    answer.extra = extra
    return answer


def tabled(duck: Any) -> Answer:
    """What DuckDB just answered, in Snowflake's types."""
    columns = [types.answered(name, types.from_duck(str(kind))) for name, kind, *_ in duck.description]
    return Answer(columns, duck.to_arrow_table(), wire.SELECT)


def scanned(statement: Statement, expression: exp.Expression) -> Answer:
    """SELECT … FROM TABLE(RESULT_SCAN('id' | LAST_QUERY_ID())): an earlier answer of this session as a table."""
    call = next(one for one in expression.find_all(exp.Anonymous) if one.name.upper() == "RESULT_SCAN")
    [argument] = call.expressions
    wanted = argument.name if isinstance(argument, exp.Literal) else statement.session.last_query_id
    earlier = statement.session.answers.get(wanted)
    if earlier is None:
        raise SnowflakeError("000709", "02000", f"Statement {wanted} not found")
    source = expression.find(exp.TableFromRows)
    source.replace(exp.Table(this=exp.to_identifier("sw_result", quoted=True)))
    with statement.session.duck.cursor() as duck:
        duck.register("sw_result", wire.as_table(earlier))
        duck.execute(expression.sql(dialect="duckdb"))
        return tabled(duck)


def changed(statement: Statement, expression: exp.Expression) -> Answer:
    """INSERT, UPDATE, DELETE: the number of rows, as Snowflake names it."""
    word, kind = WRITES[type(expression)]
    duck, touched = statement.session.duck, 0
    if before := emptied(statement, expression):
        duck.execute(before)
    sql = translate.translated(statement, expression)
    for values in statement.batch if statement.batch is not None else [statement.binds]:
        duck.execute(sql, translate.bound(sql, values))
        touched += duck.fetchone()[0]
    columns, row = [Column(f"number of rows {word}", "fixed", 19, 0)], (touched,)
    if word == "updated":
        columns.append(Column("number of multi-joined rows updated", "fixed", 19, 0))
        row = (touched, 0)
    return Answer(columns, [row], kind, {word: touched})


def emptied(statement: Statement, expression: exp.Expression) -> str | None:
    """INSERT OVERWRITE empties its table first, in the same transaction."""
    if not isinstance(expression, exp.Insert) or not expression.args.get("overwrite"):
        return None
    expression.set("overwrite", False)
    target = expression.this.this if isinstance(expression.this, exp.Schema) else expression.this
    return translate.translated(statement, exp.Delete(this=target.copy()))
