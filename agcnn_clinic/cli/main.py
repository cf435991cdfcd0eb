"""`agcnn-clinic`: the commands, assembled, and the one place where an error becomes a sentence and an exit code."""

import os
import sys
from collections.abc import Sequence
from inspect import cleandoc
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.markup import escape
from typer.core import TyperGroup

from agcnn_clinic import __version__, core_dumps
from agcnn_clinic.cli import (
    audit,
    batch,
    clinic,
    data,
    database,
    demo,
    doctor,
    evaluate,
    experiment,
    models,
    quarantine,
    reanalyse,
    report,
    results,
    retention,
    review,
    send,
    standard_output,
    training,
)
from agcnn_clinic.cli.context import GlobalOptions
from agcnn_clinic.cli.examples import EXAMPLES
from agcnn_clinic.errors import ClinicError, ExitCode, UsageError

_HELP = ["-h", "--help"]
_INTERRUPTED = "Interrupted; what was done until then is kept."


class _Commands(TyperGroup):
    """All commands: what holds for each of them, whatever its options."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        _print_help_as_written(self)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the command line, which says something wherever it says anything."""
        _require_no_empty(args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run a command. Interrupted, it ends with a sentence: typer would end it with none."""
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            # typer passes on what pydantic puts before a sentence.
            error.message = error.message.removeprefix("Value error, ")
            raise
        except KeyboardInterrupt:
            _end(_INTERRUPTED, ExitCode.NOT_ALL)


def _require_no_empty(args: Sequence[str]) -> None:
    """Refuse an empty value: it is what a shell makes of a variable that is not set or of a file that is not there.

    Taken as it stands it would mean the folder where one happens to be, or no more than if it were left out: a check
    against a hash that is not there would pass.

    Raises:
        UsageError: one is empty.
    """
    for before, value in pairwise(("agcnn-clinic", *args)):
        option, is_given, text = value.partition("=")
        if not value or (option.startswith("--") and is_given and not text):
            raise UsageError(f"What follows {option or before} is empty: give a value, or leave it out.")


def _print_help_as_written(command: Any, name: str = "") -> None:
    """Of a command and those below it: a help that says [gate] names a section, and is no markup of rich's.

    Nor are the lines of a docstring those of a terminal, where typer would keep them from the second paragraph on. An
    example ends it. An option that takes no value names no type of one.
    """
    if name in EXAMPLES:
        command.epilog = escape(f"Example: agcnn-clinic {EXAMPLES[name]}")
    # typer makes --help when it is asked for it, once.
    help_option = command.get_help_option(typer.Context(command, help_option_names=_HELP))
    for one in (command, *command.params, help_option):
        if one.help:
            paragraphs = cleandoc(one.help).split("\n\n")
            one.help = escape("\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs))
        if getattr(one, "is_flag", False):
            one.metavar = ""
    for below_name, below in getattr(command, "commands", {}).items():
        _print_help_as_written(below, f"{name} {below_name}".strip())


app = typer.Typer(
    name="agcnn-clinic",
    cls=_Commands,
    help="Reads chest radiographs from an inbox: findings in a database, a PDF report for each study. "
    "For research use only.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": _HELP},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"agcnn-clinic {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    ctx: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option("--config", help="The clinic's config.toml. Default: $AGCNN_CLINIC_CONFIG, else ./config.toml."),
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool,
        # Eager: else the command that is missing is complained of first.
        typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version and exit."),
    ] = False,
) -> None:
    del version, debug  # `_end` looks for --debug itself: an error may come before this is called
    ctx.obj = GlobalOptions(config=config)


DAILY, RESULTS, UPKEEP, PAPER = "Daily work", "Results", "Upkeep", "The paper"

app.command(rich_help_panel=DAILY)(clinic.init)
app.command(rich_help_panel=DAILY)(clinic.watch)
app.command(rich_help_panel=DAILY)(clinic.process)
app.command(rich_help_panel=DAILY)(report.report)
app.command(rich_help_panel=DAILY)(send.send)
app.command(rich_help_panel=DAILY)(reanalyse.reanalyse)
app.command(rich_help_panel=DAILY)(batch.batch)
app.command(rich_help_panel=RESULTS)(results.studies)
app.command(rich_help_panel=RESULTS)(results.findings)
app.command(rich_help_panel=RESULTS)(results.show)
app.command(rich_help_panel=RESULTS)(review.review)
app.add_typer(quarantine.quarantine_app, name="quarantine", rich_help_panel=RESULTS)
app.add_typer(models.models_app, name="models", rich_help_panel=UPKEEP)
app.add_typer(database.db_app, name="db", rich_help_panel=UPKEEP)
app.add_typer(audit.audit_app, name="audit", rich_help_panel=UPKEEP)
app.command(rich_help_panel=UPKEEP)(retention.retention)
app.command(rich_help_panel=UPKEEP)(doctor.doctor)
app.command(rich_help_panel=UPKEEP)(demo.demo)
app.command(rich_help_panel=PAPER)(training.train)
app.command(rich_help_panel=PAPER)(experiment.experiment)
app.command(rich_help_panel=PAPER)(data.data)
app.command(rich_help_panel=PAPER)(evaluate.evaluate)
quarantine.quarantine_app.command("requeue")(report.requeue)

_UMASK = 0o077
"""All that a command makes holds patient data, or leads to it: it is its owner's alone."""


def main() -> None:
    """Run the command line; the process ends with one of `errors.ExitCode`."""
    os.umask(_UMASK)
    core_dumps.leave_none()
    try:
        with standard_output.delivered():
            app(standalone_mode=True)
    except ClinicError as error:
        _end(str(error), error.exit_code)


def _end(sentence: str, code: ExitCode) -> NoReturn:
    if "--debug" in sys.argv:
        raise  # noqa: PLE0704 (called from an except clause only)
    print(f"agcnn-clinic: {sentence}", file=sys.stderr)  # noqa: T201
    sys.exit(code)
