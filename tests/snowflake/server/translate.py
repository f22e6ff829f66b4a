"""Snowflake's SQL into DuckDB's: sqlglot's own translation, some of fakesnow's, and what both have differently."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import sqlglot
from fakesnow import transforms
from sqlglot import TokenType, exp
from sqlglot.errors import ParseError, TokenError

from tests.snowflake.server import types
from tests.snowflake.server.model import Name, SnowflakeError, Statement
from tests.snowflake.server.names import literal, within

FAKESNOW: tuple[tuple[Callable[[Any], Any], tuple[type[exp.Expression], ...]], ...] = (
    (transforms.split, (exp.Split,)),
    (transforms.trim_cast_varchar, (exp.Trim,)),
    (transforms.indices_to_json_extract, (exp.Bracket,)),
    (transforms.json_extract_cast_as_varchar, (exp.JSONExtract, exp.Bracket)),
    (transforms.json_extract_cased_as_varchar, (exp.JSONExtract, exp.Bracket)),
    (transforms.json_extract_precedence, (exp.JSONExtract, exp.JSONExtractScalar, exp.Bracket)),
    (transforms.flatten, (exp.Lateral, exp.TableFromRows)),
    (transforms.regex_replace, (exp.RegexpReplace,)),
    (transforms.regex_substr, (exp.RegexpExtract,)),
    (transforms.values_columns, (exp.Values,)),
    (transforms.to_date, (exp.Anonymous,)),
    (transforms.timestamp_offsets, (exp.Cast,)),
    (transforms.to_decimal, (exp.ToNumber,)),
    (transforms.to_variant, (exp.ToVariant,)),
    (transforms.object_construct, (exp.StarMap, exp.Struct, exp.JSONObject)),
    (transforms.alias_in_where, (exp.StarMap, exp.Struct, exp.JSONObject)),
    (transforms.sample, (exp.TableSample,)),
    (transforms.array_size, (exp.ArraySize,)),
    (transforms.random, (exp.Rand,)),
    (transforms.array_agg_within_group, (exp.WithinGroup,)),
    (transforms.array_agg, (exp.ArrayAgg,)),
    (transforms.object_agg, (exp.ObjectAgg,)),
    (transforms.array_construct_etc, (exp.ArrayConstructCompact, exp.Array, exp.ArrayConcat)),
    (transforms.dateadd_date_cast, (exp.DateAdd,)),
    (transforms.dateadd_string_literal_timestamp_cast, (exp.DateAdd,)),
    (transforms.datediff_string_literal_timestamp_cast, (exp.DateDiff,)),
    (transforms.hex_string, (exp.HexString,)),
    (transforms.sha256, (exp.SHA2, exp.SHA2Digest, exp.Anonymous)),
    (transforms.alias_in_join, (exp.Join,)),
)
"""What fakesnow changes, and in which statements: those with an expression of one of these classes. Each change
walks the whole statement, and a MERGE of a wide table has thousands of expressions."""

FORMATS = {
    "YYYY": "%Y",
    "MM": "%m",
    "DD": "%d",
    "HH24": "%H",
    "MI": "%M",
    "SS": "%S",
    "FF9": "%n",
    "FF6": "%f",
    "FF3": "%g",
    "FF": "%n",
    "TZH:TZM": "%z:00",
    "TZHTZM": "%z00",
}
TEXT_CASTS = {types.T.VARCHAR, types.T.TEXT}


def prepared(statement: Statement) -> exp.Expression:
    """The statement as sqlglot reads it, its `?` numbered. Raises 001003."""
    try:
        found = sqlglot.parse_one(numbered(statement.bare), read="snowflake")
    except (ParseError, TokenError) as error:
        words = re.sub(r"\x1b\[\dm", "", str(error))
        raise SnowflakeError("001003", "42000", f"SQL compilation error:\n{words}") from error
    if found is None:
        raise SnowflakeError("000900", "42601", "Empty SQL statement.")
    if "IDENTIFIER" not in statement.bare.upper():
        return found
    return found.transform(lambda node: identifier(statement, node), copy=False)


def numbered(text: str) -> str:
    """`?` becomes `:b1`, `:b2`, … in the order of the text."""
    if "?" not in text:
        return text
    marks = [
        token for token in sqlglot.tokenize(text, read="snowflake") if token.token_type == TokenType.PLACEHOLDER
    ]
    for number, token in reversed(list(enumerate(marks, 1))):
        text = f"{text[: token.start]}:b{number}{text[token.end + 1 :]}"
    return text


def identifier(statement: Statement, node: exp.Expression) -> exp.Expression:
    """IDENTIFIER(?) and IDENTIFIER('…') as the name of a table."""
    if not isinstance(node, exp.Table) or not isinstance(node.this, exp.Anonymous | exp.DynamicIdentifier):
        return node
    if isinstance(node.this, exp.Anonymous) and node.this.name.upper() != "IDENTIFIER":
        return node
    argument = node.this.expressions[0] if node.this.expressions else node.this.this
    if isinstance(argument, exp.Placeholder):
        name = str(statement.binds[int(argument.name[1:]) - 1])
    else:
        name = argument.name if isinstance(argument, exp.Expression) else str(argument)
    found = exp.to_table(name, dialect="snowflake")
    found.set("alias", node.args.get("alias"))
    return found


def bound(sql: str, values: Sequence[Any]) -> dict[str, Any] | None:
    """The values that DuckDB's SQL asks for."""
    wanted = {int(number) for number in re.findall(r"\$b(\d+)\b", sql)}
    return {f"b{number}": values[number - 1] for number in wanted if number <= len(values)} or None


