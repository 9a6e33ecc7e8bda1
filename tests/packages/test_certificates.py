"""The trusted certificates are what update-ca-certificates and openssl make of the same files."""

from __future__ import annotations

import os
from pathlib import Path

from stackbuild.packages.deb.certificates import subject_hash, trust
from tests.machine import need, run

SUBJECTS = [
    "/C=DE/O=  Some   Company  /CN=Mixed CASE",
    "/C=US/O=Ünïcode GmbH/CN=Prüf-Zertifikat",
    "/CN=" + "long " * 12,
    "/C=FR/O=Two/OU=One/OU=Two/CN=x+UID=y",
    "/emailAddress=Someone@Example.COM/CN=mail",
]


def test_bundle_and_links_are_those_of_update_ca_certificates(tmp_path: Path) -> None:
    certificates = made(tmp_path / "share")
    (tmp_path / "etc").mkdir()
    names = sorted(path.name for path in (tmp_path / "share").iterdir())
    (tmp_path / "conf").write_text("".join(f"{name}\n" for name in names))
    places = {"certsconf": "conf", "certsdir": "share", "etccertsdir": "etc", "localcertsdir": "none"}
    words = [word for option, name in places.items() for word in (f"--{option}", str(tmp_path / name))]
    run([need("update-ca-certificates"), *words, "--hooksdir", ""])
    ours = trust(certificates)
    assert (tmp_path / "etc/ca-certificates.crt").read_bytes() == ours.bundle
    links = {os.fsencode(p.name): os.readlink(os.fsencode(p)) for p in (tmp_path / "etc").iterdir() if p.is_symlink()}
    hashed = {name: target for name, target in links.items() if name.endswith((b".0", b".1"))}
    assert len(hashed) == len(SUBJECTS) + 1 and any(name.endswith(b".1") for name in hashed)
    assert dict(ours.links).keys() == links.keys()
    for name, target in links.items():
        if not name.endswith(b".1") and name[:-1] + b"1" not in hashed:
            assert ours.links[name] == target


def made(folder: Path) -> dict[bytes, bytes]:
    """Certificates with names that need care; two have the same subject; one file lacks its last newline."""
    folder.mkdir()
    for number, subject in enumerate([*SUBJECTS, SUBJECTS[0]]):
        file = folder / f"A (b),{number}.crt"
        words = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-utf8"]
        run([need("openssl"), *words, "-subj", subject, "-days", "9", "-keyout", "/dev/null", "-out", file])
    file.write_text(file.read_text().rstrip("\n"))
    return {os.fsencode(path): path.read_bytes() for path in sorted(folder.iterdir())}


def test_what_is_no_certificate_gets_no_hash() -> None:
    assert subject_hash(b"") == subject_hash(b"MAA=") == subject_hash(b"%%%") == subject_hash(b"MIIB") == b""
    assert dict(trust({b"/x/a.crt": b"nothing"}).links) == {b"a.pem": b"/x/a.crt"}
    assert trust({b"/x/a.crt": b"nothing"}).bundle == b"nothing\n"
