"""Readings as rows: what is written of them, and of the model that made them."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from agcnn_clinic.analysis.films import FilmReader, film_of
from agcnn_clinic.analysis.record import record, register_model
from agcnn_clinic.database.tables import Inference, Model
from agcnn_clinic.domain import Warn

NOW = datetime(2026, 3, 1, 13, 0, tzinfo=UTC)


@pytest.fixture
def result(room, send, reader, sandbox):
    """What came of a film that was read and not recorded."""
    send(1)
    film = replace(film_of(room.files()["1.dcm"]), remarks=(Warn.OTHER_PATIENT,))
    films = FilmReader(room.storage, sandbox, reader, room.config.gate)
    finished = films.finish(film, films.decode(film))
    films.read([finished])
    return finished


@pytest.mark.parametrize("beside", [False, True])
def test_a_reading_is_written_as_it_is(room, result, reader, beside):
    """What intake remarked stands before the rest, the grid keeps its rows, and the row says whether it counts."""
    heat_map = np.arange(6, dtype=np.float16).reshape(2, 3) / 8
    result.reading = replace(result.reading, heat_map=heat_map)
    with room.database.write() as session:
        model_id = register_model(session, reader.manifest, NOW)
        record(session, [result], reader, model_id=model_id, now=NOW, beside=beside)
    (inference,) = room.all(Inference)
    assert inference.warnings == [Warn.OTHER_PATIENT, *result.developed.warnings]
    assert len(inference.warnings) > 1
    assert (inference.heat_map_rows, inference.heat_map_columns) == (2, 3)
    assert (np.frombuffer(inference.heat_map, np.float16).reshape(2, 3) == heat_map).all()
    assert (inference.file_id, inference.model_id, inference.beside) == (result.film.file_id, model_id, beside)
    assert (inference.created_at, inference.thresholds_id) == (NOW, reader.manifest.thresholds.set_id)


def test_a_model_is_known_by_its_whole_manifest(room, reader, other_reader):
    """The same weights under another manifest are another model; the same manifest is not registered twice."""
    assert reader.manifest.weights.sha256 == other_reader.manifest.weights.sha256
    with room.database.write() as session:
        first, other, again = (register_model(session, one.manifest, NOW) for one in (reader, other_reader, reader))
    assert first == again != other
    assert [model.name for model in room.all(Model) if model.id in (first, other)] == ["untrained", "tighter"]
