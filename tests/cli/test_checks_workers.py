"""What `doctor` says of those that work on a clinic now."""

import os
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest

from agcnn_clinic.cli.checks_workers import at_work
from agcnn_clinic.cli.result import State
from agcnn_clinic.config import load_config
from agcnn_clinic.database import trail
from agcnn_clinic.database.session import open_database
from agcnn_clinic.lock import at_work_on, only_process
from agcnn_models.manifest import digest
from agcnn_models.manifest_file import read_manifest

LONG_AGO = timedelta(days=1)


@pytest.fixture
def clinic(tmp_path, new_clinic, small_bundle, run):
    """A clinic that reads with the small model."""
    new_clinic(tmp_path / "clinic")
    run(tmp_path / "clinic", "models", "use", small_bundle)
    return load_config(tmp_path / "clinic" / "config.toml")


@contextmanager
def worker(config, bundle, began=timedelta()):
    """One that has loaded a model and told of its beginning."""
    manifest = read_manifest(bundle)
    model = trail.ModelIdentity(manifest.name, manifest.version, digest(manifest))
    with (
        open_database(config.database_url) as database,
        at_work_on(config, database) as claims,
        trail.working(database, config, model, lambda: datetime.now(UTC) - began, worker=claims.worker),
    ):
        yield


def found(config):
    """Each line's state and words."""
    with open_database(config.database_url) as database:
        return [(line.state, line.found) for line in at_work(load_config(config.root / "config.toml"), database)]


@pytest.mark.both_databases
def test_one_that_reads_with_another_model_than_was_chosen_since_is_a_problem(clinic, run, small_bundle, other_bundle):
    """Until it is restarted, or the model that it has loaded is chosen again."""
    with worker(clinic, small_bundle):
        ((state, words),) = found(clinic)
        assert (state, f"process {os.getpid()}" in words) == (State.OK, True)
        run(clinic.root, "models", "use", other_bundle)
        ((state, words),) = found(clinic)
        assert (state, "reads with untrained 0.0.1" in words, "tighter 0.0.1" in words) == (State.PROBLEM, True, True)
        run(clinic.root, "models", "use", small_bundle)
        assert [state for state, _ in found(clinic)] == [State.OK]
    ((state, words),) = found(clinic)
    assert (state, words.startswith("no")) == (State.OK, True)


@pytest.mark.postgresql_only
def test_of_two_workers_the_one_of_before_is_told(clinic, run, small_bundle, other_bundle):
    """Each has begun with the model of then, whatever the other one's process id."""
    with worker(clinic, small_bundle):
        run(clinic.root, "models", "use", other_bundle)
        with worker(load_config(clinic.root / "config.toml"), other_bundle):
            assert [state for state, _ in found(clinic)] == [State.PROBLEM, State.OK]


@pytest.mark.sqlite_only("one process has the clinic's lock")
def test_one_that_is_still_loading_its_model_is_not_taken_for_the_run_before(clinic, run, small_bundle, other_bundle):
    """In a container both have the same process id; of the second one nothing is known yet but that it works."""
    with worker(clinic, small_bundle, began=LONG_AGO):
        pass
    run(clinic.root, "models", "use", other_bundle)
    with only_process(clinic.lock_file):
        ((state, words),) = found(clinic)
    assert (state, words) == (State.OK, f"process {os.getpid()} works on this clinic")


@pytest.mark.both_databases
def test_one_that_works_by_other_settings_than_config_toml_has_now_is_told(clinic, run, small_bundle, other_bundle):
    """The first three are named, and another model is told by itself."""
    with worker(clinic, small_bundle):
        file = clinic.root / "config.toml"
        text = file.read_text()
        file.write_text(text.replace('views = ["PA", "AP"]', 'views = ["PA"]'))
        (_, (state, words)) = found(clinic)
        assert (state, words) == (State.REMARK, "other settings: gate.views is ['PA', 'AP'] there and ['PA'] here")
        file.write_text(text.replace("_side = ", "_side = 1").replace("_days = 0", "_days = 9"))
        (_, (state, words)) = found(clinic)
        assert (state, words.count("there and"), words.endswith(", and 2 more")) == (State.REMARK, 3, True)
        file.write_text(text)
        run(clinic.root, "models", "use", other_bundle)
        assert [state for state, _ in found(clinic)] == [State.PROBLEM]
