"""An agent's memory with asyncio: it remembers what is said, recalls what fits, forgets what it is told to forget:

python examples/agent_memory.py 127.0.0.1:7600

The embedding here is a toy of letter pairs, so that the example needs no model; put your own in its place.
"""

import asyncio
import datetime
import sys
import zlib

import engram.aio
import numpy as np
import numpy.typing as npt

DIM = 256


def embed(text: str) -> npt.NDArray[np.float32]:
    """How often each pair of letters is in the text."""
    vector = np.full(DIM, 1e-3, dtype=np.float32)
    for pair in zip(text.lower(), text.lower()[1:]):
        vector[zlib.crc32("".join(pair).encode()) % DIM] += 1
    return vector


async def main() -> None:
    async with engram.aio.connect(sys.argv[1:] or ["127.0.0.1:7600"]) as client:
        memory = await client.space("example-agent", dim=DIM)

        async def remember(text: str, speaker: str, name: str = "") -> None:
            now = datetime.datetime.now(datetime.timezone.utc)
            await memory.observe(text, embed(text), time_ms=now, metadata={"speaker": speaker}, id=name)

        # Concurrent observations share batches; each returns once its own row is durable.
        said = ["My sister lives in Lisbon", "I am allergic to peanuts", "Book me a flight on Friday", "My cat is Momo"]
        await asyncio.gather(*(remember(text, "user") for text in said))
        # A row with an id replaces the one that had it: a fact that changes.
        await remember("The user's favourite colour is green", "agent", name="colour")
        await remember("The user's favourite colour is blue", "agent", name="colour")

        for question in ("Where does my sister live?", "Can I eat peanuts?", "What is my favourite colour?"):
            best = (await memory.recall(embed(question), k=1))[0]
            print(f"{question} -> {best.text}")

        only_user = await memory.recall(embed("favourite colour"), k=10, where={"speaker": "user"})
        print(f"said by the user: {len(only_user)}")
        forgotten = await memory.forget(where={"speaker": "user"}, erase=True)
        print(f"forgotten: {forgotten.rows}; left: {(await memory.count()).count}")


if __name__ == "__main__":
    asyncio.run(main())
