"""The drawings of a plan: DOT without needless edges, SVG that is XML, Mermaid that keeps texts."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest

from stackbuild.core.digest import digest_of
from stackbuild.plan.forecast import Forecast, Outlook
from stackbuild.plan.graph import Plan
from stackbuild.plan.reasons import Reason
from stackbuild.plan.step import Inputs, Step
from stackbuild.report.graph import draw

ODD = 'copy/"<odd>&\\'


def made() -> tuple[Plan, Forecast]:
    steps = [
        Step("fetch/x", "fetch", {}),
        Step("unpack/0/0", "unpack", {}, {"package x": "fetch/x"}),
        Step(ODD, "copy", {}, {"a": "unpack/0/0"}),
        Step("image", "assemble", {}, {"a": ODD, "b": "unpack/0/0"}),
    ]
    states = dict(zip((one.id for one in steps), ("cached", "cached", "run", "depends"), strict=True))
    why = (Reason('a "b"', "x", "<y>"),)
    looks = {
        one.id: Outlook(one, digest_of(b""), Inputs("x/1", {}, {}), states[one.id], None, why if one.id == ODD else ())
        for one in steps
    }
    return Plan.of(steps, ["image"]), Forecast(looks)


def test_dot_has_the_steps_without_downloads_and_only_edges_that_do_not_follow() -> None:
    text = draw(*made(), "dot")
    names = re.findall(r'^  ("(?:[^"\\]|\\.)*") \[fillcolor', text, re.M)
    assert [name[1:-1].replace('\\"', '"').replace("\\\\", "\\") for name in names] == ["unpack/0/0", ODD, "image"]
    assert len(re.findall(" -> ", text)) == 2 and 'class="depends"' in text and "fetch" not in text


def test_svg_is_xml_with_a_box_for_each_step() -> None:
    root = ET.fromstring(draw(*made(), "svg"))
    boxes = root.findall("{http://www.w3.org/2000/svg}g")
    titles = [box.findtext("{http://www.w3.org/2000/svg}title") for box in boxes]
    assert titles == ["unpack/0/0: cached", f'{ODD}: run: a "b": x → <y>', "image: depends"]
    rects = [rect for box in boxes for rect in box.findall("{http://www.w3.org/2000/svg}rect")[:1]]
    xs = [float(rect.attrib["x"]) for rect in rects]
    assert len(xs) == len(boxes) and xs == sorted(set(xs))  # each after what it needs


def test_mermaid_keeps_odd_names_as_text() -> None:
    lines = draw(*made(), "mermaid").splitlines()
    assert lines[0] == "flowchart LR" and "  s0 --> s1" in lines and "  s1 --> s2" in lines
    assert any("#quot;#lt;odd>#amp;" in line for line in lines)


@pytest.mark.parametrize("form", ["dot", "mermaid", "svg"])
def test_the_same_plan_is_the_same_text(form: str) -> None:
    assert draw(*made(), form) == draw(*made(), form)
