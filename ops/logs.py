"""The ends of processes' logs, for whoever looks why a run failed."""

import sys

LINES = 30


def show(home):
    """Prints the last lines of each log in a directory."""
    for log in sorted(home.glob("*.log")):
        print(f"-- {log.name}", *log.read_text(errors="replace").splitlines()[-LINES:], sep="\n", file=sys.stderr)
