"""An answer on its way from a child: values as JSON, arrays as raw bytes, rebuilt by the type that is expected.

A child that a file has taken over can send anything. Pickle would let it run code in the daemon; here it chooses
values and nothing else: which types they become is what the called function declares to return, every value is
checked against it, and what would break a database or a log (half a surrogate pair, an integer of 70 bits) is no value.
"""

import json
import math
import os
import socket
import struct
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import lru_cache
from multiprocessing.connection import Connection
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from agcnn_clinic.domain import REASONS, Outcome, ReasonCode
from agcnn_clinic.errors import ClinicError, ImageError, StorageError

MAX_HEAD_BYTES = 4 * 2**20
"""All of an answer but its arrays: a header has a few kilobytes."""
MAX_SENTENCE = 500
"""Characters of an error's text that are believed."""

Message = bytes | bytearray | memoryview
Bytes = NDArray[np.uint8]

_NAMES = {"np": np, "NDArray": NDArray}
"""What annotations may name that their module imports for type checkers only."""
_OF_ERRORS = (Outcome.REFUSED, Outcome.QUARANTINED)
"""What may become of a file by an error. By another code it would count as read, or as known, and nobody had looked."""
_TAKEN = b"t"
_LENGTH = struct.Struct(">Q")
_TIMEVAL = struct.Struct("ll")
"""Seconds and microseconds, as the C library has them."""
_SCALARS = frozenset({bool, int, float, str})
_ARRAY_KINDS = "biuf"
_SHAPE_LENGTH = 4


class NoAnswerError(Exception):
    """What came over the pipe is not what the called function declares to return."""


def packed(value: Any) -> list[Message]:
    """Return what a function returned as messages: JSON, which says how long the arrays after it are.

    Raises:
        TypeError, ValueError: it holds what cannot be sent.
    """
    arrays: list[Message] = []
    plain = _plain(value, arrays)
    return [_text({"value": plain, "arrays": [len(array) for array in arrays]}), *arrays]


def packed_error(error: ImageError | StorageError) -> list[Message]:
    """Return an error as messages, in place of a value's."""
    told = (error.code, error.detail) if isinstance(error, ImageError) else ("", str(error))
    return [_text({"error": told})]


def send(connection: Connection, messages: list[Message]) -> None:
    """Send an answer.

    Raises:
        OSError: the parent is gone.
    """
    for message in (_LENGTH.pack(len(messages[0])), *messages):
        rest = memoryview(message)
        while rest:
            rest = rest[os.write(connection.fileno(), rest) :]


def confirm(connection: Connection) -> None:
    """Say that a task has come: what ends a child before that is not the task.

    Raises:
        OSError: the parent is gone.
    """
    os.write(connection.fileno(), _TAKEN)


def hand_over(connection: Connection, task: Any, until: float) -> None:
    """Send a task, and wait until the child says that it has come.

    Raises:
        NoAnswerError: it says something else.
        TimeoutError: it does not take the task, or does not say so, in time.
        EOFError, OSError: it is gone, and never had the task.
    """
    with _as_socket(connection) as pipe:
        # A large one does not fit into the pipe, and waits for the child to read: one that was stopped never does.
        pipe.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _time_left(until))
        try:
            connection.send(task)
        except BlockingIOError as error:
            raise TimeoutError from error
        if _received(pipe, len(_TAKEN), until).tobytes() != _TAKEN:
            raise NoAnswerError("its answer is none")


def receive(connection: Connection, expected: Any, max_bytes: int, until: float) -> tuple[ClinicError | None, Any]:
    """Receive an answer: an error, or a value of the expected type.

    Args:
        connection: from the child.
        expected: what `declared_type` says of the function that was called.
        max_bytes: what the arrays may take together.
        until: how long to wait for all of it, on the monotonic clock.

    Raises:
        NoAnswerError: it is malformed, too large, or of another type.
        TimeoutError: it is not there in time.
        EOFError, OSError: the child is gone.
    """
    try:
        with _as_socket(connection) as pipe:
            (size,) = _LENGTH.unpack(_received(pipe, _LENGTH.size, until).data)
            head = json.loads(_received(pipe, _at_most(size, MAX_HEAD_BYTES), until).tobytes())
            if "error" in head:
                return _error(head["error"]), None
            sizes = [_counted(size) for size in head["arrays"]]
            _at_most(sum(sizes), max_bytes)
            arrays = iter([_received(pipe, size, until) for size in sizes])
        value = _rebuilt(expected, head["value"], arrays)
    except MemoryError as error:
        raise NoAnswerError("its answer is too large") from error
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise NoAnswerError("its answer is none") from error
    return None, value