def translated(statement: Statement, expression: exp.Expression) -> str:
    """DuckDB's SQL for a query, a DML statement or an expression of one, which is changed on the way."""
    there, ctes = set(), set()
    for node in expression.walk():
        there.add(type(node))
        if isinstance(node, exp.Identifier) and not node.quoted:
            node.set("this", node.name.upper())
        elif isinstance(node, exp.CTE):
            ctes.add(node.alias_or_name.upper())
    expression = expression.transform(lambda node: context(statement, node), copy=False)
    for change, classes in FAKESNOW:
        if not there.isdisjoint(classes):
            expression = expression.transform(change, copy=False)
    return expression.transform(lambda node: value(table(statement, node, ctes)), copy=False).sql(
        dialect="duckdb", identify=True
    )


def context(statement: Statement, node: exp.Expression) -> exp.Expression:
    """What depends on session and instant: CURRENT_WAREHOUSE(), CURRENT_TIMESTAMP(), SYSTEM$…"""
    if isinstance(node, exp.Anonymous):
        known = statement.server.functions.get(node.name.upper())
        return known(statement, node) if known else node
    if isinstance(node, exp.CurrentTimestamp):
        now = statement.now
        return constant(now.replace(tzinfo=None) if node.args.get("sysdate") else now)
    if isinstance(node, exp.Func):
        known = statement.server.functions.get(node.sql_name())
        return known(statement, node) if known else node
    if isinstance(node, exp.Column) and not node.table and node.name.upper() in ("CURRENT_TIMESTAMP", "SYSDATE"):
        return constant(statement.now)
    return node


def constant(value: Any) -> exp.Expression:
    """A value as an expression."""
    if value is None:
        return exp.Null()
    if isinstance(value, datetime):
        kind = "TIMESTAMPTZ" if value.tzinfo else "TIMESTAMP"
        text = value.astimezone(UTC).isoformat(" ") if value.tzinfo else value.isoformat(" ")
        return exp.Cast(this=exp.Literal.string(text), to=exp.DataType.build(kind, dialect="duckdb"))
    if isinstance(value, int):
        return exp.Literal.number(value)
    return exp.Literal.string(str(value))


def table(statement: Statement, node: exp.Expression, ctes: set[str]) -> exp.Expression:
    """INFORMATION_SCHEMA, temporary tables, and names that are complete."""
    if not isinstance(node, exp.Table) or not isinstance(node.this, exp.Identifier):
        return node
    if not node.db and node.name.upper() in ctes:
        return node
    session = statement.session
    if node.db.upper() == "INFORMATION_SCHEMA":
        return _view(statement, node, node.catalog or session.database or "")
    name = within(session, [part.name for part in node.parts])
    temporary = session.temporary.get(name)
    new = ["temp", "main", temporary] if temporary else [name.database, name.schema, name.name]
    for key, part in zip(("catalog", "db", "this"), new, strict=True):
        node.set(key, exp.to_identifier(part, quoted=True))
    return node


