"""Reports from another model's readings, and how the clinic's own reports go on beside them."""

import hashlib
import threading
from datetime import timedelta

import numpy as np
import pytest

from agcnn_clinic.database.queries import find_model
from agcnn_clinic.database.readings import let_count
from agcnn_clinic.database.tables import ReceivedFile, Report, Study
from agcnn_clinic.errors import StorageError, UsageError
from agcnn_clinic.reporting.making import make_report
from agcnn_clinic.reporting.pdf import render
from agcnn_clinic.reporting.remaking import make_on_request
from agcnn_clinic.reporting.rendering import Press

NOTICE = "This is not the clinic's own report"


@pytest.fixture
def ask(clinic, doors):
    """Asks for the report of a study with a model."""
    return lambda study, model_id: make_on_request(clinic.database, study, model_id, **doors)


def versions(clinic) -> list[tuple[int, int, int | None]]:
    """Version, revision and model of every report."""
    with clinic.database.session() as session:
        return [(row.version, row.study_revision, row.model_id) for row in session.query(Report).order_by(Report.id)]


def count(clinic, study: int, model_id: int) -> None:
    with clinic.database.write() as session:
        let_count(session, study, model_id)


def test_a_report_by_request_is_a_version_that_says_so_on_every_page(clinic, make, ask, text_of) -> None:
    """It prints the other model's figures under a notice; the clinic's own report stays as it was, without one."""
    study = clinic.add_study()
    file_id = clinic.add_file(study)
    own = make(study)
    before = own.read_bytes()
    model_id = clinic.add_reading(file_id, "large", findings=[])
    made = ask(study, model_id)
    assert made.path.name.endswith("-v2.pdf")
    assert versions(clinic) == [(1, 1, None), (2, 1, model_id)]
    pages = text_of(made.path.read_bytes())
    assert NOTICE in pages[0]
    assert "readings of the model large 2" in pages[0]
    assert all("version 2, by request" in page for page in pages)
    assert "by request with the model large 2" in pages[-1]
    assert "Mass 0.81" not in pages[0]
    assert "replaces" not in pages[0]
    assert own.read_bytes() == before
    assert not any("by request" in page or NOTICE in page for page in text_of(before))


def test_asked_again_with_nothing_new_it_is_the_same_file(clinic, make, ask) -> None:
    """No further version, and the same bytes, however much later; the model's next reading makes one."""
    study = clinic.add_study()
    model_id = clinic.add_reading(clinic.add_file(study), "large")
    make(study)
    path = ask(study, model_id).path
    before = path.read_bytes()
    path.unlink()
    clinic.clock.forward(days=3)
    made = ask(study, model_id)
    assert (made.path, made.note, path.read_bytes()) == (path, "", before)
    late = clinic.add_file(study, at=clinic.clock.now)
    assert ask(study, model_id).path.name.endswith("-v3.pdf")  # it tells of an image that the model has not read
    clinic.clock.forward(minutes=1)
    clinic.add_reading(late, "large")
    assert ask(study, model_id).path.name.endswith("-v4.pdf")
    assert [version for version, _, _ in versions(clinic)] == [1, 2, 3, 4]


def test_the_clinics_own_report_is_given_where_it_says_the_same(clinic, make, ask) -> None:
    """Asking by name for the model whose readings count makes no second report of them."""
    study = clinic.add_study()
    clinic.add_file(study)
    own = make(study)
    assert ask(study, 1).path == own
    assert versions(clinic) == [(1, 1, None)]


def test_a_report_by_request_covers_nothing(clinic, make, ask, again, text_of) -> None:
    """The own report stays due after it; a late image still makes the next own version, which replaces the own one."""
    study = clinic.add_study()
    file_id = clinic.add_file(study)
    model_id = clinic.add_reading(file_id, "large")
    ask(study, model_id)
    assert clinic.due() == [study]
    make(study)
    assert clinic.due() == []
    ask(study, model_id)
    clinic.clock.forward(hours=1)
    clinic.add_file(study, at=clinic.clock.now)
    ask(study, model_id)
    clinic.clock.forward(minutes=1)
    assert clinic.due() == [study]
    text = text_of(make(study).read_bytes())[0]
    assert "Report version 4" in text
    assert "replaces version 2 of" in text
    assert clinic.due() == []
    assert again(study).path.name.endswith("-v4.pdf")
    assert [kind for _, _, kind in versions(clinic)] == [model_id, None, model_id, None]


