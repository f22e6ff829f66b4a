"""Every command with its options and its words. What a command does is imported when it is called.

So `sluiceway --help` answers at once, and a library that is slow to load is loaded only where it is used.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from service.cli.options import (
    CONFIG_VARIABLE,
    DEFAULT_CONFIG,
    DEFAULT_FOLDER,
    DEFAULT_TARGET,
    AllOption,
    CodeOption,
    ConfigOption,
    FromOption,
    FromPhaseOption,
    JsonOption,
    LogForm,
    OptionalRunArgument,
    OutOption,
    PhaseArgument,
    RunArgument,
    ScriptArgument,
    SinceOption,
    SourceUrlOption,
    TablesOption,
    TargetOption,
    ToOption,
    UntilOption,
    WindowOption,
    globs,
)

app = typer.Typer(
    name="sluiceway",
    help="Load windows of time from a source into a warehouse, each one proven: nothing lost, nothing twice.",
    epilog="Example: sluiceway init, sluiceway validate, sluiceway drive init, sluiceway doctor, sluiceway run",
    add_completion=False,
    invoke_without_command=True,
    context_settings={"help_option_names": ["--help", "-h"]},
)
drive = typer.Typer(
    help="Make or upgrade the drive table, which remembers the runs.",
    epilog="Example: sluiceway drive init",
    no_args_is_help=False,
)


@app.callback()
def root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version and stop.")] = False,
    debug: Annotated[  # noqa: ARG001 `service.cli.main` takes it, wherever it stands
        bool, typer.Option("--debug", help="Show tracebacks and more detail; may stand after the command too.")
    ] = False,
) -> None:
    if version:
        from importlib.metadata import version as version_of

        typer.echo(f"sluiceway {version_of('sluiceway')}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help(), nl=False)


@app.command(epilog="Example: sluiceway init --from https://reader@es.company.com:9200 --indices 'orders-*'")
def init(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", dir_okay=False, help="Where to write it.")
    ] = DEFAULT_CONFIG,
    source: Annotated[
        str | None,
        typer.Option(
            "--source",
            metavar="TYPE",
            help="elasticsearch, opensearch, mysql, mariadb or files. Default: elasticsearch.",
        ),
    ] = None,
    target: Annotated[
        str | None, typer.Option("--target", metavar="TYPE", help="duckdb or snowflake. Default: duckdb.")
    ] = None,
    phases: Annotated[
        bool,
        typer.Option(
            "--phases",
            help="Also write my_phases.py beside it: a function of your own for each phase. A configuration that"
            " exists is then left as it is.",
        ),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace files that exist.")] = False,
    *,
    url: SourceUrlOption = None,
    tables: TablesOption = None,
    to: TargetOption = None,
    out: OutOption = None,
) -> None:
    """Write a commented configuration to begin with; it is valid as it stands.

    With --from, the source is asked instead: a file for each table or index, with key, cursor, first window and
    types proposed and the reason of each choice beside it. Nothing is written to the source, no secret to a file:
    the password is SLUICEWAY_SOURCE_PASSWORD or asked for, an API key SLUICEWAY_SOURCE_API_KEY.
    """
    if url is None:
        from service.cli import authoring

        if given := [name for name, value in (("--tables", tables), ("--to", to), ("--out", out)) if value]:
            raise typer.BadParameter("has a meaning only with --from", param_hint=given[0])
        authoring.init(file, source or "elasticsearch", target or "duckdb", phases=phases, force=force)
    elif phases or source or target or file != DEFAULT_CONFIG:
        raise typer.BadParameter("goes without FILE, --phases, --source and --target", param_hint="--from")
    else:
        from service.cli import proposing

        proposing.init_from(url, globs(tables), to or DEFAULT_TARGET, out or DEFAULT_FOLDER, force=force)


@app.command(epilog="Example: sluiceway validate pipelines/")
def validate(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="FILE|DIR",
            envvar=CONFIG_VARIABLE,
            help="A configuration, or a folder of them and of daemon.yaml.",
        ),
    ] = DEFAULT_CONFIG,
    json: JsonOption = False,
) -> None:
    """Show every problem of a configuration at once: path, line, value and remedy. Nothing is connected to."""
    from service.cli import authoring

    authoring.validate(path, json=json)


@app.command(epilog="Example: sluiceway schema > sluiceway.schema.json")
def schema() -> None:
    """Write the JSON Schema of a configuration to stdout, for editors."""
    from service.cli import authoring

    authoring.schema()


@app.command(epilog="Example: sluiceway doctor -c flights.yaml")
def doctor(config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False) -> None:
    """Look at everything a run needs, before it runs. Every check is shown.

    To know what may be written it writes: a small file into the archive, and in Snowflake a file into the stage
    and a table beside the stage tables and the target. Each has a name of its own and is removed again; no row and
    no file of yours is touched.
    """
    from service.cli import looking

    looking.doctor(config, json=json)


@app.command(epilog="Example: sluiceway plan --limit 5")
def plan(
    config: ConfigOption = DEFAULT_CONFIG,
    limit: Annotated[int, typer.Option("--limit", min=1, max=100_000, help="Windows shown at most.")] = 20,
    json: JsonOption = False,
) -> None:
    """Show what would run now: windows, parts and rows by the source's own counts. Nothing is written."""
    from service.cli import looking

    looking.plan(config, limit, json=json)


