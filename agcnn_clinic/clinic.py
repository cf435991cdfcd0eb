"""A clinic at work: what its loops are made of, opened in order and closed again."""

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agcnn_clinic.analysis.normalise import PRELOAD
from agcnn_clinic.bundles import configured_bundle
from agcnn_clinic.config import Config
from agcnn_clinic.database import trail
from agcnn_clinic.database.claims import Claims
from agcnn_clinic.database.session import Database, open_database
from agcnn_clinic.database.trail import ModelIdentity
from agcnn_clinic.errors import ModelUnavailableError
from agcnn_clinic.holdings import check_archive
from agcnn_clinic.intake.accept import Intake
from agcnn_clinic.intake.inbox import Inbox, first_look
from agcnn_clinic.lock import at_work_on
from agcnn_clinic.moments import utc_now
from agcnn_clinic.press import press
from agcnn_clinic.prints import RecentPrints
from agcnn_clinic.reporting import pdf
from agcnn_clinic.reporting.loop import Reporting
from agcnn_clinic.reporting.paper import print_size
from agcnn_clinic.sandbox.ahead import load_ahead
from agcnn_clinic.sandbox.pool import Sandbox
from agcnn_clinic.storage import Storage
from agcnn_clinic.upkeep.loop import Upkeep

if TYPE_CHECKING:
    from agcnn_clinic.analysis.loop import Analysis
    from agcnn_clinic.sending.loop import Sending

CHILDREN_NEED = (*PRELOAD, pdf.__name__)
"""What the children load: one process does it for all of them, those that decode and those that render."""
DECODERS_NICENESS = 5
"""All cores are theirs when nobody else wants one, and a quarter where somebody does. The network, which reads a batch
while they decode the next one, calls a thousand operations for it, and would wait for a core before many of them."""
SWITCH_SECONDS = 0.0002
"""How long a thread may keep Python's lock from another one that waits for it; without this, 5 ms. The network asks for
it after each of its operations, of which a batch has a thousand."""
REPORT_SECONDS, REPORT_MEMORY_MB = 120.0, 2048
"""What the rendering of one report may take; a page takes a tenth of a second and a few megabytes."""


@dataclass(frozen=True)
class Clinic:
    """A clinic at work: its loops, each a step that can be repeated for ever."""

    config: Config
    database: Database
    claims: Claims
    inbox: Inbox
    analysis: "Analysis"
    reporting: Reporting
    upkeep: Upkeep
    sending: "Sending | None" = None
    """None where no archive is named."""


@contextlib.contextmanager
def at_work(config: Config) -> Iterator[Clinic]:
    """Open everything that a clinic needs to work, as the only process that works on it or as one of its workers.

    Raises:
        ClinicError: the clinic is busy, or its folders, its database or its model cannot be used.
    """
    config.layout.on_disk().check()
    sys.setswitchinterval(SWITCH_SECONDS)
    shares = config.analysis.shares
    load_ahead(*CHILDREN_NEED)
    # Nothing is taken before there is a model to read it, but what lies there can settle until then.
    seen = first_look(config)
    # torch takes seconds to import, which `report` does without, and the children load meanwhile.
    from agcnn_clinic.analysis.films import Darkroom  # noqa: PLC0415
    from agcnn_clinic.analysis.infer import load_reader  # noqa: PLC0415
    from agcnn_clinic.analysis.loop import Analysis  # noqa: PLC0415
    from agcnn_models.manifest import digest  # noqa: PLC0415

    with (
        contextlib.closing(
            open_database(config.database_url, busy_timeout_seconds=config.database.busy_timeout_seconds)
        ) as database,
        at_work_on(config, database) as claims,
        decoders(config) as sandbox,
        _readers(config, shares.header_readers) as header_readers,
        Sandbox(shares.presses, REPORT_SECONDS, REPORT_MEMORY_MB) as presses,
    ):
        beside = claims.living()
        check_archive(database, config)
        storage = Storage(config, claims.worker)
        storage.prepare(beside)
        darkroom = Darkroom(RecentPrints(), print_size(config.reporting))
        try:
            reader = load_reader(
                configured_bundle(config),
                device=config.analysis.device,
                threads=shares.network_threads,
                precision=config.analysis.precision,
            )
        except ModelUnavailableError as error:
            trail.model_refused(database, config.analysis.model, error, utc_now())
            raise
        model = ModelIdentity(reader.manifest.name, reader.manifest.version, digest(reader.manifest))
        intake = Intake(storage, database, header_readers, config.intake.max_file_mb * 1_000_000, config.inbox, claims)
        with (
            trail.working(database, config, model, utc_now, worker=claims.worker, beside=len(beside)),
            contextlib.closing(
                Analysis(database, storage, sandbox, reader, config.gate, shares.batch, darkroom, claims)
            ) as analysis,
        ):
            yield Clinic(
                config,
                database,
                claims,
                Inbox(config, intake, tracker=seen),
                analysis,
                Reporting(
                    database,
                    config,
                    press(config, sandbox, darkroom.recent, presses),
                    at_once=shares.presses,
                    claims=claims,
                ),
                Upkeep(database, storage, config, claims=claims),
                _sending(config, database, presses, claims),
            )


def _sending(config: Config, database: Database, presses: Sandbox, claims: Claims) -> "Sending | None":
    if not config.sending.is_on:
        return None
    # What speaks DICOM's protocol takes half a second to import.
    from agcnn_clinic.sending.loop import Sending  # noqa: PLC0415
    from agcnn_clinic.sending.parcel import structured_by  # noqa: PLC0415

    return Sending(database, config, structured_by(presses), claims)


def decoders(config: Config) -> Sandbox:
    """The child processes that decode what the model reads."""
    return _readers(config, config.analysis.shares.decoders, niceness=DECODERS_NICENESS)


def _readers(config: Config, count: int, niceness: int = 0) -> Sandbox:
    analysis = config.analysis
    return Sandbox(count, analysis.decode_seconds, analysis.decode_memory_mb, preload=CHILDREN_NEED, niceness=niceness)
