"""Waking tasks of one event loop: who waits hears the next ring."""

from __future__ import annotations

import asyncio


class Bell:
    """A look and the wait after it are not torn apart: there is no other task in between."""

    def __init__(self) -> None:
        self._waiting: set[asyncio.Future[None]] = set()

    def ring(self) -> None:
        waiting, self._waiting = self._waiting, set()
        for future in waiting:
            if not future.done():
                future.set_result(None)

    async def wait(self, limit_s: float | None = None) -> None:
        """Until the next ring, or at most so many seconds."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(future)
        try:
            await asyncio.wait([future], timeout=limit_s)
        finally:
            self._waiting.discard(future)
