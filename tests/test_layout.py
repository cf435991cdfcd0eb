"""Where the parts of a clinic may lie, and what of it may not be read as if it had been sent."""

import pytest
from typer.testing import CliRunner

from agcnn_clinic.cli.main import app
from agcnn_clinic.clinic import at_work
from agcnn_clinic.config import load_config
from agcnn_clinic.errors import ConfigError, UsageError
from agcnn_clinic.sections import Folders


@pytest.fixture
def settings(tmp_path):
    """Makes the folder of a clinic without a database, with these under [folders], and loads its settings."""

    def settings(url="sqlite:///clinic.sqlite", name="config.toml", **folders):
        lines = "\n".join(f'{folder} = "{path}"' for folder, path in folders.items())
        file = tmp_path / "clinic" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(f'[folders]\n{lines}\n[database]\nurl = "{url}"\n')
        return load_config(file)

    return settings


@pytest.mark.parametrize(
    ("folders", "outer", "inner"),
    [
        ({"inbox": "."}, "inbox", "archive"),
        ({"inbox": ".."}, "inbox", "archive"),
        ({"inbox": "archive"}, "inbox", "archive"),
        ({"archive": "inbox/archive"}, "inbox", "archive"),
        ({"archive": "other/../inbox"}, "inbox", "archive"),
        ({"reports": "inbox/done/reports"}, "inbox", "reports"),
        ({"quarantine": "inbox/.broken"}, "inbox", "quarantine"),
        ({"inbox": "reports/in"}, "reports", "inbox"),
        ({"inbox": "quarantine/in"}, "quarantine", "inbox"),
        ({"archive": "."}, "archive", "inbox"),
        ({"reports": "archive/reports"}, "archive", "reports"),
        ({"quarantine": "archive"}, "archive", "quarantine"),
        ({"url": "sqlite:///inbox/clinic.sqlite"}, "inbox", "database"),
        ({"url": "sqlite:///archive/rows/clinic.sqlite"}, "archive", "database"),
        (
            {"inbox": ".", "archive": "/srv/a", "quarantine": "/srv/q", "reports": "/srv/r", "name": "chest.toml"},
            "inbox",
            "configuration",
        ),
    ],
)
def test_folders_of_which_one_would_take_the_other_in_are_refused(settings, folders, outer, inner):
    """Whatever lies in the inbox is taken, and whatever in the archive has no row counts as a lost film."""
    with pytest.raises(ConfigError, match=rf"The {outer} folder \(.*\) holds the {inner} \("):
        settings(**folders).layout.on_disk().check()


def test_every_folder_of_the_settings_has_its_place(settings, tmp_path):
    """One that the layout does not know could lie in the inbox, and what it holds be taken for films."""
    named = {name: tmp_path / "clinic" / f"the {name}" for name in Folders.model_fields}
    assert settings(**{name: path.name for name, path in named.items()}).layout.folders == named


def test_folders_that_do_each_other_no_harm_may_lie_anywhere(settings, tmp_path):
    """Names that begin alike are apart, other disks are, and nobody looks through the reports."""
    for config in (
        settings(inbox="inbox", archive="inbox2", quarantine="inbox-broken"),
        settings(inbox=tmp_path / "pacs" / "in", archive=tmp_path / "films"),
        settings(reports="out", quarantine="out/broken", archive="out/films"),
        settings(url="postgresql://clinic@server/clinic"),
    ):
        config.layout.on_disk().check()


def test_a_link_into_another_folder_is_found_before_work_begins(settings, tmp_path):
    """Work does not begin; commands that only show what there is go on, and wait for no disk."""
    (tmp_path / "clinic" / "archive" / "in").mkdir(parents=True)
    (tmp_path / "clinic" / "inbox").symlink_to("archive/in")
    config = settings()
    with pytest.raises(ConfigError, match=r"The archive folder .* holds the inbox"), at_work(config):
        pass
    assert not config.lock_file.exists()


@pytest.fixture
def at_home(settings, monkeypatch):
    """A clinic with a file in each of its folders, and its folder as the current one."""
    config = settings()
    for folder in (config.inbox, config.archive / "ab", config.quarantine, config.reports):
        folder.mkdir(parents=True)
        (folder / "film.dcm").touch()
    for name in ("clinic.sqlite", "clinic.sqlite-wal", "own.dcm"):
        (config.root / name).touch()
    (config.root / "films").mkdir()
    monkeypatch.chdir(config.root)
    return config


@pytest.mark.parametrize(
    ("source", "part"),
    [
        (".", "inbox"),
        ("..", "inbox"),
        ("inbox", "inbox"),
        ("inbox/film.dcm", "inbox"),
        ("archive", "archive"),
        ("archive/ab", "archive"),
        ("quarantine/film.dcm", "quarantine"),
        ("reports", "reports"),
        ("clinic.sqlite", "database"),
        ("clinic.sqlite-wal", "database's wal file"),
        ("config.toml", "configuration"),
        ("films/link", "reports"),
    ],
)
def test_what_is_the_clinics_own_is_not_read_as_if_it_had_been_sent(at_home, tmp_path, source, part):
    """Its database, its settings and its reports would lie in quarantine, and its films be duplicates of themselves."""
    (at_home.root / "films" / "link").symlink_to("../reports")
    with pytest.raises(UsageError, match=rf"this clinic's {part} \("):
        at_home.layout.check_source(tmp_path / "clinic" / source)
    done = CliRunner().invoke(app, ["process", source])
    assert isinstance(done.exception, UsageError)


def test_films_beside_the_clinic_and_files_of_its_archive_may_be_named(at_home):
    """After a restore, `db unlisted` prints files of the archive, for `process` to read."""
    for source in ("own.dcm", "films", "archive/ab/film.dcm"):
        at_home.layout.check_source(at_home.root / source)
