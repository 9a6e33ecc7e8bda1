"""`files` and `remove` layers: texts, links and whiteouts at the right places."""

from __future__ import annotations

from pathlib import Path

import pytest

from stackbuild.core.errors import StepError
from tests.build.own import Bench, small_tree, write


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "work", write(tmp_path / "project", {"x": ""}), [small_tree(tmp_path / "base")])


def test_texts_and_links(bench: Bench) -> None:
    layer = bench.layer(
        "files",
        {
            "files": [
                {"path": "/etc/app/app.conf", "content": "é\n", "owner": "root:adm", "mode": "0640"},
                {"path": "/bin/tool", "content": "#!/bin/sh\n", "mode": "a+x"},
                {"path": "/var/log/app.log", "link": "/dev/stdout"},
            ]
        },
    )
    found = {name: (entry.mode, entry.uid, entry.gid, entry.linkname) for name, entry in layer.entries.items()}
    assert found == {
        "etc": (0o755, 0, 0, ""),
        "etc/app": (0o755, 0, 0, ""),
        "etc/app/app.conf": (0o640, 0, 4, ""),
        "usr": (0o755, 0, 0, ""),
        "usr/bin": (0o755, 0, 0, ""),
        "usr/bin/tool": (0o755, 0, 0, ""),
        "var": (0o755, 0, 0, ""),
        "var/log": (0o755, 0, 0, ""),
        "var/log/app.log": (0o777, 0, 0, "/dev/stdout"),
    }
    assert layer.content("etc/app/app.conf") == "é\n".encode()
    assert layer.facts["created_by"] == "files /etc/app/app.conf /bin/tool /var/log/app.log"


def test_a_link_at_the_very_path_is_replaced_not_followed(bench: Bench) -> None:
    write(bench.lowers[0], {"etc/site": "-> passwd"})
    layer = bench.layer("files", {"files": [{"path": "/etc/site", "content": "x"}]})
    assert list(layer.entries) == ["etc", "etc/site"] and layer.entries["etc/site"].isfile()


def test_a_file_does_not_replace_a_folder(bench: Bench) -> None:
    with pytest.raises(StepError) as error:
        bench.layer("files", {"files": [{"path": "/var/www", "content": "x"}]})
    assert str(error.value) == "a file cannot take the place of the folder /var/www"


def test_removals_are_whiteouts_beside_the_real_ancestors(bench: Bench) -> None:
    write(bench.lowers[0], {"var/cache/a/x": "", "var/cache/b": "", "var/cache/.c": "", "etc/link": "-> /var"})
    (bench.lowers[0] / "var/cache").chmod(0o700)
    layer = bench.layer("remove", {"remove": ["/var/cache/*", "/etc/link", "/lib/../../var/./www/", "/var/cache/a/x"]})
    assert list(layer.entries) == [
        "etc", "etc/.wh.link", "var", "var/.wh.www", "var/cache", "var/cache/.wh..c", "var/cache/.wh.a",
        "var/cache/.wh.b",
    ]  # fmt: skip
    assert layer.entries["var/cache"].mode == 0o700
    assert layer.facts["created_by"].startswith("remove /var/cache/* /etc/link")


def test_what_is_not_there_cannot_be_removed(bench: Bench) -> None:
    with pytest.raises(StepError) as error:
        bench.layer("remove", {"remove": ["/var/wwww"]})
    assert str(error.value) == "there is no /var/wwww to remove: the layers below do not have it"
    assert error.value.hints[0].text == "did you mean /var/www?"
    with pytest.raises(StepError, match=r"nothing matches /var/\*.log"):
        bench.layer("remove", {"remove": ["/var/*.log"]})
    with pytest.raises(StepError, match="/ cannot be removed"):
        bench.layer("remove", {"remove": ["/"]})


def test_what_an_upper_layer_removed_is_not_there(bench: Bench, tmp_path: Path) -> None:
    bench.lowers = [*bench.lowers, write(tmp_path / "upper", {"var/.wh.www": ""})]
    with pytest.raises(StepError, match="there is no /var/www to remove"):
        bench.layer("remove", {"remove": ["/var/www"]})


def test_keys_depend_on_the_facet_alone(bench: Bench) -> None:
    params = {"remove": ["/var/www"]}
    before = bench.layer("remove", params)
    write(bench.lowers[0], {"var/www/more": "x", "usr/lib/y": "z"})
    assert bench.layer("remove", params).inputs.key == before.inputs.key
