"""Cuts the demo's data out of wordnet-minilm384: python3 cut.py PATH/TO/wordnet-minilm384. Needs numpy alone.

The first rows of base and of query, as they are: no row is chosen by hand.
"""

import pathlib
import shutil
import sys

import numpy

ROWS, CUES = 10_000, 200


def cut(source: pathlib.Path, target: pathlib.Path, name: str, count: int) -> None:
    vectors = numpy.load(source / f"{name}.f16.npy", mmap_mode="r")[:count]
    texts = (source / f"{name}.txt").read_text(encoding="utf-8").split("\n")[:count]
    assert vectors.shape == (count, 384) and vectors.dtype == numpy.float16 and len(texts) == count
    assert all(text.strip() for text in texts), "a text is empty"
    numpy.save(target / f"{name}.f16.npy", numpy.ascontiguousarray(vectors))
    (target / f"{name}.txt").write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    source, target = pathlib.Path(sys.argv[1]), pathlib.Path(__file__).parent
    cut(source, target, "base", ROWS)
    cut(source, target, "query", CUES)
    shutil.copyfile(source / "LICENSE", target / "LICENSE")
