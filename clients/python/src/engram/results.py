"""What calls answer with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, overload

from .consistency import ReadToken
from .errors import EngramError
from .v1 import memory_pb2, rows_pb2, types_pb2
from .values import Floats, Value, embedding_from_wire, metadata_from_wire

if TYPE_CHECKING:
    import pandas

T = TypeVar("T")


@dataclass(frozen=True)
class Ack:
    """A row that is in the log."""

    sequence: int
    """Its number in the session."""
    log_index: int
    """Where in the log. 0: not known, or, with the stage "received", not committed yet."""
    repeat: bool
    """It was committed before this connection sent it, or before the client was told so."""


@dataclass(frozen=True)
class RefusedRow:
    """A row that was not taken, and never will be."""

    index: int
    """Its place in what was given to `observe_many`, from 0."""
    error: EngramError


@dataclass(frozen=True)
class Summary:
    """What became of the rows of one `observe_many`. Rows that are in none of these counts were never sent."""

    rows: int
    """Rows that were taken into the window."""
    acked: int
    """Of these, acked at the stage asked for."""
    lost: int
    """Rows of this stream that were acked as received and then lost with their node; only with the stage "received"."""
    refused: tuple[RefusedRow, ...]
    """Of these, surely not taken."""
    unknown: tuple[int, ...]
    """Places, from 0, of rows whose outcome is not known; empty unless `Unknown` was raised."""
    unsent: tuple[int, ...]
    """Places of rows that were taken into the window and surely not into the log, as the stream ended before."""
    resumes: int
    """Times that the session was resumed meanwhile."""
    token: ReadToken
    """What a read must reach to see all that was acked."""


@dataclass(frozen=True)
class Snapshot:
    """The one snapshot that an answer was computed on."""

    node: int
    incarnation: int
    applied_index: int
    rows: int
    """Rows of the space at that index, forgotten ones included."""
    forgotten: int
    epoch: int
    epoch_rows: int
    graph_digest: int
    tail_scanned: int
    """Rows scanned outside the graph."""
    read_index: int | None
    """Linearizable reads: the read index that was confirmed."""
    staleness_ms: int | None
    """Every write acked earlier than this before the answer is in it; None: the node has no such proof."""

    @staticmethod
    def of(message: types_pb2.Snapshot) -> Snapshot:
        return Snapshot(
            node=message.node,
            incarnation=message.incarnation,
            applied_index=message.applied_index,
            rows=message.rows,
            forgotten=message.forgotten,
            epoch=message.epoch,
            epoch_rows=message.epoch_rows,
            graph_digest=message.graph_digest,
            tail_scanned=message.tail_scanned,
            read_index=message.read_index if message.HasField("read_index") else None,
            staleness_ms=message.staleness_ms if message.HasField("staleness_ms") else None,
        )

    @property
    def token(self) -> ReadToken:
        return ReadToken(self.applied_index, self.incarnation)


@dataclass(frozen=True)
class Hit:
    """A memory near the cue."""

    row: int
    log_index: int
    score: float
    """Cosine or dot product, or the negated squared distance for l2: higher is nearer."""
    text: str
    time_ms: int
    metadata: dict[str, Value]
    id: str
    embedding: Floats | None

    @staticmethod
    def of(message: memory_pb2.Hit) -> Hit:
        metadata, embedding = metadata_from_wire(message.metadata), embedding_from_wire(message.embedding)
        return Hit(
            message.row, message.log_index, message.score, message.text, message.time_ms, metadata, message.id, embedding
        )


@dataclass(frozen=True)
class Row:
    """An observation in a space."""

    row: int
    log_index: int
    session: int
    sequence: int
    text: str
    time_ms: int
    metadata: dict[str, Value]
    id: str
    embedding: Floats | None

    @staticmethod
    def of(message: rows_pb2.Row) -> Row:
        kept = message.observation
        return Row(
            row=message.row,
            log_index=message.log_index,
            session=message.session,
            sequence=message.sequence,
            text=kept.text,
            time_ms=kept.time_ms,
            metadata=metadata_from_wire(kept.metadata),
            id=kept.id,
            embedding=embedding_from_wire(kept.embedding),
        )


class _Rows(Sequence[T]):
    """An answer is a sequence of its rows."""

    def _all(self) -> tuple[T, ...]:
        raise NotImplementedError

    def __len__(self) -> int:
        return len(self._all())

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[T, ...]: ...
    def __getitem__(self, index: int | slice) -> T | tuple[T, ...]:
        return self._all()[index]


@dataclass(frozen=True)
class Answer(_Rows[Hit]):
    """The hits of a recall, best first, and their snapshot."""

    snapshot: Snapshot
    hits: tuple[Hit, ...]

    def _all(self) -> tuple[Hit, ...]:
        return self.hits

    def to_pandas(self) -> pandas.DataFrame:
        """One line a hit. Needs pandas."""
        return _frame(self.hits, ["row", "log_index", "score", "text", "time_ms", "metadata", "id", "embedding"])


@dataclass(frozen=True)
class Listing(_Rows[Row]):
    """Rows and their snapshot."""

    snapshot: Snapshot
    rows: tuple[Row, ...]

    def _all(self) -> tuple[Row, ...]:
        return self.rows

    def to_pandas(self) -> pandas.DataFrame:
        """One line a row; `observe_many` takes such a frame when it has embeddings. Needs pandas."""
        names = ["row", "log_index", "session", "sequence", "text", "time_ms", "metadata", "id", "embedding"]
        return _frame(self.rows, names)


def _frame(rows: Sequence[Any], names: list[str]) -> pandas.DataFrame:
    import pandas

    columns = {name: [getattr(row, name) for row in rows] for name in names}
    if all(embedding is None for embedding in columns["embedding"]):
        del columns["embedding"]
    frame: pandas.DataFrame = pandas.DataFrame(columns)
    return frame


@dataclass(frozen=True)
class Counted:
    """How many rows, and the snapshot."""

    count: int
    snapshot: Snapshot


@dataclass(frozen=True)
class Forgotten:
    """What a forget did."""

    rows: int
    """Rows that were there and are not any more."""
    log_index: int
    """From which on they are gone, and erased if that was asked for; 0: there was nothing to do."""
    floor: int
    """Where the space's past begins now, if this erased; else 0."""


@dataclass(frozen=True)
class Change:
    """What a watch gives."""

    rows: tuple[Row, ...]
    """In log order."""
    forgotten: tuple[int, ...]
    """Numbers of forgotten rows, in that order; after a break, some may come again."""
    log_index: int
    """All up to here has come: where to go on, in another process too. 0 while more of the same index is to come."""
