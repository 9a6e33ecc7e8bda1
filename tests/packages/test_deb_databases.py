"""dpkg's and apt's small databases as values: status, lists, triggers, marks, the order of Pre-Depends."""

from __future__ import annotations

from pathlib import Path

import pytest

from stackbuild.packages.deb.control import decode, stanzas
from stackbuild.packages.deb.database import (
    conffile_paths,
    extended_states,
    is_pending,
    status_entries,
    status_text,
    unpacked,
    without_lines,
)  # fmt: skip
from stackbuild.packages.deb.diversions import parse_diversions, parse_statoverrides, place
from stackbuild.packages.deb.order import rounds
from stackbuild.packages.deb.scripts import failure
from stackbuild.packages.deb.triggers import Interest, activations, directives, unincorporated
from stackbuild.packages.deb.wave import Package
from tests.machine import run


def package(name: str, **fields: str) -> Package:
    text = {key.replace("_", "-"): value for key, value in fields.items()}
    return Package(name, "1", "amd64", name, Path("none"), True, False, {}, {"package": name, **text})


def names(packages: tuple[Package, ...]) -> list[str]:
    return [one.name for one in packages]


def test_a_predepends_is_configured_before_what_needs_it_is_unpacked() -> None:
    wave = [
        package("shell", pre_depends="loader (>= 1) | other"),
        package("loader", depends="data"),
        package("data"),
        package("user", depends="shell"),
    ]
    found = [(names(r.unpack), names(r.configure)) for r in rounds(wave, {})]
    assert found == [(["loader", "data"], ["loader", "data"]), (["shell", "user"], [])]
    status = status_entries(b"Package: loader\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1\n")
    below = {(entry.name, entry.architecture): entry for entry in status}
    assert [names(r.unpack) for r in rounds(wave, below)] == [["shell", "loader", "data", "user"]]


def test_a_ring_of_predepends_ends() -> None:
    wave = [package("a", pre_depends="b"), package("b", pre_depends="a")]
    unpacked_names = [name for r in rounds(wave, {}) for name in names(r.unpack)]
    assert sorted(unpacked_names) == ["a", "b"]


def test_a_stanza_of_an_unpacked_package_is_one_that_reads_back() -> None:
    control = b"Package: x\nVersion: 1\nArchitecture: all\nDescription: a\n long\n .\n text\n\n"
    text = unpacked(control, [(b"/etc/x y", b"0" * 32)])
    fields = next(stanzas(decode(text)))
    assert fields["status"] == "install ok unpacked"
    assert fields["conffiles"].split("\n")[1] == " /etc/x y " + "0" * 32
    (entry,) = status_entries(text)
    assert (entry.name, entry.architecture, entry.version, entry.status) == ("x", "all", "1", "unpacked")


@pytest.mark.parametrize(
    "state", ["half-configured", "unpacked", "triggers-awaited", "triggers-pending", "half-installed"]
)
def test_what_dpkg_has_still_to_do_is_seen(state: str) -> None:
    done = b"Package: x\nStatus: install ok installed\n\nPackage: y\nStatus: deinstall ok config-files\n\n"
    assert not is_pending(done)
    assert is_pending(done + b"Package: z\nStatus: install ok " + state.encode() + b"\n")


def test_status_is_sorted_and_nothing_is_lost() -> None:
    rows = [b"Package: b\nArchitecture: i386\n", b"Package: b\nArchitecture: amd64\n", b"Package: a\nX: \xe9\n y\n"]
    assert status_text(status_entries(b"\n".join(rows))) == b"\n".join([rows[2], rows[1], rows[0], b""])


def test_flags_before_a_conffile_are_seen() -> None:
    assert conffile_paths(b"/etc/a\n/etc/b c\n\n") == [b"/etc/a", b"/etc/b c"]
    assert conffile_paths(b"/etc/a\nremove-on-upgrade /etc/b\n") is None


