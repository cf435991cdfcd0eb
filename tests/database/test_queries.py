"""Questions about one study or file: what a person types, and what is loaded."""

import random
import re
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import event, inspect

from agcnn_clinic.database.queries import (
    find_study,
    quarantined,
    quarantined_file,
    study_detail,
)
from agcnn_clinic.database.tables import Study
from agcnn_clinic.domain import ReasonCode
from agcnn_clinic.errors import ExitCode, UsageError

NOW = datetime(2026, 6, 1, tzinfo=UTC)


@pytest.fixture
def three(database, factories):
    """Three studies, two of them of one patient."""
    with database.write() as session:
        factories.make_study(
            session, 1, key="aaaa11", study_instance_uid="1.2.3", patient_id="P1", accession_number="A1"
        )
        factories.make_study(
            session, 2, key="aaab22", study_instance_uid="1.2.30", patient_id="P2", accession_number="A2"
        )
        factories.make_study(session, 3, key="bb_c%d", study_instance_uid="1.4", patient_id="P2", accession_number="")
    return database


@pytest.mark.both_databases
@pytest.mark.parametrize("number", [-1, 0, 2**31, 2**63, 10**30])
def test_a_number_that_no_file_has_is_told_of(three, number):
    """Also one that the database could not compare with an id."""
    with three.session() as session, pytest.raises(UsageError, match=f"There is no file {number};"):
        quarantined_file(session, number)


@pytest.mark.both_databases
@pytest.mark.parametrize(
    ("text", "uid"),
    [
        ("1.2.3", "1.2.3"),
        ("aaab22", "1.2.30"),
        ("AAAB22", "1.2.30"),
        ("A2", "1.2.30"),
        ("P1", "1.2.3"),
        ("1.2.30", "1.2.30"),
        ("1.4", "1.4"),
        ("1.", None),
        ("1", None),
        ("aaaa", "1.2.3"),
        ("aaa", None),
        ("P2", None),
        ("bb_", "1.4"),
        (" b ", "1.4"),
    ],
)
def test_studies_are_found_by_any_name(three, text, uid):
    """A whole UID goes before the beginning of another; None stands for more than one study."""
    with three.session() as session:
        if uid is not None:
            assert find_study(session, text).study_instance_uid == uid
            return
        with pytest.raises(UsageError, match="more than one") as caught:
            find_study(session, text)
    assert caught.value.exit_code is ExitCode.USAGE
    assert len(re.findall(r"(?m)^  (aaaa11|aaab22|bb_c%d)  ", str(caught.value))) >= 2


@pytest.mark.parametrize("text", ["", "  ", "x", "%", "_", "b%", "1.2.4", "a" * 300, "' OR 1=1", "P"])
def test_nothing_is_found_by_a_wrong_name(three, text):
    """Wildcards are plain characters, and an unknown or empty name says where the names are."""
    with three.session() as session, pytest.raises(UsageError, match="agcnn-clinic studies"):
        find_study(session, text)


def test_one_number_may_name_two_studies(database, factories):
    """An accession number that is another study's patient id is ambiguous; both are listed, with a number or none."""
    with database.write() as session:
        factories.make_study(session, 1, accession_number="77", patient_id="P1")
        factories.make_study(session, 2, accession_number="", patient_id="77")
    with database.session() as session, pytest.raises(UsageError) as caught:
        find_study(session, "77")
    listed = sorted(str(caught.value).splitlines()[1:], key=lambda line: "no accession" in line)
    assert ["accession number '77'" in line for line in listed] == [True, False]
    assert "  no accession number  " in listed[1]


def test_of_many_candidates_some_are_listed(filled):
    """A beginning that fits forty studies lists eight and says that there are more."""
    with filled.session() as session, pytest.raises(UsageError, match="and more") as caught:
        find_study(session, "1.2.826")
    assert str(caught.value).count("\n") == 9


def test_candidates_cannot_command_a_terminal(database, factories):
    """Control characters of an accession number are escaped where candidates are listed."""
    with database.write() as session:
        for number in (1, 2):
            factories.make_study(session, number, accession_number="\x1b[2J", patient_id="P")
    with database.session() as session, pytest.raises(UsageError) as caught:
        find_study(session, "P")
    assert "\x1b" not in str(caught.value)


@settings(max_examples=60)
@given(number=st.integers(0, 39), length=st.integers(1, 30))
def test_beginnings_are_found_as_a_loop_would(filled, number, length):
    """The beginning of a UID or of a key finds what startswith() finds, if it is one study."""
    with filled.session() as session:
        known = [(study.study_instance_uid, study.key) for study in session.query(Study)]
        for text in (known[number][0][:length], known[number][1][:length]):
            whole = [names for names in known if text in names]
            fitting = whole or [names for names in known if any(name.startswith(text) for name in names)]
            if len(fitting) == 1:
                assert find_study(session, text).key == fitting[0][1]
            else:
                with pytest.raises(UsageError, match="more than one"):
                    find_study(session, text)


