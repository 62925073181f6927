"""What compose, Kubernetes and systemd would start, started on test hosts.

The same commands, environment, names, ports and scripts, read from the same files; and the steps of
docs/operations/deployment.md. Usage: run.py ENGRAM. Leaves out what only an engine does: images, volumes, schedulers,
policies; and the unit's sandbox, but for the system calls that it allows.
"""

import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import hosts

OPS = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(OPS))

import logs  # noqa: E402

PAGE = OPS.parent / "docs/operations/deployment.md"


class Nodes:
    """Nodes that run on hosts, each with its log."""

    def __init__(self, machines):
        self.machines, self.running = machines, {}

    def start(self, host, command, env):
        log = open(self.machines.home / f"{host}.log", "ab")
        self.running[host] = self.machines.start(host, command, env, stdout=log, stderr=log)
        log.close()

    def healthy(self, host, env, path="/readyz"):
        ran = self.machines.start(
            host, ["healthcheck", path], env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        return ran.wait(timeout=30) == 0

    def answers(self, host, url):
        return self.machines.start(host, ["curl", "-sf", "-o", "/dev/null", url], {}).wait(timeout=30) == 0

    def until_healthy(self, host, env, path="/readyz"):
        def asked():
            assert self.running[host].poll() is None, f"{host} ended: {self.running[host].returncode}"
            return self.healthy(host, env, path)

        hosts.until(f"{path} of {host}", asked)

    def stop(self, *which):
        """By SIGTERM, within the grace that the files give."""
        for host in which or list(self.running):
            process = self.running.pop(host)
            process.terminate()
            code = process.wait(timeout=30)
            assert code == 0, f"{host}: exit code {code} after SIGTERM"


def image():
    """Environment and entry point of the image."""
    text = (OPS / "Containerfile").read_text().replace("\\\n", " ")
    env = dict(part.split("=", 1) for part in re.search(r"^ENV (.+)$", text, re.M)[1].split())
    return env, [re.search(r'^ENTRYPOINT \["([\w-]+)"\]$', text, re.M)[1]]


def compose(nodes):
    import yaml

    env, entry = image()
    services = yaml.safe_load((OPS / "compose.yaml").read_text())["services"]
    members = {name: env | one["environment"] for name, one in services.items() if name.startswith("node")}
    init = services["init"]["entrypoint"] + services["init"]["command"]
    for name in [*members, "init"]:
        nodes.machines.add(name)
    # The last comes while `init` waits for it.
    *early, late = members
    for name in early:
        nodes.start(name, entry, members[name])
    making = nodes.machines.start("init", init, env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    nodes.until_healthy(early[0], members[early[0]], "/livez")
    assert not nodes.healthy(early[0], members[early[0]]), "a blank node is ready"
    nodes.start(late, entry, members[late])
    assert making.wait(timeout=150) == 0, "init-cluster"
    for name in members:
        nodes.until_healthy(name, members[name])
    nodes.machines.run("init", init, env)
    status = nodes.machines.run(early[0], ["engram", "cluster", "status"], env)
    assert status.count(":7600") == 3, status
    nodes.stop()
    print("  compose: three nodes, made a cluster once and again, healthy, stopped in order")


def kubernetes(nodes):
    import yaml

    image_env, entry = image()
    things = [
        thing for file in sorted((OPS / "kubernetes").glob("*.yaml")) for thing in yaml.safe_load_all(file.read_text())
    ]
    stateful = next(thing for thing in things if thing["kind"] == "StatefulSet")
    container = next(thing for thing in things if thing["kind"] == "Job")["spec"]["template"]["spec"]["containers"][0]
    name, within = stateful["metadata"]["name"], stateful["spec"]["serviceName"]
    pods = [f"{name}-{at}" for at in range(stateful["spec"]["replicas"])]
    for pod in pods:
        nodes.machines.add(pod, f"{pod}.{within}")
        nodes.start(pod, entry, image_env)
    nodes.machines.add("job")
    nodes.machines.run("job", container["command"] + container["args"], image_env)
    for pod in pods:
        nodes.until_healthy(pod, image_env)
    # As the page says of a volume that is lost.
    *_, lost = pods
    nodes.stop(lost)
    nodes.machines.blank(lost)
    ids = nodes.machines.home / f"{lost}.etc" / "ids"
    ids.mkdir()
    (ids / lost).write_text("4")
    nodes.machines.run(pods[0], ["engram", "cluster", "remove", "3"], image_env)
    nodes.start(lost, entry, image_env)
    nodes.until_healthy(lost, image_env, "/livez")
    nodes.machines.run(
        pods[0],
        ["engram", "cluster", "add", "--timeout", "60", "--node", f"4={lost}.{within}:7600,{lost}.{within}:7700"],
        image_env,
    )
    nodes.until_healthy(lost, image_env)
    nodes.stop()
    print("  Kubernetes: three pods' commands, ids by ordinal, a lost volume's under a new id, stopped in order")


def steps(mark):
    """The page's blocks that are marked so, in one script."""
    blocks = re.findall(rf"^<!-- runs: {mark} -->\n```sh\n(.*?)^```", PAGE.read_text(), re.M | re.S)
    assert blocks, f"no block of {PAGE.name} is marked {mark!r}"
    return ["bash", "-euo", "pipefail", "-c", "\n".join(blocks)]


def allowed(sets):
    """System calls of systemd's sets."""
    out = subprocess.run(
        ["systemd-analyze", "syscall-filter", "--no-pager", *sets], check=True, capture_output=True, text=True
    ).stdout
    names = {line.strip() for line in out.splitlines() if line.startswith("    ") and not line.strip().startswith("#")}
    inner = {name for name in names if name.startswith("@")}
    return (names - inner) | (allowed(sorted(inner)) if inner else set())


def systemd(nodes):
    unit = (OPS / "engram.service").read_text()
    command = shlex.split(re.search(r"^ExecStart=(.+)$", unit, re.M)[1])
    command[0] = "engram"
    taken, refused = (re.search(rf"^SystemCallFilter={sign}(@.+)$", unit, re.M)[1].split() for sign in ("", "~"))
    machines = ["alpha", "beta", "gamma"]
    for machine in machines:
        nodes.machines.add(machine)
    at = {f"address{n}": nodes.machines.addresses[machine] for n, machine in enumerate(machines, 1)}
    calls = nodes.machines.home / "calls"
    for n, machine in enumerate(machines, 1):
        env = at | {"id": str(n), "address": at[f"address{n}"]}
        (nodes.machines.home / f"{machine}.etc" / "engram.toml").unlink(missing_ok=True)
        nodes.machines.run(machine, steps("machine"), env)
        traced = (
            ["strace", "--follow-forks", "--summary-only", "--summary-columns=name", f"--output={calls}"]
            if n == 1
            else []
        )
        nodes.start(machine, [*traced, *command], {})
    for machine in machines:
        url = f"http://{nodes.machines.addresses[machine]}:7600/livez"
        hosts.until(f"{machine} listens", lambda asked=(machine, url): nodes.answers(*asked))
    print(nodes.machines.run(machines[0], steps("once"), at))
    nodes.stop(*machines[1:])
    # strace hands nothing on: the node's own end is asked for.
    node = subprocess.run(
        ["pgrep", "--parent", str(nodes.running[machines[0]].pid)], check=True, capture_output=True, text=True
    ).stdout
    os.kill(int(node), 15)
    assert nodes.running.pop(machines[0]).wait(timeout=30) == 0
    used = {line.strip() for line in calls.read_text().splitlines()} - {"", "syscall", "total"}
    used = {name for name in used if re.fullmatch(r"\w+", name)}
    beyond = used - (allowed(taken) - allowed(refused))
    assert used and not beyond, f"the unit refuses system calls that the node makes: {sorted(beyond)}"
    print(
        f"  systemd: the page's steps on three machines; the unit's filter allows all {len(used)} system calls that a node made"
    )


def main(binary):
    with tempfile.TemporaryDirectory(prefix="engram-ops-") as home:
        home = Path(home)
        (home / "bin").mkdir()
        (home / "bin/engram").symlink_to(Path(binary).resolve())
        for script in (OPS / "container").iterdir():
            (home / "bin" / script.name).symlink_to(script)
        nodes = Nodes(hosts.Hosts(home))
        try:
            compose(nodes)
            kubernetes(nodes)
            systemd(nodes)
        except BaseException:
            logs.show(home)
            raise
        finally:
            for process in nodes.running.values():
                process.kill()
                process.wait()
            subprocess.run(["umount", "--lazy", "/etc"], check=False)


hosts.enter()
main(sys.argv[1])
