"""CREATE TABLE and CREATE VIEW."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from sqlglot import exp

from tests.snowflake.server import catalog, names, translate, types, vendor
from tests.snowflake.server.model import Answer, Name, SnowflakeError, Statement, done

NO_NULL = (exp.NotNullColumnConstraint, exp.PrimaryKeyColumnConstraint)


@dataclass(frozen=True)
class Defined:
    """A column as a statement defines it; `sql` for DuckDB, `told` for the comment that keeps the rest."""

    name: str
    type: types.Type | None
    sql: str
    told: dict[str, Any]


def table(statement: Statement, expression: exp.Create) -> Answer:
    """CREATE [OR REPLACE] [TRANSIENT | TEMPORARY] TABLE [IF NOT EXISTS], with columns, AS, LIKE or CLONE."""
    session = statement.session
    target = expression.this.this if isinstance(expression.this, exp.Schema) else expression.this
    name, properties = translate.name_of(statement, target), properties_of(expression)
    catalog.require_schema(session, name)
    temporary = exp.TemporaryProperty in properties
    if known := _known(statement, expression, name, temporary=temporary):
        return known
    at = Name("temp", "main", f"{name}#{statement.server.next_id()}") if temporary else name
    noted = catalog.Noted(
        "TEMPORARY" if temporary else "TRANSIENT" if exp.TransientProperty in properties else "TABLE"
    )
    noted.comment = comment_of(properties)
    noted.owner, noted.created = session.role, catalog.now(statement)
    _make(statement, expression, at, properties)
    catalog.note(session, "TABLE", at.duck, asdict(noted))
    if temporary:
        session.temporary[name] = at.name
    return done(f"Table {name.name} successfully created.")


def _known(statement: Statement, expression: exp.Create, name: Name, *, temporary: bool) -> Answer | None:
    """What there is already under that name: nothing to do, dropped, or an error."""
    session = statement.session
    found = catalog.find(session, name)
    if found is None or (temporary and name not in session.temporary):
        return None
    if expression.args.get("exists"):
        return done(f"{name.name} already exists, statement succeeded.")
    if not expression.args.get("replace"):
        raise vendor.exists("Object", name)
    session.duck.execute(f"DROP {found} {catalog.kept(session, name).duck}")
    session.temporary.pop(name, None)
    return None


def properties_of(expression: exp.Create) -> dict[type[exp.Expression], exp.Expression]:
    found = expression.args.get("properties")
    return {type(one): one for one in found.expressions} if found else {}


def comment_of(properties: dict[type[exp.Expression], exp.Expression]) -> str:
    found = properties.get(exp.SchemaCommentProperty)
    return found.this.name if found is not None else ""


def _make(statement: Statement, expression: exp.Create, at: Name, properties: Any) -> None:
    session = statement.session
    temporary = "TEMP " if at.database == "temp" else ""
    spelled = names.quoted(at.name) if temporary else at.duck
    source = properties.get(exp.LikeProperty)
    clone = expression.args.get("clone")
    if source is not None or clone is not None:
        _copied(statement, (source or clone).this, spelled, at, temporary, rows=clone is not None)
        return
    columns = []
    if isinstance(expression.this, exp.Schema):
        columns = [
            defined(statement, one, at) for one in expression.this.expressions if isinstance(one, exp.ColumnDef)
        ]
        columns = keyed(columns, expression.this)
        _require_distinct(columns)
    if expression.expression is not None:
        query = selected(statement, expression.expression, columns)
        session.duck.execute(f"CREATE {temporary}TABLE {spelled} AS {query}")
    else:
        session.duck.execute(f"CREATE {temporary}TABLE {spelled} ({', '.join(one.sql for one in columns)})")
    for one in columns:
        if one.told:
            catalog.note(session, "COLUMN", f"{at.duck}.{names.quoted(one.name)}", one.told)


def _require_distinct(columns: list[Defined]) -> None:
    seen = set()
    for one in columns:
        if one.name in seen:
            raise SnowflakeError("002025", "42S21", f"{vendor.COMPILATION}duplicate column name '{one.name}'")
        seen.add(one.name)


def _copied(
    statement: Statement, source: exp.Table, spelled: str, at: Name, temporary: str, *, rows: bool
) -> None:
    """LIKE and CLONE: columns with what is known of them."""
    session = statement.session
    original = catalog.require(session, translate.name_of(statement, source))
    notes = catalog.column_notes(session, original)
    limit = "" if rows else " LIMIT 0"
    session.duck.execute(f"CREATE {temporary}TABLE {spelled} AS SELECT * FROM {original.duck}{limit}")
    for one in catalog.columns(session, original):
        if not one.nullable:
            session.duck.execute(f"ALTER TABLE {at.duck} ALTER {names.quoted(one.name)} SET NOT NULL")
        if notes[one.name]:
            catalog.note(session, "COLUMN", f"{at.duck}.{names.quoted(one.name)}", notes[one.name])


def defined(statement: Statement, column: exp.ColumnDef, at: Name) -> Defined:
    """A column definition. Keys are not enforced, as with Snowflake; a primary key's columns take no NULL."""
    name = translate.folded(column.this)
    kind = types.declared(column.kind) if column.kind else None
    told: dict[str, Any] = {}
    if kind and types.from_duck(kind.duck) != kind.declared:
        told["type"] = kind.declared
    sql = [kind.duck if kind else ""]
    for one in column.constraints:
        rule = one.kind
        if isinstance(rule, NO_NULL) and not rule.args.get("allow_null"):
            sql.append("NOT NULL")
        elif isinstance(rule, exp.CommentColumnConstraint):
            told["comment"] = rule.this.name
        elif isinstance(rule, exp.DefaultColumnConstraint):
            told["default"] = rule.this.sql(dialect="snowflake")
            sql.append(f"DEFAULT {default(statement, rule.this)}")
        elif isinstance(rule, exp.GeneratedAsIdentityColumnConstraint | exp.AutoIncrementColumnConstraint):
            sql.append(f"DEFAULT {_counter(statement, at)}")
    return Defined(name, kind, " ".join([names.quoted(name), *dict.fromkeys(sql)]), told)


