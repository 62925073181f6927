"""What a query in PromQL names: metrics, and labels of them. Held against docs/operations/metrics.md.

Leaves out: whether the query parses; promtool says that.
"""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Given by the scrape, not by the node.
SCRAPED = {"job", "instance"}
PARTS = {"_bucket": {"le"}, "_sum": set(), "_count": set()}


def families():
    """Name of every series that a node tells, with its labels."""
    known = {"up": set()}
    page = (ROOT / "docs/operations/metrics.md").read_text()
    for name, kind, labels in re.findall(r"^\| `(\w+)` \| (\w+) \| ([\w, ]*) \|", page, re.M):
        labels = set(filter(None, re.split(r",\s*", labels.strip())))
        if kind == "histogram":
            known.update({name + part: labels | more for part, more in PARTS.items()})
        else:
            known[name] = labels
    assert len(known) > 40, "the table of docs/operations/metrics.md was not read"
    return known


def base(series):
    """The family of a series."""
    return re.sub(r"_(bucket|sum|count)$", "", series)


def names(query, known):
    """The series that a query names, and what is wrong with them."""
    bare = re.sub(r'"(?:[^"\\]|\\.)*"', '""', query)
    found = set(re.findall(r"\b(?:(?:engram|process)_\w+|up)\b", bare))
    wrong = [f"{name} is not in docs/operations/metrics.md" for name in sorted(found - known.keys())]
    if not found:
        wrong.append(f"no metric in {query!r}")
    labels_of_all = SCRAPED.union(*(known.get(name, set()) for name in found))
    for name, selector in re.findall(r"\b((?:engram|process)_\w+|up)\s*\{([^}]*)\}", bare):
        given = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector))
        wrong += [f"{name} has no label {label}" for label in sorted(given - known.get(name, set()) - SCRAPED)]
    for clause in re.findall(r"\b(?:by|on|without|ignoring|group_left|group_right)\s*\(([^)]*)\)", bare):
        given = set(filter(None, re.split(r"[,\s]+", clause)))
        wrong += [f"no metric of {query!r} has a label {label}" for label in sorted(given - labels_of_all)]
    return found, wrong, labels_of_all
