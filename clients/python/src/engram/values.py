"""Observations and embeddings: from Python to the wire and back, and what is checked on the way.

The checks are those of the server's door, so that a wrong row is told before anything is sent.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Union

import numpy as np
import numpy.typing as npt

from . import limits
from .errors import InvalidArgument
from .v1 import spaces_pb2, types_pb2

Value = Union[str, int, float, bool]
"""What metadata may hold. Integers have 64 bits; reals are finite."""
Time = Union[int, datetime.datetime]
"""Milliseconds since the Unix epoch, or an aware datetime, which is cut to the millisecond."""
Vector = Union[Sequence[float], "npt.NDArray[Any]"]
Floats = npt.NDArray[np.float32]

# What rounds to infinity, and to zero, as a half float (to nearest, ties to even).
_HALF_INFINITE = 65520.0
_HALF_ZERO = 2.0**-25
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
_MILLISECOND = datetime.timedelta(milliseconds=1)


@dataclass(frozen=True)
class Observation:
    """What is to be remembered."""

    text: str
    embedding: Vector
    time_ms: Time = 0
    """The client's own time; kept as data, decides nothing."""
    metadata: Mapping[str, Value] = field(default_factory=dict)
    id: str = ""
    """The client's own name for it; a name replaces the row that had it before. Empty: none."""


@dataclass(frozen=True)
class Shape:
    """What a space demands of its embeddings."""

    dim: int
    half: bool
    """Stored as half floats."""
    directed: bool
    """The metric is cosine: all zeros have no direction."""

    @staticmethod
    def of(config: spaces_pb2.SpaceConfig) -> Shape:
        half = config.precision != spaces_pb2.PRECISION_F32
        return Shape(config.dim, half, config.metric not in (spaces_pb2.METRIC_DOT, spaces_pb2.METRIC_L2))


def check_vectors(vectors: Vector, shape: Shape, what: str, first_row: int = 0) -> Floats:
    """`[f32; dim]`, or rows of it, the first of which has this number: right length, finite, a direction where the
    metric needs one."""
    try:
        with np.errstate(over="ignore"):
            array = np.ascontiguousarray(vectors, dtype="<f4")
    except (TypeError, ValueError) as error:
        raise InvalidArgument(f"{what} is no array of numbers: {error}") from None
    if array.ndim not in (1, 2) or array.shape[-1] != shape.dim:
        raise InvalidArgument(f"{what} has shape {array.shape}; the space has {shape.dim} dimensions")
    # The largest component of each row tells all: a NaN is the largest, and compares with nothing.
    peaks = np.abs(array.reshape(-1, shape.dim)).max(axis=1)
    too_large, too_small = (_HALF_INFINITE, _HALF_ZERO) if shape.half else (np.inf, 0.0)
    good = peaks < too_large
    if shape.directed:
        good &= peaks > too_small
    if not good.all():
        row = int(np.argmin(good))
        place = what if array.ndim == 1 else f"row {first_row + row}: {what}"
        raise _fault_of_vector(array.reshape(-1, shape.dim)[row], place)
    return array


def _fault_of_vector(vector: Floats, place: str) -> InvalidArgument:
    infinite = np.flatnonzero(~np.isfinite(vector))
    if len(infinite) > 0:
        return InvalidArgument(f"{place}[{infinite[0]}] is {vector[infinite[0]]}; send finite numbers")
    at = int(np.argmax(np.abs(vector)))
    if abs(vector[at]) >= _HALF_INFINITE:
        return InvalidArgument(f"{place}[{at}] is {vector[at]}, over 65504, the largest half float; scale it, or use f32")
    return InvalidArgument(f"{place} is all zeros as stored, which has no direction; the space's metric is cosine")


def observation_to_wire(observation: Observation, shape: Shape, what: str = "observation") -> types_pb2.Observation:
    """Checks one observation and converts it. Errors: `InvalidArgument`."""
    embedding = check_vectors(observation.embedding, shape, f"{what}: embedding")
    if embedding.ndim != 1:
        raise InvalidArgument(f"{what}: embedding has shape {embedding.shape}; it is of one row")
    return pack(observation, embedding, what)


