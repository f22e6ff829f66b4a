"""ALTER TABLE."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from sqlglot import exp

from tests.snowflake.server import catalog, creating, names, translate, types, vendor
from tests.snowflake.server.model import Answer, Name, Session, SnowflakeError, Statement, done


def alter(statement: Statement, expression: exp.Alter) -> Answer:
    """Each of its actions."""
    if str(expression.args.get("kind")).upper() not in ("TABLE", "VIEW"):
        return done()
    name = translate.name_of(statement, expression.this)
    if expression.args.get("exists") and catalog.find(statement.session, name) is None:
        return done()
    at = catalog.require(statement.session, name)
    for action in expression.args["actions"]:
        change = ACTIONS.get(type(action))
        if change is None:
            raise catalog.refuse(f"ALTER TABLE … {action.sql('snowflake')[:60]}")
        change(statement, at, action)
    return done()


def note_column(session: Session, at: Name, column: str, more: dict[str, Any]) -> None:
    """Keep more about a column. Raises 000904 if there is none."""
    notes = catalog.column_notes(session, at)
    if column not in notes:
        raise SnowflakeError("000904", "42000", f"{vendor.COMPILATION}invalid identifier '{column}'")
    told = {**notes[column], **more}
    catalog.note(session, "COLUMN", f"{at.duck}.{names.quoted(column)}", told)


def add(statement: Statement, at: Name, column: exp.ColumnDef) -> None:
    session = statement.session
    one = creating.defined(statement, column, at)
    if one.name in catalog.column_notes(session, at):
        if column.args.get("exists"):
            return
        raise SnowflakeError("001430", "42601", f"{vendor.COMPILATION}column '{one.name}' already exists")
    plain = one.sql.replace(" NOT NULL", "")
    session.duck.execute(f"ALTER TABLE {at.duck} ADD COLUMN {plain}")
    if plain != one.sql:
        session.duck.execute(f"ALTER TABLE {at.duck} ALTER {names.quoted(one.name)} SET NOT NULL")
    if one.told:
        catalog.note(session, "COLUMN", f"{at.duck}.{names.quoted(one.name)}", one.told)


def drop(statement: Statement, at: Name, action: exp.Drop) -> None:
    for one in [action.this, *(action.args.get("tables") or ()), *action.expressions]:
        if one is not None:
            column = translate.folded(one.find(exp.Identifier))
            exists = "IF EXISTS " if action.args.get("exists") else ""
            statement.session.duck.execute(f"ALTER TABLE {at.duck} DROP COLUMN {exists}{names.quoted(column)}")


def change_column(statement: Statement, at: Name, action: exp.AlterColumn) -> None:
    session, column = statement.session, translate.folded(action.this.find(exp.Identifier))
    known = {one.name: one for one in catalog.columns(session, at)}
    if column not in known:
        raise SnowflakeError("000904", "42000", f"{vendor.COMPILATION}invalid identifier '{column}'")
    spelled = f"ALTER TABLE {at.duck} ALTER {names.quoted(column)}"
    if action.args.get("dtype") is not None:
        kind = types.declared(action.args["dtype"])
        require_wider(column, known[column].type, kind.declared)
        session.duck.execute(f"{spelled} TYPE {kind.duck}")
        note_column(session, at, column, {"type": kind.declared})
    elif action.args.get("comment") is not None:
        note_column(session, at, column, {"comment": action.args["comment"].name})
    elif action.args.get("default") is not None:
        raise catalog.refuse("ALTER COLUMN … SET DEFAULT")
    elif action.args.get("drop") and action.args.get("allow_null"):
        session.duck.execute(f"{spelled} DROP NOT NULL")
    elif action.args.get("drop"):
        session.duck.execute(f"{spelled} DROP DEFAULT")
    else:
        session.duck.execute(f"{spelled} SET NOT NULL")


def require_wider(column: str, was: str, now: str) -> None:
    """Only a longer text or binary and a number of more digits are allowed."""
    base, *old = re.findall(r"[A-Z_]+|\d+", was)
    wanted, *new = re.findall(r"[A-Z_]+|\d+", now)
    longer = base in ("VARCHAR", "BINARY") and [int(new[0])] >= [int(old[0])] if base == wanted and new else False
    more = base == "NUMBER" and wanted == "NUMBER" and int(new[0]) >= int(old[0]) and new[1] == old[1]
    if was != now and not longer and not more:
        raise SnowflakeError(
            "002108", "22000", f"{vendor.COMPILATION}cannot change column {column} from type {was} to {now}"
        )


def rename_column(statement: Statement, at: Name, action: exp.RenameColumn) -> None:
    old, new = (translate.folded(one.find(exp.Identifier)) for one in (action.this, action.args["to"]))
    statement.session.duck.execute(
        f"ALTER TABLE {at.duck} RENAME COLUMN {names.quoted(old)} TO {names.quoted(new)}"
    )


def rename(statement: Statement, at: Name, action: exp.AlterRename) -> None:
    new = translate.name_of(statement, action.this)
    if catalog.find(statement.session, new) is not None:
        raise vendor.exists("Object", new)
    statement.session.duck.execute(f"ALTER TABLE {at.duck} RENAME TO {names.quoted(new.name)}")


def set_property(statement: Statement, at: Name, action: exp.AlterSet) -> None:
    """SET COMMENT; other properties change nothing that can be seen."""
    for found in action.find_all(exp.SchemaCommentProperty):
        told = {**catalog.noted(statement.session, at), "comment": found.this.name}
        catalog.note(statement.session, "TABLE", at.duck, told)


def nothing(statement: Statement, at: Name, action: exp.Expression) -> None:
    """Clustering shows nowhere."""


ACTIONS: dict[type[exp.Expression], Callable[[Statement, Name, Any], None]] = {
    exp.ColumnDef: add,
    exp.Drop: drop,
    exp.AlterColumn: change_column,
    exp.RenameColumn: rename_column,
    exp.AlterRename: rename,
    exp.AlterSet: set_property,
    exp.Cluster: nothing,
}
