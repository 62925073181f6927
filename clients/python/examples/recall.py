"""Asks for the memories nearest to a cue, after the observe example has run; then follows what is new:

python examples/recall.py 127.0.0.1:7600 127.0.0.1:7601
"""

import sys

import engram


def main() -> None:
    endpoints = sys.argv[1:] or ["127.0.0.1:7600"]
    with engram.connect(endpoints) as client:
        space = client.space("example")
        cue = [1.0, 0.1, 0.9, 0.2]

        # Linearizable: whatever anybody was acked before now. Any node may answer.
        answer = space.recall(cue, k=5, consistency="linearizable")
        print(f"node {answer.snapshot.node} answers at log index {answer.snapshot.applied_index}:")
        for hit in answer:
            print(f"  {hit.score:.4f}  {hit.text}")

        # Each node by itself, never older than the answer above: the client carries the token.
        for endpoint in client.endpoints:
            same = client.on(endpoint).space("example").recall(cue, k=5)
            print(f"{endpoint}: {len(same)} hits at {same.snapshot.applied_index}")

        # With a condition; and as of a moment that has passed, where all nodes give one answer for ever.
        for hit in space.recall(cue, k=1, where={"place": "kitchen"}):
            print(f"in the kitchen: {hit.text}")
        then = answer.snapshot.applied_index
        with space.watch() as watcher:
            space.observe("something new", cue)
            for change in watcher:
                if change.rows:
                    print(f"committed at log index {change.rows[0].log_index}: {change.rows[0].text}")
                    break
        now, past = space.recall(cue, k=1), space.recall(cue, k=1, at_index=then)
        print(f"now: {now[0].text}; at log index {then}: {past[0].text}")


if __name__ == "__main__":
    main()
