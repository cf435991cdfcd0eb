"""The database of a clinic with years behind it: what `findings` and `studies` ask, and what the loops ask for ever."""

import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, text
from sqlalchemy.orm import Session

from agcnn_bench.clinics import Bench, ClinicFolder, make_clinic
from agcnn_bench.commands import fresh_process
from agcnn_bench.figures import Figure
from agcnn_bench.filling import LAST_DAY, fill, moment_of
from agcnn_clinic.analysis.loop import due
from agcnn_clinic.database import views
from agcnn_clinic.database.session import Database, open_database
from agcnn_clinic.errors import DatabaseError
from agcnn_clinic.reporting.due import studies_due
from agcnn_models.labels import LABELS

PATIENCE = 60.0
"""Seconds after which a query is broken off: its figure is then that long, and a fact says so."""
SHOWN = 101
"""Rows that a command asks for when it prints a table: its limit, and one more to know that there are more."""

Query = Callable[[Connection], object]


def run(bench: Bench) -> None:
    """Fill a database, then time its queries warm, and the commands as fresh processes."""
    clinic = make_clinic(bench.scratch / "database")
    config, results = clinic.config, bench.results
    with open_database(config.database_url) as database:
        began = time.perf_counter()
        fill(database, bench.studies)
        results.add("database.filling", Figure("s", (time.perf_counter() - began,)))
        with database.connection() as connection:
            findings = connection.execute(text("SELECT count(*) FROM finding")).scalar()
        results.facts |= {
            "database.studies": bench.studies,
            "database.findings": findings,
            "database.gb": round((config.root / "clinic.sqlite").stat().st_size / 1e9, 3),
        }
        for name, query in _queries(bench.studies).items():
            _time(bench, f"database.{name}", database, query)
        # The loop itself imports torch; what it asks for does not need it.
        _time_call(bench, "database.pending_files", lambda: due(database, limit=16))
    _commands(bench, clinic)


def _queries(studies: int) -> Mapping[str, Query]:
    """What is asked, by name. Dates, patients and labels are taken from the middle of what there is."""
    patient = f"P{studies // 6:07}"
    accession = f"A{studies // 2:07}"
    week = LAST_DAY - timedelta(days=7)
    old = moment_of(max(studies // 2, 1), studies).date()
    now = datetime(LAST_DAY.year, LAST_DAY.month, LAST_DAY.day, 23, tzinfo=UTC)

    def findings(**wanted: object) -> Query:
        chosen = views.FindingFilter(**wanted)  # type: ignore[arg-type]
        return lambda connection: list(views.findings(connection, chosen, limit=SHOWN))

    def summaries(**wanted: object) -> Query:
        chosen = views.StudyFilter(**wanted)  # type: ignore[arg-type]
        return lambda connection: list(views.studies(connection, chosen, now=now, quiet_seconds=30, limit=SHOWN))

    def poll(connection: Connection) -> object:
        return studies_due(Session(connection), now, 30)

    return {
        "findings": findings(),
        "findings_positive_effusion": findings(label="Effusion", positive=True),
        "findings_rare": findings(label="Hernia", min_probability=0.999),
        "findings_none": findings(label="Hernia", min_probability=1.0),
        "findings_patient": findings(patient=patient),
        "findings_accession": findings(accession=accession),
        "findings_last_week": findings(date_from=week),
        "findings_one_day": findings(date_from=old, date_to=old),
        "findings_label_four_weeks": findings(label="Effusion", date_from=old, date_to=old + timedelta(days=27)),
        "findings_model": findings(model="starter@2.0.0"),
        "study_summary": summaries(),
        "study_summary_patient": summaries(patient=patient),
        "study_summary_one_day": summaries(date_from=old, date_to=old),
        "study_summary_reported": summaries(state="reported"),
        "study_summary_not_read": summaries(state="not read"),
        "study_summary_receiving": summaries(state="receiving"),
        "studies_due": poll,
    }


def _time(bench: Bench, name: str, database: Database, query: Query) -> None:
    def ask() -> None:
        with database.connection() as connection:
            _with_patience(connection, query)

    _time_call(bench, name, ask)


def _with_patience(connection: Connection, query: Query) -> None:
    """Ask, but not for ever. SQLite breaks a query off when another thread tells it to."""
    driver = connection.connection.driver_connection
    breaking_off = threading.Timer(PATIENCE, driver.interrupt if driver is not None else lambda: None)
    breaking_off.start()
    try:
        query(connection)
    finally:
        breaking_off.cancel()


def _time_call(bench: Bench, name: str, ask: Callable[[], object]) -> None:
    """The first call warms, but a slow one counts by itself: nobody asks it seven times."""
    times: list[float] = []
    cores: list[float] = []
    for number in range(bench.runs + 1):
        began, began_cores = time.perf_counter(), time.process_time()
        try:
            ask()
        except DatabaseError:
            if time.perf_counter() - began < PATIENCE:
                raise
            bench.results.facts[f"{name}.broken_off_after"] = PATIENCE
        passed = time.perf_counter() - began
        if number or passed > PATIENCE / 10:
            times.append(passed)
            cores.append(time.process_time() - began_cores)
        if sum(times) > PATIENCE:
            break
    bench.results.add(name, Figure("s", tuple(times), tuple(cores)))


def _commands(bench: Bench, clinic: ClinicFolder) -> None:
    label = LABELS[2]
    for name, words in (
        ("findings", ("findings",)),
        ("findings_positive", ("findings", "--label", label, "--positive")),
        ("studies", ("studies",)),
    ):
        figure = fresh_process(clinic.command(*words), clinic.environment, bench.runs)
        bench.results.add(f"database.command.{name}", figure)
