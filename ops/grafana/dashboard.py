"""Writes the dashboard: `python3 ops/grafana/dashboard.py > ops/grafana/engram.json`. `.ci/ops` compares the two.

Rows of panels, three or two beside each other, in the order in which an observation goes through a node.
"""

import json

JOB = 'job=~"$job"'
ONE = f'{JOB}, instance=~"$instance"'
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
WIDTH = 24


def of(name, more=""):
    return f"{name}{{{ONE}{', ' + more if more else ''}}}"


def at(mark):
    return of("engram_log_index", f'mark="{mark}"')


def rate(name, more=""):
    return f"rate({of(name, more)}[$__rate_interval])"


def quantile(q, name, by=""):
    return f"histogram_quantile({q}, sum by (instance, {by}le) ({rate(name + '_bucket')}))"


def quantiles(name, by=""):
    legend = "{{instance}} " + "".join("{{" + label + "}} " for label in by.replace(",", "").split())
    return [(quantile(q, name, by), f"{legend}P{p}") for q, p in [("0.5", 50), ("0.99", 99)]]


def node(name, more="", legend="{{instance}}"):
    return [(of(name, more), legend)]


# title, unit, queries with legends, and what is not as usual.
def panel(title, unit, asked, says="", **more):
    return {"title": title, "unit": unit, "asked": asked, "says": says, **more}


