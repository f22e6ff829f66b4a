"""MERGE: DuckDB's own, after a look whether its outcome is determined."""

from __future__ import annotations

from sqlglot import exp

from tests.snowflake.server import parameters, translate, wire
from tests.snowflake.server.model import Answer, Column, SnowflakeError, Statement

DONE = {"INSERT": "inserted", "UPDATE": "updated", "DELETE": "deleted"}


def run(statement: Statement, expression: exp.Merge) -> Answer:
    """Answers with a count for each kind of change that its clauses name."""
    plain(expression)
    duck = statement.session.duck
    check = doubtful(expression)
    if check is not None and parameters.flag(statement.session, "ERROR_ON_NONDETERMINISTIC_MERGE"):
        require_determined(statement, check)
    sql = translate.translated(statement, expression) + " RETURNING merge_action"
    duck.execute(sql, translate.bound(sql, statement.binds))
    actions = duck.to_arrow_table().column(0).value_counts()
    found = {DONE[one["values"].as_py()]: one["counts"].as_py() for one in actions}
    named = [word for word in DONE.values() if word in kinds(expression)]
    columns = [Column(f"number of rows {word}", "fixed", 19, 0) for word in named]
    counts = {word: found.get(word, 0) for word in named}
    return Answer(columns, [tuple(counts.values())], wire.MERGE, counts)


def plain(expression: exp.Merge) -> None:
    """DuckDB takes no table name in front of a column that is set or inserted."""
    for when in expression.args["whens"].expressions:
        then = when.args["then"]
        if isinstance(then, exp.Update):
            for assigned in then.expressions:
                assigned.this.set("table", None)
        elif isinstance(then, exp.Insert) and then.this is not None:
            for column in then.this.expressions:
                if isinstance(column, exp.Column):
                    column.set("table", None)


def kinds(expression: exp.Merge) -> set[str]:
    """What the clauses may do."""
    return {_kind(when) for when in expression.args["whens"].expressions}


def _kind(when: exp.When) -> str:
    then = when.args["then"]
    if isinstance(then, exp.Update):
        return "updated"
    return "inserted" if isinstance(then, exp.Insert) else "deleted"


def doubtful(expression: exp.Merge) -> exp.Expression | None:
    """A query for a target row that several source rows change; None where no clause could.

    Documented as not determined: a row that is updated by several, or updated and deleted.
    """
    matched = [when for when in expression.args["whens"].expressions if when.args.get("matched")]
    if not any(_kind(when) == "updated" for when in matched):
        return None
    cases = exp.Case()
    for when in matched:
        condition = when.args.get("condition")
        cases = cases.when(
            condition.copy() if condition is not None else exp.true(), exp.Literal.string(_kind(when))
        )
    target = expression.this.copy()
    name = exp.to_identifier(target.alias_or_name, quoted=bool(target.alias and target.args["alias"].this.quoted))
    rows = (
        exp.select(
            exp.alias_(exp.Column(this=exp.to_identifier("rowid"), table=name), "r"), exp.alias_(cases, "what")
        )
        .from_(target)
        .join(expression.args["using"].copy(), on=expression.args["on"].copy(), join_type="inner")
    )
    return (
        exp.select("r")
        .from_(rows.subquery("pairs"))
        .where("what IS NOT NULL")
        .group_by("r")
        .having("COUNT(*) > 1 AND COUNT_IF(what = 'updated') > 0")
        .limit(1)
    )


def require_determined(statement: Statement, check: exp.Expression) -> None:
    sql = translate.translated(statement, check)
    found = statement.session.duck.execute(sql, translate.bound(sql, statement.binds)).fetchone()
    if found is not None:
        raise SnowflakeError("100090", "42P18", "Duplicate row detected during DML action\nRow Values: []")
