"""A plan as a drawing: DOT, Mermaid or SVG text. Downloads are left out: each belongs to one step and says nothing."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from stackbuild.plan.forecast import Forecast
from stackbuild.plan.graph import Plan
from stackbuild.report.explain import words

COLOURS = {"cached": "#d5e8d4", "run": "#f8cecc", "depends": "#fff2cc", "unneeded": "#eeeeee"}
WIDTH, HEIGHT, GAP_X, GAP_Y = 210, 44, 50, 16
"""Of a box of the SVG, and between two, in pixels."""


def draw(plan: Plan, forecast: Forecast, form: str) -> str:
    """form: "dot" | "mermaid" | "svg". The same plan and forecast give the same text."""
    edges = _edges(plan)
    nodes = {id: forecast.outlooks[id].state for id in plan.steps if plan.steps[id].kind != "fetch"}
    why = {id: words(forecast.outlooks[id].reasons) for id, state in nodes.items() if state in ("run", "depends")}
    return {"dot": _dot, "mermaid": _mermaid, "svg": _svg}[form](nodes, edges, why)


def _edges(plan: Plan) -> list[tuple[str, str]]:
    """Without what follows from others: a step that needs c by way of b is drawn at b alone."""
    import networkx as nx

    kept = plan.graph.subgraph([id for id, step in plan.steps.items() if step.kind != "fetch"])
    place = {id: number for number, id in enumerate(plan.steps)}
    return sorted(nx.transitive_reduction(kept).edges, key=lambda edge: (place[edge[0]], place[edge[1]]))


def _dot(nodes: Mapping[str, str], edges: list[tuple[str, str]], why: Mapping[str, str]) -> str:
    def text(value: str) -> str:
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'

    lines = ["digraph plan {", "  rankdir=LR;", '  node [shape=box, style=filled, fontname="sans-serif"];']
    for id, state in nodes.items():
        tip = f", tooltip={text(why[id])}" if why.get(id) else ""
        lines.append(f'  {text(id)} [fillcolor="{COLOURS[state]}", class="{state}"{tip}];')
    lines += [f"  {text(a)} -> {text(b)};" for a, b in edges]
    return "\n".join([*lines, "}"])


def _mermaid(nodes: Mapping[str, str], edges: list[tuple[str, str]], why: Mapping[str, str]) -> str:
    def text(value: str) -> str:
        return value.replace("&", "#amp;").replace('"', "#quot;").replace("<", "#lt;")

    number = {id: f"s{n}" for n, id in enumerate(nodes)}
    lines = ["flowchart LR"]
    for id, state in nodes.items():
        label = text(id) + (f"<br/>{text(why[id])}" if why.get(id) else "")
        lines.append(f'  {number[id]}["{label}"]:::{state}')
    lines += [f"  {number[a]} --> {number[b]}" for a, b in edges]
    lines += [f"  classDef {state} fill:{colour}" for state, colour in COLOURS.items()]
    return "\n".join(lines)


def _svg(nodes: Mapping[str, str], edges: list[tuple[str, str]], why: Mapping[str, str]) -> str:
    """Columns by the longest way from the start, rows in the order of the plan."""
    column = dict.fromkeys(nodes, 0)
    before: dict[str, list[str]] = {id: [] for id in nodes}
    for a, b in edges:
        before[b].append(a)
    for id in nodes:  # in the order of the plan, so what is before has its column
        column[id] = max((column[one] + 1 for one in before[id]), default=0)
    rows: dict[int, int] = {}
    place = {}
    for id in nodes:
        row = rows[column[id]] = rows.get(column[id], -1) + 1
        place[id] = (GAP_X + column[id] * (WIDTH + GAP_X), GAP_Y + row * (HEIGHT + GAP_Y))
    width = GAP_X + (max(column.values(), default=0) + 1) * (WIDTH + GAP_X)
    height = GAP_Y + (max(rows.values(), default=0) + 1) * (HEIGHT + GAP_Y)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}"'
        ' font-family="sans-serif" font-size="12">'
    ]
    for a, b in edges:
        (x, y), (u, v) = place[a], place[b]
        x, y, v = x + WIDTH, y + HEIGHT // 2, v + HEIGHT // 2
        path = f"M{x},{y} C{x + GAP_X // 2},{y} {u - GAP_X // 2},{v} {u},{v}"
        lines.append(f'  <path d="{path}" fill="none" stroke="#888"/>')
    for id, state in nodes.items():
        x, y = place[id]
        tip = f"<title>{escape(f'{id}: {state}' + (f': {why[id]}' if why.get(id) else ''))}</title>"
        below = escape(_short(why.get(id) or state, 36))
        lines.append(
            f'  <g>{tip}<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="4" fill="{COLOURS[state]}"'
            f' stroke="#555"/><text x="{x + 8}" y="{y + 18}">{escape(_short(id, 30))}</text>'
            f'<text x="{x + 8}" y="{y + 34}" fill="#555" font-size="10">{below}</text></g>'
        )
    return "\n".join([*lines, "</svg>"])


def _short(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
