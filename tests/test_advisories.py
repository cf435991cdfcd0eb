"""What `make advisories` makes of a report: a vulnerability fails, what nobody could check is not called sound."""

import json
import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / ".ci" / "advisories"
SOUND = {"name": "one", "version": "1", "vulns": []}
UNKNOWN = {"name": "two", "skip_reason": "not found"}
VULNERABLE = {"name": "three", "version": "3", "vulns": [{"id": "PYSEC-1", "fix_versions": ["4"]}]}


@pytest.fixture
def advisories(tmp_path):
    """Run the script with a pip-audit that writes this report, or none, and ends as the real one would."""

    def run(*dependencies):
        (tmp_path / "report.json").write_text(json.dumps({"dependencies": dependencies, "fixes": []}))
        program = tmp_path / "pip-audit"
        write = f'cp "{tmp_path}/report.json" "${{@: -1}}"' if dependencies else "echo no network >&2"
        program.write_text(f"#!/usr/bin/env bash\n{write}\nexit 1\n")
        program.chmod(0o700)
        environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
        return subprocess.run([SCRIPT], check=False, capture_output=True, text=True, env=environment)

    return run


def test_a_vulnerability_is_named_and_fails(advisories):
    """With the version that mends it."""
    done = advisories(SOUND, VULNERABLE)
    assert done.returncode == 1
    assert "three 3: PYSEC-1, mended in 4" in done.stdout


def test_what_could_not_be_checked_is_not_counted_as_sound(advisories):
    """A service that knows nothing of a package finds nothing wrong with it."""
    done = advisories(SOUND, UNKNOWN)
    assert done.returncode == 0
    assert "0, in 1 of 2 dependencies that could be checked" in done.stdout


def test_without_a_network_it_says_so_and_does_not_fail(advisories):
    """Tests must pass in a hospital without internet; silence would look like a clean bill."""
    done = advisories()
    assert done.returncode == 0
    assert "Not checked for known vulnerabilities" in done.stdout
