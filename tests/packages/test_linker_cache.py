"""The linker's cache from damaged and odd files: never an error, never a library that is none."""

from __future__ import annotations

import random
from pathlib import Path

from stackbuild.oci.tree_view import TreeView
from stackbuild.packages.deb.linker_cache import cache, libraries
from tests.machine import need, run


def system_library() -> Path:
    found = run([need("ldconfig"), "-p"]).out.split("libz.so.1 (", 1)[1].split("=> ", 1)[1].splitlines()[0]
    return Path(found).resolve()


def test_damaged_libraries_are_passed_over(tmp_path: Path) -> None:
    data = system_library().read_bytes()
    chance = random.Random(8)
    folder = tmp_path / "usr/lib"
    folder.mkdir(parents=True)
    for number in range(150):
        bad = bytearray(data)
        for _ in range(chance.randint(1, 6)):
            bad[chance.randrange(900)] = chance.choice([0, 1, 127, 255])
        (folder / f"libbad{number}.so.1").write_bytes(bad[: chance.choice([len(bad), chance.randrange(len(bad))])])
    (folder / "libscript.so").write_text("INPUT(/usr/lib/libc.so.6)\n")
    (folder / "libloop.so").symlink_to("libloop.so")
    found, _ = libraries(TreeView([tmp_path]))
    assert not {one.soname for one in found} & {b"libscript.so", b"libloop.so"}


def test_a_missing_link_is_made_and_development_links_are_listed_as_ldconfig_has_it(tmp_path: Path) -> None:
    folder = tmp_path / "opt/lib"
    folder.mkdir(parents=True)
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/ld.so.conf").write_text("# ours\n/opt/lib\ninclude none.d/*.conf\n")
    (folder / "libz.so.1.9.9").write_bytes(system_library().read_bytes())
    (folder / "libz.so").symlink_to("libz.so.1")
    found, links = libraries(TreeView([tmp_path]))
    assert links == {b"opt/lib/libz.so.1": b"libz.so.1.9.9"}
    (folder / "libz.so.1").symlink_to("libz.so.1.9.9")
    found, links = libraries(TreeView([tmp_path]))
    (tmp_path / "ours").write_bytes(cache(found))
    run([need("ldconfig"), "-r", tmp_path])
    ours, theirs = (
        run([need("ldconfig"), "-p", "-C", tmp_path / name]).out.splitlines()[1:]
        for name in ("ours", "etc/ld.so.cache")
    )
    assert ours == [line for line in theirs if not line.startswith("Cache")] and links == {}


def test_nothing_to_list_is_no_cache(tmp_path: Path) -> None:
    assert libraries(TreeView([tmp_path])) == ([], {}) and cache([]) == b""