def test_lists_lose_exactly_the_lines_that_were_taken_over() -> None:
    assert without_lines(b"/.\n/usr\n/usr/a\n/usr/ab\n", {b"usr/a"}) == b"/.\n/usr\n/usr/ab\n"


def test_marks_of_apt_follow_what_came_in() -> None:
    old = (
        b"Package: z\nArchitecture: amd64\nAuto-Installed: 1\n\nPackage: a\nArchitecture: amd64\nAuto-Installed: 1\n\n"
    )
    new = extended_states(old, {("m", "amd64"): True, ("a", "amd64"): False})
    assert new == (
        b"Package: m\nArchitecture: amd64\nAuto-Installed: 1\n\nPackage: z\nArchitecture: amd64\nAuto-Installed: 1\n\n"
    )


def test_trigger_directives_and_what_they_lead_to() -> None:
    control = b"# note\ninterest-noawait /usr/share/icons\ninterest  ldconfig\nactivate-noawait other # x\nnonsense\n"
    interests, activates = directives(control, b"p")
    assert interests == [Interest(b"/usr/share/icons", b"p/noawait"), Interest(b"ldconfig", b"p")]
    assert activates == [b"other"]
    found = activations(
        {b"one": [b"/usr/share/icons/a", b"/usr/share/iconsx/b"], b"two": [b"/usr/share/icons"], b"three": [b"/usr"]},
        {b"three": [b"ldconfig"]},
        interests,
    )
    assert found == {b"/usr/share/icons": [b"one", b"two"], b"ldconfig": [b"three"]}
    assert unincorporated(found) == b"/usr/share/icons one two\nldconfig three\n"


def test_dpkg_reads_what_a_desktop_activates(tmp_path: Path) -> None:
    """A trigger that 700 packages activate: more than dpkg reads in one line."""
    for folder in ("triggers", "updates", "info"):
        (tmp_path / folder).mkdir()
    (tmp_path / "status").touch()
    packages = [b"package%03d" % number for number in range(700)]
    text = unincorporated({b"/usr/share/doc": packages, b"other": [b"one"]})
    assert [word for line in text.splitlines() for word in line.split()[1:]] == [*packages, b"one"]
    (tmp_path / "triggers/Unincorp").write_bytes(text)
    said = run(["dpkg", f"--admindir={tmp_path}", "--triggers-only", "-a"], code=None)
    assert (said.code, said.err) == (0, "")
    (tmp_path / "triggers/Unincorp").write_bytes(b"/usr/share/doc " + b" ".join(packages) + b"\n")
    assert "too-long line" in run(["dpkg", f"--admindir={tmp_path}", "--triggers-only", "-a"], code=None).err


def test_a_trigger_name_cannot_leave_its_folder() -> None:
    assert directives(b"interest ../../../etc/passwd\ninterest a/../../b\n", b"p")[0] == []


def test_diversions_apply_to_all_but_their_owner() -> None:
    found = parse_diversions(b"/bin/a\n/bin/a.real\nguard\n/bin/b\n/bin/b.mine\n:\nhalf\n")
    assert place(b"/bin/a", b"other", found) == b"/bin/a.real"
    assert place(b"/bin/a", b"guard", found) == b"/bin/a"
    assert place(b"/bin/b", b"guard", found) == b"/bin/b.mine"
    assert parse_statoverrides(b"root mail 2755 /usr/bin/with space\n") == {b"/usr/bin/with space"}


def test_dpkgs_refusal_is_told_as_its_own_words() -> None:
    tail = (
        "Setting up x ...\ndpkg: error processing package x (--configure):\n"
        " installed x package post-installation script subprocess returned error exit status 3\n"
    )
    error = failure(("dpkg", "--configure", "x"), 1, tail)
    assert error.what == "the postinst script of package x failed" and error.why.endswith("exit status 3")
    plain = failure(("debconf-set-selections",), 2, "error: no\n")
    assert plain.what == "debconf-set-selections failed" and plain.why == "exit code 2" and plain.output == "error: no"
