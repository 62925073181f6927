"""The examples and the README's quick start, run as a person would, against a fresh node of one."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster import PATIENCE_S, Cluster

HERE = Path(__file__).resolve().parents[1]
LINES_MAX = 60


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with Cluster(tmp_path_factory.mktemp("one"), 1) as cluster:
        yield cluster.endpoints[0]


def run(*command: str) -> list[str]:
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, timeout=PATIENCE_S)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout.splitlines()


def example(name: str, node: str) -> list[str]:
    path = HERE / "examples" / name
    assert len(path.read_text().splitlines()) <= LINES_MAX
    return run(str(path), node)


def test_observe_then_recall(node: str) -> None:
    lines = example("observe.py", node)
    assert lines[0].startswith("observed as number 1 of the session, at log index ")
    assert lines[1] == "1000 of 1000 acked, over 0 resumed connections"
    lines = example("recall.py", node)
    assert lines[0].startswith("node 1 answers at log index ")
    assert lines[1] == "  0.9991  memory 639"
    assert lines[6].startswith(f"{node}: 5 hits at ")
    assert lines[7] == "in the kitchen: the kettle is on"
    assert lines[8].endswith(": something new")
    assert re.fullmatch(r"now: something new; at log index \d+: memory \d+", lines[9])


def test_agent_memory(node: str) -> None:
    assert example("agent_memory.py", node) == [
        "Where does my sister live? -> My sister lives in Lisbon",
        "Can I eat peanuts? -> I am allergic to peanuts",
        "What is my favourite colour? -> The user's favourite colour is blue",
        "said by the user: 4",
        "forgotten: 4; left: 1",
    ]


def test_the_quick_start(node: str) -> None:
    text = (HERE / "README.md").read_text()
    (program,) = re.findall(r"```python\n(import engram\n.*?)```", text, re.DOTALL)
    lines = run("-c", program.replace("127.0.0.1:7600", node))
    assert lines == ["1.00 the kettle is on", "1001 rows"]
