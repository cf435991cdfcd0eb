"""What --output names: a file that appears whole or not at all, or what takes bytes as they come."""

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import typer

from agcnn_clinic.durable import led_to, taking_the_place_of
from agcnn_clinic.errors import StorageError

_GIVEN = (1, 2)
"""The descriptors of standard output and standard error."""


@contextmanager
def sink(output: Path | None) -> Iterator[BinaryIO]:
    """Standard output as bytes, or what a person named.

    Raises:
        StorageError: it cannot be written.
    """
    if output is None:
        sys.stdout.flush()
        stream = typer.get_binary_stream("stdout")
        yield stream
        stream.flush()
        return
    try:
        with _opened(output) as file:
            yield file
    except OSError as error:
        raise StorageError(f"{output} cannot be written: {error.strerror}.") from error


def _opened(output: Path) -> AbstractContextManager[BinaryIO]:
    """Where what is written gets to what a name leads to; what a link leads to counts, since /dev/stdout is one.

    A file is replaced by one that is whole. Not so what takes bytes as they come (a pipe, a terminal, /dev/null): a
    file could be no such thing in its place. Nor what this process was given as standard output or error: whoever
    opened it, as a shell does for `>> all.csv`, has more in it, or writes on.
    """
    try:
        there = output.stat()
    except FileNotFoundError:
        return taking_the_place_of(led_to(output))
    for descriptor in _GIVEN:
        with suppress(OSError):  # it was closed (`>&-`)
            if os.path.samestat(there, os.fstat(descriptor)):
                sys.stdout.flush()
                return _straight(os.dup(descriptor))
    if stat.S_ISREG(there.st_mode):
        return taking_the_place_of(led_to(output))
    return _straight(os.open(output, os.O_WRONLY))


@contextmanager
def _straight(descriptor: int) -> Iterator[BinaryIO]:
    # As with standard output, a reader that has gone has what it wanted.
    with suppress(BrokenPipeError), os.fdopen(descriptor, "wb") as stream:
        yield stream
