"""Drop all hostile files on the real program, and print what became of them: `python tests/hostile/report.py`.

Prints how many ended with each outcome and reason, the rows whose end the table does not allow, how long it took, and
the most memory that the program and one of its children had resident. Exit status 1 where a row ended as it must not.
"""

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Self

import psutil
from corpus import TABLE
from seeds import native
from sqlalchemy import select

from agcnn_clinic.cli.clinic import make_clinic
from agcnn_clinic.config import Config
from agcnn_clinic.database.session import open_database
from agcnn_clinic.database.tables import ReceivedFile
from agcnn_clinic.domain import ReasonCode

PROGRAM = [str(Path(sys.executable).with_name("agcnn-clinic"))]
BETWEEN_LOOKS = 0.25


class Memory:
    """The most that a process and each process below it had resident, looked at four times a second."""

    def __init__(self, process: psutil.Process) -> None:
        self.program = self.child = 0
        self._process = process
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._done.wait(BETWEEN_LOOKS):
            try:
                self.program = max(self.program, self._process.memory_info().rss)
                for child in self._process.children(recursive=True):
                    self.child = max(self.child, child.memory_info().rss)
            except psutil.Error:
                continue


def process(config: Config, folder: Path) -> tuple[int, float, Memory, str]:
    """Run `process` over a folder: exit status, seconds, memory, and what it said on standard error."""
    began = time.perf_counter()
    command = [*PROGRAM, "--config", str(config.root / "config.toml"), "process", str(folder)]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program,
        Memory(psutil.Process(program.pid)) as memory,
    ):
        _, errors = program.communicate()
    return program.returncode, time.perf_counter() - began, memory, errors


def main() -> int:
    """Make the files, run the program, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only each Nth file")
    table = TABLE[:: parser.parse_args().every]
    with tempfile.TemporaryDirectory(prefix="hostile-") as place:
        folder = Path(place) / "drop"
        folder.mkdir()
        for number, row in enumerate(table):
            (folder / f"{number:04}").write_bytes(row.make())
        (folder / "good").write_bytes(native("a good film"))
        config = make_clinic(Path(place) / "clinic")
        status, seconds, memory, errors = process(config, folder)
        with open_database(config.database_url) as database, database.session() as session:
            ended = {file.original_name: file for file in session.scalars(select(ReceivedFile))}
    counts = Counter((file.outcome, file.reason_code) for name, file in ended.items() if name != "good")
    wrong = [
        f"{row.name}: {ended[f'{number:04}'].reason}"
        for number, row in enumerate(table)
        if ended[f"{number:04}"].reason_code not in {*row.ends_as, ReasonCode.SAME_BYTES}
    ]
    lines = [f"{outcome:12} {code:20} {count:5}" for (outcome, code), count in sorted(counts.items())]
    lines += [
        f"{'together':33} {sum(counts.values()):5}",
        f"a good film among them: {ended['good'].reason_code}; exit status {status}; {seconds:.0f} s",
        f"most memory resident: program {memory.program >> 20} MB, a child {memory.child >> 20} MB",
        *(["the program said:", errors] if errors else []),
        *(f"WRONG {line}" for line in wrong),
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
