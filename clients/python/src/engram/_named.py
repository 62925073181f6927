"""Rows that are named: for a get, or to be forgotten."""

from __future__ import annotations

from collections.abc import Sequence

from . import limits
from .errors import InvalidArgument
from .filters import Where, where_to_wire
from .v1 import rows_pb2


def check_named(rows: Sequence[int], ids: Sequence[str]) -> None:
    """Some, not too many, no number beyond what a space can hold, no name that is none. Errors: `InvalidArgument`."""
    count = len(rows) + len(ids)
    if not 1 <= count <= limits.ROWS_NAMED_MAX:
        raise InvalidArgument(f"{count} rows are named; name 1 to {limits.ROWS_NAMED_MAX}")
    for row in rows:
        if not 0 <= row < 2**32:
            raise InvalidArgument(f"row {row} is beyond what a space can hold")
    for name in ids:
        if not name or len(name.encode()) > limits.ID_BYTES_MAX:
            raise InvalidArgument(f"an id has {len(name.encode())} bytes; 1 to {limits.ID_BYTES_MAX}")


def forget_request(
    space: str,
    rows: Sequence[int] | None,
    ids: Sequence[str] | None,
    where: Where | None,
    older_than_ms: int | None,
    erase: bool,
) -> rows_pb2.ForgetRequest:
    """Errors: `InvalidArgument`."""
    given = [which for which in (rows, ids, where, older_than_ms) if which is not None]
    if len(given) != 1:
        raise InvalidArgument("forget what? give one of rows, ids, where and older_than_ms")
    request = rows_pb2.ForgetRequest(space=space, erase=erase)
    if rows is not None:
        check_named(rows, [])
        request.rows.rows.extend(rows)
    elif ids is not None:
        check_named([], ids)
        request.ids.ids.extend(ids)
    elif older_than_ms is not None:
        if not 0 <= older_than_ms < 2**64:
            raise InvalidArgument(f"older_than_ms is {older_than_ms}; give milliseconds of age")
        request.older_than_ms = older_than_ms
    else:
        message = where_to_wire(where)
        if message is not None:
            request.filter.CopyFrom(message)
    return request
