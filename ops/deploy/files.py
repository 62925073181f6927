"""What no engine is there for, as far as files tell: compose.yaml against its schema, names that must agree.

Usage: files.py SCHEMA. The schema that is at hand is one of 2021: it does not know `name`, which is left out.
Needs PyYAML and jsonschema.
"""

import json
import re
import sys
from pathlib import Path

import jsonschema
import yaml

OPS = Path(__file__).resolve().parent.parent
wrong = []


def expect(what, holds):
    if not holds:
        wrong.append(what)


compose = yaml.safe_load((OPS / "compose.yaml").read_text())
schema = json.loads(Path(sys.argv[1]).read_text())
known = {key: value for key, value in compose.items() if key != "name"}
wrong += [
    f"compose.yaml: {error.json_path}: {error.message}"
    for error in jsonschema.Draft7Validator(schema).iter_errors(known)
]
services = compose["services"]
nodes = {name: one for name, one in services.items() if "ENGRAM_NODE_ID" in one.get("environment", {})}
made = [f"{one['environment']['ENGRAM_NODE_ID']}={name}:7600,{name}:7700" for name, one in nodes.items()]
expect("compose.yaml: init makes another cluster than its nodes", services["init"]["command"] == made)
expect("compose.yaml: init does not wait for its nodes", services["init"]["depends_on"].keys() == nodes.keys())
scraped = yaml.safe_load((OPS / "prometheus/compose.yml").read_text())["scrape_configs"][0]["static_configs"][0][
    "targets"
]
expect("compose.yml: other nodes are scraped than there are", scraped == [f"{name}:7600" for name in nodes])
published = [port for name in nodes for port in services[name].get("ports", [])]
expect(f"compose.yaml: ports of nodes are published: {published}", not published)
for service in services.values():
    for mount in service.get("volumes", []):
        source = mount.split(":")[0]
        there = (OPS / source).exists() if source.startswith(".") else source in compose["volumes"]
        expect(f"compose.yaml: {source} is not there", there)

# The image has what is called by name, and is built of what is in the tree.
container = (OPS / "Containerfile").read_text()
for source in re.findall(r"^COPY (?!--from)(?:--chmod=\S+ )?(.+) \S+$", container, re.M):
    for path in source.split():
        expect(f"Containerfile: {path} is not there", (OPS.parent / path).exists())
called = {services["init"]["entrypoint"][0], *re.findall(r'(?:CMD|ENTRYPOINT) \["([\w-]+)"\]', container)}
expect(
    f"Containerfile: not all of {called} are in container/", all((OPS / "container" / name).exists() for name in called)
)

kinds = {}
for file in sorted((OPS / "kubernetes").glob("*.yaml")):
    for thing in yaml.safe_load_all(file.read_text()):
        kinds.setdefault(thing["kind"], []).append(thing)
(stateful,), (job,) = kinds["StatefulSet"], kinds["Job"]
spec, pod = stateful["spec"], stateful["spec"]["template"]["spec"]
labels = spec["template"]["metadata"]["labels"]
headless = next(one for one in kinds["Service"] if one["spec"].get("clusterIP") == "None")
name, within = stateful["metadata"]["name"], headless["metadata"]["name"]
expect("StatefulSet: its headless service is another", spec["serviceName"] == within)
expect("headless service: blank nodes cannot be found", headless["spec"]["publishNotReadyAddresses"] is True)
for selector in [
    spec["selector"]["matchLabels"],
    kinds["PodDisruptionBudget"][0]["spec"]["selector"]["matchLabels"],
    *(one["spec"]["selector"] for one in kinds["Service"]),
]:
    expect(f"{selector} does not mean the pods", selector.items() <= labels.items())
members = [f"{at + 1}={name}-{at}.{within}:7600,{name}-{at}.{within}:7700" for at in range(spec["replicas"])]
expect(
    "Job: it makes another cluster than the StatefulSet",
    job["spec"]["template"]["spec"]["containers"][0]["args"] == members,
)
expect("StatefulSet: variables of services would stop the start", pod["enableServiceLinks"] is False)
probes = {
    probe: pod["containers"][0][probe]["httpGet"]["path"]
    for probe in ("startupProbe", "livenessProbe", "readinessProbe")
}
expect(
    f"probes: {probes}", probes == {"startupProbe": "/livez", "livenessProbe": "/livez", "readinessProbe": "/readyz"}
)
ports = {port["name"]: port["containerPort"] for port in pod["containers"][0]["ports"]}
expect(f"ports: {ports}", ports == {"client": 7600, "peer": 7700})

for what in wrong:
    print(what, file=sys.stderr)
print(
    f"compose: {len(services)} services; Kubernetes: {sum(map(len, kinds.values()))} objects: {len(wrong)} things wrong"
)
sys.exit(bool(wrong))
