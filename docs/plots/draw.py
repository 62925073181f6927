"""Draws the plots of docs/performance.md from the measurements beside this file.

    python3 -m venv /tmp/plots && /tmp/plots/bin/pip install matplotlib==3.10.7
    /tmp/plots/bin/python docs/plots/draw.py

The measurements are what `engram bench index --json --peers …` printed, less what no plot shows; docs/performance.md
has the commands. The same measurements give the same bytes.
"""

import json
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plot  # noqa: E402  (the backend comes first)

HERE = Path(__file__).parent
RUNS = ["wordnet384", "synthetic768", "synthetic128"]
COLOURS = {"engram": "#c0392b", "hnswlib": "#2c3e50", "faiss": "#7f8c8d", "faiss-sq8": "#2980b9"}
STYLE = {
    "svg.hashsalt": "engram",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
}


def read(name):
    run = json.loads((HERE / f"{name}.json").read_text())
    engram = {"peer": "engram", **{key: run[key] for key in ("inserts_per_s_1", "inserts_per_s", "bytes_per_row")}}
    # By codes alone or rescored by the originals, whichever answers more a second at a recall.
    points = [(point[1], point[2]) for point in run["curve"] + run["curve_codes"]]
    engram["points"] = sorted(best(points))
    for peer in run["peers"]:
        peer["points"] = sorted((point[1], point[2]) for point in peer["curve"])
    return run, [engram, *run["peers"]]


def best(points):
    return [one for one in points if not any(two[0] >= one[0] and two[1] > one[1] for two in points)]


def title(run):
    kind = "WordNet" if run["data"].startswith("WordNet") else "synthetic"
    return f"{kind}, {run['rows'] // 1000}K × {run['dim']}"


def save(figure, name):
    figure.savefig(HERE / f"{name}.svg", metadata={"Date": None}, bbox_inches="tight", facecolor="white")
    plot.close(figure)


def recall():
    figure, panels = plot.subplots(1, len(RUNS), figsize=(10.5, 3.4))
    for panel, name in zip(panels, RUNS):
        run, libraries = read(name)
        for library in libraries:
            shown = [(recall, rate) for recall, rate in library["points"] if recall >= 0.85]
            width = 2 if library["peer"] == "engram" else 1.2
            panel.plot(*zip(*shown), marker="o", markersize=3, linewidth=width, color=COLOURS[library["peer"]],
                       label=library["peer"])
        panel.set_title(title(run))
        panel.set_xlabel("recall@10")
        panel.set_ylim(bottom=0)
    panels[0].set_ylabel("queries/s, one thread")
    panels[0].legend(frameon=False)
    save(figure, "recall")


def building():
    figure, panels = plot.subplots(1, 3, figsize=(10.5, 3.2))
    shown = [("inserts_per_s_1", "rows/s built, one thread"), ("inserts_per_s", "rows/s built, two threads"),
             ("bytes_per_row", "bytes a row, all in memory")]
    runs = [read(name) for name in RUNS]
    for panel, (key, label) in zip(panels, shown):
        for n, peer in enumerate(COLOURS):
            values = [next(one[key] for one in libraries if one["peer"] == peer) for _, libraries in runs]
            places = [at + (n - 1.5) * 0.2 for at in range(len(runs))]
            panel.bar(places, values, width=0.19, color=COLOURS[peer], label=peer)
        panel.set_xticks(range(len(runs)), [f"{run['dim']} d" for run, _ in runs])
        panel.set_title(label)
        panel.grid(axis="x", visible=False)
    panels[2].legend(frameon=False)
    save(figure, "building")


with plot.rc_context(STYLE):
    recall()
    building()
