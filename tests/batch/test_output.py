"""The folder of results: whole shards of one origin, and nothing else."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from agcnn_clinic.analysis.infer import LabelReading, Reading
from agcnn_clinic.batch.examine import Examined
from agcnn_clinic.batch.output import MANIFEST, UNDECIDED, Origin, Output
from agcnn_clinic.batch.run import Tally, missing_shards
from agcnn_clinic.batch.table import table_of
from agcnn_clinic.domain import Geometry, ReasonCode
from agcnn_clinic.errors import UsageError
from agcnn_models.preprocessing import SourceBox

ORIGIN = Origin(
    listing_sha256="l" * 64,
    files=5,
    model="starter 2.0.0",
    model_sha256="m" * 64,
    gate={"views": ["PA"]},
    max_file_mb=1024,
    decode_seconds=60.0,
    decode_memory_mb=4096,
    precision="auto",
    batch_size=1,
    shard_size=2,
    software="0.1.0",
)


def rows(count, code=ReasonCode.BLANK):
    """A table of files that were not read."""
    return table_of([Examined(str(number), code) for number in range(count)], [None] * count, "m", 0.0)


def test_five_files_make_three_shards_that_pandas_reads_as_one(tmp_path):
    """The last shard is shorter; the manifest is no part of the table."""
    output = Output(tmp_path / "out", ORIGIN)
    for shard in output.shards():
        output.write(shard, rows(shard.stop - shard.start))
    assert sorted(path.name for path in output.folder.iterdir()) == [
        MANIFEST,
        *(f"part-{number:05}.parquet" for number in range(3)),
    ]
    table = pd.read_parquet(output.folder)
    assert len(table) == 5
    assert set(table["reason_code"]) == {"blank"}
    assert table["p_Hernia"].isna().all()


def test_what_the_model_does_not_assess_is_null_in_every_column():
    """A row has the numbers of the labels that were read, and of one without a threshold no word on whether it is."""
    told = {"probability": 0.6, "probability_global": 0.1, "probability_local": 0.2, "probability_fusion": 0.3}
    labels = (LabelReading("Effusion", **told, threshold=0.5), LabelReading("Mass", **told, threshold=None))
    reading = Reading(labels, np.zeros((7, 7), np.float16), SourceBox(1, 2, 3, 4))
    (row,) = table_of([Examined("a", ReasonCode.READ, geometry=Geometry(9, 9))], [reading], "m", 0.1).to_pylist()
    assert (row["p_Effusion"], row["positive_Effusion"]) == (0.6, True)
    assert (row["p_Mass"], row["positive_Mass"]) == (0.6, None)
    assert [value for name, value in row.items() if name.endswith("_Hernia")] == [None] * 5


@pytest.mark.parametrize("damage", ["missing", "cut", "short", "foreign", "undecided"])
def test_a_shard_that_is_not_whole_is_read_again(tmp_path, damage):
    """Missing, cut off, with too few rows, written by something else, or with files that could not be reached."""
    output = Output(tmp_path / "out", ORIGIN)
    first, second, third = output.shards()
    for shard in (first, second, third):
        output.write(shard, rows(shard.stop - shard.start))
    path = output.folder / second.name
    match damage:
        case "missing":
            path.unlink()
        case "cut":
            path.write_bytes(path.read_bytes()[:-100])
        case "short":
            output.write(second, rows(1))
        case "foreign":
            pd.DataFrame({"a": [1, 2]}).to_parquet(path)
        case "undecided":
            output.write(second, rows(2, None))
            assert output.counts(second)[UNDECIDED] == 2
    tally = Tally()
    assert missing_shards(Output(tmp_path / "out", ORIGIN), tally) == [second]
    assert tally.reasons == {"blank": 3}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"listing_sha256": "x" * 64}, "the source, or a study.toml in it, has changed"),
        ({"files": 6}, "the source has changed"),
        ({"model": "starter 1.0.0"}, "another model"),
        ({"model_sha256": "x" * 64}, "another model"),
        ({"gate": {"views": ["PA", "AP"]}}, "gate"),
        ({"max_file_mb": 1}, "intake.max_file_mb"),
        ({"decode_seconds": 1.0}, "analysis.decode_seconds"),
        ({"decode_memory_mb": 1}, "analysis.decode_memory_mb"),
        ({"precision": "bfloat16"}, "analysis.precision"),
        ({"batch_size": 2}, "--batch-size"),
        ({"shard_size": 3}, "--shard-size"),
        ({"software": "9"}, "another version"),
    ],
)
def test_another_origin_is_refused_with_advice(tmp_path, change, sentence):
    """One table is of one source, one model, one program, and one of each setting that decides a row."""
    Output(tmp_path / "out", ORIGIN)
    with pytest.raises(UsageError, match=sentence) as caught:
        Output(tmp_path / "out", replace(ORIGIN, **change))
    assert "Name another --out" in str(caught.value)


def test_a_table_that_knows_nothing_of_a_setting_was_begun_with_another_version(tmp_path):
    """What a program did that did not look at the precision cannot be known."""
    manifest = Output(tmp_path / "out", ORIGIN).folder / MANIFEST
    begun = json.loads(manifest.read_text())
    del begun["precision"]
    manifest.write_text(json.dumps(begun))
    with pytest.raises(UsageError, match="begun with another version"):
        Output(tmp_path / "out", ORIGIN)


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    """Neither a folder with files in it nor a damaged manifest is written over."""
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="was not made by this command"):
        Output(tmp_path, ORIGIN)
    (tmp_path / MANIFEST).write_text(json.dumps(["?"]))
    with pytest.raises(UsageError, match="damaged"):
        Output(tmp_path, ORIGIN)
    assert (tmp_path / "notes.txt").read_text() == "mine"
