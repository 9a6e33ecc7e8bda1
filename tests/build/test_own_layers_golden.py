"""Keys and bytes of own layers do not move by accident: a change rebuilds everybody's layers, so it must be meant."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from tests.build.own import Bench, small_tree, write
from tests.machine import REPOSITORY, need_root

LAYERS: Mapping[str, Mapping[str, object]] = {
    "copy": {"copy": [{"from": "site/", "to": "/srv/www/", "owner": "www-data", "mode": "a+rX", "exclude": ["*.tmp"]}]},
    "files": {"files": [{"path": "/etc/a", "content": "a\n", "mode": "0640"}, {"path": "/bin/l", "link": "/dev/null"}]},
    "remove": {"remove": ["/var/www"]},
    "users": {"users": {"app": {"uid": 10001, "groups": ["adm"]}}},
}


def test_keys_and_layers_are_those_of_the_last_release(tmp_path: Path, golden: Callable[[Path, str], None]) -> None:
    need_root()  # the tree's files are root's
    project = write(tmp_path / "project", {"site/index.html": "hello", "site/x.tmp": "", "site/l": "-> index.html"})
    bench = Bench(tmp_path / "work", project, [small_tree(tmp_path / "base")])
    lines = []
    for kind, params in LAYERS.items():
        layer = bench.layer(kind, params)
        lines += [f"{kind} key {layer.inputs.key}", f"{kind} action {layer.action.digest}"]
        lines.append(f"{kind} diff {layer.facts['diff_id']}")
    golden(REPOSITORY / "tests/data/own_layers/digests.txt", "\n".join(lines) + "\n")
