"""A real cluster, a real Prometheus, real trouble: alerts fire, with their words, and resolve. Run by `.ci/ops`.

Usage: run.py ENGRAM. Everything is in a temporary directory, on loopback, and is ended by its own process id.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import logs  # noqa: E402
import queries  # noqa: E402
from cluster import Cluster, free_ports, get  # noqa: E402
from watch import Prometheus, until  # noqa: E402

STREAMS = 14
# A record file has 1,024 rows.
FIRST = 100
LAG = 1000


def scene(text):
    print(f"  {text} ({time.monotonic() - BEGUN:.0f} s)", flush=True)


def page_of_metrics(cluster):
    """What a node tells is what the page says, and promtool has nothing against it."""
    status, page = get(f"http://{cluster.address(1)}/metrics")
    assert status == 200, status
    lint = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True, text=True)
    assert lint.returncode == 0, lint.stdout + lint.stderr
    known = queries.families()
    told = {}
    for line in filter(lambda line: line and not line.startswith("#"), page.splitlines()):
        name, _, labels = line.rsplit(" ", 1)[0].partition("{")
        told.setdefault(name, set()).update(part.split("=")[0] for part in labels.rstrip("}").split(",") if part)
    for name, labels in told.items():
        assert known.get(name) == labels, f"{name}: told {labels}, the page says {known.get(name)}"
    missing = known.keys() - told.keys() - {"up", "engram_raft_follower_lag_entries"}
    assert not missing, f"not told: {missing}"


def dashboard(prometheus):
    """Every query of the dashboard is answered, with data."""
    board = json.loads((HERE.parent / "grafana/engram.json").read_text())
    asked = [target["expr"] for panel in board["panels"] for target in panel.get("targets", [])]
    for query in asked:
        filled = query.replace("$job", "engram").replace("$instance", ".*").replace("$__rate_interval", "20s")
        result = prometheus.ask("query", query=filled)["result"]
        # A comparison shows only what it holds for. What a leader alone tells comes with the first scrape of a new one.
        if not result and " == " not in query:
            until(f"data for {filled}", lambda: prometheus.ask("query", query=filled)["result"], 30)
    return len(asked)


def damaged_file(cluster, prometheus):
    """A byte of a record file is turned while its node runs."""
    node = next(n for n in cluster.ids if n != cluster.leader())
    records = cluster.home / f"node{node}" / "records"
    file = until("a snapshot", lambda: sorted(records.glob("*.rec"), key=lambda path: path.stat().st_mtime), 60)[-1]
    with open(file, "r+b") as bytes_of:
        bytes_of.seek(file.stat().st_size // 2)
        byte = bytes_of.read(1)[0]
        bytes_of.seek(-1, 1)
        bytes_of.write(bytes([byte ^ 0x10]))
    prometheus.fires("EngramRecordFilesDamaged", instance=cluster.address(node))


def elections(cluster, prometheus):
    """Leadership is handed on until it is too much, each time once the last was scraped."""

    def next_term():
        term = prometheus.value("max(engram_raft_term)")
        cluster.run("cluster", "transfer")
        until("a further term is scraped", lambda: (prometheus.value("min(engram_raft_term)") or 0) > term, 30)
        return prometheus.active("EngramTooManyElections", "firing")

    until("too many elections", next_term, 60)
    prometheus.fires("EngramTooManyElections")


def follower_behind(cluster, prometheus, space):
    """A follower stands still while a thousand entries and more come."""
    leader = until("a leader", cluster.leader, 60)
    slow = next(n for n in cluster.ids if n != leader)
    cluster.stop(slow)
    file = cluster.rows("behind.jsonl", LAG + 200)
    cluster.run("observe", file, "--space", space, endpoints=cluster.address(leader), timeout=120)
    prometheus.fires("EngramFollowerBehind", follower=str(slow))
    prometheus.fires("EngramNodeDown", instance=cluster.address(slow))
    prometheus.fires("EngramNoSpareVoter")
    cluster.go_on(slow)
    prometheus.resolves("EngramFollowerBehind", "EngramNodeDown", "EngramNoSpareVoter")
    return LAG + 200


def fed(cluster, space, leader):
    """Streams whose sessions are open and whose rows are still to come, and a door for the rows of each.

    A session opens through the log, so that takes a quorum. `engram observe` reads its file once to check it, opens the
    session, and reads it again to send it: of a pipe, each time what is written then.
    """
    pipes = [cluster.home / f"stream{at}" for at in range(STREAMS)]
    for pipe in pipes:
        os.mkfifo(pipe)
    streams = [
        cluster.spawn("observe", str(pipe), "--space", space, "--timeout", "300", endpoints=cluster.address(leader))
        for pipe in pipes
    ]

    def write(pipe, rows):
        def opened():
            try:
                return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
            except OSError:  # nobody reads yet
                return None

        with open(until(f"a reader of {pipe.name}", opened, 60), "wb") as door:
            door.write(Path(rows).read_bytes())

    return streams, [lambda pipe=pipe: write(pipe, cluster.rows(f"{pipe.name}.jsonl", 2)) for pipe in pipes]


def full_queue(cluster, prometheus, space):
    """Both followers stand still: what streams send is neither committed nor forgotten."""
    leader = until("a leader", cluster.leader, 60)
    followers = [n for n in cluster.ids if n != leader]
    sessions = cluster.metric(leader, "engram_sessions_open")
    streams, doors = fed(cluster, space, leader)
    try:
        for door in doors:
            door()
        until("all sessions are open", lambda: cluster.metric(leader, "engram_sessions_open") == sessions + STREAMS, 60)
        for node in followers:
            cluster.stop(node)
        for door in doors:
            door()
        for name in ("EngramAdmissionPressure", "EngramAdmissionFull", "EngramBackpressure"):
            prometheus.fires(name, instance=cluster.address(leader), priority="normal")
        prometheus.fires("EngramRejections")
        prometheus.fires("EngramNoQuorum")
        for node in followers:
            cluster.go_on(node)
        for stream in streams:
            out, _ = stream.communicate(timeout=120)
            assert stream.returncode == 0, out
    finally:
        for stream in streams:
            if stream.poll() is None:
                stream.kill()
                stream.wait()
    prometheus.resolves(
        "EngramAdmissionPressure", "EngramAdmissionFull", "EngramBackpressure", "EngramRejections", "EngramNoQuorum"
    )
    return 2 * STREAMS


def no_leader(cluster, prometheus):
    """The leader and one more are killed."""
    leader = until("a leader", cluster.leader, 60)
    lost = [leader, next(n for n in cluster.ids if n != leader)]
    for node in lost:
        cluster.kill(node)
    prometheus.fires("EngramNoLeader")
    for node in lost:
        prometheus.fires("EngramNodeDown", instance=cluster.address(node))
        cluster.start(node)
    prometheus.resolves("EngramNoLeader", "EngramNodeDown")


def test(cluster, prometheus):
    scene("three blank nodes")
    for node in cluster.ids:
        prometheus.fires("EngramNodeNotReady", instance=cluster.address(node))
    cluster.init()
    scene("three members, nothing to complain of")
    until("all are scraped", lambda: prometheus.value("sum(engram_ready)") == 3, 60)
    prometheus.quiet()
    space = "ops"
    file = cluster.rows("first.jsonl", FIRST)
    cluster.run("observe", file, "--space", space, "--create")
    cluster.run("recall", "--space", space, "--cue-json", "[1,2,3,4]", "--level", "linearizable")
    page_of_metrics(cluster)
    scene("a follower stands still")
    count = FIRST + follower_behind(cluster, prometheus, space)
    scene("a byte of a record file is turned")
    damaged_file(cluster, prometheus)
    scene("leadership is handed on again and again")
    elections(cluster, prometheus)
    print(f"    answered: {dashboard(prometheus)} queries of the dashboard", flush=True)
    scene("both followers stand still")
    count += full_queue(cluster, prometheus, space)
    scene("two of three are killed")
    no_leader(cluster, prometheus)
    scene("all is well again")
    prometheus.quiet()
    said = json.loads(cluster.run("count", "--space", space, "--level", "linearizable", "--json"))
    assert said["count"] == count, f"{said}, sent {count}"
    print(f"    {count} rows, {prometheus.sound()} rules evaluated ({time.monotonic() - BEGUN:.0f} s)", flush=True)


def main(binary):
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))
    with tempfile.TemporaryDirectory(prefix="engram-ops-") as home:
        home, ports = Path(home), free_ports(7)
        cluster, prometheus = Cluster(binary, home, ports), None
        try:
            for node in cluster.ids:
                cluster.start(node)
            until(
                "all nodes live",
                lambda: all(get(f"http://{cluster.address(n)}/livez")[0] == 200 for n in cluster.ids),
                60,
            )
            targets = [cluster.address(node) for node in cluster.ids]
            prometheus = Prometheus(home, HERE.parent / "prometheus/alerts.yml", ports[6], targets)
            test(cluster, prometheus)
        except BaseException:
            logs.show(home)
            raise
        finally:
            cluster.end()
            if prometheus:
                prometheus.end()


BEGUN = time.monotonic()
main(str(Path(sys.argv[1]).resolve()))
