"""The names of all effects that code can have, found in its source: a port that nobody tried is found there.

A port's name stands in the call as a text, or as a text with one of the function's parameters in it
(`f"loader.{call}.table"`), or it is such a parameter; then the texts count that callers give for it.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

EFFECT = re.compile(r"[a-z]+(\.[a-z_]+)+")
PORTS = ("port", "_port")

Function = ast.FunctionDef | ast.AsyncFunctionDef


def effects_in(*folders: Path) -> set[str]:
    """Names of the effects in all modules there. Raises AssertionError for a port whose name cannot be told."""
    trees = [ast.parse(path.read_text(), str(path)) for folder in folders for path in sorted(folder.glob("*.py"))]
    given = texts_given(trees)
    return {name for tree in trees for name in effects_of(tree, given)}


def texts_given(trees: list[ast.Module]) -> dict[tuple[str, str], set[str]]:
    """Texts that are given for a parameter, by the names of function and parameter."""
    parameters = {
        one.name: [argument.arg for argument in one.args.args if argument.arg != "self"]
        for tree in trees
        for one in ast.walk(tree)
        if isinstance(one, Function)
    }
    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    for call in (one for tree in trees for one in ast.walk(tree) if isinstance(one, ast.Call)):
        function = called(call)
        named = [(word.arg, word.value) for word in call.keywords if word.arg]
        for name, value in [*zip(parameters.get(function, ()), call.args, strict=False), *named]:
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                found[function, name].add(value.value)
    return found


def called(call: ast.Call) -> str:
    """The last name of what is called."""
    function = call.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def effects_of(tree: ast.Module, given: dict[tuple[str, str], set[str]]) -> Iterator[str]:
    for function in (one for one in ast.walk(tree) if isinstance(one, Function)):
        for call in (one for one in ast.walk(function) if isinstance(one, ast.Call)):
            if called(call) not in PORTS or not call.args:
                continue
            names = list(names_of(call.args[0], function.name, given))
            where = f"line {call.lineno} in {function.name}: {ast.unparse(call)}"
            assert names, f"nobody can tell the name of the effect in {where}"
            assert all(EFFECT.fullmatch(name) for name in names), f"{names} in {where}"
            yield from names


def names_of(name: ast.expr, function: str, given: dict[tuple[str, str], set[str]]) -> Iterator[str]:
    """What the argument of a port can be."""
    if isinstance(name, ast.Constant):
        yield str(name.value)
    elif isinstance(name, ast.Name):
        yield from given[function, name.id]
    elif isinstance(name, ast.JoinedStr):
        [parameter] = [part.value for part in name.values if isinstance(part, ast.FormattedValue)]
        assert isinstance(parameter, ast.Name), ast.unparse(name)
        for text in given[function, parameter.id]:
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else text for part in name.values)
