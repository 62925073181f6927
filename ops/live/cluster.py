"""Real nodes of `engram serve` on loopback, and the command line to talk to them. Each is ended by its process id."""

import json
import os
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

HOST = "127.0.0.1"


def free_ports(count):
    """Held all at once, so that none is given twice."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind((HOST, 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def get(url, timeout=3.0):
    """Status and text; 0 where nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=timeout) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read().decode()
    except (OSError, ValueError):
        return 0, ""


class Cluster:
    """Three nodes, with settings by which little load does much."""

    # One row in flight a stream, so a thousand entries are little more than a thousand rows. A lane is full with nine.
    SETTINGS = {
        "ENGRAM_STREAM__CREDIT_ROWS": "1",
        "ENGRAM_ADMISSION__NORMAL_ROWS": "10",
        "ENGRAM_RAFT__SNAPSHOT_BYTES": "4096",
        "ENGRAM_INTEGRITY__ROUND_S": "1",
    }

    def __init__(self, binary, home, ports):
        self.binary, self.home = binary, Path(home)
        self.ids = (1, 2, 3)
        self.clients = dict(zip(self.ids, ports[:3]))
        self.peers = dict(zip(self.ids, ports[3:6]))
        self.running, self.stopped = {}, set()
        self.env = {key: value for key, value in os.environ.items() if not key.startswith("ENGRAM_")}

    def address(self, node):
        return f"{HOST}:{self.clients[node]}"

    def all(self):
        return ",".join(map(self.address, self.ids))

    def start(self, node):
        log = open(self.home / f"node{node}.log", "ab")
        args = ["serve", "--node-id", str(node), "--data-dir", str(self.home / f"node{node}"), "--stop-with-stdin"]
        args += ["--listen", self.address(node), "--peer-listen", f"{HOST}:{self.peers[node]}"]
        self.running[node] = subprocess.Popen(
            [self.binary, *args], stdin=subprocess.PIPE, stdout=log, stderr=log, env=self.env | self.SETTINGS
        )
        log.close()

    def init(self):
        nodes = [part for n in self.ids for part in ("--node", f"{n}={self.address(n)},{HOST}:{self.peers[n]}")]
        self.run("cluster", "init", *nodes)

    def run(self, *args, endpoints=None, timeout=60):
        """The command's output; its failure is the test's."""
        ran = self.spawn(*args, endpoints=endpoints)
        out, _ = ran.communicate(timeout=timeout)
        if ran.returncode:
            raise AssertionError(f"engram {' '.join(args)}: exit code {ran.returncode}: {out}")
        return out

    def spawn(self, *args, endpoints=None):
        env = self.env | {"ENGRAM_ENDPOINTS": endpoints or self.all()}
        return subprocess.Popen(
            [self.binary, *args], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env
        )

    def kill(self, node):
        process = self.running.pop(node)
        self.stopped.discard(node)
        process.kill()
        process.wait()

    def stop(self, node):
        """Not a step further, until `go_on`."""
        self.running[node].send_signal(signal.SIGSTOP)
        self.stopped.add(node)

    def go_on(self, node):
        self.running[node].send_signal(signal.SIGCONT)
        self.stopped.discard(node)

    def end(self):
        for node in list(self.running):
            self.kill(node)

    def metric(self, node, name):
        """A metric's value on one node, or None."""
        for line in get(f"http://{self.address(node)}/metrics")[1].splitlines():
            if line.startswith(name + " "):
                return float(line.rsplit(" ", 1)[1])
        return None

    def leader(self):
        """Who says that it leads, or None."""
        alive = [node for node in self.running if node not in self.stopped]
        leads = [node for node in alive if self.metric(node, "engram_raft_is_leader") == 1]
        return leads[0] if len(leads) == 1 else None

    def rows(self, name, count, dim=4):
        """A file of rows for `engram observe`."""
        path = self.home / name
        with open(path, "w") as file:
            for at in range(count):
                embedding = [1.0 + (at * (part + 3)) % 17 for part in range(dim)]
                file.write(json.dumps({"text": f"{name} {at}", "embedding": embedding}) + "\n")
        return str(path)
