"""Streams a thousand observations into a space, each exactly once, and tells what became of them:

python examples/observe.py 127.0.0.1:7600 127.0.0.1:7601
"""

import sys

import engram
import numpy as np


def main() -> None:
    endpoints = sys.argv[1:] or ["127.0.0.1:7600"]
    with engram.connect(endpoints) as client:
        # Made if there is none; if there is one, it must have this dim.
        space = client.space("example", dim=4)

        # One by one: the answer comes once the row is durable on a quorum.
        ack = space.observe("the kettle is on", [0.1, 0.9, 0.3, 0.2], metadata={"place": "kitchen"}, id="kettle")
        print(f"observed as number {ack.sequence} of the session, at log index {ack.log_index}")

        # Many: columns, a pandas frame, or any iterable. An array is checked whole before a row is sent.
        angles = np.arange(1000) / 100
        embeddings = np.stack([np.cos(angles), np.sin(angles), np.cos(2 * angles), np.sin(2 * angles)], axis=1)
        rows = engram.columns([f"memory {number}" for number in range(1000)], embeddings)
        try:
            summary = space.observe_many(rows)
        except engram.InvalidArgument as error:
            sys.exit(f"nothing was sent: {error}")
        except engram.Refused as error:
            refused = error.summary.refused if error.summary else ()
            sys.exit(f"{len(refused)} rows surely are not in, the others are: {error}")
        except engram.Unknown as error:
            unknown = error.summary.unknown if error.summary else ()
            sys.exit(f"of {len(unknown)} rows nobody knows: look before they are sent again: {error}")
        print(f"{summary.acked} of {summary.rows} acked, over {summary.resumes} resumed connections")
        print(f"readable from log index {summary.token.log_index} on")


if __name__ == "__main__":
    main()
