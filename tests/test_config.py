"""config.toml and the environment: what is impossible is refused and named, and nothing is ignored."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from agcnn_clinic.cli.clinic import make_clinic
from agcnn_clinic.config import Config, load_config
from agcnn_clinic.dicom.views import View
from agcnn_clinic.errors import ConfigError, UsageError
from agcnn_clinic.limits import VIEWS


@pytest.fixture
def load(tmp_path):
    """Loads settings from this text."""

    def load(text: str | bytes) -> Config:
        file = tmp_path / "config.toml"
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load_config(file)

    return load


@pytest.mark.parametrize(
    ("section", "setting", "said"),
    [
        ("retention", "archive_days = 800000", "less than or equal to 36500"),
        ("intake", "study_quiet_seconds = inf", "finite"),
        ("intake", "study_quiet_seconds = 1e12", "less than or equal to 1000000"),
        ("intake", "settle_seconds = nan", "finite"),
        ("database", "busy_timeout_seconds = 3000000", "less than or equal to 1000000"),
        ("analysis", "decode_seconds = 1e300", "less than or equal to 1000000"),
        ("analysis", "decode_memory_mb = 10000000000000", "less than or equal to 1000000000"),
        ("analysis", 'device = "meta"', '"auto", "cpu", "cuda" and "cuda:1"'),
        ("folders", r'inbox = "a\u0000b"', "number 0"),
        ("folders", 'inbox = "~/inbox"', "write the whole path"),
        ("sending", 'tls_trusted = "~/ca.pem"', "write the whole path"),
        ("database", 'url = "sqlite:///~/clinic.sqlite"', "write the whole path"),
        ("gate", 'views = "PA"', "a list"),
        ("gate", "views = []", "name at least one"),
        ("gate", 'views = ["PA", "pa/ap"]', "'PA/AP' is no view"),
        ("gate", "modalities = []", "name at least one"),
        ("gate", 'body_parts = ["CHEST", " "]', "one of them is empty"),
        ("intake", 'ignore = ["*.part", "*"]', "fits every name"),
        ("intake", 'ignore = ["?*"]', "fits every name"),
    ],
)
def test_a_setting_that_cannot_be_meant_is_refused(load, section, setting, said):
    """It would end in a traceback, or nothing would be read: the sentence names the setting, and what it may be."""
    with pytest.raises(ConfigError, match=rf"config.toml: {section}.{setting.split()[0]}[.\d]* is ") as raised:
        load(f"[{section}]\n{setting}\n")
    assert said in str(raised.value)


@pytest.mark.parametrize("setting", ["tls_trusted", "tls_certificate"])
def test_certificates_without_tls_are_refused(load, setting):
    """Whoever names them does not mean to send patients' reports in the clear."""
    with pytest.raises(ConfigError, match=r"config\.toml: sending: certificates are named, and tls is false: set it"):
        load(f'[sending]\nto = "PACS@pacs.example:2762"\n{setting} = "some.pem"\n')


def test_every_number_has_an_end():
    """No duration, size or count of processes may be set so high that it ends in a sum that nothing can hold."""
    sections = Config.model_json_schema()["$defs"]
    numbers = {
        f"{section}.{name}": schema
        for section, described in sections.items()
        for name, schema in described["properties"].items()
        if name.endswith(("_seconds", "_minutes", "_days", "_mb", "threads", "_workers"))
    }
    assert not [name for name, schema in numbers.items() if "maximum" not in schema]


def test_the_words_of_the_gate_may_be_written_small(load):
    """DICOM writes them in capitals; what a person writes means the same."""
    gate = load('[gate]\nviews = ["pa"]\nmodalities = ["dx"]\nbody_parts = [" Chest "]\n').gate
    assert (gate.views, gate.modalities, gate.body_parts) == (("PA",), ("DX",), ("CHEST",))


def test_each_view_that_can_be_told_may_be_listed(load):
    """A view that the gate knows can be set, and none is offered that no header is understood to say."""
    assert set(VIEWS) == set(View) - {View.OTHER, View.UNKNOWN}
    assert load(f"[gate]\nviews = {[*VIEWS, 'OTHER']}\n").gate.views == (*VIEWS, "OTHER")


