"""The lock: every dependency at one version, checked by its hashes, from nowhere in particular."""

import re
from pathlib import Path

LOCK = Path(__file__).resolve().parents[1] / "requirements.lock"


def test_every_requirement_is_pinned_and_hashed():
    """`name==version`, perhaps with a marker, and one SHA-256 at least: nothing unhashed can be installed."""
    entries = LOCK.read_text().replace("\\\n", " ").splitlines()
    assert len(entries) > 50
    for entry in entries:
        assert re.fullmatch(r"[a-z0-9][a-z0-9._-]*==\S+( ; [^#]+?)?(\s+--hash=sha256:[0-9a-f]{64})+\s*", entry), entry


def test_no_requirement_names_an_address():
    """Neither an index nor a URL: the hashes say what is right, wherever it comes from."""
    assert not re.findall(r"(?i)\w+://|--(?:extra-)?index-url|--find-links|@ ", LOCK.read_text())


def test_make_and_the_container_install_from_the_lock_with_hashes_alone():
    """Without --require-hashes the hashes would bind nobody; without --no-deps pip would look for more."""
    for name in ("Makefile", "deploy/Dockerfile"):
        lines = [line for line in (LOCK.parent / name).read_text().splitlines() if "-r requirements.lock" in line]
        installs = [line for line in lines if "install" in line]
        assert installs, name
        assert all("--require-hashes" in line and "--no-deps" in line for line in installs), name