def test_an_archive_is_sent_the_clinics_own_reports_alone(clinic, doors) -> None:
    """What somebody asked for goes where that person sends it, and nowhere by itself."""
    sending = clinic.config.sending.model_copy(update={"to": "PACS@127.0.0.1:104"})
    doors["config"] = clinic.config.model_copy(update={"sending": sending})
    study = clinic.add_study()
    model_id = clinic.add_reading(clinic.add_file(study), "large")
    for kind in (None, model_id):
        make_report(clinic.database, study, model_id=kind, **doors)
    with clinic.database.session() as session:
        assert [report.to_send for report in session.get_one(Study, study).reports] == [True, False]


def test_a_version_that_is_not_there_is_told_from_no_report_of_the_clinic_s_own(clinic, ask, again) -> None:
    """Where all that there is was printed by request, too."""
    study = clinic.add_study()
    ask(study, clinic.add_reading(clinic.add_file(study), "large"))
    with pytest.raises(UsageError, match="no report version 7; the newest is 1"):
        again(study, 7)
    with pytest.raises(UsageError, match="no report yet"):
        again(study)


def test_every_version_is_made_again_byte_for_byte_whichever_reading_counts(clinic, make, ask, again, text_of) -> None:
    """The clinic goes to another model that had read beside, and back: each version prints what it printed."""
    study = clinic.add_study()
    first = clinic.add_file(study)
    starter, large = 1, clinic.add_reading(first, "large", warnings=["lossy"])
    paths = [make(study), ask(study, large).path]
    clinic.clock.forward(hours=1)
    late = clinic.add_file(study, at=clinic.clock.now)
    clinic.clock.forward(minutes=1)
    paths.append(make(study))
    clinic.add_reading(late, "large", warnings=["lossy"])
    for model_id in (large, starter):
        clinic.clock.forward(hours=1)
        count(clinic, study, model_id)
        assert clinic.due() == [study]
        paths.append(make(study))
    assert [path.name[-6:-4] for path in paths] == ["v1", "v2", "v3", "v4", "v5"]
    delivered = [path.read_bytes() for path in paths]
    assert ["compressed with loss" in " ".join(text_of(data)) for data in delivered] == [0, 1, 0, 1, 0]
    clinic.clock.forward(days=1)
    for version, (path, data) in enumerate(zip(paths, delivered, strict=True), start=1):
        path.unlink()
        made = again(study, version)
        assert (made.path, made.note) == (path, "")
        assert path.read_bytes() == data


def test_a_model_that_has_read_nothing_of_the_study_is_a_sentence(clinic, make, ask) -> None:
    """There is nothing to print, and the advice is to let it read."""
    study, other = clinic.add_study(), clinic.add_study()
    clinic.add_file(study)
    model_id = clinic.add_reading(clinic.add_file(other), "large")
    with pytest.raises(UsageError, match=r"has read no image of study .* reanalyse"):
        ask(study, model_id)


def test_nothing_is_printed_by_request_while_an_image_is_pending(clinic, ask) -> None:
    """What is not decided yet might have to be in it, also where a report that says the same was printed before."""
    study, other = clinic.add_study(), clinic.add_study()
    model_id = clinic.add_reading(clinic.add_file(study), "large")
    assert clinic.add_reading(clinic.add_file(other), "large") == model_id
    ask(other, model_id)
    for one in (study, other):
        clinic.add_file(one, None)
        with pytest.raises(UsageError, match="not decided yet"):
            ask(one, model_id)
    assert len(versions(clinic)) == 1


def test_what_cannot_be_printed_makes_no_version(clinic, make, ask) -> None:
    """A film that the archive does not give up, and an image that somebody takes back out of quarantine just now."""
    study = clinic.add_study()
    file_id = clinic.add_file(study)
    model_id = clinic.add_reading(file_id, "large")
    with clinic.database.write() as session:
        session.get_one(ReceivedFile, file_id).stored_path = "away.png"
    with pytest.raises(StorageError):
        ask(study, model_id)
    clinic.add_file(study, None)
    with pytest.raises(UsageError, match="not decided yet"):
        make(study)
    assert versions(clinic) == []