@pytest.mark.sqlite_only("its plans")
def test_a_beginning_is_found_by_index(three):
    """Looking for the beginning of a name reads no whole table."""
    statements = []
    with three.session() as session:
        engine = session.get_bind()

        def record(connection, cursor, statement, parameters, context, executemany):
            statements.append((statement, parameters))

        event.listen(engine, "before_cursor_execute", record)
        find_study(session, "aaaa")
        event.remove(engine, "before_cursor_execute", record)
        for statement, parameters in [pair for pair in statements if pair[0].startswith("SELECT")]:
            plan = session.connection().exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
            assert not any(row[3].startswith("SCAN") for row in plan), plan


def test_a_study_is_loaded_whole_but_for_its_heat_maps(database, factories):
    """After the session, all that belongs to a study can be read; heat maps and manifests were never fetched."""
    with database.write() as session:
        model = factories.make_model(session)
        study = factories.make_study(session, 1)
        for number in range(3):
            file = factories.make_file(session, study, number)
            factories.make_inference(session, file, model, random.Random(number))
        factories.make_file(session, study, 9, ReasonCode.WRONG_VIEW)
        factories.make_report(session, study)
    with database.session() as session:
        detail = study_detail(session, find_study(session, "P0001"), now=NOW, quiet_seconds=30)
    inferences = [i for instance in detail.instances for file in instance.files for i in file.inferences]
    assert len(detail.instances) == 4
    assert [len(inference.findings) for inference in inferences] == [15, 15, 15]
    assert all(inference.model.name and inference.attended_region.x_max for inference in inferences)
    assert all("heat_map" in inspect(inference).unloaded for inference in inferences)
    assert all("manifest" in inspect(inference.model).unloaded for inference in inferences)
    assert (detail.state, len(detail.reports)) == ("reported", 1)


def test_loading_a_study_takes_a_fixed_number_of_queries(database, factories):
    """A study with twelve images takes as many queries as one with a single image, and none is of the other."""
    with database.write() as session:
        model = factories.make_model(session)
        for number, images in enumerate((1, 12)):
            study = factories.make_study(session, number)
            for image in range(images):
                file = factories.make_file(session, study, 100 * number + image)
                factories.make_inference(session, file, model, random.Random(image))

    def queries(number):
        seen = []

        def note(connection, cursor, statement, parameters, context, executemany):
            seen.append(statement)

        with database.session() as session:
            study = find_study(session, f"P000{number}")
            event.listen(session.get_bind(), "before_cursor_execute", note)
            detail = study_detail(session, study, now=NOW, quiet_seconds=30)
            event.remove(session.get_bind(), "before_cursor_execute", note)
        assert [instance.study_id for instance in detail.instances] == [study.id] * (1, 12)[number]
        return len(seen)

    assert queries(0) == queries(1) > 0


def test_quarantined_files_come_newest_first(database, factories):
    """Only quarantined files are listed, with their study where the header was readable."""
    with database.write() as session:
        study = factories.make_study(session, 1)
        for number, reason in enumerate((ReasonCode.UNREADABLE_PIXELS, ReasonCode.READ, ReasonCode.UID_CONFLICT)):
            factories.make_file(session, study, number, reason)
        factories.make_file(session, None, 7, ReasonCode.EMPTY_FILE)
    with database.session() as session:
        listed = [
            (file.id, file.reason_code, file.instance and file.instance.study.key) for file in quarantined(session)
        ]
        assert listed == [
            (4, "empty_file", None),
            (3, "uid_conflict", study.key),
            (1, "unreadable_pixels", study.key),
        ]
        assert [file.id for file in quarantined(session, limit=2)] == [4, 3]


def test_only_quarantined_files_are_shown_as_such(database, factories):
    """Asking for another file, or for one that does not exist, says what is wrong."""
    with database.write() as session:
        study = factories.make_study(session, 1)
        factories.make_file(session, study, 1, ReasonCode.READ)
        factories.make_file(session, study, 2, ReasonCode.DEADLINE)
    with database.session() as session:
        assert quarantined_file(session, 2).reason_code == "deadline"
        with pytest.raises(UsageError, match="it is analysed"):
            quarantined_file(session, 1)
        with pytest.raises(UsageError, match="no file 99"):
            quarantined_file(session, 99)