TOLD_OF_EACH_TABLE = ("tables", "columns", "views")


def _view(statement: Statement, node: exp.Table, database: str) -> exp.Expression:
    """A view of INFORMATION_SCHEMA: of tables, those that the role has a privilege on."""
    view = node.name.lower()
    where = [f"table_catalog = {literal(database)}"]
    roles = statement.server.plugins.get("roles")
    seen = roles.visible(statement.session.role, database) if roles and view in TOLD_OF_EACH_TABLE else None
    if seen is not None:
        names = ", ".join(literal(f"{schema}.{name}") for _, schema, name in seen)
        where.append(f"table_schema || '.' || table_name IN ({names})" if names else "FALSE")
    source = sqlglot.parse_one(
        f'SELECT * FROM "_fs_global"."sw"."{view}" WHERE {" AND ".join(where)}', read="duckdb"
    )
    alias = node.alias or node.name
    return exp.Subquery(this=source, alias=exp.TableAlias(this=exp.to_identifier(alias, quoted=True)))


def value(node: exp.Expression) -> exp.Expression:
    """Types and casts."""
    if (
        isinstance(node, exp.Cast)
        and node.to.this in TEXT_CASTS
        and not isinstance(node.this, exp.Literal | exp.Null)
    ):
        cut = [int(one.name) for one in node.to.expressions]
        text = exp.Anonymous(this="sw_text", expressions=[node.this])
        return exp.Anonymous(this="left", expressions=[text, exp.Literal.number(cut[0])]) if cut else text
    if isinstance(node, exp.ToChar):
        shape = node.args.get("format")
        if shape is None:
            return exp.Anonymous(this="sw_text", expressions=[node.this])
        return exp.Anonymous(this="sw_shown", expressions=[node.this, exp.Literal.string(strftime(shape.name))])
    if isinstance(node, exp.ParseJSON):
        return exp.Anonymous(this="sw_try_json" if node.args.get("safe") else "sw_json", expressions=[node.this])
    if isinstance(node, exp.Typeof):
        return exp.Anonymous(this="sw_typeof", expressions=[node.this])
    if isinstance(node, exp.DataType) and not isinstance(node.parent, exp.DataType):
        return exp.DataType.build(types.declared(node).duck, dialect="duckdb")
    if isinstance(node, exp.Anonymous) and (made := TIME_FUNCTIONS.get(node.name.upper())):
        return made(node)
    if isinstance(node, exp.UnixToTime):
        zoned = node.args.get("target_type") and node.args["target_type"].this in (
            types.T.TIMESTAMPLTZ,
            types.T.TIMESTAMPTZ,
        )
        return _time(node.this, node.args.get("scale"), "TIMESTAMPTZ" if zoned else "TIMESTAMP")
    return node


def strftime(shape: str) -> str:
    """A format of Snowflake as DuckDB spells it."""
    return re.sub("|".join(FORMATS), lambda found: FORMATS[found[0].upper()], shape, flags=re.IGNORECASE)


def _time(moment: exp.Expression, scale: exp.Expression | None, kind: str) -> exp.Expression:
    """TO_TIMESTAMP_…: numbers count from 1970, text is read."""
    unit = {"0": "1000000", "3": "1000", "6": "1"}.get(scale.name if scale else "0", "0.001")
    return exp.Anonymous(
        this="sw_time_tz" if kind == "TIMESTAMPTZ" else "sw_time",
        expressions=[moment, exp.Literal.number(unit)],
    )


def _named(kind: str) -> Callable[[exp.Anonymous], exp.Expression]:
    return lambda node: _time(node.expressions[0], (node.expressions[1:] or [None])[0], kind)


TIME_FUNCTIONS = {
    "TO_TIMESTAMP": _named("TIMESTAMP"),
    "TO_TIMESTAMP_NTZ": _named("TIMESTAMP"),
    "TO_TIMESTAMP_LTZ": _named("TIMESTAMPTZ"),
    "TO_TIMESTAMP_TZ": _named("TIMESTAMPTZ"),
}

