"""All hostile files at once through the real intake, the real children and the real analysis."""

import hashlib
import json
import logging

import psutil
import pytest
from sqlalchemy import select

from agcnn_clinic.analysis.loop import Analysis
from agcnn_clinic.analysis.normalise import PRELOAD, normalise
from agcnn_clinic.database.session import open_database
from agcnn_clinic.database.tables import ReceivedFile
from agcnn_clinic.domain import MediaType, Outcome, ReasonCode
from agcnn_clinic.errors import ImageError
from agcnn_clinic.intake.accept import Intake
from agcnn_clinic.intake.inbox import Inbox
from agcnn_clinic.sandbox.pool import Sandbox
from agcnn_clinic.storage import Storage

MEMORY_MB = 1024
"""A quarter of the default: no hostile file may need more than that."""


@pytest.mark.parametrize("share", [pytest.param(5, id="a fifth"), pytest.param(1, id="all", marks=pytest.mark.slow)])
def test_every_hostile_file_ends_with_an_outcome_and_a_reason(
    new_clinic, tmp_path, table, seeds, reader, caplog, share
):
    """Each has the outcome that its row allows, within memory; the process lives, and reads a good film afterwards."""
    table = table[::share]
    caplog.set_level(logging.DEBUG)
    folder, digests = tmp_path / "drop", set()
    folder.mkdir()
    allowed = {}
    for number, row in enumerate(table):
        data = row.make()
        digest = hashlib.sha256(data).digest()
        (folder / f"{number:04}").write_bytes(data)
        allowed[f"{number:04}"] = (row.name, {ReasonCode.SAME_BYTES} if digest in digests else row.ends_as)
        digests.add(digest)
    config = new_clinic(tmp_path / "clinic")
    storage = Storage(config)
    storage.prepare()
    with (
        open_database(config.database_url) as database,
        Sandbox(1, config.analysis.decode_seconds, MEMORY_MB, PRELOAD) as sandbox,
    ):
        inbox = Inbox(config, Intake(storage, database, sandbox, 1_000_000_000, config.inbox))
        analysis = Analysis(database, storage, sandbox, reader, config.gate, 8)
        before = psutil.Process().memory_info().rss
        assert inbox.take([folder]) == len(table)
        while analysis.step():
            pass
        grown = psutil.Process().memory_info().rss - before
        (folder / "good").write_bytes(seeds.native("a good film"))
        inbox.take([folder / "good"])
        analysis.step()
        with database.session() as session:
            files = list(session.scalars(select(ReceivedFile)))
    ended = {file.original_name: file for file in files}
    assert ended.pop("good").reason_code == ReasonCode.READ
    wrong = [
        (allowed[name][0], file.reason_code, file.reason)
        for name, file in ended.items()
        if file.reason_code not in allowed[name][1] or not file.reason
    ]
    assert not wrong
    assert len(ended) == len(table)
    assert grown < 400 * 2**20
    _no_canary_in(caplog.text, seeds)
    for file in files:
        _no_canary_in(file.reason + json.dumps(file.details), seeds)
    quarantined = [file for file in files if file.outcome == Outcome.QUARANTINED]
    assert {f"{file.quarantine_path}.reason.json" for file in quarantined} == {
        path.name for path in config.quarantine.glob("*.json")
    }
    for path in config.quarantine.glob("*.json"):
        _no_canary_in(path.read_text(), seeds)


def _no_canary_in(text, seeds):
    for canary in (*seeds.CANARIES.values(), "Kanarienvogel", "1901-02-03", "1987-06-05"):
        assert canary not in text


def test_the_corpus_is_as_large_as_it_says(table):
    """No generator was lost: names are unique, and each makes bytes."""
    assert len({row.name for row in table}) == len(table) > 600


@pytest.mark.parametrize("form", ["native", "JPEG 2000 Image Compression (Lossless Only)"])
def test_a_claim_of_46341_square_costs_next_to_nothing(tmp_path, table, form):
    """It is refused before room is made for it: the child's memory stays where it was."""
    from probe import read_as_the_clinic_does

    name = "claims 46341 x 46341" + ("" if form == "native" else f" in {form}")
    (tmp_path / "film").write_bytes(next(row for row in table if row.name == name).make())
    (tmp_path / "empty").write_bytes(b"")
    with Sandbox(1, 30.0, 256, PRELOAD) as sandbox:
        idle = sandbox.run(read_as_the_clinic_does, tmp_path / "empty")
        seen = sandbox.run(read_as_the_clinic_does, tmp_path / "film")
    assert seen.code in (ReasonCode.TOO_LARGE, ReasonCode.PIXEL_LENGTH, ReasonCode.UNREADABLE_PIXELS)
    assert seen.peak_mb - idle.peak_mb < 24
    assert seen.seconds < 5


def test_a_decoder_that_fills_the_memory_is_stopped_by_the_limit(tmp_path, seeds):
    """With less memory than a film needs, the film ends as MEMORY, and nothing else happens."""
    path = tmp_path / "film"
    path.write_bytes(seeds.native("large", Rows=2400, Columns=2400, PixelData=bytes(2 * 2400 * 2400)))
    from agcnn_clinic.sections import Gate

    with Sandbox(1, 30.0, 16, PRELOAD) as sandbox, pytest.raises(ImageError) as caught:
        sandbox.run(normalise, path, MediaType.DICOM, Gate())
    assert caught.value.code == ReasonCode.MEMORY