ROWS = [
    (
        "Cluster",
        [
            panel("Nodes that answer", "short", [(f"sum(up{{{JOB}}})", "up")], kind="stat"),
            panel("Ready", "short", [(f"sum(engram_ready{{{JOB}}})", "ready")], kind="stat"),
            panel("Leaders", "short", [(f"sum(engram_raft_is_leader{{{JOB}}})", "leaders")], kind="stat"),
            panel(
                "In quarantine",
                "short",
                [
                    (f"sum(engram_quarantined{{{JOB}}})", "nodes"),
                    (f"max(engram_members_quarantined{{{JOB}}})", "told of members"),
                ],
                kind="stat",
            ),
            panel("Members", "short", [(f"max by (kind) (engram_raft_members{{{JOB}}})", "{{kind}}")], kind="stat"),
            panel(
                "Releases", "short", [(f"count by (version) (engram_build_info{{{JOB}}})", "{{version}}")], kind="stat"
            ),
        ],
    ),
    (
        "Log",
        [
            panel(
                "Watermarks",
                "none",
                node("engram_log_index", legend="{{instance}} {{mark}}"),
                "purged ≤ snapshot ≤ applied ≤ committed ≤ submitted.",
            ),
            panel(
                "Not applied yet",
                "none",
                [(f"{at('committed')} - ignoring (mark) {at('applied')}", "{{instance}}")],
                "Entries between committed and applied.",
            ),
            panel("Entries written", "ops", [(rate("engram_log_entries_total"), "{{instance}}")]),
            panel("Write and sync", "s", quantiles("engram_log_sync_seconds"), mark=0.1),
            panel("Bytes written", "Bps", [(rate("engram_log_bytes_total"), "{{instance}}")]),
            panel(
                "Disk free",
                "bytes",
                node("engram_disk_available_bytes") + [(f"{of('engram_disk_full')} == 1", "{{instance}} is full")],
            ),
        ],
    ),
    (
        "Consensus",
        [
            panel("Term", "none", node("engram_raft_term"), "Each step is an election."),
            panel(
                "Who leads, and who knows a leader",
                "none",
                node("engram_raft_is_leader", legend="{{instance}} leads")
                + node("engram_raft_has_leader", legend="{{instance}} knows"),
            ),
            panel(
                "Followers behind",
                "none",
                [(f"max by (follower) (engram_raft_follower_lag_entries{{{JOB}}})", "node {{follower}}")],
                "Entries not stored yet, by the leader's account.",
                mark=1000,
            ),
            panel(
                "Staleness",
                "s",
                node("engram_staleness_seconds"),
                "How old an acked write may be that is not in a node's state.",
            ),
            panel(
                "Digests agreed at",
                "none",
                node("engram_digests_agreed_index"),
                "Rises with each comparison of the members.",
            ),
            panel(
                "Files damaged",
                "none",
                [
                    (f"increase({of('engram_record_files_damaged_total')}[1h])", "{{instance}} record files"),
                    (f"increase({of('engram_own_files_damaged_total')}[1h])", "{{instance}} log, manifest"),
                ],
                "Within the hour.",
            ),
        ],
    ),
    (
        "Observations",
        [
            panel(
                "Rows and entries proposed",
                "ops",
                [
                    (rate("engram_rows_proposed_total"), "{{instance}} rows"),
                    (rate("engram_entries_proposed_total"), "{{instance}} entries"),
                ],
            ),
            panel("Rows of an entry", "none", quantiles("engram_entry_rows"), "10, 100 or 500 are aimed at, by load."),
            panel(
                "Proposal to outcome",
                "s",
                quantiles("engram_proposal_seconds")
                + [(rate("engram_proposals_failed_total"), "{{instance}} failed, a second")],
            ),
            panel(
                "Admission, fullness",
                "percentunit",
                node("engram_admission_pressure_ratio", legend="{{instance}} {{priority}}"),
                "Slower from 80 % on, refused from 90 %.",
                mark=0.8,
            ),
            panel(
                "Rows by lane",
                "none",
                node("engram_admission_rows", legend="{{instance}} {{priority}}")
                + [(f"min by (priority) ({of('engram_admission_rows_max')})", "most {{priority}}")],
            ),
            panel(
                "Bytes under permit",
                "bytes",
                node("engram_admission_bytes") + [(f"min({of('engram_admission_bytes_max')})", "most")],
            ),
            panel(
                "Chunks admitted and refused",
                "ops",
                [
                    (rate("engram_admission_admitted_total"), "{{instance}} admitted"),
                    (rate("engram_admission_refused_total"), "{{instance}} refused"),
                ],
            ),
            panel(
                "Visibility",
                "s",
                quantiles("engram_visibility_seconds"),
                "From the word that an index is committed to its being applied, and so found.",
                mark=0.1,
            ),
            panel(
                "Sessions and connections",
                "none",
                node("engram_sessions_open", legend="{{instance}} sessions")
                + node("engram_connections", legend="{{instance}} {{port}}"),
            ),
        ],
    ),
    (
        "Index",
        [
            panel(
                "Rows that wait",
                "none",
                node("engram_index_unbuilt_rows") + [(f"min({of('engram_index_unbuilt_rows_max')})", "most")],
            ),
            panel("Rows of a batch", "none", quantiles("engram_index_batch_rows")),
            panel("Time of a batch", "s", quantiles("engram_index_batch_seconds")),
            panel(
                "Workers busy",
                "percentunit",
                [
                    (rate("engram_index_worker_busy_seconds_total"), "{{instance}} worker {{worker}}"),
                    (rate("engram_index_build_seconds_total"), "{{instance}} building"),
                ],
            ),
            panel(
                "Chunks built, and stolen",
                "ops",
                [
                    (f"sum by (instance) ({rate('engram_index_worker_jobs_total')})", "{{instance}} built"),
                    (f"sum by (instance) ({rate('engram_index_worker_stolen_total')})", "{{instance}} stolen"),
                ],
            ),
            panel(
                "Imbalance of workers",
                "percentunit",
                node("engram_index_imbalance_ratio"),
                "The busiest against the average, since the start.",
            ),
        ],
    ),
    (
        "Recalls and spaces",
        [
            panel("Recall, P50", "s", quantiles("engram_recall_seconds", "level, ")[:1], mark=0.05),
            panel("Recall, P99", "s", quantiles("engram_recall_seconds", "level, ")[1:], mark=0.05),
            panel(
                "Recalls answered and failed",
                "ops",
                [
                    (f"sum by (instance, level) ({rate('engram_recall_seconds_count')})", "{{instance}} {{level}}"),
                    (rate("engram_recalls_failed_total"), "{{instance}} failed"),
                ],
            ),
            panel(
                "Rows of spaces",
                "none",
                [
                    (f"max by (space) ({of('engram_space_rows')})", "{{space}}"),
                    (f"max by (space) ({of('engram_space_forgotten_rows')})", "{{space}} forgotten"),
                ],
            ),
            panel(
                "Tails",
                "none",
                node("engram_space_tail_rows", legend="{{instance}} {{space}}"),
                "Rows that a recall scans, as no epoch holds them.",
            ),
            panel("Epochs", "none", node("engram_space_epoch", legend="{{instance}} {{space}}")),
            panel(
                "Generations",
                "none",
                node("engram_space_generation", legend="{{instance}} {{space}}"),
                "How often an index was made anew, without the rows that were erased by then.",
            ),
        ],
    ),
    (
        "Process",
        [
            panel("Memory", "bytes", node("process_resident_memory_bytes")),
            panel("Processor", "short", [(rate("process_cpu_seconds_total"), "{{instance}}")], "Cores in use."),
            panel(
                "File descriptors, and age",
                "short",
                node("process_open_fds", legend="{{instance}} open")
                + node("process_max_fds", legend="{{instance}} most")
                + [(f"(time() - {of('process_start_time_seconds')}) / 3600", "{{instance}} hours up")],
            ),
            panel(
                "Spans for OpenTelemetry",
                "ops",
                [(rate("engram_spans_total"), "{{instance}} {{outcome}}")],
                "Dropped: the collector does not take them.",
            ),
        ],
    ),
]


