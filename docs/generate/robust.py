"""Write docs/results/robust.md: what each kind of training faces is worth on hard faces.

    python docs/generate/robust.py

Reads what `benchmarks/hard_faces.py` wrote: from docs/results/robust/ NAME.json of each network, all without image
enhancement but NAME-enhanced.json; and docs/benchmarks/hard-faces.json of the bundled ones.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

DOCS = Path(__file__).parents[1]
FOLDER = DOCS / "results" / "robust"
NETWORKS = (  # file, what it is
    ("start-facekd-68-lite", "the start: a network of 112 px for plain faces"),
    ("views", "hard views"),
    ("views-pseudo", "hard views, pseudo-labels"),
    ("views-pseudo-far", "hard views, pseudo-labels; 2,600 steps at a rate of 0.002"),
    ("views-rotated", "hard views, rotated faces"),
    ("photo-views-rotated", "photo views, rotated faces"),
    ("photo-views-rotated-synthetic", "photo views, rotated faces, a fifth synthetic ones"),
    ("photo-views-halved", "half as many photo views, rotated faces"),
    ("facekd-68-lite", "the same; 2,600 steps at 0.002, taught by the start of 240 px: facekd-68-lite as bundled"),
    ("start-facekd-68", "the start: a network of 240 px for plain faces"),
    ("facekd-68-views-rotated", "hard views, 1,377 of the rotated faces; 400 steps at a rate of 0.0005"),
    ("facekd-68-views-rotated-all", "hard views, all rotated faces; 450 steps at a rate of 0.0005"),
    ("facekd-68-photo-views", "photo views, all rotated faces; 1,095 steps at a rate of 0.0005"),
    ("facekd-68-taught", "from there half as many, taught, 1,095 steps at 0.001; mean with the network before"),
    ("facekd-68-taught-start", "the same, mean with the start"),
    ("facekd-68", "the same with two seeds, mean with the start, which counts twice as much: facekd-68 as bundled"),
)
EARLIER = ("views", "facekd-68-views")  # measured when faces of given boxes were turned only if sure of it
STARTS = ("start-facekd-68-lite", "start-facekd-68")
BUNDLED = ("facekd-68-lite", "facekd-68")
TITLES = {"start-facekd-68": "the start of facekd-68"}
TESTED = (
    ("robust/start-facekd-68-lite", "the start, 112 px"),
    ("robust/test", "the same on hard views and rotated faces"),
    ("robust/test-photo", "the same on photo views and rotated faces"),
    ("robust/test-bundled-facekd-68-lite", "`facekd-68-lite`"),
    ("robust/start-facekd-68", "the start, 240 px"),
    ("robust/test-facekd-68", "the same on hard views and rotated faces"),
    ("robust/test-facekd-68-photo", "the same on photo views and rotated faces"),
    ("robust/test-facekd-68-taught", "then half as many, taught; mean with the network before"),
    ("robust/test-facekd-68-taught-start", "the same, mean with the start"),
    ("robust/test-bundled-facekd-68", "`facekd-68`"),
)
KINDS = ("Occlusion", "Blur", "Resolution", "Image quality", "Combined", "Synthetic")


def main() -> None:
    """Write the page."""
    bundled = json.loads((DOCS / "benchmarks" / "hard-faces.json").read_text())
    enhanced = {name: rows_of(bundled, name) for name in BUNDLED}
    enhanced["start-facekd-68"] = the_rows("start-facekd-68-enhanced", bundled)
    found = {name: the_rows(name, bundled) for name, _ in NETWORKS}
    (DOCS / "results" / "robust.md").write_text(page(found, enhanced))


def the_rows(name: str, bundled: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the figures of the one network of a file."""
    one = json.loads((FOLDER / f"{name}.json").read_text())
    if one["pack_sha256"] != bundled["pack_sha256"]:
        raise SystemExit(f"{name}.json is of other faces than the benchmark's page")
    return rows_of(one, one["models"][0])


