"""DESIGN section 8, "Two ways, one result": the fast way makes the layers that the image's own dpkg makes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.build.waves_bench import Bench, base, base_packages, differences, split_into_waves
from tests.machine import need_root

# (requests, part of the reason why a wave must go the reference way; "" if all go the fast way)
SAMPLE = [
    (["nginx-light"], ""),
    (["molly-guard", "systemd-sysv"], "is diverted in the tree below"),
    (["tex-common"], ""),
    (["apg", "at"], ""),
]
WHOLE = [
    (["python3", "curl"], ""),
    (["mariadb-server"], ""),
    (["postgresql", "libpq-dev"], ""),
    (["ca-certificates-java"], ""),
    (["default-jre-headless"], ""),
    (["redis-server"], ""),
    (["apache2"], ""),
    (["php"], ""),
    (["openssh-server"], ""),
    (["ssl-cert"], ""),
    (["man-db"], ""),
    (["systemd", "dbus"], ""),
    (["hicolor-icon-theme", "libgtk-3-0"], ""),
    (["fontconfig", "fonts-dejavu-core"], ""),
    (["shared-mime-info"], ""),
    (["tzdata", "locales"], ""),
    (["vim", "nano"], ""),
    (["git"], ""),
    (["postfix"], ""),
    (["exim4"], ""),
    (["cron", "logrotate", "rsyslog"], ""),
    (["sudo"], ""),
    (["build-essential"], ""),
    (["nodejs", "npm"], ""),
    (["ruby"], ""),
    (["emacs-nox"], ""),
    (["perl", "libwww-perl"], ""),
    (["haproxy"], ""),
    (["squid"], ""),
    (["bind9"], ""),
    (["dovecot-imapd"], ""),
    (["snmpd"], ""),
    (["gawk"], ""),
    (["libglib2.0-0", "libgdk-pixbuf-2.0-0", "librsvg2-common"], ""),
    (["docbook-xml"], ""),
    (["ntpsec"], ""),
    (["slapd"], ""),
    (["busybox", "iproute2", "iputils-ping"], ""),
]
_ids = [" ".join(words) for words, _ in SAMPLE + WHOLE]


@pytest.fixture(scope="module")
def bench(shared: Path) -> Bench:
    need_root()
    return base(shared)


def status_of(bench: Bench) -> Path:
    """dpkg's status of the tree as it is: the topmost configure layer's."""
    return next(folder / "var/lib/dpkg/status" for folder in reversed(bench.configured))


@pytest.mark.root
@pytest.mark.parametrize(
    ("sandbox", "way"),
    [
        ("overlay", "reference"),
        pytest.param("chroot", "fast", marks=pytest.mark.whole),
        pytest.param("chroot", "reference", marks=pytest.mark.whole),
    ],
)
def test_a_bootstrapped_base_is_the_same_in_every_way(bench: Bench, tmp_path: Path, sandbox: str, way: str) -> None:
    """The shared base was made in the overlay, the fast way, with one thread less or more to race with."""
    packages = base_packages(bench.apt)
    assert {"dash", "base-files", "base-passwd", "dpkg", "apt"} <= {package["name"] for package in packages}
    other = Bench(bench.apt, tmp_path, sandbox)
    facts = other.unpack(packages, first=True)
    made = json.loads((bench.folder / "unpack0/FACTS.json").read_text())
    assert facts["diff_id"] == made["diff_id"], "fragments depend on packages alone"
    facts, place = other.configure(packages, way, first=True)
    assert "error" not in facts, facts
    assert differences(bench.configured[0], place / "tree") == []
    assert facts["diff_id"] == json.loads((bench.folder / "configure0/FACTS.json").read_text())["diff_id"]
    shutil.rmtree(tmp_path)


@pytest.mark.root
@pytest.mark.parametrize(
    ("words", "reason"),
    [*SAMPLE, *(pytest.param(*case, marks=pytest.mark.whole) for case in WHOLE)],
    ids=_ids,
)
def test_both_ways_make_the_same_layers(bench: Bench, tmp_path: Path, words: list[str], reason: str) -> None:
    packages = bench.apt.answer(words, status_of(bench))
    assert {package["name"] for package in packages} & set(words), "nothing of the request is new"
    fast = Bench(bench.apt, tmp_path, fragments=[*bench.fragments], configured=[*bench.configured])
    slow = Bench(bench.apt, tmp_path, fragments=[*bench.fragments], configured=[*bench.configured])
    for wave in split_into_waves(packages, bench.apt.folder / "packages"):
        fast.unpack(wave)
        slow.fragments.append(fast.fragments[-1])
        facts, quick = fast.configure(wave, "auto")
        assert "error" not in facts, facts
        assert facts["way"] == "fast" or (reason and reason in facts["reason"]), facts["reason"]
        other, careful = slow.configure(wave, "reference")
        assert "error" not in other, other
        stores = tuple(facts["generated"]["stores"])  # these differ each time, whichever the way: they are named
        assert stores == tuple(other["generated"]["stores"])
        found = [line for line in differences(quick / "tree", careful / "tree") if not line.startswith(stores)]
        assert found == []
        fast.configured.append(quick / "tree")
        slow.configured.append(careful / "tree")
        if not facts["generated"]["stores"]:
            assert facts["diff_id"] == other["diff_id"]
    shutil.rmtree(tmp_path)  # some of these are big