def test_models_are_found_by_name_version_and_hash(clinic) -> None:
    """Two versions of a name need the version or a hash; what read other studies only is not meant."""
    study, other = clinic.add_study(), clinic.add_study()
    file_id = clinic.add_file(study)
    two, three = (clinic.add_reading(file_id, "large", version) for version in ("2", "3"))
    clinic.add_reading(clinic.add_file(other), "elsewhere")
    manifest = hashlib.sha256(b"large 3").hexdigest()
    with clinic.database.session() as session:
        row = session.get_one(Study, study)
        assert find_model(session, row, "starter").id == 1
        assert find_model(session, row, "large@2").id == two
        assert find_model(session, row, manifest[:8].upper()).id == three
        assert find_model(session, row, manifest[::-1][:12]).id == three
        with pytest.raises(UsageError, match=r"more than one model(?s:.*)large@2(?s:.*)large@3"):
            find_model(session, row, "large")
        for unknown in ("elsewhere", manifest[:7], "", "%", "large@"):
            with pytest.raises(UsageError, match=r"No model (?s:.*)starter@1\.0\.0"):
                find_model(session, row, unknown)


def test_two_processes_never_write_under_one_version(clinic, doors, make) -> None:
    """While one renders version 1, another delivers it: the slower one takes the next number, and both rows hold."""
    study = clinic.add_study()
    model_id = clinic.add_reading(clinic.add_file(study), "large")
    rendering, delivered = threading.Event(), threading.Event()

    def slow_render(*args):
        if threading.current_thread() is slow:
            rendering.set()
            assert delivered.wait(60)
        return render(*args)

    slow_doors = {**doors, "press": Press(clinic.prints_of, lambda: slow_render)}
    slow = threading.Thread(target=make_on_request, args=(clinic.database, study, model_id), kwargs=slow_doors)
    slow.start()
    assert rendering.wait(60)
    make(study)
    delivered.set()
    slow.join(60)
    assert versions(clinic) == [(1, 1, None), (2, 1, model_id)]
    with clinic.database.session() as session:
        for report in session.query(Report):
            assert hashlib.sha256((clinic.root / report.path).read_bytes()).hexdigest() == report.sha256


def test_the_time_of_a_report_is_never_before_its_readings(clinic, ask) -> None:
    """With the clock set back after a reading was made beside, the report bears the reading's time."""
    study = clinic.add_study()
    model_id = clinic.add_reading(clinic.add_file(study), "large")
    read_at = clinic.clock.now
    clinic.clock.forward(hours=-1)
    ask(study, model_id)
    with clinic.database.session() as session:
        assert session.query(Report).one().created_at == read_at


def test_the_notice_stands_above_the_patient(clinic, make, ask, pixels_of) -> None:
    """A framed panel comes first on the page: the report by request looks different from the first glance."""
    study = clinic.add_study()
    model_id = clinic.add_reading(clinic.add_file(study), "large")
    own, asked = make(study).read_bytes(), ask(study, model_id).path.read_bytes()
    lines = [(pixels_of(data, 0)[80:140] < 140).all(axis=2).mean(axis=1) > 0.8 for data in (own, asked)]
    assert [np.count_nonzero(rows) for rows in lines] == [0, 2]


def test_late_files_count_by_what_becomes_of_them(clinic, make) -> None:
    """A late duplicate makes no new version; a late refused view does, since the report tells of it."""
    from agcnn_clinic.domain import ReasonCode

    study = clinic.add_study()
    clinic.add_file(study)
    make(study)
    clinic.add_file(study, ReasonCode.SAME_BYTES, at=clinic.clock.now + timedelta(minutes=1))
    clinic.clock.forward(hours=1)
    assert clinic.due() == []
    clinic.add_file(study, ReasonCode.WRONG_VIEW, at=clinic.clock.now)
    clinic.clock.forward(hours=1)
    assert clinic.due() == [study]
