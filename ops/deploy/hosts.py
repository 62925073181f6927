"""Test hosts on one machine: a network namespace each, joined by a bridge, in namespaces of their own.

Nothing outside is changed or reached: `/etc` is a copy, `/run` and `/var/lib` are empty at first, and the only addresses
are the hosts'.

Needs root (or user namespaces), `ip` and `unshare`. `enter` must come first.
"""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

NET = "10.76.0"
INSIDE = "ENGRAM_OPS_INSIDE"


def enter():
    """Starts this program again inside, once."""
    if os.environ.pop(INSIDE, None):
        return
    root = [] if os.geteuid() == 0 else ["--map-root-user"]
    os.environ[INSIDE] = "1"
    os.execvp(
        "unshare", ["unshare", *root, "--mount", "--net", "--pid", "--fork", "--kill-child", sys.executable, *sys.argv]
    )


def do(*command):
    subprocess.run(command, check=True)


class Hosts:
    """By name, each with an address and a data directory that is empty at first."""

    def __init__(self, home):
        self.home, self.addresses, self.names = Path(home), {}, {}
        shutil.copytree("/etc", self.home / "etc", symlinks=True, ignore=unreadable)
        do("mount", "--bind", str(self.home / "etc"), "/etc")
        # Process ids are those of inside.
        do("mount", "-t", "proc", "none", "/proc")
        for path in ("/run", "/var/lib"):
            do("mount", "-t", "tmpfs", "none", path)
        for path in ("/run/netns", "/var/lib/engram"):
            os.mkdir(path)
        Path("/etc/engram").mkdir(exist_ok=True)
        do("ip", "link", "set", "lo", "up")
        do("ip", "link", "add", "hosts", "type", "bridge")
        do("ip", "addr", "add", f"{NET}.1/24", "dev", "hosts")
        do("ip", "link", "set", "hosts", "up")

    def add(self, name, *more_names):
        at = len(self.addresses) + 10
        self.addresses[name] = f"{NET}.{at}"
        self.names[name] = more_names
        do("ip", "netns", "add", name)
        do("ip", "link", "add", f"v{at}", "type", "veth", "peer", "name", "eth0", "netns", name)
        do("ip", "link", "set", f"v{at}", "master", "hosts", "up")
        for args in (
            ["addr", "add", f"{NET}.{at}/24", "dev", "eth0"],
            ["link", "set", "eth0", "up"],
            ["link", "set", "lo", "up"],
        ):
            do("ip", "-n", name, *args)
        self.blank(name)
        (self.home / f"{name}.etc").mkdir()
        lines = [f"{address} {' '.join([name, *self.names[name]])}" for name, address in self.addresses.items()]
        Path("/etc/hosts").write_text("\n".join(["127.0.0.1 localhost", *lines, ""]))

    def blank(self, name):
        """An empty data directory."""
        shutil.rmtree(self.home / f"{name}.data", ignore_errors=True)
        (self.home / f"{name}.data").mkdir()

    def start(self, name, command, env, **more):
        """A command on a host, whose name it is told, with the host's own data and settings directories."""
        own = [("data", "/var/lib/engram"), ("etc", "/etc/engram")]
        mounts = " && ".join(f"mount --bind '{self.home}/{name}.{part}' {place}" for part, place in own)
        inner = ["unshare", "--mount", "--uts", "sh", "-c", f'hostname "$0" && {mounts} && exec "$@"', name, *command]
        base = {"PATH": f"{self.home}/bin:{os.environ['PATH']}", "HOME": str(self.home), "LANG": "C.UTF-8"}
        return subprocess.Popen(["ip", "netns", "exec", name, *inner], env=base | env, stdin=subprocess.DEVNULL, **more)

    def run(self, name, command, env=None, timeout=180):
        """Its output; its failure is the test's."""
        ran = self.start(name, command, env or {}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        out, _ = ran.communicate(timeout=timeout)
        if ran.returncode:
            raise AssertionError(f"{name}: {command}: exit code {ran.returncode}: {out}")
        return out


def unreadable(folder, names):
    """What a copy of /etc can do without."""
    return [
        name
        for name in names
        if not os.access(os.path.join(folder, name), os.R_OK) and not os.path.islink(os.path.join(folder, name))
    ]


def until(what, holds, within=90):
    deadline = time.monotonic() + within
    while not holds():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within} s: {what}")
        time.sleep(0.2)
