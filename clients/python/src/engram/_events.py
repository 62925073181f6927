"""News of a stream, as the parts of the package hear it.

A *ticket* is the client's own count of what was pushed, from 1; a *sequence* is the number in the session. They part
when a row is refused: it keeps its ticket and uses up no sequence.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Union

from .errors import Failure


@dataclass
class Acked:
    """These rows are in the log; as many tickets as sequences."""

    first_ticket: int
    last_ticket: int
    first_sequence: int
    last_sequence: int
    log_index: int
    """For a repeat told by a resume an upper bound; 0: not known, or not committed yet."""
    repeat: bool
    settled: bool
    """At the stage asked for: nothing more comes of them."""
    stage: int


@dataclass
class RowRefused:
    """This row was not taken, and never will be; the rows after it move up to its number."""

    ticket: int
    sequence: int
    failure: Failure


@dataclass
class Lost:
    """Only with the stage "received": acked as received, and then lost with their node. The numbers are used again."""

    first_sequence: int
    last_sequence: int


@dataclass
class Resumed:
    """The connection broke, and the session goes on."""

    address: str
    last_sequence: int


@dataclass
class Stopped:
    """The end of the stream; nothing follows. Tickets in doubt, and tickets that were surely not taken."""

    failure: Failure
    unknown: range
    unsent: range


Event = Union[Acked, RowRefused, Lost, Resumed, Stopped]
