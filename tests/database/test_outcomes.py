"""A file has one outcome: what its row holds then, and who may take it back."""

from datetime import UTC, datetime

import pytest

from agcnn_clinic.database.outcomes import PENDING, decide, reopen
from agcnn_clinic.database.tables import ReceivedFile, Study
from agcnn_clinic.domain import REASONS, ReasonCode

NOW = datetime(2026, 6, 1, tzinfo=UTC)


def columns(file: ReceivedFile) -> dict[str, object]:
    """Those that an outcome is told in."""
    return {name: getattr(file, name) for name in PENDING}


@pytest.mark.parametrize(("of_study", "revision"), [(True, 1), (False, 0)])
def test_a_file_has_one_outcome(database, factories, of_study, revision):
    """Its row holds all that was found, its study, where it has one, is due again, and a second outcome is refused."""
    with database.write() as session:
        study = factories.make_study(session, 1)
        file = factories.make_file(session, study if of_study else None, 1, None)
        session.flush()
        decide(file, ReasonCode.PIXEL_LENGTH, now=NOW, detail="all 0", details={"level": 0})
        told = {
            "outcome": "quarantined",
            "reason_code": ReasonCode.PIXEL_LENGTH,
            "reason": f"{REASONS[ReasonCode.PIXEL_LENGTH].sentence} (all 0.)",
            "details": {"level": 0},
            "decided_at": NOW,
        }
        with pytest.raises(ValueError, match=f"file {file.id} is quarantined already"):
            decide(file, ReasonCode.READ, now=NOW)
        file_id = file.id
    with database.session() as session:
        assert columns(session.get_one(ReceivedFile, file_id)) == told
        assert session.query(Study).one().revision == revision


def test_what_is_no_image_makes_no_report_due(database, factories):
    """A study's structured reports, this clinic's own among them: its report says nothing of them."""
    with database.write() as session:
        file = factories.make_file(session, factories.make_study(session, 1), 1, None)
        session.flush()
        decide(file, ReasonCode.NO_PIXELS, now=NOW)
    with database.session() as session:
        assert session.query(Study).one().revision == 0


@pytest.mark.parametrize(
    ("reasons", "differing", "news"),
    [
        ((ReasonCode.WRONG_VIEW, ReasonCode.WRONG_VIEW), {}, False),
        ((ReasonCode.UNREADABLE_PIXELS, ReasonCode.UNREADABLE_PIXELS), {}, False),
        ((ReasonCode.UID_CONFLICT, ReasonCode.UID_CONFLICT), {}, False),
        ((ReasonCode.UID_CONFLICT, ReasonCode.UID_CONFLICT), {"picture_sha256": "2"}, True),
        ((ReasonCode.WRONG_VIEW, ReasonCode.BLANK), {}, True),
        ((ReasonCode.BLANK, ReasonCode.BLANK), {"header": {"view_position": "AP"}}, True),
        ((ReasonCode.BLANK, ReasonCode.BLANK), {"header": {"view_position": "PA", "remarks": ["other_patient"]}}, True),
    ],
)
def test_an_image_that_comes_in_other_bytes_and_is_not_read_as_before_is_no_news(
    database, factories, reasons, differing, news
):
    """An archive that writes something into whatever it sends on would be sent report upon report for ever."""
    with database.write() as session:
        study = factories.make_study(session, 1)
        first, again = files = [factories.make_file(session, study, number, None) for number in (1, 2)]
        again.instance = first.instance
        session.flush()
        again.picture_sha256 = first.picture_sha256 = "1"
        for name, value in differing.items():
            setattr(again, name, value)
        for file, reason in zip(files, reasons, strict=True):
            decide(file, reason, now=NOW)
            session.flush()
    with database.session() as session:
        assert session.query(Study).one().revision == 1 + news


def test_only_what_is_in_quarantine_is_taken_back(database, factories):
    """Then it is as if it had just come, but for what its study's report says; what was read or refused stays so."""
    with database.write() as session:
        study = factories.make_study(session, 1)
        broken, read = (factories.make_file(session, study, n, None) for n in (1, 2))
        session.flush()
        for file, code in ((broken, ReasonCode.PIXEL_LENGTH), (read, ReasonCode.READ)):
            decide(file, code, now=NOW)
        broken.attempts, broken.quarantine_path = 3, "1-broken.dcm"
        reopen(broken)
        told = {"reason_before": REASONS[ReasonCode.PIXEL_LENGTH].sentence, "same_since": NOW.isoformat()}
        assert columns(broken) == PENDING | {"details": told}
        assert (broken.attempts, broken.quarantine_path) == (0, "")
        with pytest.raises(ValueError, match="is analysed, not quarantined"):
            reopen(read)
