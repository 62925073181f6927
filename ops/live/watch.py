"""A real Prometheus over the cluster, with alerts.yml in a copy whose times are short, and what it says.

Shortened, and nothing else changed: `for: X` is a thirtieth of X, 2 s at most; a window `[X]` or an `offset X` is a
thirtieth of X, between 5 s and 20 s. A `for` over half an hour and a window over an hour stay as they are. Scrapes and
evaluations come every second in place of every fifteen.
"""

import json
import re
import subprocess
import time
import urllib.parse

from cluster import HOST, get

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
STEP = 0.2
# How full this machine's disk is, and who else fills it, is no matter of a test.
THE_MACHINES = {"EngramDiskFilling", "EngramDiskLow"}


def seconds(text):
    return int(text[:-1]) * UNITS[text[-1]]


def shortened(rules):
    """Prometheus' rules with short times."""

    def wait(found):
        whole = seconds(found[1])
        return found[0] if whole > 1800 else f"for: {min(whole * 1000 // 30, 2000)}ms"

    def window(found):
        whole = seconds(found[2])
        return found[0] if whole > 3600 else f"{found[1]}{max(5, min(whole // 30, 20))}s"

    rules = re.sub(r"\bfor: (\d+[smhd])\b", wait, rules)
    return re.sub(r"(\[|\boffset )(\d+[smhd])\b", window, rules)


def until(what, holds, within):
    """Polls until it holds; what it says then. Nothing else looks at the clock."""
    deadline = time.monotonic() + within
    while True:
        said = holds()
        if said:
            return said
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within} s: {what}")
        time.sleep(STEP)


class Prometheus:
    """Started in `home`, ended by `end`."""

    def __init__(self, home, rules, port, targets):
        self.home, self.url = home, f"http://{HOST}:{port}"
        (home / "alerts.yml").write_text(shortened(rules.read_text()))
        config = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": ["alerts.yml"],
            "scrape_configs": [{"job_name": "engram", "static_configs": [{"targets": targets}]}],
        }
        # JSON is YAML.
        (home / "prometheus.yml").write_text(json.dumps(config))
        args = [
            f"--config.file={home}/prometheus.yml",
            f"--storage.tsdb.path={home}/tsdb",
            f"--web.listen-address={HOST}:{port}",
            "--log.level=warn",
        ]
        self.log = open(home / "prometheus.log", "ab")
        self.process = subprocess.Popen(
            ["prometheus", *args], stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log
        )
        until("Prometheus is ready", lambda: get(f"{self.url}/-/ready")[0] == 200, 60)

    def end(self):
        self.process.kill()
        self.process.wait()
        self.log.close()

    def ask(self, path, **query):
        status, text = get(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(query)}", timeout=10)
        if status != 200:
            raise AssertionError(f"Prometheus: {path} {query}: {status} {text}")
        return json.loads(text)["data"]

    def value(self, query):
        """Of the first series that answers, or None."""
        result = self.ask("query", query=query)["result"]
        return float(result[0]["value"][1]) if result else None

    def alerts(self, state=None):
        return [one for one in self.ask("alerts")["alerts"] if state in (None, one["state"])]

    def active(self, name, state=None, **labels):
        return [one for one in self.alerts(state) if {"alertname": name, **labels}.items() <= one["labels"].items()]

    def fires(self, name, within=60, **labels):
        """Waits until it fires; its words, which must hold values."""
        one = until(f"{name} {labels} fires", lambda: self.active(name, "firing", **labels), within)[0]
        words = one["annotations"]["description"]
        if "<error" in words or "<no value>" in words:
            raise AssertionError(f"{name}: {words}")
        print(f"    fires: {name}: {words}", flush=True)

    def resolves(self, *names, within=90):
        def gone():
            return not [one for name in names for one in self.active(name)]

        until(f"{', '.join(names)} resolved; active: {self.named()}", gone, within)
        print(f"    resolved: {', '.join(names)}", flush=True)

    def named(self):
        """Active alerts but the machine's own."""
        return sorted(
            {(one["labels"]["alertname"], one["state"]) for one in self.alerts()}
            - {(name, state) for name in THE_MACHINES for state in ("pending", "firing")}
        )

    def quiet(self, within=90):
        """No alert at all, pending ones too, in three looks a second apart."""
        held = 0

        def still():
            nonlocal held
            time.sleep(1)
            held = 0 if self.named() else held + 1
            return held >= 3

        try:
            until("no alert", still, within)
        except AssertionError:
            raise AssertionError(f"alerts stay: {self.named()}") from None
        print("    no alert", flush=True)

    def sound(self):
        """Every rule was evaluated, and none failed."""
        rules = [rule for group in self.ask("rules")["groups"] for rule in group["rules"]]
        bad = [(rule["name"], rule.get("lastError", rule["health"])) for rule in rules if rule["health"] != "ok"]
        if bad or not rules:
            raise AssertionError(f"rules: {bad}")
        return len(rules)
