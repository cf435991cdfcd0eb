"""doctor: what of this machine and this clinic is well, and what to do about the rest."""

import json
from dataclasses import asdict
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from agcnn_clinic.cli.context import GlobalOptions
from agcnn_clinic.errors import ConfigError, ExitCode
from agcnn_clinic.wording import counted

if TYPE_CHECKING:
    from agcnn_clinic.cli.result import Result


class Format(StrEnum):
    """How the checks are printed."""

    TABLE = "table"
    JSON = "json"


def doctor(
    ctx: typer.Context,
    output_format: Annotated[Format, typer.Option("--format", "-f", help="How to print it.")] = Format.TABLE,
    thorough: Annotated[
        bool, typer.Option("--thorough", help="Read every row and every archived byte, too; takes as long as it takes.")
    ] = False,
) -> None:
    """Check this machine and this clinic, and say what to do about what is not well.

    The exit code is 1 if there is a problem.
    """
    from agcnn_clinic.cli.result import State

    results = examine(ctx.ensure_object(GlobalOptions), thorough=thorough)
    if output_format is Format.JSON:
        typer.echo(json.dumps([asdict(result) for result in results], ensure_ascii=False, indent=2))
    else:
        _print_table(results)
    if any(result.state is State.PROBLEM for result in results):
        raise typer.Exit(ExitCode.NOT_ALL)


def examine(options: GlobalOptions, *, thorough: bool) -> "list[Result]":
    """Run all checks: those of the machine always, those of the clinic where there is one."""
    from agcnn_clinic.cli.checks import MACHINE, of_clinic
    from agcnn_clinic.cli.result import Result, State
    from agcnn_clinic.config import find_config, load_config

    results = [result for check in MACHINE for result in check()]
    try:
        path = find_config(options.config)
    except ConfigError as error:
        # Without a clinic in sight the machine alone is what was asked about; one that was named must be there.
        state = State.PROBLEM if options.names_a_clinic else State.REMARK
        return [*results, Result("configuration", state, "no clinic here; only the machine was checked", str(error))]
    try:
        config = load_config(path)
    except ConfigError as error:
        return [*results, Result("configuration", State.PROBLEM, "not usable", str(error))]
    results.append(Result("configuration", State.OK, str(path.resolve())))
    return [*results, *of_clinic(config, thorough=thorough)]


def _print_table(results: "list[Result]") -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from agcnn_clinic.cli.result import State

    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    styles = {State.OK: "green", State.REMARK: "yellow", State.PROBLEM: "bold red"}
    for result in results:
        # Text, not markup: a path may hold brackets.
        told = Text(result.found)
        if result.advice:
            told.append(f"\n-> {result.advice}", style="italic")
        table.add_row(Text(str(result.state), style=styles[result.state]), Text(result.check), told)
    Console(highlight=False).print(table)
    problems = sum(result.state is State.PROBLEM for result in results)
    closing = "All is well." if not problems else f"{counted(problems, 'problem')} to solve."
    typer.echo(f"\n{closing}")