def drawn(number, one, place):
    stat, mark = one.get("kind") == "stat", one.get("mark")
    steps = [{"color": "green", "value": None}] + ([{"color": "red", "value": mark}] if mark else [])
    custom = {
        "drawStyle": "line",
        "lineWidth": 1,
        "fillOpacity": 5,
        "showPoints": "never",
        "thresholdsStyle": {"mode": "line" if mark else "off"},
    }
    if stat:
        options = {
            "colorMode": "none",
            "graphMode": "none",
            "textMode": "auto",
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        }
    else:
        options = {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }
    targets = [
        {
            "refId": chr(ord("A") + n),
            "datasource": DATASOURCE,
            "expr": query,
            "legendFormat": legend,
            "instant": stat,
            "range": not stat,
        }
        for n, (query, legend) in enumerate(one["asked"])
    ]
    defaults = {
        "unit": one["unit"],
        "custom": {} if stat else custom,
        "thresholds": {"mode": "absolute", "steps": steps},
    }
    return {
        "id": number,
        "type": "stat" if stat else "timeseries",
        "title": one["title"],
        "description": one["says"],
        "datasource": DATASOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
        "targets": targets,
    }


def panels():
    number, y = 0, 0
    for title, row in ROWS:
        number += 1
        yield {
            "id": number,
            "type": "row",
            "title": title,
            "collapsed": False,
            "gridPos": {"x": 0, "y": y, "w": WIDTH, "h": 1},
            "panels": [],
        }
        y += 1
        stat = row[0].get("kind") == "stat"
        wide, high = (WIDTH // len(row), 4) if stat else (WIDTH // 3, 8)
        beside = WIDTH // wide
        for n, one in enumerate(row):
            number += 1
            yield drawn(number, one, {"x": n % beside * wide, "y": y + n // beside * high, "w": wide, "h": high})
        y += -(-len(row) // beside) * high


def variable(name, label, query, **more):
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": DATASOURCE,
        "definition": query,
        "refresh": 2,
        "sort": 1,
        "query": {"query": query, "refId": name},
        "multi": True,
        "includeAll": True,
        "current": {"text": ["All"], "value": ["$__all"]},
        **more,
    }


BOARD = {
    "uid": "engram",
    "title": "Engram",
    "tags": ["engram"],
    "schemaVersion": 39,
    "version": 1,
    "editable": True,
    "refresh": "10s",
    "timezone": "browser",
    "time": {"from": "now-1h", "to": "now"},
    "graphTooltip": 1,
    "annotations": {"list": []},
    "links": [],
    "templating": {
        "list": [
            {
                "name": "datasource",
                "label": "Data source",
                "type": "datasource",
                "query": "prometheus",
                "current": {},
                "refresh": 1,
            },
            variable(
                "job", "Cluster", "label_values(engram_build_info, job)", multi=False, includeAll=False, current={}
            ),
            variable("instance", "Node", 'label_values(engram_build_info{job=~"$job"}, instance)'),
        ]
    },
    "panels": list(panels()),
}

if __name__ == "__main__":
    print(json.dumps(BOARD, indent=1, ensure_ascii=False))
