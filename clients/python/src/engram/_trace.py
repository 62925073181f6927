"""W3C's `traceparent`: to which trace a call belongs, and under which span of it."""

from __future__ import annotations

import re

from .errors import InvalidArgument

TRACEPARENT = "traceparent"
# Version 0 has no further part, later ones may have some; 255 is none. Ids are not zero.
_SHAPE = re.compile(
    r"(?!ff)(?P<version>[0-9a-f]{2})-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?P<more>-[!-~]*)?"
)


def check_traceparent(traceparent: str) -> str:
    """Errors: `InvalidArgument`."""
    match = _SHAPE.fullmatch(traceparent) if isinstance(traceparent, str) else None
    if match is None or (match["version"] == "00" and match["more"] is not None):
        text = f"traceparent {traceparent!r}: write 00-<32 hex digits>-<16 hex digits>-01"
        raise InvalidArgument(text)
    return traceparent
