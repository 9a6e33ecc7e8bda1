"""Sources: both forms of apt's files, the host's under its own settings, another release, tables, and none at all."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from stackbuild.core.errors import UsageError
from stackbuild.core.events import Event, Note
from stackbuild.core.origin import Origin
from stackbuild.packages.deb import apt_conf, foreign
from stackbuild.packages.deb.sources_list import (
    base_sources,
    host_sources,
    no_sources,
    parse_deb822,
    parse_one_line,
    table_sources,
)
from stackbuild.packages.source import Keys

ONE_LINE = """\
# a comment
deb http://deb.example.com/debian/ bookworm main contrib  # more
deb-src http://deb.example.com/debian bookworm main
deb [ arch=amd64,arm64 signed-by=/k/a.gpg,/k/b.gpg trusted=yes check-valid-until=no ] https://x.example.com/d x main
deb file:/srv/local ./
"""
DEB822 = """\
# The first
Types: deb deb-src
URIs: http://deb.example.com/debian
# http://snapshot.example.com
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/example.gpg

Enabled: no
Types: deb
URIs: http://off.example.com
Suites: bookworm
Components: main

Types: deb
URIs: https://inline.example.com/debian
Suites: bookworm
Components: main
Check-Date: no
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 AAAA
 -----END PGP PUBLIC KEY BLOCK-----