@pytest.mark.parametrize("kind", ["sqlite", "sqlite+pysqlite"])
def test_a_relative_path_of_a_database_starts_at_the_folder_of_the_settings(load, tmp_path, kind):
    """Not at the folder where a command happens to be run."""
    config = load(f'[database]\nurl = "{kind}:///clinic.sqlite"\n')
    assert config.database_url == f"{kind}:///{tmp_path / 'clinic.sqlite'}"
    assert config.layout.files["database"] == tmp_path / "clinic.sqlite"


def test_a_file_may_begin_with_a_byte_order_mark(load):
    """As editors of Windows write it."""
    assert load('[reporting]\ninstitution = "Käthe"\n'.encode("utf-8-sig")).reporting.institution == "Käthe"


def test_a_file_in_another_encoding_is_refused(load):
    """As an old editor writes it."""
    with pytest.raises(ConfigError, match="is not UTF-8, as TOML must be: byte 29"):
        load('[reporting]\ninstitution = "Käthe"\n'.encode("cp1252"))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("AGCNN_CLINIC_ANALYSIS_DEVICE", "is no setting: AGCNN_CLINIC_ANALYSIS__DEVICE, with two"),
        ("AGCNN_CLINIC_ANALYSYS__DEVICE", "is no setting"),
        ("agcnn_clinic_device", "is no setting"),
        ("AGCNN_CLINIC_ANALYSIS__DEVCE", "there is no setting analysis.devce"),
        ("AGCNN_CLINIC_GATE__VIEWS", "a list is written as JSON"),
    ],
)
def test_a_variable_that_would_change_nothing_is_refused(load, monkeypatch, name, said):
    """Mistyped, or not as a list is written there."""
    monkeypatch.setenv(name, "PA")
    with pytest.raises(ConfigError, match=said):
        load("")


def test_variables_that_are_meant_for_others_are_left_alone(load, monkeypatch):
    """Those of a cluster with services called agcnn-clinic..., and the name of the file; a setting is taken."""
    for name, value in (
        ("AGCNN_CLINIC_SERVICE_HOST", "10.0.0.1"),
        ("AGCNN_CLINIC_PORT_80_TCP", "tcp://10.0.0.1:80"),
        ("AGCNN_CLINIC_POSTGRES_SERVICE_HOST", "10.0.0.2"),
        ("AGCNN_CLINIC_DATABASE_SERVICE_PORT_SQL", "5432"),
        ("AGCNN_CLINIC_DB_PORT", "tcp://10.0.0.2:5432"),
        ("AGCNN_CLINIC_DB_PORT_5432_TCP_ADDR", "10.0.0.2"),
        ("AGCNN_CLINIC_CONFIG", "elsewhere"),
        ("AGCNN_CLINIC_GATE__VIEWS", '["ap"]'),
    ):
        monkeypatch.setenv(name, value)
    assert load("").gate.views == ("AP",)


AS_NOBODY = """
import os, sys
from pathlib import Path
import agcnn_clinic.config as config
from agcnn_clinic.errors import ConfigError
os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    config.load_config(config.find_config(Path(sys.argv[1])))
except ConfigError as error:
    print(error)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_clinic_that_is_closed_to_this_user_is_told_as_such(tmp_path):
    """Its folder lets nobody in: the sentence says as whom to run the command, where there had been a traceback."""
    (tmp_path / "clinic").mkdir(0o700)
    file = tmp_path / "clinic" / "config.toml"
    file.touch()
    done = subprocess.run([sys.executable, "-c", AS_NOBODY, file], capture_output=True, text=True, check=True)
    assert "Permission denied; run the command as the clinic's own user (sudo -u NAME)" in done.stdout


def test_a_clinic_whose_folder_has_no_readable_name_is_not_made(tmp_path):
    """The database keeps paths as text, and commands print them; nothing is left of the attempt."""
    folder = Path(os.fsdecode(bytes(tmp_path) + b"/Klinik \xe9"))
    with pytest.raises(ConfigError, match=r"Klinik \\udce9' is not UTF-8"):
        make_clinic(folder)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["clinic", "clinic/config.toml"])
def test_a_clinic_is_not_made_where_links_lead_to_themselves(tmp_path, name):
    """Be it the folder or the settings in it: a sentence says so, where there had been a traceback."""
    circle = tmp_path / name
    circle.parent.mkdir(exist_ok=True)
    circle.symlink_to(circle)
    with pytest.raises(UsageError, match="Too many levels of symbolic links"):
        make_clinic(tmp_path / "clinic")
    assert [path for path in tmp_path.rglob("*") if path.is_symlink()] == [circle]
