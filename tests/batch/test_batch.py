"""The command on a cluster of two cores: the same findings as `process`, whole after a kill."""

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing

import pandas as pd
import psutil
import pytest
from typer.testing import CliRunner

from agcnn_clinic.batch import cluster as module
from agcnn_clinic.cli.clinic import make_clinic
from agcnn_clinic.cli.main import app
from agcnn_clinic.clinic import at_work
from agcnn_clinic.config import load_config
from agcnn_clinic.errors import UsageError
from agcnn_models.labels import LABELS

NOT_READ = {"lateral.dcm": "wrong_view", "x-garbage.dcm": "unrecognised", "y-truncated.dcm": "pixel_length"}
TOLERANCE = 1e-6
"""Of a probability, where the same films lie in the same batch."""

KILLED = """
import os, signal
from pathlib import Path
from agcnn_clinic.cli.main import main
replace = Path.replace

def dying(self, target):
    if any(Path(target).parent.glob("part-*.parquet")):
        os.kill(os.getpid(), signal.SIGKILL)
    return replace(self, target)

Path.replace = dying
main()
"""
"""`agcnn-clinic` that is killed when its second shard is written and has no name yet."""


@pytest.fixture
def batch(workers, small_bundle, monkeypatch):
    """Run the command with the workers that are there: `batch(source, out, *options)`."""
    monkeypatch.setattr(module, "ray_cluster", lambda *_: contextlib.nullcontext((2, 0)))
    monkeypatch.setattr(module, "Workers", lambda *_: workers)

    def run(source, out, *options):
        arguments = ["batch", str(source), "--out", str(out), "--model", str(small_bundle), *options]
        return CliRunner().invoke(app, arguments, catch_exceptions=False)

    return run


@pytest.fixture
def processed(tmp_path, archive, small_bundle):
    """Findings of `process` over the archive, in batches of three: probabilities by SHA-256 of the file and label."""
    make_clinic(tmp_path / "clinic")
    config_file = tmp_path / "clinic" / "config.toml"
    text = config_file.read_text()
    for old, new in (
        ('model = "starter"', f'model = "{small_bundle}"'),
        ("batch_size = 0", "batch_size = 3"),
        ("threads = 0", "threads = 1"),
        ("decode_workers = 0", "decode_workers = 1"),
    ):
        assert old in text
        text = text.replace(old, new)
    config_file.write_text(text)
    config = load_config(config_file)
    with at_work(config) as clinic:
        clinic.inbox.take([archive])
        while clinic.analysis.step():
            pass
    with closing(sqlite3.connect(config.root / "clinic.sqlite")) as connection:
        return pd.read_sql(
            "SELECT f.sha256, f.outcome, f.reason_code, i.sop_instance_uid, s.study_instance_uid, "
            "g.label, g.probability, g.probability_fusion, g.probability_global, g.probability_local, g.positive, "
            "r.x_min, r.y_min, r.x_max, r.y_max "
            "FROM received_file f LEFT JOIN instance i ON i.id = f.instance_id LEFT JOIN study s ON s.id = i.study_id "
            "LEFT JOIN inference n ON n.file_id = f.id LEFT JOIN finding g ON g.inference_id = n.id "
            "LEFT JOIN attended_region r ON r.inference_id = n.id",
            connection,
        )


def test_the_findings_are_those_of_process(batch, archive, processed, tmp_path):
    """The same files, outcomes, UIDs, probabilities of each branch, decisions and regions."""
    done = batch(archive, tmp_path / "out", "--batch-size", "3", "--shard-size", "3")
    assert done.exit_code == 1, done.output
    table = pd.read_parquet(tmp_path / "out").set_index("sha256")
    assert table.index.is_unique
    assert set(table.index) == set(processed["sha256"])
    findings = 0
    for row in processed.to_dict("records"):
        mine = table.loc[row["sha256"]]
        assert (mine["outcome"], mine["reason_code"]) == (row["outcome"], row["reason_code"])
        if row["reason_code"] != "read":
            assert pd.isna(mine["p_Hernia"])
            continue
        findings += 1
        label = row["label"].replace(" ", "_")
        for column, name in (
            ("p", "probability"),
            *((f"p_{b}", f"probability_{b}") for b in ("fusion", "global", "local")),
        ):
            assert mine[f"{column}_{label}"] == pytest.approx(row[name], abs=TOLERANCE)
        assert mine[f"positive_{label}"] == bool(row["positive"])
        for edge in ("x_min", "y_min", "x_max", "y_max"):
            assert mine[f"region_{edge}"] == row[edge]
        assert mine["sop_instance_uid"] == row["sop_instance_uid"]
        assert mine["study_instance_uid"] == row["study_instance_uid"]
    assert findings == 5 * len(LABELS)