def pack(observation: Observation, embedding: Floats, what: str) -> types_pb2.Observation:
    """The rest of the checks, for an embedding that was checked before."""
    text, name = observation.text, observation.id
    if not isinstance(text, str) or not text.strip():
        raise InvalidArgument(f"{what}: text is empty; an observation needs a text")
    if len(_utf8(text, what)) > limits.TEXT_BYTES_MAX:
        raise InvalidArgument(f"{what}: text has over {limits.TEXT_BYTES_MAX} bytes; split it")
    if len(_utf8(name, what)) > limits.ID_BYTES_MAX:
        raise InvalidArgument(f"{what}: id has over {limits.ID_BYTES_MAX} bytes; shorten it")
    return types_pb2.Observation(
        text=text,
        embedding=embedding.tobytes(),
        time_ms=time_to_ms(observation.time_ms),
        metadata=_metadata_to_wire(observation.metadata, what),
        id=name,
    )


def _utf8(text: str, what: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise InvalidArgument(f"{what}: {error}; send valid Unicode") from None


def _metadata_to_wire(metadata: Mapping[str, Value], what: str) -> dict[str, types_pb2.Value]:
    if len(metadata) > limits.METADATA_ENTRIES_MAX:
        raise InvalidArgument(f"{what}: metadata has {len(metadata)} entries; at most {limits.METADATA_ENTRIES_MAX}")
    wire = {key: value_to_wire(key, value) for key, value in metadata.items()}
    size = 0
    for key, value in metadata.items():
        size += len(_utf8(key, what)) + (len(_utf8(value, what)) if isinstance(value, str) else 8)
    if size > limits.METADATA_BYTES_MAX:
        raise InvalidArgument(f"{what}: metadata has {size} bytes; at most {limits.METADATA_BYTES_MAX}")
    return wire


def value_to_wire(key: str, value: Value) -> types_pb2.Value:
    """One value of metadata; numpy's scalars are taken too. Errors: `InvalidArgument`."""
    if not isinstance(key, str):
        raise InvalidArgument(f"a key of metadata is {key!r}; keys are texts")
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool):
        return types_pb2.Value(boolean=value)
    if isinstance(value, int):
        if not -(2**63) <= value < 2**63:
            raise InvalidArgument(f"the value of {key!r} is {value}; integers have 64 bits")
        return types_pb2.Value(integer=value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InvalidArgument(f"the value of {key!r} is {value}; send a finite number")
        return types_pb2.Value(real=value)
    if isinstance(value, str):
        return types_pb2.Value(text=value)
    raise InvalidArgument(f"the value of {key!r} is a {type(value).__name__}; use a text, a number or a boolean")


def value_from_wire(value: types_pb2.Value) -> Value | None:
    """`None` for a kind that is not known to this version."""
    which = value.WhichOneof("kind")
    return None if which is None else getattr(value, which)


def metadata_from_wire(metadata: Mapping[str, types_pb2.Value]) -> dict[str, Value]:
    values = {key: value_from_wire(value) for key, value in metadata.items()}
    return {key: value for key, value in values.items() if value is not None}


def time_to_ms(time: Time) -> int:
    """Errors: `InvalidArgument` for a datetime without a zone, or a time outside 64 bits."""
    if isinstance(time, datetime.datetime):
        if time.tzinfo is None:
            raise InvalidArgument(f"time {time} has no zone; use an aware datetime, or milliseconds since 1970")
        return (time - _EPOCH) // _MILLISECOND
    if isinstance(time, np.generic):
        time = time.item()
    if isinstance(time, bool) or not isinstance(time, int):
        raise InvalidArgument(f"time is a {type(time).__name__}; use whole milliseconds since 1970 or an aware datetime")
    if not -(2**63) <= time < 2**63:
        raise InvalidArgument(f"time is {time}; milliseconds have 64 bits")
    return time


def embedding_from_wire(embedding: bytes) -> Floats | None:
    return np.frombuffer(embedding, dtype="<f4") if embedding else None


def check_space_name(name: str) -> None:
    """1 to 128 bytes of letters, digits and `. _ - / :`."""
    if not name:
        raise InvalidArgument("the space has no name; name one")
    if len(_utf8(name, "the space's name")) > limits.SPACE_NAME_BYTES_MAX:
        raise InvalidArgument(f"the space's name has over {limits.SPACE_NAME_BYTES_MAX} bytes; shorten it")
    bad = next((letter for letter in name if not (letter.isalnum() or letter in "._-/:")), None)
    if bad is not None:
        raise InvalidArgument(f"the space's name has {bad!r}; use letters, digits and . _ - / :")
