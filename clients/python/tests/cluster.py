"""A cluster of real nodes: started, initialised, killed and ended here."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
# Many times what anything takes on a busy machine.
PATIENCE_S = 60.0
POLL_S = 0.02


def binary() -> Path:
    """The server: ENGRAM_BIN, or what the last build left."""
    root = Path(__file__).resolve().parents[3]
    targets = [Path(os.environ[name]) for name in ("CARGO_TARGET_DIR",) if name in os.environ] + [root / "target"]
    built = [target / profile / "engram" for target in targets for profile in ("debug", "release")]
    places = [Path(os.environ["ENGRAM_BIN"])] if "ENGRAM_BIN" in os.environ else built
    for place in places:
        if place.is_file():
            return place
    raise FileNotFoundError(f"no engram in {', '.join(map(str, places))}: cargo build, or set ENGRAM_BIN")


def eventually(what: str, look: Callable[[], T | None]) -> T:
    """What `look` finds, once it finds something."""
    end = time.monotonic() + PATIENCE_S
    while True:
        found = look()
        if found is not None:
            return found
        assert time.monotonic() < end, f"not within {PATIENCE_S:g} s: {what}"
        time.sleep(POLL_S)


def free_addresses(count: int) -> list[str]:
    """Addresses that were free a moment ago."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    addresses = [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    for each in sockets:
        each.close()
    return addresses


class Cluster:
    """Nodes 1 to `count`. Those that still run at the end are ended, by their process ids."""

    def __init__(self, directory: Path, count: int) -> None:
        self._directory, self._binary = directory, binary()
        addresses = free_addresses(2 * count)
        self.endpoints, self._peers = addresses[:count], addresses[count:]
        self._processes: dict[int, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Cluster:
        try:
            self._begin()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _begin(self) -> None:
        numbers = range(1, len(self.endpoints) + 1)
        for number in numbers:
            self.start(number)
        nodes = [f"{number}={self.endpoints[number - 1]},{self._peers[number - 1]}" for number in numbers]
        flags = [flag for node in nodes for flag in ("--node", node)]
        command = [self._binary, "cluster", "init", *flags]
        subprocess.run(command, env=self._env(), check=True, stdout=subprocess.DEVNULL, timeout=PATIENCE_S)
        for number in numbers:
            self.wait_ready(number)

    def _env(self) -> dict[str, str]:
        """This shell's settings of another node are none of theirs."""
        env = {name: value for name, value in os.environ.items() if not name.startswith("ENGRAM_")}
        return {**env, "ENGRAM_ENDPOINTS": self.endpoints[0]}

    def start(self, number: int) -> None:
        """Starts a node, and waits until it answers. Its log is in a file beside its data."""
        data = self._directory / f"node{number}"
        flags = ["--node-id", str(number), "--data-dir", str(data), "--listen", self.endpoints[number - 1]]
        command = [self._binary, "serve", *flags, "--peer-listen", self._peers[number - 1], "--stop-with-stdin"]
        with open(self._directory / f"node{number}.log", "ab") as log:
            process = subprocess.Popen(
                command, env=self._env(), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=log
            )
        self._processes[number] = process
        eventually(f"node {number} lives", lambda: self._probe(number, "livez") or None)

    def wait_ready(self, number: int) -> None:
        eventually(f"node {number} is ready", lambda: self._probe(number, "readyz") or None)

    def _probe(self, number: int, path: str) -> bool:
        process = self._processes[number]
        log = self._directory / f"node{number}.log"
        assert process.poll() is None, f"node {number} ended with {process.returncode}: {log.read_text()[-2000:]}"
        try:
            with urllib.request.urlopen(f"http://{self.endpoints[number - 1]}/{path}", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def kill(self, number: int) -> None:
        """SIGKILL, and waits until it is gone."""
        process = self._processes.pop(number)
        process.send_signal(signal.SIGKILL)
        process.communicate()

    def __exit__(self, *_: object) -> None:
        for number in list(self._processes):
            self.kill(number)

    def leader(self, status: Callable[[str], object]) -> int:
        """The node that the others call leader; `status` asks one node, as `Client.status` does."""

        def agreed() -> int | None:
            leaders = {getattr(status(self.endpoints[number - 1]), "leader") for number in self._processes}
            return leaders.pop() if len(leaders) == 1 else None

        return eventually("one leader", agreed)

    def without(self, number: int) -> list[str]:
        """The other nodes' endpoints."""
        return [endpoint for at, endpoint in enumerate(self.endpoints, 1) if at != number]
