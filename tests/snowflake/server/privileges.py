"""Roles and what they may do; which privileges a statement needs.

Every role may do everything until it is created with CREATE ROLE (or by a test): from then on it may do what was
granted to it, to a role that it inherits, or what it owns. As documented (user-guide/security-access-control): an
object that a role has no privilege on does not exist for it (002003), one with another privilege than the needed
one refuses (003001). USAGE on database and schema comes first.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from sqlglot import Expr, exp

from tests.snowflake.server.model import SnowflakeError

DATABASE, SCHEMA, TABLE, STAGE, WAREHOUSE = "DATABASE", "SCHEMA", "TABLE", "STAGE", "WAREHOUSE"
OWNERSHIP = "OWNERSHIP"
ANY = "any privilege"
"""What DESCRIBE needs."""

Name = tuple[str, ...]
"""An object's full name: ("DB",), ("DB", "SCHEMA"), ("DB", "SCHEMA", "TABLE")."""


@dataclass(frozen=True)
class Need:
    """A privilege on an object that a statement needs."""

    privilege: str
    kind: str
    name: Name


@dataclass
class Grant:
    """A privilege that a role has. `future`: on the objects of the kind that will be made in `name`."""

    privilege: str
    kind: str
    name: Name
    future: bool = False
    at: datetime = field(default_factory=lambda: datetime.now(UTC))


@dataclass
class Role:
    """A role that was created. `inherits`: names of roles granted to it."""

    name: str
    grants: list[Grant] = field(default_factory=list)
    inherits: list[str] = field(default_factory=list)


class Roles:
    """The roles of the account, and the users that have them."""

    def __init__(self) -> None:
        self._roles: dict[str, Role] = {}

    def create(self, name: str) -> Role:
        return self._roles.setdefault(name, Role(name))

    def drop(self, name: str) -> None:
        self._roles.pop(name, None)

    def get(self, name: str | None) -> Role | None:
        return self._roles.get(name or "")

    def names(self) -> list[str]:
        return sorted(self._roles)

    def all_grants(self) -> list[tuple[str, Grant]]:
        """Every grant with the name of its role."""
        return [(role.name, grant) for role in self._roles.values() for grant in role.grants]

    def with_inherited(self, name: str) -> Iterator[Role]:
        """The role and all that it inherits."""
        seen, asked = set(), [name]
        while asked:
            one = asked.pop()
            role = self._roles.get(one)
            if role is not None and one not in seen:
                seen.add(one)
                yield role
                asked += role.inherits

    def held(self, role: str, kind: str, name: Name) -> set[str]:
        """The privileges of a role on an object."""
        return {
            grant.privilege
            for one in self.with_inherited(role)
            for grant in one.grants
            if grant.kind == kind and not grant.future and grant.name == name
        }

    def visible(self, role: str | None, database: str) -> list[Name] | None:
        """Tables and views of a database that the role is told of; None: all, it may do everything."""
        if self.get(role) is None:
            return None
        grants = [grant for one in self.with_inherited(str(role)) for grant in one.grants if not grant.future]
        names = {grant.name for grant in grants if grant.kind == TABLE and grant.name[0] == database}
        return sorted(name for name in names if all(self.may(str(role), need) for need in within(name)))

    def may(self, role: str, need: Need) -> bool:
        """Whether the role has a privilege, by itself or with another one."""
        return bool({need.privilege, OWNERSHIP, "ALL"} & self.held(role, need.kind, need.name))

    def made(self, role: str | None, kind: str, name: Name) -> None:
        """The role has made an object and owns it; grants on future objects come into force."""
        if (owner := self.get(role)) is not None:
            owner.grants.append(Grant(OWNERSHIP, kind, name))
        for one in self._roles.values():
            future = [grant for grant in one.grants if grant.future and grant.kind == kind]
            one.grants += [Grant(g.privilege, kind, name) for g in future if name[: len(g.name)] == g.name]

    def forget(self, kind: str, name: Name) -> None:
        """The object is gone, and every grant on it."""
        for one in self._roles.values():
            one.grants = [g for g in one.grants if g.future or (g.kind, g.name) != (kind, name)]

    def require(self, role: str | None, need: Need) -> None:
        """Raise 002003 or 003001 if the role may not."""
        if self.get(role) is None:
            return
        held = self.held(str(role), need.kind, need.name)
        if not held:
            raise hidden(need)
        if need.privilege != ANY and not self.may(str(role), need):
            raise insufficient(need)