def rows_of(result: dict[str, Any], model: str) -> list[dict[str, Any]]:
    """Return the figures of one network: kind, name, and what was measured."""
    return [{"kind": row["kind"], "name": row["name"]} | row["models"][model] for row in result["rows"]]


def page(found: dict[str, list[dict[str, Any]]], enhanced: dict[str, list[dict[str, Any]]]) -> str:
    """Return the page, from the rows of each network, and those of the bundled ones with image enhancement."""
    text = (FOLDER / "text.md").read_text()
    head = ["trained on", "plain, NME", *KINDS]
    table = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for name, title in NETWORKS:
        rows = found[name]
        (plain,) = (row["nme_inter_ocular"] for row in rows if row["name"] == "plain")
        shares = [np.mean([row["above_10"] for row in rows if row["kind"] == kind]) for kind in KINDS]
        told = [f"{share:.1f} %" for share in shares]
        if name.startswith(EARLIER):
            told[KINDS.index("Combined")] = "*"
        table.append(f"| {title} | {plain:.2f} | {' | '.join(told)} |")
    each = ["| condition |" + "".join(f" before | {name} | change | rank correlation |" for name in BUNDLED)]
    each.append("|---" * (1 + 4 * len(STARTS)) + "|")
    pairs = [(found[start], found[name]) for start, name in zip(STARTS, BUNDLED, strict=True)]
    for rows in zip(*(zip(*pair, strict=True) for pair in pairs), strict=True):
        if any(row["above_10"] or other["above_10"] for row, other in rows):
            each.append(f"| {rows[0][0]['name']} | {' | '.join(cells(*pair) for pair in rows)} |")
    parts = {"table": "\n".join(table), "each": "\n".join(each), "test": "\n".join(test_rows())}
    parts["enhanced"] = "\n".join(enhanced_rows(found, enhanced))
    for name, part in parts.items():
        text = text.replace(f"{{{name}}}", part)
    return text


def enhanced_rows(found: dict[str, list[dict[str, Any]]], enhanced: dict[str, list[dict[str, Any]]]) -> list[str]:
    """Return the share above 10 % of the bundled networks and a start, without and with image enhancement."""
    names = ("start-facekd-68", "facekd-68", "facekd-68-lite")
    lines = ["| condition |" + "".join(f" {TITLES.get(name, name)} | enhanced | change |" for name in names)]
    lines.append("|---" * (1 + 3 * len(names)) + "|")
    for rows in zip(*(zip(found[name], enhanced[name], strict=True) for name in names), strict=True):
        if any(row["above_10"] or other["above_10"] for row, other in rows):
            told = [cells(*pair).rsplit(" | ", 1)[0] for pair in rows]
            lines.append(f"| {rows[0][0]['name']} | {' | '.join(told)} |")
    return lines


def test_rows() -> list[str]:
    """Return the figures on 300W's test faces."""
    found = []
    for name, title in TESTED:
        for boxes, shown in (("truth", "true"), ("detector", "detector")):
            subsets = json.loads((DOCS / "results" / f"{name}-{boxes}.json").read_text())["subsets"]
            errors = [f"{subsets[subset]['nme_inter_ocular']:.2f}" for subset in ("full", "common", "challenge")]
            found.append(f"| {title} | {shown} | {' | '.join(errors)} | {subsets['full']['fr_10']:.2f} % |")
    return found


def cells(row: dict[str, Any], other: dict[str, Any]) -> str:
    """Return the share above 10 % before and after, its change, and the rank correlation of confidence and error."""
    change = f"{100 * (other['above_10'] / row['above_10'] - 1):+.0f} %" if row["above_10"] else ""
    return f"{row['above_10']:.1f} % | {other['above_10']:.1f} % | {change} | {other['rank_correlation']:+.2f}"


if __name__ == "__main__":
    main()
