"""A client for Engram: exactly-once streams of observations, recalls from any node.

    import engram

    with engram.connect(["127.0.0.1:7600"]) as client:
        notes = client.space("notes", dim=4)
        notes.observe("the kettle is on", [0.1, 0.9, 0.0, 0.0], metadata={"place": "kitchen"})
        for hit in notes.recall([0.1, 0.8, 0.0, 0.0], k=3):
            print(hit.score, hit.text)

`engram.aio` has the same for asyncio.
"""

from . import aio
from ._rows import Columns, columns
from ._sync import Client, Space, Watcher, connect
from .consistency import AtLeast, Bounded, Consistency, ReadToken
from .errors import EngramError, ErrorKind, InvalidArgument, ReadError, Refused, Unknown
from .filters import Filter, field, time_range
from .options import ObserveOptions, Timing
from .results import (
    Ack,
    Answer,
    Change,
    Counted,
    Forgotten,
    Hit,
    Listing,
    RefusedRow,
    Row,
    Snapshot,
    Summary,
)
from .status import Member, SpaceInfo, Status
from .values import Observation

__all__ = [
    "Ack",
    "Answer",
    "AtLeast",
    "Bounded",
    "Change",
    "Client",
    "Columns",
    "Consistency",
    "Counted",
    "EngramError",
    "ErrorKind",
    "Filter",
    "Forgotten",
    "Hit",
    "InvalidArgument",
    "Listing",
    "Member",
    "ObserveOptions",
    "Observation",
    "ReadError",
    "ReadToken",
    "Refused",
    "RefusedRow",
    "Row",
    "Snapshot",
    "Space",
    "SpaceInfo",
    "Status",
    "Summary",
    "Timing",
    "Unknown",
    "Watcher",
    "aio",
    "columns",
    "connect",
    "field",
    "time_range",
]
