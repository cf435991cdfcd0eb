"""All that is known of one study or of one quarantined file, laid out for a person or as JSON."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text
from sqlalchemy import inspect

from agcnn_clinic.cli.formats import printable
from agcnn_clinic.cli.output import Format, local_time, print_json, text_console
from agcnn_clinic.config import Config
from agcnn_clinic.database.outcomes import doubted_since
from agcnn_clinic.database.queries import StudyDetail
from agcnn_clinic.database.tables import AttendedRegion, Base, Finding, Inference, ReceivedFile, Report, Review, Study
from agcnn_clinic.database.views import LABEL_COLUMNS
from agcnn_clinic.domain import WARNINGS, Outcome, ReasonCode, StudyState, Warn, remark_sentence
from agcnn_clinic.intake.requeue import why_not
from agcnn_clinic.reporting.content import computed_on, person_name
from agcnn_clinic.wording import counted
from agcnn_models.labels import NO_FINDING

_BAR = 20
"""Characters from probability 0 to 1."""
_BRANCHES = ("global", "local", "fusion")
_WIDE = 104
"""On a narrower terminal the branches' own probabilities are left out."""
_NARROW, _REVIEW = 78, 11
"""On a terminal narrower than the first bars are left out, so that labels are whole; a review takes the second."""
_INDENT = 2
_FACT_WIDTH = 20
_STYLES = {
    Outcome.PENDING: "dim",
    Outcome.ANALYSED: "green",
    Outcome.REFUSED: "yellow",
    Outcome.QUARANTINED: "red",
    Outcome.DUPLICATE: "dim",
    Outcome.UNPACKED: "dim",
}
_STATE_STYLES = {StudyState.RECEIVING: "yellow", StudyState.NOT_READ: "red"}


def print_study(detail: StudyDetail, config: Config, form: Format, output: Path | None) -> None:
    """Print a study, its files, findings and reports: for a person where those lie now, as JSON what the rows say."""
    if form is Format.JSON:
        print_json(study_as_json(detail), output)
        return
    study = detail.study
    with text_console(output) as console:
        heading = Text.assemble(("Study ", "bold"), (study.key, "bold"), "  ")
        heading.append(detail.state, style=_STATE_STYLES.get(detail.state, "green"))
        console.print(heading)
        console.print(_facts(_study_facts(study)))
        for instance in detail.instances:
            _print_title(console, f"Image {instance.sop_instance_uid}")
            reviews = detail.reviews.get(instance.id, {})
            for file in instance.files:
                _print_file(console, file, reviews)
            if reviews:
                console.print(_facts(_review_facts(reviews)))
        if readers := _read_by(detail):
            _print_title(console, "Read by")
            console.print(_facts(readers))
        _print_title(console, "Reports")
        if not detail.reports:
            console.print(_indented(Text("None yet.", style="dim")))
        for report in detail.reports:
            console.print(_indented(_report_line(report, study, config)))


def print_quarantined(file: ReceivedFile, folder: Path, form: Format, output: Path | None) -> None:
    """Print a file in quarantine; `folder` is where quarantined files are kept."""
    instance = file.instance
    if form is Format.JSON:
        place = {
            "study_key": instance.study.key if instance else None,
            "sop_instance_uid": instance.sop_instance_uid if instance else None,
        }
        print_json(_columns(file) | place, output)
        return
    facts = [
        ("file", file.original_name),
        ("reason", f"{file.reason} [{file.reason_code}]"),
        ("kept as", _kept_as(file, folder)),
        ("received", local_time(file.received_at)),
        ("decided", "" if file.decided_at is None else local_time(file.decided_at)),
        ("type", f"{file.media_type}, {file.size:,} bytes"),
        ("SHA-256", file.sha256),
        ("image", instance.sop_instance_uid if instance else file.header.get("sop_instance_uid", "")),
        ("study", instance.study.key if instance else _no_study(file)),
        *((key.replace("_", " "), _plain(value)) for key, value in file.details.items()),
    ]
    again, why = f"Try it again with: agcnn-clinic quarantine requeue {file.id}", why_not(file)
    with text_console(output) as console:
        console.print(Text(f"File {file.id} in quarantine", style="bold"))
        console.print(_facts(facts))
        console.print(_indented(Text(again if why is None else f"It cannot be requeued as it is: {why}.", style="dim")))


def _no_study(file: ReceivedFile) -> str:
    if file.reason_code == ReasonCode.UID_CONFLICT:
        return "none: its SOP Instance UID is that of an image of another study than its header names"
    return "unknown: the header could not be read"


def _kept_as(file: ReceivedFile, folder: Path) -> str:
    if file.removed_at is not None:
        return f"nothing: retention removed its bytes on {local_time(file.removed_at)}"
    return str(folder / file.quarantine_path) if file.quarantine_path else "in the archive only"