@app.command(epilog="Example: sluiceway run --window 2025-11-15T00:00Z/2025-11-16T00:00Z")
def run(config: ConfigOption = DEFAULT_CONFIG, window: WindowOption = None, json: JsonOption = False) -> None:
    """Load every window that is due, once. What was interrupted goes on where it stopped.

    With --window, only windows inside that span.
    """
    from service.cli import operate

    operate.run(config, window, json=json)


@app.command(epilog="Example: sluiceway serve pipelines/")
def serve(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="CONFIG_DIR",
            envvar="SLUICEWAY_CONFIG_DIR",
            help="The folder of the pipelines' configurations, and of daemon.yaml if there is one.",
        ),
    ],
    log: Annotated[
        LogForm, typer.Option("--log", help="Form of the log on stderr; auto is text on a terminal, else json.")
    ] = LogForm.AUTO,
) -> None:
    """Run until told to stop: look at every pipeline on its schedule, load what is due, serve probes and metrics.

    SIGTERM lets every run come to its next checkpoint and ends with code 0; a second one lets go at once.
    """
    from service.cli import serving

    serving.serve(folder, log)


@app.command(epilog="Example: sluiceway backfill --from 2025-11-01T00:00Z --to 2025-11-08T00:00Z")
def backfill(
    start: FromOption, end: ToOption, config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False
) -> None:
    """Load a span of closed windows again, or for the first time, whatever the ledger says of it.

    A window that was done before becomes run N+1; merge and append both replace, so nothing is there twice.
    """
    from service.cli import operate

    operate.backfill(config, start, end, json=json)


@app.command(epilog="Example: sluiceway windows --from 2025-11-15T00:00Z")
def windows(
    config: ConfigOption = DEFAULT_CONFIG,
    start: SinceOption = None,
    end: UntilOption = None,
    json: JsonOption = False,
) -> None:
    """Show the ledger: every closed window, what became of it, and the gaps."""
    from service.cli import looking

    looking.windows(config, start, end, json=json)


@app.command(epilog="Example: sluiceway show flights_20251115_10h_run1")
def show(run: RunArgument, config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False) -> None:
    """Show a run: phases, proof, files, error, cause, and the next safe action."""
    from service.cli import looking

    looking.show(config, run, json=json)


@app.command(epilog="Example: sluiceway retry flights_20251115_10h_run1 --from source_to_stage_transfer")
def retry(
    run: OptionalRunArgument = None,
    config: ConfigOption = DEFAULT_CONFIG,
    phase: FromPhaseOption = None,
    *,
    every: AllOption = False,
    code: CodeOption = None,
    json: JsonOption = False,
) -> None:
    """Let a failed run go on now, from its failed phase or an earlier one; with --all, all that wait for you.

    After a failed audit, or when its rows are merged already, its window is done again as run N+1.
    """
    from service.cli import operate

    if (run is None) is not every:
        raise typer.BadParameter("name one run, or give --all", param_hint="RUN")
    if code is not None and not every:
        raise typer.BadParameter("chooses among the runs of --all", param_hint="--code")
    if run is not None:
        operate.retry(config, run, phase, json=json)
    else:
        operate.retry_all(config, phase, code, json=json)


@app.command("test-phase", epilog="Example: sluiceway test-phase flights.yaml pre_validation")
def test_phase(
    pipeline: Annotated[
        str,
        typer.Argument(metavar="PIPELINE", help="The pipeline's configuration, or its name if --config has it."),
    ],
    phase: PhaseArgument,
    config: ConfigOption = DEFAULT_CONFIG,
    window: WindowOption = None,
    json: JsonOption = False,
) -> None:
    """Try a phase and those before it on the real source, with a scratch stage, target and drive table.

    They are removed afterwards: the real target is not touched. Without --window: the newest closed window.
    """
    from service.cli import trying

    trying.test_phase(pipeline, phase, config, window, json=json)


@app.command(epilog="Example: sluiceway demo --rows 20000")
def demo(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", file_okay=False, help="Everything the demo makes is in it.")
    ] = Path(".demo"),
    rows: Annotated[
        int | None, typer.Option("--rows", min=1, help="Flights to load; all of them by default.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Load real flights into DuckDB, killed in the middle and gone on with, and show the proof.

    Then the same for tables of a MariaDB, if its programs are installed.
    """
    from service.demo import run_demo

    raise typer.Exit(run_demo(directory, rows=rows, json=json))


@drive.command("init", epilog="Example: sluiceway drive init -c flights.yaml")
def drive_init(config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False) -> None:
    """Make the drive table. One that exists is kept, and upgraded if it is old."""
    from service.cli import driving

    driving.init(config, json=json)


@drive.command("upgrade", epilog="Example: sluiceway drive upgrade -c flights.yaml")
def drive_upgrade(config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False) -> None:
    """Bring the drive table to this version's schema. Stop all workers first; there is no way back."""
    from service.cli import driving

    driving.upgrade(config, json=json)


@drive.command("sql", epilog="Example: sluiceway drive sql grants > grants.sql")
def drive_sql(name: ScriptArgument) -> None:
    """Print an SQL script for an administrator of a Snowflake account: tables, grants, or a query of operators.

    `drive_table` makes the drive table and its views, `grants` gives the workers what they need and no more.
    Nothing is connected to.
    """
    from service.cli import driving

    driving.sql(name)


app.add_typer(drive, name="drive")
