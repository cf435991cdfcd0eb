"""Latency: one raw DICOM film into an idle daemon, from the last byte written to its PDF in place."""

import sqlite3
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from agcnn_bench.clinics import Bench, ClinicFolder, make_clinic, wait_until, watching
from agcnn_bench.figures import Figure
from agcnn_bench.films import Form

_STEPS = ("to_received", "to_decided", "to_report_begun", "to_pdf")


def run(bench: Bench) -> None:
    """Drop film after film, each when the daemon has long been idle; nothing is taken off for settling.

    `study_quiet_seconds` is 0 here: how long a study waits for further images is the clinic's choice.
    """
    clinic = make_clinic(bench.scratch / "latency", INTAKE__STUDY_QUIET_SECONDS=0)
    settle = clinic.config.intake.settle_seconds
    bench.results.facts["latency.settle_seconds"] = settle
    moments = []
    with watching(clinic) as daemon:
        for number in range(bench.runs + 1):
            content = bench.films.write(bench.scratch, number, Form.RAW).read_bytes()
            (clinic.config.inbox / f"film-{number}.dcm").write_bytes(content)
            written = time.time()
            wait_until(lambda n=number: len(clinic.pdfs()) > n, daemon)  # type: ignore[misc]
            wait_until(lambda n=number: _reports(clinic) > n, daemon)  # type: ignore[misc]
            moments.append([written, *_moments(clinic)])
    del moments[0]  # the first one warms
    whole = tuple(passed[-1] - passed[0] for passed in moments)
    bench.results.add("latency", Figure("s", whole))
    bench.results.add("latency.less_settling", Figure("s", tuple(seconds - settle for seconds in whole)))
    for step, name in enumerate(_STEPS):
        bench.results.add(f"latency.{name}", Figure("s", tuple(passed[step + 1] - passed[step] for passed in moments)))


def _moments(clinic: ClinicFolder) -> list[float]:
    """When the newest file was taken, when it was decided, when its report was composed, when that was in place."""
    newest: Path = max(clinic.pdfs(), key=lambda path: path.stat().st_ctime)
    statement = """
        SELECT received_file.received_at, received_file.decided_at, report.created_at
        FROM received_file JOIN instance ON instance.id = received_file.instance_id
        JOIN report ON report.study_id = instance.study_id ORDER BY received_file.id DESC LIMIT 1"""
    with closing(sqlite3.connect(clinic.config.root / "clinic.sqlite")) as connection:
        row = connection.execute(statement).fetchone()
    return [*(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() for text in row), newest.stat().st_ctime]


def _reports(clinic: ClinicFolder) -> int:
    """How many reports have their row, which follows the PDF."""
    with closing(sqlite3.connect(clinic.config.root / "clinic.sqlite", timeout=30)) as connection:
        (written,) = connection.execute("SELECT count(*) FROM report").fetchone()
    return int(written)
