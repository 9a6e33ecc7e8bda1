"""Alternatives are read from scripts as update-alternatives itself would take them; what is not plain is named."""

from __future__ import annotations

from pathlib import Path

from stackbuild.packages.deb.alternatives import Alternative, Link, chosen, registered
from tests.machine import need, run

MAWK = """\
#!/bin/sh
set -e
if [ "$1" = "configure" ]; then
        update-alternatives --install /usr/bin/awk awk /usr/bin/mawk 5 \\
            --slave /usr/share/man/man1/awk.1.gz awk.1.gz /usr/share/man/man1/mawk.1.gz \\
            --slave /usr/bin/nawk nawk /usr/bin/mawk
fi
"""


def test_static_lines_are_understood_with_their_slaves() -> None:
    slaves = (
        Link("/usr/share/man/man1/awk.1.gz", "awk.1.gz", "/usr/share/man/man1/mawk.1.gz"),
        Link("/usr/bin/nawk", "nawk", "/usr/bin/mawk"),
    )
    assert registered(MAWK) == ([Alternative(Link("/usr/bin/awk", "awk", "/usr/bin/mawk"), 5, slaves)], [])


def test_what_needs_a_shell_is_named_and_not_guessed() -> None:
    lines = [
        "update-alternatives --install /usr/bin/x x $dir/x 10",
        "update-alternatives --install /usr/bin/x x `which x` 10",
        "update-alternatives --install /usr/bin/x x /usr/bin/*x 10",
        "update-alternatives --install /usr/bin/x ../x /usr/bin/y 10",
        "update-alternatives --install usr/bin/x x /usr/bin/y 10",
        "update-alternatives --install /usr/bin/x x /usr/bin/y high",
        "update-alternatives --install /usr/bin/x x /usr/bin/y 1 --slave /usr/bin/z z",
        "update-alternatives --altdir /tmp --install /usr/bin/x x /usr/bin/y 1",
        'update-alternatives --install /usr/bin/x x "/usr/bin/y 1',
    ]
    assert registered("\n".join(lines)) == ([], lines)
    assert registered("# update-alternatives --install /a a /b 1\nupdate-alternatives --remove x /usr/bin/x\n") == (
        [],
        [],
    )


def test_what_follows_the_command_is_no_part_of_it() -> None:
    for tail in ("|| true", "; fi", ">/dev/null 2>&1", "&& echo done", "2>/dev/null || :"):
        found, unclear = registered(f"  update-alternatives --quiet --install /usr/bin/x x /usr/bin/y -5 {tail}\n")
        assert (found, unclear) == ([Alternative(Link("/usr/bin/x", "x", "/usr/bin/y"), -5)], []), tail


def test_the_choice_is_that_of_update_alternatives(tmp_path: Path) -> None:
    """The real program on the same registrations, in folders of its own."""
    program = need("update-alternatives")
    for folder in ("admin", "etc", "bin"):
        (tmp_path / folder).mkdir()
    script = []
    for name, priority in (("b", 10), ("c", 30), ("a", 30), ("d", 5)):
        (tmp_path / f"bin/{name}").touch()
        words = f"--install {tmp_path}/bin/tool tool {tmp_path}/bin/{name} {priority}"
        script.append(f"update-alternatives {words}")
        run([program, "--altdir", tmp_path / "etc", "--admindir", tmp_path / "admin", "--quiet", *words.split()])
    found, _ = registered("\n".join(reversed(script)))
    priority = chosen(found)["tool"].priority
    theirs = (tmp_path / "etc/tool").resolve()
    assert priority == 30 and theirs.name in ("a", "c")  # among equals theirs depends on the order in time
    assert chosen(found)["tool"].main.path == f"{tmp_path}/bin/a"
