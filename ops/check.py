"""Holds alerts, their tests, the runbook, the dashboard and the page of metrics together. Run by `.ci/ops`.

- Every alert has a severity, words, its own section in the runbook, a test that fires and one that does not; every
  section of the runbook is an alert's.
- Every series and label that a query names is one of docs/operations/metrics.md, every query parses, and every metric
  is on the dashboard. Panels have ids of their own and lie beside each other.
- Every link of the runbook and of the page of deployment leads somewhere.

Needs PyYAML and promtool.
"""

import json
import re
import subprocess
import sys
import tempfile

import yaml

import queries
from queries import ROOT

RUNBOOK = "docs/operations/runbook.md"
DASHBOARD = ROOT / "ops/grafana/engram.json"
WIDTH = 24
wrong = []


def anchor(heading):
    """As code hosts make it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def headings(text):
    text = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    return re.findall(r"^#+ (.+)$", text, re.M)


def alerts(known):
    groups = yaml.safe_load((ROOT / "ops/prometheus/alerts.yml").read_text())["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    named = [rule["alert"] for rule in rules]
    sections = re.findall(r"^## (.+)$", (ROOT / RUNBOOK).read_text(), re.M)
    if named != sections:
        wrong.append(
            f"alerts and sections of {RUNBOOK}, in this order: {sorted(set(named) ^ set(sections)) or 'other order'}"
        )
    fires, quiet = set(), set()
    for file in sorted((ROOT / "ops/prometheus").glob("*_test.yml")):
        for test in yaml.safe_load(file.read_text())["tests"]:
            for case in test["alert_rule_test"]:
                (fires if case["exp_alerts"] else quiet).add(case["alertname"])
    for rule in rules:
        name, words = rule["alert"], rule.get("annotations", {})
        wrong.extend(
            f"{name}: no test of it {what}" for what, of in [("fires", fires), ("is quiet", quiet)] if name not in of
        )
        if rule["labels"].get("severity") not in ("warning", "critical"):
            wrong.append(f"{name}: its severity is neither warning nor critical")
        if words.get("runbook_url") != f"{RUNBOOK}#{anchor(name)}":
            wrong.append(f"{name}: runbook_url is {words.get('runbook_url')}")
        _, bad, labels = queries.names(rule["expr"], known)
        wrong.extend(f"{name}: {what}" for what in bad)
        for text in (words.get("summary", ""), words.get("description", "")):
            if not text:
                wrong.append(f"{name}: no summary, or no description")
            wrong.extend(
                f"{name}: no label {label}" for label in re.findall(r"\$labels\.(\w+)", text) if label not in labels
            )
    return rules


def panels(board):
    for panel in board["panels"]:
        yield panel
        yield from panel.get("panels", [])


def dashboard(known):
    board = json.loads(DASHBOARD.read_text())
    variables = {variable["name"] for variable in board["templating"]["list"]}
    if variables < {"datasource", "instance"}:
        wrong.append(f"dashboard: variables are {sorted(variables)}")
    seen, ids, taken = set(), set(), {}
    asked = []
    for panel in panels(board):
        title, place = panel["title"], panel["gridPos"]
        if panel["id"] in ids:
            wrong.append(f"dashboard: id {panel['id']} of {title!r} is another panel's too")
        ids.add(panel["id"])
        if place["x"] < 0 or place["x"] + place["w"] > WIDTH or min(place["w"], place["h"]) < 1:
            wrong.append(f"dashboard: {title!r} is wider than the page")
        for cell in (
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        ):
            if taken.setdefault(cell, panel["id"]) != panel["id"]:
                wrong.append(f"dashboard: {title!r} lies on panel {taken[cell]}")
                break
        for target in panel.get("targets", []):
            if target["datasource"]["uid"] != "${datasource}":
                wrong.append(f"dashboard: {title!r} asks {target['datasource']}")
            found, bad, labels = queries.names(target["expr"], known)
            seen |= {queries.base(name) for name in found}
            wrong.extend(f"dashboard: {title!r}: {what}" for what in bad)
            used = re.findall(r"\{\{\s*(\w+)\s*\}\}", target["legendFormat"])
            wrong.extend(f"dashboard: {title!r}: no label {label}" for label in used if label not in labels)
            wrong.extend(
                f"dashboard: no variable {name}"
                for name in re.findall(r"\$\{?([a-z]\w*)", target["expr"])
                if name not in variables
            )
            asked.append((title, target["expr"]))
        if panel["type"] != "row" and not panel.get("targets"):
            wrong.append(f"dashboard: {title!r} asks nothing")
    families = {queries.base(name) for name in known}
    wrong.extend(f"dashboard: nothing shows {name}" for name in sorted(families - seen))
    parse(asked)
    return len(asked)


def parse(asked):
    """As rules that record: with Grafana's variables put in."""
    put = {"$__rate_interval": "1m", "$__range": "1h", "$instance": ".*", "$job": "engram"}

    def filled(query):
        for name, value in put.items():
            query = query.replace(name, value)
        return query

    rules = [{"record": f"panel:query:{at}", "expr": filled(query)} for at, (_, query) in enumerate(asked)]
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
        yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}, file)
        file.flush()
        ran = subprocess.run(["promtool", "check", "rules", file.name], capture_output=True, text=True)
    if ran.returncode:
        wrong.append(f"dashboard: {ran.stdout}{ran.stderr}")


def links():
    for page in [ROOT / RUNBOOK, ROOT / "docs/operations/deployment.md"]:
        text = page.read_text()
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            path, _, part = target.partition("#")
            to = (page.parent / path) if path else page
            if "://" in target:
                continue
            if not to.exists():
                wrong.append(f"{page.name}: {target} is not there")
            elif part and part not in map(anchor, headings(to.read_text())):
                wrong.append(f"{page.name}: {target} has no such heading")


known = queries.families()
rules = alerts(known)
count = dashboard(known)
links()
for what in wrong:
    print(what, file=sys.stderr)
print(f"{len(rules)} alerts, {count} queries of the dashboard, {len(known)} series known: {len(wrong)} things wrong")
sys.exit(bool(wrong))
