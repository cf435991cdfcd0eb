"""What hospitals send, dropped into the inbox of a clinic on trial, with the end that each file must have."""

import hashlib
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pydicom.uid import generate_uid


class Mail:
    """Drops into an inbox what hospitals send: each time other pictures, and always the same mixture."""

    def __init__(self, film: np.ndarray, write_dicom: Callable[..., Path], outside: Path) -> None:
        self._film = film[:256, :256]
        self._write_dicom = write_dicom
        self._outside = outside
        self._outside.mkdir()

    def _stored(self, chance: random.Random) -> np.ndarray:
        noise = np.random.default_rng(chance.getrandbits(32)).integers(0, 60, self._film.shape)
        return (self._film * 4000 + noise).astype(np.uint16)

    def drop(self, trial: Any, prefix: str, chance: random.Random) -> None:
        """Put a dozen files, of eight kinds and two studies, into the inbox, each whole from its first moment."""
        study, conflict = generate_uid(entropy_srcs=[prefix, "study"]), generate_uid(entropy_srcs=[prefix, "conflict"])
        made = {
            "a.dcm": self._dicom(prefix, chance, "a", StudyInstanceUID=study),
            "b-1.dcm": self._dicom(prefix, chance, "b1", StudyInstanceUID=study),
            "b-2.dcm": self._dicom(prefix, chance, "b2", StudyInstanceUID=study),
            "d-lateral.dcm": self._dicom(prefix, chance, "d", StudyInstanceUID=study, ViewPosition="LL"),
            "f-1.dcm": self._dicom(prefix, chance, "f1", StudyInstanceUID=study, SOPInstanceUID=conflict),
            "f-2.dcm": self._dicom(prefix, chance, "f2", StudyInstanceUID=study, SOPInstanceUID=conflict),
        }
        made["c-again.dcm"] = made["a.dcm"]
        made["e-cut.dcm"] = made["a.dcm"][:300]
        ends = {
            "c-again.dcm": ("duplicate", "same_bytes"),
            "d-lateral.dcm": ("refused", "wrong_view"),
            "e-cut.dcm": ("quarantined", "unreadable_header"),
            "f-2.dcm": ("quarantined", "uid_conflict"),
        }
        for name, content in made.items():
            self._expect(trial, f"{prefix}-{name}", content, ends.get(name, ("analysed", "read")))
        links = f"{prefix}-g.txt", f"{prefix}-h-link.txt"
        text = f"no image {prefix}".encode()
        self._expect(trial, links[0], text, ("quarantined", "unrecognised"))
        self._expect(trial, links[1], text, ("duplicate", "same_bytes"))
        folder = self._folder(trial, prefix, chance)
        for name, content in sorted(made.items()):
            self._put(trial, f"{prefix}-{name}", content)
        self._put(trial, links[0], text, also=links[1])
        folder.rename(trial.config.inbox / folder.name)

    def _dicom(self, prefix: str, chance: random.Random, name: str, **attributes: str) -> bytes:
        path = self._write_dicom(self._outside / f"{prefix}-{name}", self._stored(chance), **attributes)
        content = path.read_bytes()
        path.unlink()
        return content

    def _folder(self, trial: Any, prefix: str, chance: random.Random) -> Path:
        """A folder in a folder, with two PNGs and their study.toml."""
        folder = self._outside / f"{prefix}-i"
        (folder / "in").mkdir(parents=True)
        for number in (1, 2):
            path = folder / "in" / f"{number}.png"
            Image.fromarray((self._stored(chance) // 16).astype(np.uint8)).save(path)
            self._expect(trial, f"{folder.name}/in/{path.name}", path.read_bytes(), ("analysed", "read"))
        (folder / "in" / "study.toml").write_text(f'patient_id = "{prefix}"\n')
        return folder

    @staticmethod
    def _expect(trial: Any, name: str, content: bytes, end: tuple[str, str]) -> None:
        trial.expected[name] = end
        trial.digest_of[name] = hashlib.sha256(content).hexdigest()

    def _put(self, trial: Any, name: str, content: bytes, also: str = "") -> None:
        path = self._outside / name
        path.write_bytes(content)
        if also:
            os.link(path, self._outside / also)
        path.rename(trial.config.inbox / name)
        if also:  # after it, since the daemon may look between the two, and what comes first is no duplicate
            (self._outside / also).rename(trial.config.inbox / also)