def declared_type(function: Callable[..., Any]) -> Any:
    """Return the type that a function declares to return; Any for one of the interpreter's own, which declares none."""
    return function if isinstance(function, type) else _hints(function).get("return", Any)


@contextmanager
def _as_socket(connection: Connection) -> Iterator[socket.socket]:
    """The pipe as what it is, one of a pair of sockets; it stays the connection's, and takes no further descriptor."""
    pipe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, fileno=connection.fileno())
    try:
        yield pipe
    finally:
        pipe.detach()


def _received(pipe: socket.socket, size: int, until: float) -> Bytes:
    """Receive so many bytes; room is made for no more.

    A film comes in some forty pieces. The kernel puts them together, unless the time is over or a signal comes: each
    return to Python would wait for its lock.
    """
    data: Bytes = np.empty(size, np.uint8)
    rest = data.data
    while rest:
        pipe.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _time_left(until))
        try:
            count = pipe.recv_into(rest, flags=socket.MSG_WAITALL)
        except BlockingIOError:
            continue
        if not count:
            raise EOFError
        rest = rest[count:]
    return data


def _time_left(until: float) -> bytes:
    """How long it is until then, as the kernel takes it.

    Raises:
        TimeoutError: it is over.
    """
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return _TIMEVAL.pack(int(left), int(left % 1 * 1e6) or 1)


def _at_most(size: int, limit: int) -> int:
    if size > limit:
        raise NoAnswerError("its answer is too large")
    return size


def _counted(count: Any) -> int:
    if type(count) is not int or count < 0:
        raise NoAnswerError("its answer is none")
    return count


def _text(plain: Any) -> bytes:
    return json.dumps(plain, allow_nan=False).encode()


def _error(told: Any) -> ClinicError:
    code, text = told
    sentence = "".join(char for char in text[:MAX_SENTENCE] if char.isprintable())
    if not code:
        return StorageError(sentence)
    if REASONS[ReasonCode(code)].outcome not in _OF_ERRORS:
        raise ValueError("the code of what is no error")
    return ImageError(ReasonCode(code), sentence)


def _plain(value: Any, arrays: list[Message]) -> Any:  # noqa: C901, PLR0911 (a table of types)
    """Return a value as what JSON knows; arrays and bytes go to `arrays`, in order."""
    match value:
        case Enum():
            return value.value
        case None | bool() | int() | float() | str():
            return value
        case Path():
            return str(value)
        case BaseModel():
            return value.model_dump(mode="json")
        case bytes() | bytearray():
            arrays.append(value)
            return len(value)
        case np.ndarray():
            arrays.append(np.ascontiguousarray(value).reshape(-1).view(np.uint8).data)
            return list(value.shape)
        case list() | tuple():
            return [_plain(one, arrays) for one in value]
        case Mapping():
            if not all(isinstance(key, str) for key in value):
                raise TypeError("a key that is no text cannot be sent")
            return {key: _plain(one, arrays) for key, one in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name), arrays) for field in fields(value)}
    raise TypeError(f"a {type(value).__name__} cannot be sent")


