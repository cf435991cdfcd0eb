"""Standard output that cannot be written, or that nobody reads any more: for all commands, whoever of them prints.

typer, rich and our own writers each have an idea of their own of what an error of it means. It is met below them all,
where the bytes leave the process.
"""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from agcnn_clinic.errors import ClinicError


class OutputLostError(ClinicError):
    """What a command printed did not get where it was sent, such as a file on a full disk."""


class _StandardOutput(io.FileIO):
    """File descriptor 1.

    Attributes:
        is_dead: nothing that is written from now on gets anywhere; it is dropped.
        error: why, where something was lost that somebody wanted.
    """

    is_dead = False
    error: OutputLostError | None = None

    def write(self, data: Any) -> int:
        """Write bytes.

        A reader that has gone (`... | head -1`) ends no command: it has what it wanted, and the exit code still says
        how the work went.

        Raises:
            OutputLostError: they cannot be written, which is told once.
        """
        if not self.is_dead:
            try:
                return super().write(data)
            except BrokenPipeError:
                self.is_dead = True
            except OSError as error:
                self.is_dead = True
                self.error = OutputLostError(f"Standard output cannot be written: {error.strerror}.")
                raise self.error from error
        return memoryview(data).nbytes


@contextmanager
def delivered() -> Iterator[None]:
    """What is printed meanwhile has left the process at the end, before it exits with a code that says so.

    Raises:
        OutputLostError: it cannot be written.
    """
    sys.stdout = _over(sys.stdout)
    try:
        yield
    except SystemExit:
        sys.stdout.flush()
        # typer tries a stream out with empty text, and heeds no error of that.
        if (raw := _ours()) is not None and raw.error is not None:
            raise raw.error from None
        raise
    except BaseException:
        # There is something worse to tell.
        with suppress(OutputLostError):
            sys.stdout.flush()
        raise


def is_dead() -> bool:
    """Whether nobody gets what is still to be printed: whoever prints row by row may stop."""
    raw = _ours()
    return raw is not None and raw.is_dead


def _ours() -> _StandardOutput | None:
    buffer = getattr(sys.stdout, "buffer", None)
    raw = getattr(buffer, "raw", buffer)
    return raw if isinstance(raw, _StandardOutput) else None


def _over(stream: Any) -> Any:
    """The same stream over our file descriptor, encoded and buffered as it was; a closed one (`>&-`) leads nowhere."""
    if stream is None:
        return Path(os.devnull).open("w", encoding="utf-8")
    raw = _StandardOutput(stream.fileno(), "w", closefd=False)
    return io.TextIOWrapper(
        raw if isinstance(stream.buffer, io.RawIOBase) else io.BufferedWriter(raw),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )
