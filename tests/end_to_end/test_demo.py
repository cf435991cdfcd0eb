"""What a stranger types first."""

import json
import re
import subprocess

import pytest

from agcnn_clinic.cli.demo import clear

pytestmark = pytest.mark.sqlite_only("its clinic has the default database")


def test_the_demo_ends_with_reports_and_says_what_became_of_each_study(tmp_path, program, homeless):
    """On a machine where nothing was run before: every study that was read has its PDF, and none is still coming."""
    folder = tmp_path / "demo"
    done = subprocess.run(
        [program, "demo", folder], env=homeless, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    dropped, decided = done.stdout.split("agcnn-clinic process")
    outcomes = re.findall(r"^(\d+) +(?:analysed|refused|quarantined) ", decided, re.MULTILINE)
    assert dropped.startswith(f"{sum(map(int, outcomes))} synthetic films")
    asked = [program, "--config", folder / "config.toml", "studies", "--format", "json"]
    studies = json.loads(subprocess.run(asked, env=homeless, capture_output=True, text=True, check=True).stdout)
    assert {study["state"] for study in studies} == {"reported", "not read"}
    for study in studies:
        assert study["study_key"] in done.stdout
        assert (study["report_path"] is not None) == (study["state"] == "reported")
        assert study["report_path"] is None or (folder / study["report_path"]).read_bytes().startswith(b"%PDF-")


def test_a_demo_is_made_anew_through_a_link(tmp_path):
    """What the link leads to is emptied, and the link stays; a link that leads out of the demo is only taken away."""
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine").touch()
    old = tmp_path / "old"
    (old / "reports").mkdir(parents=True)
    for name in (".agcnn-clinic-demo", "config.toml", "reports/a.pdf"):
        (old / name).touch()
    (old / "out").symlink_to(tmp_path / "other")
    (tmp_path / "link").symlink_to(old)
    clear(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert [path.name for path in old.iterdir()] == [".agcnn-clinic-demo"]
    assert (tmp_path / "other" / "mine").exists()