"""


def host(root: Path, *, codename: str = "bookworm", conf: str = "", one_line: str = "", deb822: str = "") -> Path:
    """A root file system that has sources."""
    for folder in ("etc/apt/apt.conf.d", "etc/apt/sources.list.d"):
        (root / folder).mkdir(parents=True)
    (root / "etc/os-release").write_text(f'ID=debian\nVERSION_CODENAME="{codename}"\n')
    (root / "etc/apt/sources.list").write_text(one_line)
    (root / "etc/apt/sources.list.d/debian.sources").write_text(deb822)
    (root / "etc/apt/sources.list.d/old.list.disabled").write_text("deb http://never.example.com x y\n")
    (root / "etc/apt/apt.conf.d/10test").write_text(conf)
    return root


def test_one_line_sources() -> None:
    first, second, flat = parse_one_line(ONE_LINE, "sources.list")
    assert (first.url, first.suite, first.components) == (
        "http://deb.example.com/debian",
        "bookworm",
        ("main", "contrib"),
    )
    assert first.base == "http://deb.example.com/debian/dists/bookworm"
    assert first.origin == Origin("host", "sources.list", 2)
    assert second.architectures == ("amd64", "arm64") and second.trusted and not second.check_valid_until
    assert second.keys == Keys(files=(Path("/k/a.gpg"), Path("/k/b.gpg")))
    assert flat.flat and flat.base == "file:/srv/local/." and flat.components == ()


def test_deb822_sources() -> None:
    first, updates, inline = parse_deb822(DEB822, "debian.sources")
    assert (first.suite, updates.suite) == ("bookworm", "bookworm-updates")
    assert first.keys.files == (Path("/usr/share/keyrings/example.gpg"),) and first.origin.line == 2
    assert inline.keys.inline.splitlines() == [
        "-----BEGIN PGP PUBLIC KEY BLOCK-----", "", "AAAA", "-----END PGP PUBLIC KEY BLOCK-----",
    ]  # fmt: skip
    assert inline.check_valid_until and not inline.check_date


@pytest.mark.parametrize(
    ("text", "says"),
    [("deb http://a.example.com", "no line"), ("rpm x y z", "no line"), ("deb ftp://a.example.com x main", "not a URL"),
     ("deb http://a.example.com x", "needs components"), ("deb http://a.example.com x/ main", "no components")],
)  # fmt: skip
def test_a_wrong_line_is_named(text: str, says: str) -> None:
    with pytest.raises(UsageError) as found:
        parse_one_line(f"\n{text}\n", "sources.list")
    assert says in str(found.value) and "sources.list:2" in str(found.value)


def test_fingerprints_in_signed_by() -> None:
    (source,) = parse_one_line(
        "deb [signed-by=0123456789ABCDEF0123456789ABCDEF01234567!] http://a.example.com x y", "f"
    )
    assert source.keys.fingerprints == ("0123456789abcdef0123456789abcdef01234567",)


def test_the_hosts_sources_come_with_the_hosts_settings_and_say_so(tmp_path: Path) -> None:
    conf = 'Acquire { Check-Valid-Until "false"; http::Proxy "http://p.example.com:3128/"; };\n'
    conf += '// Acquire::Check-Date "no";\n'
    root = host(tmp_path, conf=conf, deb822=DEB822)
    events: list[Event] = []
    found = host_sources("debian/bookworm", events.append, root)
    assert [s.suite for s in found] == ["bookworm", "bookworm-updates", "bookworm"]
    assert not any(s.check_valid_until for s in found) and found[0].check_date
    assert found[0].proxy == found[2].proxy == "http://p.example.com:3128/"
    assert found[0].keys.files == (tmp_path / "usr/share/keyrings/example.gpg",)
    (note,) = events
    assert isinstance(note, Note) and "Check-Valid-Until is off" in note.text and "10test:1" in note.text


def test_another_release_of_the_hosts_distribution(tmp_path: Path) -> None:
    root = host(tmp_path, one_line="deb http://t.example.com nodistro main\n", deb822=DEB822)
    assert [s.suite for s in host_sources("debian/trixie", root=root)] == ["trixie", "trixie-updates", "trixie"]
    assert host_sources("ubuntu/noble", root=root) == []
    assert host_sources("debian/bookworm", root=tmp_path / "absent") == []


def test_apt_conf() -> None:
    text = """
    # a comment
    APT { Never { "^linux"; "x"; }; };
    Acquire::http { Proxy "http://a.example.com/"; Proxy::direct.example.com "DIRECT"; };
    /* Acquire::Check-Date "off"; */
    Acquire::Check-Valid-Until 0;  DPkg::Post-Invoke {"echo // { } ; \\"x\\"";};
    broken { {
    """
    found = apt_conf.parse(text, "f")
    assert apt_conf.switch(found, "Acquire::Check-Valid-Until", True)[0] is False
    assert apt_conf.switch(found, "Acquire::Check-Date", True)[0] is True
    assert found["acquire::check-valid-until"][1].line == 6
    assert apt_conf.proxy(found, "http://other.example.com/x") == "http://a.example.com/"
    assert apt_conf.proxy(found, "http://direct.example.com/x") == ""
    assert apt_conf.proxy({}, "http://direct.example.com/x") is None


def test_a_base_image_cannot_lead_out_of_its_tree(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("deb http://secret.example.com x main\n")
    root = host(tmp_path / "root", one_line="deb http://a.example.com x main\n")
    (root / "etc/apt/sources.list.d/evil.list").symlink_to(secret)
    (root / "etc/apt/trusted.gpg.d").symlink_to(tmp_path)
    assert [s.url for s in base_sources(root)] == ["http://a.example.com"]
    assert foreign.read(root, "../secret") is None and foreign.read(root, "etc/apt") is None
    assert foreign.read(root, "etc/apt/sources.list", limit=3) is None
    (root / "etc/apt/sources.list").write_text("deb file:/etc x main\n")
    with pytest.raises(UsageError, match="not reachable"):
        base_sources(root)


def test_the_database_of_a_distroless_image(tmp_path: Path) -> None:
    (tmp_path / "var/lib/dpkg/status.d").mkdir(parents=True)
    (tmp_path / "var/lib/dpkg/status.d/base").write_text("Package: base\nVersion: 1\nArchitecture: all\n")
    (tmp_path / "var/lib/dpkg/status.d/base.md5sums").write_text("Package: not-one\n")
    assert foreign.dpkg_status(tmp_path) == b"Package: base\nVersion: 1\nArchitecture: all\n"


def table(**changes: object) -> SimpleNamespace:
    plain = {
        "url": "https://a.example.com/d/", "suites": ("x", "y"), "components": ("main",), "architectures": (),
        "signed_by": "keys/a.gpg", "trusted": False, "snapshot": None, "check_valid_until": True,
        "priority": None,
    }  # fmt: skip
    return SimpleNamespace(**{**plain, **changes})


def test_tables_of_a_stack(tmp_path: Path) -> None:
    where = Origin("project", "stack.toml", 3)
    found = table_sources([table()], lambda n: where, tmp_path)
    assert [(s.url, s.suite) for s in found] == [("https://a.example.com/d", "x"), ("https://a.example.com/d", "y")]
    assert found[0].keys.files == (tmp_path / "keys/a.gpg",) and found[0].origin == where
    with pytest.raises(UsageError, match="leaves the project"):
        table_sources([table(signed_by="../a.gpg")], lambda n: where, tmp_path)
    user = Origin("user", "config.toml", 3)
    assert table_sources([table(signed_by="/k/a.gpg")], lambda n: user, tmp_path)[0].keys.files == (Path("/k/a.gpg"),)


def test_no_sources_show_the_lines_to_add() -> None:
    error = no_sources("ubuntu/noble")
    assert error.exit_code == 2
    assert '[[sources."ubuntu/noble"]]' in error.hints[0].text and 'suites = ["noble"]' in error.hints[0].text
