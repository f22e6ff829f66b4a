"""A user's own phase functions: `module:function`, called with the pipeline's config and the drive row.

    fn(config: dict, record: dict) -> dict     sync (runs in a thread) or async

The answer may hold `skip_dag_run`, `error_message`, `transfer_completed`, `stage_count` and figures of
its own. `record` is the drive row with timezone-aware UTC timestamps. Raise `state.errors.TransientError`
to be tried again; `error_message` ends the run for an operator to look at.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from types import ModuleType
from typing import Any

import msgspec

from state.errors import ConfigurationError, PermanentError, SluicewayError, TransientError
from state.finishing import finish
from state.model import Phase, Run

_TYPES: Mapping[str, type] = {
    "skip_dag_run": bool,
    "error_message": str,
    "transfer_completed": bool,
    "stage_count": int,
}


class Answer(msgspec.Struct, frozen=True):
    """A function's checked answer; `figures` are its other keys, kept in the phase's column."""

    skip: bool
    stage_count: int | None
    figures: Mapping[str, Any]


def resolve(reference: str) -> Callable[..., Any]:
    """Import `module:function`. Raises `ConfigurationError` naming what is missing, or what the import raised."""
    module_name, _, name = reference.partition(":")
    module = _imported(module_name, reference)
    function = getattr(module, name, None)
    if not callable(function):
        raise ConfigurationError(
            f"{module_name!r} has no function {name!r}",
            hint=f"Define {name} in {module_name}.",
            code="user_function",
        )
    return function  # type: ignore[no-any-return]


def _imported(module_name: str, reference: str) -> ModuleType:
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"cannot import the user function {reference!r}: {error}",
            hint="Give module:function, and make the module importable (PYTHONPATH, or install it).",
            code="user_function",
        ) from error
    except (Exception, SystemExit) as error:
        raise ConfigurationError(
            f"cannot import the user function {reference!r}: {type(error).__name__}: {error}",
            hint="Mend the module: it fails as soon as it is imported.",
            code="user_function",
        ) from error


def record_of(run: Run) -> dict[str, Any]:
    """The drive row as a user's function sees it, under the drive table's column names."""
    return {
        "pipeline_id": run.name,
        "pipeline_name": run.id.pipeline,
        "pipeline_status": run.status.value,
        "phase_failed": run.phase_failed.value if run.phase_failed else None,
        "created_at": run.created_at,
        "query_window_start_timestamp": run.window.start,
        "query_window_end_timestamp": run.window.end,
        "run_number": run.id.number,
        **{f"{phase.value}_phase": phase_json(run, phase) for phase in Phase},
    }


def phase_json(run: Run, phase: Phase) -> dict[str, Any] | None:
    """A phase's column: status and times with the figures beside them."""
    record = run.phases.get(phase)
    if record is None:
        return None
    times = {"started_at": record.started_at, "finished_at": record.finished_at}
    return {"status": record.status.value, **times, **record.figures}


async def call(reference: str, config: Mapping[str, Any], run: Run, *, needs_count: bool = False) -> Answer:
    """Call the function and check its answer.

    Raises `PermanentError` for an `error_message` or an answer of the wrong shape, `TransientError` for
    `transfer_completed: false`; errors of the tree pass through, any other exception is permanent. A
    cancellation waits for a thread to end: until then nobody else may begin the function for this run.
    """
    function = await _in_a_thread(resolve, reference)  # what a module imports may take seconds
    try:
        if inspect.iscoroutinefunction(function):
            answer = await function(dict(config), record_of(run))
        else:
            answer = await finish(_in_a_thread(function, dict(config), record_of(run)))
    except SluicewayError:
        raise
    except Exception as error:
        raise PermanentError(
            f"{reference} raised {type(error).__name__}: {error}",
            hint="Mend the function, or raise state.errors.TransientError where trying again may help.",
            code="user_function",
        ) from error
    return _checked(reference, answer, needs_count=needs_count)


async def _in_a_thread(function: Callable[..., Any], *given: object) -> Any:
    """In a thread of its own: those of the event loop are few and everybody's, and a function may take hours."""
    thread = ThreadPoolExecutor(1, thread_name_prefix="user-function")
    try:
        return await asyncio.get_running_loop().run_in_executor(thread, copy_context().run, function, *given)
    finally:
        thread.shutdown(wait=False)


def _checked(reference: str, answer: object, *, needs_count: bool) -> Answer:
    if not isinstance(answer, Mapping):
        raise _bad_answer(reference, f"returned {type(answer).__name__} instead of a dict")
    for key, kind in _TYPES.items():
        value = answer.get(key)
        if value is not None and type(value) is not kind:
            raise _bad_answer(reference, f"returned {key} as {type(value).__name__} instead of {kind.__name__}")
    if answer.get("error_message"):
        raise PermanentError(f"{reference} reported: {answer['error_message']}", code="user_function")
    skip = bool(answer.get("skip_dag_run"))
    if not skip and answer.get("transfer_completed") is False:
        raise TransientError(f"{reference} says that the transfer is not completed", code="user_function")
    count = answer.get("stage_count")
    if needs_count and not skip and (count is None or count < 0):
        raise _bad_answer(reference, "must return stage_count, the rows it staged")
    return Answer(skip, count, _figures(reference, answer))


def _figures(reference: str, answer: Mapping[Any, Any]) -> dict[str, Any]:
    """The function's own keys; each can be kept in a JSON column."""
    figures = {key: value for key, value in answer.items() if key not in _TYPES}
    for key, value in figures.items():
        try:
            msgspec.json.encode({key: value})
        except (TypeError, ValueError, RecursionError) as error:
            raise _bad_answer(reference, f"returned {key!r}, which has no JSON form: {error}") from error
    return figures


def _bad_answer(reference: str, problem: str) -> PermanentError:
    return PermanentError(
        f"{reference} {problem}",
        hint="docs/user-functions.md lists the keys and their types.",
        code="user_function",
    )
