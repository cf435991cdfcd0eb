"""review: a physician confirms or corrects what the model found; stored beside the findings, never over them."""

import getpass
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from agcnn_clinic.cli.context import clinic_config, clinic_database, key_of
from agcnn_clinic.cli.output import FormatOption, LimitOption, OutputOption, Printing, Shown, print_rows
from agcnn_clinic.cli.results import StudyName
from agcnn_clinic.errors import UsageError
from agcnn_clinic.moments import utc_now

if TYPE_CHECKING:
    from agcnn_clinic.database.reviews import ReviewedImage, Verdicts
    from agcnn_clinic.database.session import Database

_SHOWN = (
    Shown("sop_instance_uid", "image", rank=4, width=40, narrow=16),
    Shown("label", "label", text=lambda row: row["label"].replace("_", " ")),
    Shown("verdict", "review"),
    Shown("newest", "counts"),
    Shown("positive", "positive"),
    Shown("probability", "probability"),
    Shown("reviewer", "by", rank=1, width=20),
    Shown("reviewed_at", "at", rank=2),
    Shown("note", "note", rank=3, width=60, narrow=16),
)


def review(
    ctx: typer.Context,
    study: StudyName,
    given: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="LABEL=VERDICT", help="present, absent or uncertain. Repeat it for more labels."),
    ] = None,
    clear: Annotated[
        list[str] | None, typer.Option(metavar="LABEL", help="Take the verdict on a label back. Repeat it for more.")
    ] = None,
    confirm: Annotated[
        bool,
        typer.Option(
            "--confirm", help="The model is right: positive findings are present, the others absent, but for --set."
        ),
    ] = False,
    instance: Annotated[
        str | None,
        typer.Option(metavar="UID", help="One image, by its SOP Instance UID. Default: every image that was read."),
    ] = None,
    by: Annotated[str | None, typer.Option(metavar="NAME", help="Who says so. Default: the user's login name.")] = None,
    note: Annotated[str, typer.Option(metavar="TEXT", help="What else there is to say.")] = "",
    show: Annotated[bool, typer.Option("--show", help="List the study's reviews, superseded ones too.")] = False,
    form: FormatOption = None,
    output: OutputOption = None,
    limit: LimitOption = None,
) -> None:
    """Confirm or correct what the model found in a study, or list what was said of it (--show).

    The findings and the report stay as they are: they say what the model found. A later review of the same image and
    label supersedes an earlier one, which is kept. `train --from-database` learns from what was reviewed, and
    `evaluate --from-database` measures a model by it.
    """
    from agcnn_clinic.database import trail
    from agcnn_clinic.database.queries import find_study
    from agcnn_clinic.database.reviews import ReviewRequest, record_review

    verdicts = requested_verdicts(given or (), clear or ())
    recording = confirm or bool(verdicts)
    if show is recording:
        raise UsageError("Say what to record with --set, --clear or --confirm, or list what there is with --show.")
    with clinic_database(clinic_config(ctx)) as database:
        if show:
            _print_reviews(ctx, database, key_of(database, study), Printing.of(form, output, limit))
            return
        request = ReviewRequest(verdicts, confirm, reviewer=_reviewer(by), note=note, instance=instance)
        with database.write() as session:
            found = find_study(session, study)
            now = utc_now()
            reviewed = record_review(session, found, request, now)
            verdicts_recorded = sum(len(image.verdicts) for image in reviewed)
            trail.reviewed(session, found.key, images=len(reviewed), verdicts=verdicts_recorded, now=now)
    for line in _told(found.key, reviewed, confirmed=confirm):
        typer.echo(line)


def requested_verdicts(given: Iterable[str], clear: Iterable[str]) -> "Verdicts":
    """What --set and --clear say, label by label.

    Raises:
        UsageError: a label or a verdict is unknown, or a label is named twice.
    """
    from agcnn_clinic.database.views import label_named
    from agcnn_clinic.domain import Verdict

    verdicts: dict[str, Verdict] = {}
    known = [verdict for verdict in Verdict if verdict is not Verdict.CLEARED]
    for text in (*given, *(f"{label}={Verdict.CLEARED}" for label in clear)):
        name, _, said = text.rpartition("=")
        label = label_named(name or text)
        if said not in (*known, Verdict.CLEARED) or not name:
            raise UsageError(f"{text!r} has no verdict; write {label}={known[0]}, {' or '.join(known[1:])}.")
        if label in verdicts:
            raise UsageError(f"{label} is named twice; say one thing of it.")
        verdicts[label] = Verdict(said)
    return verdicts


def _reviewer(by: str | None) -> str:
    """Who reviews.

    Raises:
        UsageError: nobody is named, and this machine does not know its user's name.
    """
    try:
        name = (getpass.getuser() if by is None else by).strip()
    except (OSError, KeyError):
        name = ""
    if not name:
        raise UsageError("A review needs a name; give it with --by NAME.")
    return name


def _print_reviews(ctx: typer.Context, database: "Database", key: str, printing: Printing) -> None:
    from agcnn_clinic.cli.access import recorded_rows
    from agcnn_clinic.cli.results import column_kinds
    from agcnn_clinic.database import views

    with database.connection() as connection:
        rows = recorded_rows(
            ctx,
            database,
            views.reviews(connection, key, limit=printing.rows_to_ask),
            lambda: views.count_reviews(connection, key),
            printing,
            studies=[key],
        )
        columns = column_kinds(views.review_list.columns)
        print_rows(rows, columns, printing, shown=_SHOWN, marked="newest")


def _told(key: str, reviewed: "list[ReviewedImage]", *, confirmed: bool) -> Iterable[str]:
    """What was recorded, a line an image, whose findings were confirmed, and whether the patient is in doubt."""
    for image in reviewed:
        said = ", ".join(f"{label} {verdict}" for label, verdict in image.verdicts.items())
        yield f"{key}, image {image.sop_instance_uid}: {said}"
        if confirmed:
            yield f"  confirmed: the findings of {image.model}, which are those that count."
        if image.patient_in_doubt:
            whose = "a file of it names a patient whom the study does not name: find out whose it is"
            yield f"  {whose}. Training leaves it out."
        if image.undecided:
            yield f"  not called by the model, so not confirmed: {', '.join(image.undecided)}; say it with --set."
    yield "The report stays as it is: it says what the model found."