def keyed(columns: list[Defined], schema: exp.Schema) -> list[Defined]:
    """The columns of `PRIMARY KEY (…)` take no NULL."""
    keys = {
        translate.folded(part) for key in schema.find_all(exp.PrimaryKey) for part in key.find_all(exp.Identifier)
    }
    return [
        replace(one, sql=f"{one.sql} NOT NULL") if one.name in keys and "NOT NULL" not in one.sql else one
        for one in columns
    ]


def default(statement: Statement, value: exp.Expression) -> str:
    """A default; the instant of an insertion is DuckDB's own."""
    if isinstance(value, exp.CurrentTimestamp):
        return "get_current_timestamp()"
    return translate.translated(statement, exp.Select(expressions=[value.copy()])).removeprefix("SELECT ")


def _counter(statement: Statement, at: Name) -> str:
    """AUTOINCREMENT: a sequence of its own."""
    schema = f"{names.quoted(at.database)}.{names.quoted(at.schema)}"
    sequence = f"{schema}.{names.quoted(f'sw_{statement.server.next_id()}')}"
    statement.session.duck.execute(f"CREATE SEQUENCE {sequence}")
    return f"nextval({names.literal(sequence)})"


def selected(statement: Statement, query: exp.Expression, columns: list[Defined]) -> str:
    """The query of CREATE … AS, its columns named and cast as the definition wants."""
    sql = translate.translated(statement, query)
    if translate.bound(sql, statement.binds):
        raise catalog.refuse("bind variables in CREATE … AS")
    if not columns:
        return sql
    listed = ", ".join(names.quoted(one.name) for one in columns)
    cast = ", ".join(
        f"CAST({names.quoted(one.name)} AS {one.type.duck}) AS {names.quoted(one.name)}"
        if one.type
        else names.quoted(one.name)
        for one in columns
    )
    return f"SELECT {cast} FROM ({sql}) AS q({listed})"


def view(statement: Statement, expression: exp.Create) -> Answer:
    """CREATE [OR REPLACE] VIEW [IF NOT EXISTS]."""
    session = statement.session
    target = expression.this.this if isinstance(expression.this, exp.Schema) else expression.this
    name = translate.name_of(statement, target)
    catalog.require_schema(session, name)
    if known := _known(statement, expression, name, temporary=False):
        return known
    columns = [defined(statement, one, name) for one in getattr(expression.this, "expressions", None) or []]
    listed = f" ({', '.join(names.quoted(one.name) for one in columns)})" if columns else ""
    session.duck.execute(
        f"CREATE VIEW {name.duck}{listed} AS {translate.translated(statement, expression.expression)}"
    )
    noted = catalog.Noted("VIEW", comment_of(properties_of(expression)), session.role, catalog.now(statement))
    catalog.note(session, "VIEW", name.duck, asdict(noted))
    return done(f"View {name.name} successfully created.")
