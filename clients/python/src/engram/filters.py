"""Which rows are meant, by their own time and metadata.

A mapping means that every key has the value, or one of the values of a list: `{"topic": "fish", "year": [2025, 2026]}`.
`field` and `time_range` say more, and combine with `&`, `|` and `~`. A key that a row does not have matches nothing but
a `~`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Union

from . import limits
from .errors import InvalidArgument
from .v1 import types_pb2
from .values import Value, time_to_ms, value_to_wire, Time

Where = Union["Filter", Mapping[str, Union[Value, Sequence[Value]]]]
"""What a `where=` takes."""


@dataclass(frozen=True)
class Filter:
    """A condition; made by `field` and `time_range`."""

    message: types_pb2.Filter

    def __and__(self, other: Filter) -> Filter:
        return Filter(types_pb2.Filter(all=types_pb2.FilterList(filters=[self.message, other.message])))

    def __or__(self, other: Filter) -> Filter:
        return Filter(types_pb2.Filter(any=types_pb2.FilterList(filters=[self.message, other.message])))

    def __invert__(self) -> Filter:
        message = types_pb2.Filter()
        getattr(message, "not").CopyFrom(self.message)
        return Filter(message)


@dataclass(frozen=True)
class Field:
    """A key of the metadata."""

    key: str

    def one_of(self, *values: Value) -> Filter:
        """Its value is among these. Integers and reals are compared as numbers, other kinds are never equal."""
        wire = [value_to_wire(self.key, value) for value in values]
        return Filter(types_pb2.Filter(one_of=types_pb2.FieldValues(key=self.key, values=wire)))

    def range(
        self,
        *,
        at_least: Value | None = None,
        greater_than: Value | None = None,
        at_most: Value | None = None,
        less_than: Value | None = None,
    ) -> Filter:
        """Its value is within these bounds: texts by their bytes, numbers as numbers."""
        bounds = {"at_least": at_least, "greater_than": greater_than, "at_most": at_most, "less_than": less_than}
        given = {name: value_to_wire(self.key, bound) for name, bound in bounds.items() if bound is not None}
        if not given:
            raise InvalidArgument(f"the range of {self.key!r} has no bound; give one")
        return Filter(types_pb2.Filter(range=types_pb2.FieldRange(key=self.key, **given)))

    def exists(self) -> Filter:
        """The row has this key."""
        return Filter(types_pb2.Filter(exists=self.key))


def field(key: str) -> Field:
    """A key of the metadata, to make a condition of."""
    return Field(key)


def time_range(from_time: Time | None = None, until: Time | None = None) -> Filter:
    """By the observation's own time, `until` not itself in the range; milliseconds since 1970 or aware datetimes."""
    if from_time is None and until is None:
        raise InvalidArgument("the time range has no bound; give from_time or until")
    message = types_pb2.TimeRange()
    if from_time is not None:
        message.from_ms = time_to_ms(from_time)
    if until is not None:
        message.until_ms = time_to_ms(until)
    return Filter(types_pb2.Filter(time=message))


def where_to_wire(where: Where | None) -> types_pb2.Filter | None:
    """The filter of a request. Errors: `InvalidArgument`, for one that is nested too deep or too large as well."""
    if where is None:
        return None
    if isinstance(where, Filter):
        message = where.message
    elif isinstance(where, Mapping):
        message = types_pb2.Filter(all=types_pb2.FilterList(filters=[_equal(key, where[key]) for key in where]))
    else:
        raise InvalidArgument(f"where is a {type(where).__name__}; give a mapping, or a filter made by field()")
    parts = _parts(message, 1)
    if parts > limits.FILTER_PARTS_MAX:
        raise InvalidArgument(f"the filter has {parts} parts and values; at most {limits.FILTER_PARTS_MAX}; split it")
    return message


def _equal(key: str, value: Value | Sequence[Value]) -> types_pb2.Filter:
    values = [value] if isinstance(value, (str, bytes)) or not isinstance(value, Sequence) else value
    return Field(key).one_of(*values).message


def _parts(message: types_pb2.Filter, depth: int) -> int:
    if depth > limits.FILTER_DEPTH_MAX:
        raise InvalidArgument(f"the filter is nested deeper than {limits.FILTER_DEPTH_MAX}; flatten it")
    which = message.WhichOneof("kind")
    if which in ("all", "any"):
        inner = message.all if which == "all" else message.any
        return 1 + sum(_parts(each, depth + 1) for each in inner.filters)
    if which == "not":
        return 1 + _parts(getattr(message, "not"), depth + 1)
    key = {"one_of": message.one_of.key, "range": message.range.key, "exists": message.exists}.get(which or "", "")
    if which != "time" and not key:
        raise InvalidArgument("a filter's key is empty; name a key of the metadata")
    return 1 + (len(message.one_of.values) if which == "one_of" else 0)