def hidden(need: Need) -> SnowflakeError:
    """The role has nothing on the object: it does not exist for it."""
    word, state = {
        DATABASE: ("Database", "02000"),
        SCHEMA: ("Schema", "02000"),
        STAGE: ("Stage", "02000"),
        TABLE: ("Object", "42S02"),
        WAREHOUSE: ("Warehouse", "02000"),
    }[need.kind]
    if need.kind == WAREHOUSE:
        text = "Object does not exist, or operation cannot be performed."
        return SnowflakeError("002043", "02000", f"SQL compilation error:\n{text}")
    name = ".".join(need.name)
    return SnowflakeError(
        "002003", state, f"SQL compilation error:\n{word} '{name}' does not exist or not authorized."
    )


def insufficient(need: Need) -> SnowflakeError:
    """The role has something on the object, and not this."""
    text = (
        f"SQL access control error:\nInsufficient privileges to operate on {need.kind.lower()} '{need.name[-1]}'"
    )
    return SnowflakeError("003001", "42501", text)


def within(name: Name) -> list[Need]:
    """USAGE on the database and schema that an object lies in."""
    above = [Need("USAGE", DATABASE, name[:1]), Need("USAGE", SCHEMA, name[:2])]
    return above[: len(name) - 1]


def needs(tree: Expr, database: str | None, schema: str | None) -> list[Need]:
    """What a parsed query or DML statement needs, outermost objects first."""
    target = written(tree)
    needed: list[Need] = []
    defined = {cte.alias_or_name.upper() for cte in tree.find_all(exp.CTE)}
    for table in tree.find_all(exp.Table):
        name = full_name(table, database, schema)
        if name is None or (len(table.parts) == 1 and name[-1] in defined):
            continue
        if name[1].upper() == "INFORMATION_SCHEMA":
            needed.append(Need("USAGE", DATABASE, name[:1]))
            continue
        privileges = verbs(tree) if table is target else ["SELECT"]
        needed += [*within(name), *(Need(privilege, TABLE, name) for privilege in privileges)]
    return needed


def written(tree: Expr) -> Expr | None:
    """The table that a DML statement writes into."""
    if not isinstance(tree, (exp.Insert, exp.Update, exp.Delete, exp.Merge)):
        return None
    target = tree.this
    return target.this if isinstance(target, exp.Schema) else target


def verbs(tree: Expr) -> list[str]:
    """The privileges that a DML statement needs on its target."""
    if isinstance(tree, exp.Insert):
        return ["INSERT"]
    if isinstance(tree, exp.Delete):
        return ["DELETE", "SELECT"]
    if isinstance(tree, exp.Update):
        return ["UPDATE", "SELECT"]
    kinds = {exp.Insert: "INSERT", exp.Update: "UPDATE"}
    wanted = ["SELECT"]
    for when in tree.find_all(exp.When):
        then = when.args.get("then")
        wanted.append(next((word for kind, word in kinds.items() if isinstance(then, kind)), "DELETE"))
    return sorted(set(wanted))


def full_name(table: exp.Table, database: str | None, schema: str | None) -> Name | None:
    """The full name of a table, None if it is none (a function, a stage, a placeholder)."""
    parts = [part for part in table.parts if isinstance(part, exp.Identifier)]
    if len(parts) != len(table.parts) or not parts:
        return None
    words = [part.name if part.args.get("quoted") else part.name.upper() for part in parts]
    filled = [database or "", schema or ""][: 3 - len(words)] + words
    return tuple(filled)
