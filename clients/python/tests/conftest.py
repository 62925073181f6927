"""Nodes that run as processes of their own, and clients of them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

# gRPC's own words about servers that end on purpose.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import engram  # noqa: E402
import pytest  # noqa: E402
from cluster import Cluster  # noqa: E402


@pytest.fixture(scope="session")
def three() -> Iterator[Cluster]:
    """Three nodes for all tests that kill none of them."""
    with tempfile.TemporaryDirectory(prefix="engram-python-") as directory, Cluster(Path(directory), 3) as cluster:
        yield cluster


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[Cluster]:
    """Three nodes for one test."""
    with Cluster(tmp_path, 3) as cluster:
        yield cluster


@pytest.fixture
def client(three: Cluster) -> Iterator[engram.Client]:
    with engram.connect(three.endpoints) as client:
        yield client


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A space's name that no other test has."""
    return f"py-{request.node.name}".translate(str.maketrans("[]", "__"))[:128]
