"""What follows the network, alone: a reading becomes rows, the rows become a delivered PDF."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from pypdf import PdfReader
from sqlalchemy import select

from agcnn_bench.clinics import Bench, make_clinic
from agcnn_bench.figures import timed
from agcnn_bench.films import MAX_PIXELS, Form
from agcnn_clinic import __version__
from agcnn_clinic.analysis.films import Film, Result
from agcnn_clinic.analysis.infer import Reader, load_reader
from agcnn_clinic.analysis.normalise import PRELOAD, Developed, Wanted, develop, read_picture
from agcnn_clinic.analysis.record import record, register_model
from agcnn_clinic.analysis.region import source_region
from agcnn_clinic.analysis.seen import network_film
from agcnn_clinic.bundles import configured_bundle
from agcnn_clinic.config import Config
from agcnn_clinic.database.outcomes import decide, to_decide
from agcnn_clinic.database.session import Database, open_database
from agcnn_clinic.database.tables import ReceivedFile, Study
from agcnn_clinic.domain import Outcome, ReasonCode
from agcnn_clinic.intake.accept import Intake
from agcnn_clinic.intake.inbox import Inbox
from agcnn_clinic.prints import Prints, grey, prints_of, with_region
from agcnn_clinic.reporting.compose import compose
from agcnn_clinic.reporting.content import Edition
from agcnn_clinic.reporting.due import studies_due
from agcnn_clinic.reporting.making import make_report
from agcnn_clinic.reporting.paper import print_size
from agcnn_clinic.reporting.pdf import render
from agcnn_clinic.reporting.readings import counting_readings
from agcnn_clinic.reporting.rendering import Press
from agcnn_clinic.sandbox.pool import Sandbox
from agcnn_clinic.sending.objects import structured
from agcnn_clinic.storage import Storage


@dataclass(frozen=True)
class _Read:
    """A film that was read: what `record` stores for each of many studies."""

    result: Result
    developed: Developed
    prints: Prints
    reader: Reader
    model_id: int


def run(bench: Bench) -> None:
    """Record batches as analysis does, then make each study's report; the picture is at hand, nothing is decoded."""
    config = make_clinic(bench.scratch / "rows").config
    batch = config.analysis.shares.batch
    with open_database(config.database_url) as database:
        _take_films(bench, config, database, count=batch * (bench.runs + 1))
        read = _read_one(bench, config, database)
        pending = iter(_pending(database))
        batches = [[next(pending) for _ in range(batch)] for _ in range(bench.runs + 1)]
        waiting = iter(batches)
        bench.results.add("record", timed(lambda: _record(database, next(waiting), read), bench.runs, per=batch))
        _reports(bench, config, database, read)


def _take_films(bench: Bench, config: Config, database: Database, count: int) -> None:
    source = bench.scratch / "rows-films"
    source.mkdir()
    for number in range(count):
        bench.films.write(source, number, Form.JPEG_LS)
    limits = config.analysis
    with Sandbox(1, limits.decode_seconds, limits.decode_memory_mb, preload=PRELOAD) as sandbox:
        storage = Storage(config)
        storage.prepare()
        intake = Intake(storage, database, sandbox, config.intake.max_file_mb * 1_000_000, config.inbox)
        Inbox(config, intake).take([source])


def _read_one(bench: Bench, config: Config, database: Database) -> _Read:
    """One real reading by the model that ships."""
    path = bench.films.write(bench.scratch, 0, Form.RAW)
    size = print_size(config.reporting)
    reader = load_reader(configured_bundle(config), device="cpu", threads=0)
    developed = develop(path, Form.RAW.media_type, config.gate, Wanted(reader.manifest.preprocessing))
    picture = read_picture(path, Form.RAW.media_type, MAX_PIXELS)
    (reading,) = reader.read_films([network_film(picture, reader.manifest.preprocessing)])
    edges = source_region(reading.region, picture.geometry).edges
    prints, whole = prints_of(picture, edges, size), grey(picture.pixels)
    bench.results.add(
        "print.region", timed(lambda: with_region(prints.film, whole, picture.geometry, edges, size), bench.runs)
    )
    result = Result(Film(0, "", Form.RAW.media_type, ""), developed, reading=reading)
    with database.write() as session:
        model_id = register_model(session, reader.manifest, datetime.now(UTC))
    return _Read(result, developed, prints, reader, model_id)


def _pending(database: Database) -> list[int]:
    with database.session() as session:
        return list(session.scalars(select(ReceivedFile.id).where(ReceivedFile.outcome == Outcome.PENDING)))


def _record(database: Database, file_ids: Sequence[int], read: _Read) -> None:
    """One transaction of the analysis loop: a batch of inferences and outcomes, synced to the disk."""
    now = datetime.now(UTC)
    with database.write() as session:
        for file in to_decide(session, file_ids).values():
            file.picture_sha256 = read.developed.picture_sha256
            decide(file, ReasonCode.READ, now=now)
        results = [replace(read.result, film=replace(read.result.film, file_id=file_id)) for file_id in file_ids]
        record(session, results, read.reader, model_id=read.model_id, now=now)


def _reports(bench: Bench, config: Config, database: Database, read: _Read) -> None:
    with database.session() as session:
        due = studies_due(session, datetime.now(UTC), 0, limit=bench.runs + 1)
        study = session.get_one(Study, due[0])
        edition = Edition(1, datetime.now(UTC), __version__, None)
        readings = counting_readings(session, [study.id])
        content = compose(study, edition, readings=readings, archive=config.archive)
    bench.results.add("report.pdf", timed(lambda: render(content, [read.prints], config.reporting), bench.runs))
    # For an archive, where one is named.
    bench.results.add("report.sr", timed(lambda: structured(content, None), bench.runs))
    waiting = iter(due)
    whole = timed(
        lambda: make_report(
            database,
            next(waiting),
            clock=lambda: datetime.now(UTC),
            config=config,
            press=Press(lambda *_: lambda: read.prints),
        ),
        bench.runs,
    )
    # Composed, rendered, delivered, and its row written.
    bench.results.add("report.whole", whole)
    (first, *_) = sorted(config.reports.glob("*.pdf"))
    bench.results.facts["report_pages"] = len(PdfReader(first).pages)
    bench.results.facts["report_kb"] = round(first.stat().st_size / 1000)
