"""What `observe_many` takes: columns, a pandas frame, or any iterable of observations; as chunks for the wire."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Optional, Union

import numpy as np
import numpy.typing as npt

from .errors import InvalidArgument
from .v1 import types_pb2
from .values import Floats, Observation, Shape, Time, Value, check_vectors, observation_to_wire, pack

if TYPE_CHECKING:
    import pandas

# Rows converted in one go: the rest stays as it is until there is room for it.
CHUNK_ROWS = 256
Source = tuple[Iterator[list[types_pb2.Observation]], Optional[int]]
"""Chunks of rows, and how many rows there are, if that is known."""


@dataclass(frozen=True)
class Columns:
    """Rows as columns; made by `columns`."""

    texts: Sequence[str]
    embeddings: npt.NDArray[Any]
    time_ms: Time | Sequence[Time]
    metadata: Sequence[Mapping[str, Value]] | None
    ids: Sequence[str] | None

    def __len__(self) -> int:
        return len(self.texts)


def columns(
    texts: Sequence[str],
    embeddings: npt.NDArray[Any] | Sequence[Sequence[float]],
    *,
    time_ms: Time | Sequence[Time] = 0,
    metadata: Sequence[Mapping[str, Value]] | None = None,
    ids: Sequence[str] | None = None,
) -> Columns:
    """Rows as columns of one length: embeddings are `[rows, dim]`; one time is that of all rows.
    Errors: `InvalidArgument`."""
    try:
        array = np.asarray(embeddings)
    except ValueError as error:
        raise InvalidArgument(f"embeddings are no array: {error}") from None
    given = {"embeddings": array, "time_ms": time_ms, "metadata": metadata, "ids": ids}
    for name, column in given.items():
        if column is not None and hasattr(column, "__len__") and len(column) != len(texts):
            raise InvalidArgument(f"{name} has {len(column)} rows, texts {len(texts)}; give one for each row")
    return Columns(texts, array, time_ms, metadata, ids)


Rows = Union[Columns, "pandas.DataFrame", Iterable[Any]]
"""Columns, a frame, or an iterable of `Observation`, mappings with its fields, or `(text, embedding)`."""


def chunks(rows: Rows, shape: Shape) -> Source:
    """Columns and frames are checked whole, before this returns; other rows one by one, as their turn comes: the
    iterator then raises `InvalidArgument` after the rows before the wrong one."""
    if _is_frame(rows):
        rows = _columns_of_frame(rows)
    if isinstance(rows, Columns):
        return _chunks_of_columns(rows, shape), len(rows.texts)
    if isinstance(rows, (str, bytes)) or not isinstance(rows, Iterable):
        raise InvalidArgument(f"rows are a {type(rows).__name__}; give columns, a frame or an iterable of observations")
    count = len(rows) if isinstance(rows, Sized) else None
    return _chunks_of_any(iter(rows), shape), count


def _chunks_of_any(rows: Iterator[Any], shape: Shape) -> Iterator[list[types_pb2.Observation]]:
    at = 0
    while True:
        chunk: list[types_pb2.Observation] = []
        wrong: Exception | None = None
        try:
            for row in islice(rows, CHUNK_ROWS):
                chunk.append(to_wire(row, shape, f"row {at}"))
                at += 1
        except Exception as error:
            # The row's fault, or the source's own: the rows before it go first.
            wrong = error
        if chunk:
            yield chunk
        if wrong is not None:
            raise wrong
        if not chunk:
            return


async def chunks_of_stream(rows: AsyncIterable[Any], shape: Shape) -> AsyncIterator[list[types_pb2.Observation]]:
    """The same of rows that come by and by: each goes as soon as it has come."""
    at = 0
    async for row in rows:
        yield [to_wire(row, shape, f"row {at}")]
        at += 1


def to_wire(row: Any, shape: Shape, what: str) -> types_pb2.Observation:
    """One row, whatever it comes as."""
    if isinstance(row, Mapping):
        try:
            row = Observation(**row)
        except TypeError as error:
            raise InvalidArgument(f"{what}: {error}; use the fields of Observation") from None
    elif isinstance(row, tuple) and len(row) == 2:
        row = Observation(*row)
    if not isinstance(row, Observation):
        raise InvalidArgument(f"{what} is a {type(row).__name__}; use an Observation, a mapping or (text, embedding)")
    return observation_to_wire(row, shape, what)


def _chunks_of_columns(rows: Columns, shape: Shape) -> Iterator[list[types_pb2.Observation]]:
    if len(rows) > 0 and rows.embeddings.shape[1:] != (shape.dim,):
        raise InvalidArgument(f"embeddings have shape {rows.embeddings.shape}; the space has {shape.dim} dimensions")

    def convert(first: int, embeddings: Floats) -> list[types_pb2.Observation]:
        return [pack(_row_of(rows, at), vector, f"row {at}") for at, vector in enumerate(embeddings, first)]

    def each(take: Callable[[int, Floats], Any]) -> Iterator[Any]:
        for first in range(0, len(rows), CHUNK_ROWS):
            part = rows.embeddings[first : first + CHUNK_ROWS]
            yield take(first, check_vectors(part, shape, "embedding", first))

    # Once for the checks alone; the wire's form of all rows at once would not be bounded.
    for _ in each(convert):
        pass
    return each(convert)


def _row_of(rows: Columns, at: int) -> Observation:
    time: Any = rows.time_ms
    return Observation(
        text=rows.texts[at],
        embedding=(),
        time_ms=time[at] if hasattr(time, "__len__") else time,
        metadata=rows.metadata[at] if rows.metadata is not None else {},
        id=rows.ids[at] if rows.ids is not None else "",
    )


def _is_frame(rows: Any) -> bool:
    return hasattr(rows, "columns") and hasattr(rows, "iloc")


def _columns_of_frame(frame: Any) -> Columns:
    """Columns `text` and `embedding`, and of `time_ms`, `metadata` and `id` those that are there; others are left out."""
    missing = [name for name in ("text", "embedding") if name not in frame.columns]
    if missing:
        raise InvalidArgument(f"the frame has no column {missing[0]!r}; name the text 'text', its vector 'embedding'")

    def column(name: str) -> list[Any] | None:
        return list(frame[name]) if name in frame.columns else None

    try:
        embeddings = np.stack([np.asarray(vector) for vector in frame["embedding"]]) if len(frame) else np.empty((0, 0))
    except ValueError as error:
        raise InvalidArgument(f"column 'embedding': {error}; give each row a vector of one length") from None
    times = column("time_ms")
    if times is not None:
        times = [time.to_pydatetime() if hasattr(time, "to_pydatetime") else time for time in times]
    return columns(
        column("text") or [],
        embeddings,
        time_ms=times if times is not None else 0,
        metadata=column("metadata"),
        ids=column("id"),
    )