def study_as_json(detail: StudyDetail) -> dict[str, Any]:
    """A study as plain values: the rows of the tables, each with those that belong to it."""
    return {
        **_columns(detail.study),
        "state": detail.state,
        "instances": [
            {
                **_columns(instance),
                "files": [_file_as_json(file) for file in instance.files],
                "reviews": {label: _columns(review) for label, review in detail.reviews.get(instance.id, {}).items()},
            }
            for instance in detail.instances
        ],
        "reports": [_columns(report) for report in detail.reports],
    }


def _file_as_json(file: ReceivedFile) -> dict[str, Any]:
    return {
        **_columns(file),
        "inferences": [
            {
                **_columns(inference),
                "model": _columns(inference.model),
                "findings": [_columns(finding) for finding in inference.findings],
                "attended_region": _columns(inference.attended_region),
            }
            for inference in file.inferences
        ],
    }


def _columns(row: Base) -> dict[str, Any]:
    """The columns of a row that were loaded: the heat map and the manifest were left out."""
    state = inspect(row)
    return {
        attribute.key: getattr(row, attribute.key)
        for attribute in state.mapper.column_attrs
        if attribute.key not in state.unloaded
    }


def _study_facts(study: Study) -> list[tuple[str, str]]:
    born = f"born {study.patient_birth_date}" if study.patient_birth_date else ""
    return [
        ("patient", "  ".join(part for part in (study.patient_id, study.patient_sex, born) if part)),
        ("name", "  ".join(person_name(study.patient_name))),
        ("study date", f"{study.study_date} {study.study_time}".strip()),
        ("accession number", study.accession_number),
        ("description", study.study_description),
        ("institution", study.institution_name),
        ("referring physician", "  ".join(person_name(study.referring_physician_name))),
        ("UID", study.study_instance_uid),
        ("received", f"{local_time(study.first_received_at)} to {local_time(study.last_received_at)}"),
    ]


def _print_file(console: Console, file: ReceivedFile, reviews: Mapping[str, Review]) -> None:
    outcome = Outcome(file.outcome)
    line = Text()
    line.append(outcome.upper(), style=_STYLES[outcome])
    line.append(f"  file {file.id}  {printable(file.original_name)}")
    console.print(_indented(line))
    header = file.header
    size = f"{header['columns']} x {header['rows']}" if header.get("rows") and header.get("columns") else ""
    parts = (header.get("modality"), header.get("view_position"), header.get("body_part_examined"), size)
    image = ", ".join(str(part) for part in parts if part)
    acquired = str(header.get("acquisition_date_time", "")).replace("T", " ")
    facts = [("received", local_time(file.received_at)), ("image", image), ("acquired", acquired)]
    if file.removed_at is not None:
        facts.append(
            ("removed", f"{local_time(file.removed_at)}; retention let go of the image, not of what was found")
        )
    if outcome is not Outcome.ANALYSED:
        facts.append(("reason", f"{file.reason} [{file.reason_code}]" if file.reason else ""))
        facts.extend((key.replace("_", " "), _plain(value)) for key, value in file.details.items())
        facts.extend(("remark", remark_sentence(remark)) for remark in header.get("remarks", ()))
    elif doubted_since(file) is not None:
        facts.append(("remark", WARNINGS[Warn.OTHER_PATIENT_LATER]))
    facts.append(("names patient", _named(header.get("names", {}))))
    console.print(_facts(facts, 2 * _INDENT))
    for inference in file.inferences:
        _print_inference(console, inference, reviews)


def _named(patient: Mapping[str, str]) -> str:
    """Whom a file names that names another patient than its study; empty for any other."""
    name = "  ".join(person_name(patient.get("patient_name", "")))
    return ", ".join(part for part in (patient.get("patient_id", ""), name) if part)


def _print_inference(console: Console, inference: Inference, reviews: Mapping[str, Review]) -> None:
    model, device = inference.model, computed_on(inference.device)
    facts = [
        ("read", f"{local_time(inference.created_at)} by {model.name} {model.version} on {device}"),
        ("weights", model.weights_sha256),
        ("counts", "no: it stands beside the reading that does" if inference.beside else ""),
        ("attended region", _region(inference.attended_region)),
        *(("remark", remark_sentence(warning)) for warning in inference.warnings),
    ]
    console.print(_facts(facts, 2 * _INDENT))
    console.print()
    table = _findings(inference.findings, reviews, console.width)
    console.print(Padding(table, (0, 0, 0, 2 * _INDENT), expand=False))


