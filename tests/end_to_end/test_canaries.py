"""Patients with names of their own kind go through the whole program; nothing that it says repeats them."""

import importlib
from pathlib import Path

import pytest

HOSTILE = str(Path(__file__).resolve().parents[1] / "hostile")
FILE_NAME = "Kanarienvogel_Quetzalcoatl_19010203"


@pytest.fixture(scope="module")
def seeds():
    """The module that makes films full of canaries."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(HOSTILE)
        yield importlib.import_module("seeds")


def _drop(folder, seeds):
    """Files of all ends: read, refused, quarantined in each stage, duplicates, a conflict of UIDs."""
    from headers import deflate_bomb, nested

    sound = seeds.native("sound")
    conflict = seeds.native("sound", PixelData=seeds.stored()[::-1].tobytes())
    files = {
        "sound": sound,
        "cut": seeds.native("cut")[:-2000],
        "header cut": seeds.native("header cut")[:700],
        "lateral": seeds.native("lateral", ViewPosition="LL"),
        "noise": b"DICM" + str(seeds.CANARIES).encode(),
        "bomb": deflate_bomb(520),
        "twice": sound,
        "conflict": conflict,
        "header differs": seeds.native("sound", PatientName="Kanarienvogel^Other", PatientID="CANARY-ID-4712"),
        "deep": seeds.native("deep", raw=nested(5000, defined=False), before=0x00091001),
        "claims": seeds.native("claims", Rows=46341, Columns=46341),
        "bad uid": seeds.native("bad uid", SOPInstanceUID="CANARY-ID-4711"),
    }
    for number, (name, data) in enumerate(files.items()):
        (folder / f"{number:02}_{FILE_NAME}_{name}.dcm").write_bytes(data)
    pngs = folder / FILE_NAME
    pngs.mkdir()
    (pngs / f"{FILE_NAME}.png").write_bytes(seeds.png(pnginfo=None))
    (pngs / "study.toml").write_text('patient_name = "Kanarienvogel^Quetzalcoatl"\n"CANARY-ID-4711" = 3\n')
    return len(files) + 1


@pytest.mark.parametrize("form", ["human", "json"])
def test_nothing_that_is_said_repeats_a_patient(clinic, seeds, archive, form):
    """Logs at debug level, what is printed, reason files and the traceback of --debug: no name, id, date, file name."""
    text = clinic.config_file.read_text()
    text = text.replace('format = "json"', f'format = "{form}"').replace('level = "info"', 'level = "debug"')
    clinic.config_file.write_text(text.replace('to = ""', f'to = "{archive.address}"'))
    archive.answers = [0xC000]
    dropped = _drop(clinic.config.inbox, seeds)
    done = clinic.run("--debug", "process", check=False)
    assert done.returncode == 1, done.stderr
    reasons = [path.read_text() for path in clinic.config.quarantine.glob("*.json")]
    assert len(reasons) >= 6
    said = done.stderr + clinic.run("--debug", "process").stderr + "".join(reasons)
    for canary in (*seeds.CANARIES.values(), FILE_NAME, "Kanarienvogel", "Quetzalcoatl", "1901-02-03", "CANARY"):
        assert canary.lower() not in said.lower(), canary
    assert seeds.derived("sound", "study") not in said
    assert clinic.run("quarantine", "list", "--format", "csv", "--limit", "0").stdout.count("\n") > 6
    assert "refuses an object of Encapsulated PDF Storage" in said
    assert any("Kanarienvogel" in str(dataset.PatientName) for dataset in archive.stored)
    assert dropped > 10