def test_bad_files_are_rows_and_no_patient_is_in_the_table(batch, archive, tmp_path):
    """A list in an order of its own, with a file that is not there: all of it has rows, in that order."""
    names = ["x-garbage.dcm", "sub/c.dcm", "y-truncated.dcm", "gone.dcm", "lateral.dcm"]
    source = archive.parent / "list.txt"
    source.write_text("".join(f"films/{name}\n" for name in names))
    done = batch(source, tmp_path / "out", "--shard-size", "2")
    assert done.exit_code == 1
    assert "Not reached: 1 file;" in done.output
    table = pd.read_parquet(tmp_path / "out")
    assert list(table["path"]) == [f"films/{name}" for name in names]
    codes = table["reason_code"].fillna("")
    assert dict(zip(names, codes, strict=True)) == NOT_READ | {"sub/c.dcm": "read", "gone.dcm": ""}
    assert table["outcome"][3] == "pending"
    content = b"".join(path.read_bytes() for path in (tmp_path / "out").iterdir())
    assert b"Secret" not in content
    assert b"SECRET-7" not in content


def test_a_killed_run_leaves_whole_shards_and_is_gone_on_with(batch, archive, small_bundle, tmp_path, monkeypatch):
    """After SIGKILL the second shard is not there; the same command reads it and leaves the first one as it was."""
    out = tmp_path / "out"
    import ray

    there = ray.get_runtime_context().gcs_address
    limits = ("--shard-size", "3", "--address", there, "--cpus", "1")
    command = [sys.executable, "-c", KILLED, "batch", archive, "--out", out, "--model", small_bundle, *limits]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=500)
    assert done.returncode == -signal.SIGKILL, done.stderr
    (first,) = out.glob("part-*.parquet")
    assert len(pd.read_parquet(first)) > 1
    assert list(out.glob(".*")) != []
    before = first.stat()
    done = batch(archive, out)
    assert "files in" in done.output
    assert list(out.glob(".*")) == []
    assert first.stat().st_mtime_ns == before.st_mtime_ns
    table = pd.read_parquet(out)
    assert list(table["path"]) == sorted(table["path"], key=os.fsencode)
    assert len(table) == 8
    assert "files in" not in batch(archive, out).output


def test_another_model_is_refused(batch, archive, other_bundle, tmp_path):
    """A table is of one model: the sentence says what to do, before any worker starts."""
    out = tmp_path / "out"
    batch(archive, out)
    with pytest.raises(UsageError, match=r"another model.*Name another --out"):
        batch(archive, out, "--model", str(other_bundle))


def test_settings_that_decide_rows_are_those_that_a_table_was_begun_with(batch, archive, tmp_path, monkeypatch):
    """A larger file is let in: the table does not go on with rows that say it was too large."""
    monkeypatch.chdir(tmp_path)
    config = tmp_path / "config.toml"
    config.write_text("[intake]\nmax_file_mb = 1\n")
    batch(archive, tmp_path / "out")
    config.write_text("[intake]\nmax_file_mb = 2\n")
    with pytest.raises(UsageError, match=r"another intake\.max_file_mb.*Name another --out"):
        batch(archive, tmp_path / "out")


def test_a_local_cluster_listens_on_the_loopback_alone(workers):
    """No other machine can reach a worker, and Ray reports nothing to anybody."""
    listening = {
        connection.laddr.ip.removeprefix("::ffff:")
        for process in psutil.Process().children(recursive=True)
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening
    assert listening <= {"127.0.0.1", "::1"}
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"


def test_without_ray_a_sentence_says_how_to_install_it(archive, tmp_path, monkeypatch):
    """Exit code 2, and nothing is written."""
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"pip install 'agcnn-clinic\[ray\]'") as caught:
        CliRunner().invoke(app, ["batch", str(archive), "--out", str(tmp_path / "out")], catch_exceptions=False)
    assert caught.value.exit_code == 2
    assert not (tmp_path / "out").exists()