def _findings(findings: Iterable[Finding], reviews: Mapping[str, Review], width: int) -> Table:
    """The labels as a report has them: by falling probability, those that are not assessed, and No Finding last."""
    branches = _BRANCHES if width >= _WIDE else ()
    bars = width >= _NARROW + (_REVIEW if reviews else 0)
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("finding", no_wrap=True)
    table.add_column("positive")
    if reviews:
        table.add_column("review", no_wrap=True)
    table.add_column("probability", justify="right")
    table.add_column("threshold", justify="right")
    if bars:
        table.add_column("0" + "1".rjust(_BAR - 1), no_wrap=True)
    for branch in branches:
        table.add_column(branch, justify="right")
    read = {finding.label: finding for finding in findings}
    assessed = sorted(read, key=lambda label: -read[label].probability)
    missing = [label for label in LABEL_COLUMNS if label not in read]
    for label in sorted([*assessed, *missing], key=lambda label: label == NO_FINDING):
        name = printable(label.replace("_", " "))
        verdict = [reviews[label].verdict if label in reviews else ""] if reviews else []
        finding = read.get(label)
        if finding is None:
            table.add_row(name, "", *verdict, "not assessed", style="dim")
            continue
        table.add_row(
            name,
            "\u25cf" if finding.positive else "",
            *verdict,
            f"{finding.probability:.3f}",
            "-" if finding.threshold is None else f"{finding.threshold:.3f}",
            *([bar(finding.probability, finding.threshold)] if bars else []),
            *(f"{getattr(finding, f'probability_{branch}'):.3f}" for branch in branches),
            style="bold" if finding.positive else None,
        )
    return table


def _read_by(detail: StudyDetail) -> list[tuple[str, str]]:
    """Each model that read an image of the study: how many, and whether its readings count."""
    readings = [reading for one in detail.instances for file in one.files for reading in file.inferences]
    facts = []
    for model in {reading.model_id: reading.model for reading in readings}.values():
        standing = [reading.beside for reading in readings if reading.model_id == model.id]
        counting, beside = standing.count(False), standing.count(True)
        parts = [f"{count} {text}" for count, text in ((counting, "counting"), (beside, "beside")) if count]
        images = f"{counted(len(standing), 'image')}: {', '.join(parts)}"
        facts.append((f"{model.name} {model.version}", f"{images}; manifest {model.manifest_sha256[:12]}"))
    return facts


def _review_facts(reviews: Mapping[str, Review]) -> list[tuple[str, str]]:
    """Who reviewed the image and when, each once; the verdicts stand in the table of findings."""
    said = {(review.reviewer, review.reviewed_at, review.note): None for review in reviews.values()}
    return [
        ("reviewed", f"{local_time(moment)} by {reviewer}{f': {note}' if note else ''}")
        for reviewer, moment, note in sorted(said, key=lambda one: one[1])
    ]


def bar(probability: float, threshold: float | None) -> str:
    """A probability in [0, 1] as a bar of `_BAR` characters, with a stroke where the threshold lies."""
    length = round(probability * _BAR)
    cells = ["\u2588" if cell < length else " " for cell in range(_BAR)]
    if threshold is not None:
        cells[min(_BAR - 1, int(threshold * _BAR))] = "\u2502"
    return "".join(cells)


def _region(region: AttendedRegion) -> str:
    width, height = region.x_max - region.x_min, region.y_max - region.y_min
    place = f"{width:.0f} x {height:.0f} pixels at ({region.x_min:.0f}, {region.y_min:.0f})"
    if region.width_mm is None or region.height_mm is None:
        return f"{place}, size in mm unknown"
    source = f" by {region.spacing_source}" if region.spacing_source else ""
    return f"{place}, {region.width_mm:.0f} x {region.height_mm:.0f} mm{source}"


def _report_line(report: Report, study: Study, config: Config) -> Text:
    pdf = printable(str(config.report_file(report.path)))
    line = Text(f"version {report.version}  {local_time(report.created_at)}  {pdf}")
    if report.model is not None:
        line.append(f"  (by request, with {printable(report.model.name)} {printable(report.model.version)})")
    elif report.study_revision < study.revision:
        line.append("  (does not cover what came later)", style="dim")
    if report.sent_at is not None:
        line.append(f"  (sent on {local_time(report.sent_at)})", style="dim")
    elif report.to_send:
        line.append("  (waits to be sent)")
    if report.removed_at is not None:
        line.append(f"  (removed by retention on {local_time(report.removed_at)})", style="dim")
    return line


def _plain(value: Any) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(map(str, value))
    return str(value)


def _facts(facts: Iterable[tuple[str, str]], indent: int = _INDENT) -> RenderableType:
    """Names and values side by side; a fact without a value is left out."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim", no_wrap=True, min_width=_FACT_WIDTH)
    grid.add_column(overflow="fold")
    for name, value in facts:
        if value:
            grid.add_row(printable(name), printable(value))
    return Padding(grid, (0, 0, 0, indent), expand=False)


def _print_title(console: Console, text: str) -> None:
    console.print()
    console.print(Text(printable(text), style="bold"))


def _indented(line: Text) -> Padding:
    return Padding(line, (0, 0, 0, _INDENT), expand=False)