def _rebuilt(expected: Any, plain: Any, arrays: Iterator[Bytes]) -> Any:  # noqa: C901, PLR0911 (a table of types)
    """Return the value of the expected type that `_plain` made this of."""
    if expected in _SCALARS:  # nearly all values, so these are told first
        return _scalar(expected, plain)
    expected = _unaliased(expected)
    origin, args = get_origin(expected), get_args(expected)
    if expected is Any:
        return _anything(plain)
    if origin in (Union, UnionType):
        return _one_of(args, plain, arrays)
    if origin is np.ndarray:
        return _array(plain, np.dtype(get_args(args[1])[0]), _next(arrays))
    if origin in (list, tuple):
        return _sequence(origin, args, plain, arrays)
    if origin is dict:
        return {_scalar(str, key): _rebuilt(args[1], one, arrays) for key, one in _as(dict, plain).items()}
    if expected in (bytes, bytearray):
        return expected(_next(arrays).data)
    if isinstance(expected, type) and is_dataclass(expected):
        types = _hints(expected)
        values = _as(dict, plain)
        names = [field.name for field in fields(expected)]
        if set(values) != set(names):
            raise TypeError("other fields")
        return expected(**{name: _rebuilt(types[name], values[name], arrays) for name in names})
    if isinstance(expected, type) and issubclass(expected, BaseModel):
        return expected.model_validate_json(_text(_as(dict, plain)))  # its own validators speak again
    if isinstance(expected, type) and issubclass(expected, Enum | Path):
        return expected(_scalar(str, plain))
    return _scalar(expected, plain)


def _unaliased(expected: Any) -> Any:
    """Return the type that an alias of Python 3.12 stands for, such as NumPy's NDArray is from 2.5 on; else itself."""
    while (value := getattr(get_origin(expected) or expected, "__value__", None)) is not None:
        expected = value[get_args(expected)] if get_args(expected) else value
    return expected


def _scalar(expected: Any, plain: Any) -> Any:
    if expected in (None, NoneType) and plain is None:
        return None
    if expected is float and type(plain) is int:
        plain = float(plain)
    if expected not in _SCALARS or type(plain) is not expected:
        raise TypeError("another type")
    if expected is str:
        plain.encode()  # fails on half a surrogate pair
    elif (expected is float and not math.isfinite(plain)) or (expected is int and not -(2**63) <= plain < 2**63):
        raise ValueError("no number that can be kept")
    return plain


def _anything(plain: Any) -> Any:
    """Return plain values without a declared type; sequences become tuples."""
    if isinstance(plain, list):
        return tuple(map(_anything, plain))
    if isinstance(plain, dict):
        return {_scalar(str, key): _anything(one) for key, one in plain.items()}
    return _scalar(type(plain), plain)


def _one_of(members: Sequence[Any], plain: Any, arrays: Iterator[Bytes]) -> Any:
    if plain is None:
        return _scalar(next(member for member in members if member is NoneType), None)
    for member in members:
        try:
            return _rebuilt(member, plain, arrays)
        except (TypeError, ValueError):
            continue
    raise TypeError("none of the types")


def _sequence(origin: type, types: Sequence[Any], plain: Any, arrays: Iterator[Bytes]) -> Any:
    values = _as(list, plain)
    if origin is list or types[1:] == (Ellipsis,):
        return origin(_rebuilt(types[0], one, arrays) for one in values)
    return tuple(_rebuilt(kind, one, arrays) for kind, one in zip(types, values, strict=True))


def _array(shape: Any, dtype: np.dtype[Any], data: Bytes) -> NDArray[Any]:
    sides = [_counted(side) for side in _as(list, shape)]
    if dtype.kind not in _ARRAY_KINDS or len(sides) > _SHAPE_LENGTH or math.prod(sides) * dtype.itemsize != len(data):
        raise TypeError("another array")
    return data.view(dtype).reshape(sides)


def _next(arrays: Iterator[Bytes]) -> Bytes:
    found = next(arrays, None)
    if found is None:
        raise ValueError("fewer arrays than values")
    return found


def _as(kind: type, plain: Any) -> Any:
    if type(plain) is not kind:
        raise TypeError("another type")
    return plain


@lru_cache(maxsize=256)
def _hints(of: Any) -> dict[str, Any]:
    try:
        return get_type_hints(of, localns=_NAMES)
    except (NameError, TypeError):  # a function of the interpreter's own has none that can be read
        return {}