MACROS = """
CREATE SCHEMA IF NOT EXISTS _fs_global.sw;
CREATE OR REPLACE MACRO {database}.main.sw_text(x) AS
    CASE typeof(x)
        WHEN 'JSON' THEN to_json(x) ->> '$'
        WHEN 'TIMESTAMP' THEN strftime(TRY_CAST(x::VARCHAR AS TIMESTAMP), '%Y-%m-%d %H:%M:%S.%g')
        WHEN 'TIMESTAMP WITH TIME ZONE' THEN strftime(TRY_CAST(x::VARCHAR AS TIMESTAMPTZ), '%Y-%m-%d %H:%M:%S.%g ')
            || replace(strftime(TRY_CAST(x::VARCHAR AS TIMESTAMPTZ), '%z'), ':', '') || '00'
        WHEN 'TIME' THEN left(x::VARCHAR, 8)
        WHEN 'DOUBLE' THEN regexp_replace(x::VARCHAR, '\\.0$', '')
        WHEN 'BLOB' THEN hex(TRY_CAST(x AS BLOB))
        ELSE x::VARCHAR
    END;
CREATE OR REPLACE MACRO {database}.main.sw_shown(x, shape) AS
    CASE typeof(x)
        WHEN 'TIME' THEN strftime(DATE '1970-01-01' + TRY_CAST(x::VARCHAR AS TIME), shape)
        WHEN 'DATE' THEN strftime(TRY_CAST(x::VARCHAR AS DATE), shape)
        WHEN 'TIMESTAMP WITH TIME ZONE' THEN strftime(TRY_CAST(x::VARCHAR AS TIMESTAMPTZ), shape)
        WHEN 'TIMESTAMP' THEN strftime(TRY_CAST(x::VARCHAR AS TIMESTAMP), shape)
        WHEN 'TIMESTAMP_NS' THEN strftime(TRY_CAST(x::VARCHAR AS TIMESTAMP_NS), shape)
        ELSE error('TO_VARCHAR: a value that has no format: ' || typeof(x))
    END;
CREATE OR REPLACE MACRO {database}.main.sw_json(x) AS
    json(CASE typeof(x) WHEN 'JSON' THEN to_json(x) ->> '$' ELSE x::VARCHAR END);
CREATE OR REPLACE MACRO {database}.main.sw_try_json(x) AS
    CASE WHEN json_valid(CASE typeof(x) WHEN 'JSON' THEN to_json(x) ->> '$' ELSE x::VARCHAR END)
        THEN json(CASE typeof(x) WHEN 'JSON' THEN to_json(x) ->> '$' ELSE x::VARCHAR END) END;
CREATE OR REPLACE MACRO {database}.main.sw_typeof(x) AS
    CASE json_type(x) WHEN 'UBIGINT' THEN 'INTEGER' WHEN 'BIGINT' THEN 'INTEGER' WHEN 'HUGEINT' THEN 'INTEGER'
        WHEN 'DOUBLE' THEN 'DECIMAL' WHEN 'NULL' THEN 'NULL_VALUE' ELSE json_type(x) END;
CREATE OR REPLACE MACRO {database}.main.sw_time(x, unit) AS
    CASE WHEN typeof(x) IN ('VARCHAR', 'TIMESTAMP', 'DATE', 'TIMESTAMP WITH TIME ZONE', '"NULL"')
        THEN TRY_CAST(x::VARCHAR AS TIMESTAMP)
        ELSE make_timestamp(CAST(TRY_CAST(x::VARCHAR AS DECIMAL(38,6)) * unit AS BIGINT)) END;
CREATE OR REPLACE MACRO {database}.main.sw_time_tz(x, unit) AS
    CASE WHEN typeof(x) IN ('VARCHAR', 'TIMESTAMP', 'DATE', 'TIMESTAMP WITH TIME ZONE', '"NULL"')
        THEN TRY_CAST(x::VARCHAR AS TIMESTAMPTZ)
        ELSE make_timestamptz(CAST(TRY_CAST(x::VARCHAR AS DECIMAL(38,6)) * unit AS BIGINT)) END;
"""


def folded(part: exp.Expression) -> str:
    """An identifier as the server keeps it."""
    return part.name if part.args.get("quoted") else part.name.upper()


def name_of(statement: Statement, table: exp.Table) -> Name:
    """The object that a statement names."""
    return within(statement.session, [folded(part) for part in table.parts])
