"""A registry that lies, lures or never ends: no token leaves it, nothing unverified is used, every wait is bounded."""

from __future__ import annotations

import base64
import io
import json
import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from stackbuild.core.digest import digest_of
from stackbuild.core.errors import NetworkError, UsageError
from stackbuild.net.client import Client, Policy
from stackbuild.net.credentials import Credentials
from stackbuild.oci.descriptor import CONFIG, MANIFEST, Descriptor
from stackbuild.oci.manifest import make_manifest, parse_document
from stackbuild.oci.reference import is_loopback, parse_reference
from stackbuild.oci.registry import Registry
from stackbuild.oci.transports import copy, open_source
from tests.net.servers import Reply, Seen, always, serving
from tests.oci.samples import sample
from tests.oci.transports.contract import source

BLOB = Descriptor("", digest_of(b"blob"), 4)


def patient() -> Client:
    return Client(sleep=lambda seconds: None, policy=Policy(connect=5, read=5))


def http_only(answer: Callable[[Seen], Reply]) -> Callable[[Seen], Reply]:
    def reply(seen: Seen) -> Reply:
        return Reply() if seen.path == "/v2/" else answer(seen)

    return reply


def logged_in(tmp_path: Path, host: str) -> Client:
    file = tmp_path / "auth.json"
    file.write_text(json.dumps({"auths": {host: {"auth": base64.b64encode(b"me:secret").decode()}}}))
    credentials = Credentials({"HOME": str(tmp_path), "REGISTRY_AUTH_FILE": str(file)})
    return Client(credentials=credentials, sleep=lambda seconds: None)


def test_a_token_does_not_follow_a_foreign_location_or_redirect(tmp_path: Path) -> None:
    with serving(lambda seen: Reply(201 if seen.method == "PUT" else 200, b"blob")) as foreign:

        def answer(seen: Seen) -> Reply:
            if seen.path.startswith("/token"):
                return Reply(body=b'{"token": "tok"}')
            if seen.headers.get("authorization") != "Bearer tok":
                return Reply(401, headers={"WWW-Authenticate": f'Bearer realm="{server.url}/token",service="s"'})
            if seen.method == "POST":
                return Reply(202, headers={"Location": f"{foreign.url}/upload"})
            return Reply(307, headers={"Location": f"{foreign.url}/blob"})

        with serving(http_only(answer)) as server:
            registry = Registry(server.host, logged_in(tmp_path, server.host))
            registry.upload("a", BLOB, lambda: io.BytesIO(b"blob"))
            assert registry.open_blob("a", BLOB).read() == b"blob"
            asked = [seen for seen in server.seen if seen.path.startswith("/token")]
            assert [seen.headers["authorization"] for seen in asked] == ["Basic bWU6c2VjcmV0"] * 2
            assert "scope=repository%3Aa%3Apull%2Cpush" in asked[0].path
        assert [(seen.method, "authorization" in seen.headers) for seen in foreign.seen] == [
            ("PUT", False),
            ("GET", False),
        ]


def test_a_password_is_not_sent_to_a_token_server_in_the_clear(tmp_path: Path) -> None:
    challenge = {"WWW-Authenticate": 'Bearer realm="http://tokens.example.com/token",service="s"'}
    with serving(http_only(lambda seen: Reply(401, headers=challenge))) as server:
        registry = Registry(server.host, logged_in(tmp_path, server.host))
        registry._plain = registry._auth._plain = False  # as for a registry that is not on this machine
        with pytest.raises(NetworkError, match="sent in the clear"):
            registry.tags("a")


def test_plain_http_is_for_this_machine_alone() -> None:
    assert [is_loopback(host) for host in ("localhost:5000", "127.0.0.9", "[::1]:5000")] == [True] * 3
    assert [is_loopback(host) for host in ("localhost.example.com", "127.0.0.1.example.com", "10.0.0.1:5000")] == [
        False
    ] * 3
    assert Registry("registry.example.com", Client())._base == "https://registry.example.com"


def test_tags_without_end_end() -> None:
    pages = iter(range(10**6))

    def answer(seen: Seen) -> Reply:
        return Reply(body=b'{"tags": ["x"]}', headers={"Link": f'</v2/a/tags/list?last={next(pages)}>; rel="next"'})

    with serving(http_only(answer)) as server:
        with pytest.raises(NetworkError, match="does not end"):
            Registry(server.host, patient()).tags("a")
    for link, words in (("/v2/a/tags/list", "does not end"), ("http://tags.example.com/", "leads elsewhere")):
        headers = {"Link": f'<{link}>; rel="next"'}
        with serving(http_only(partial(always, Reply(body=b'{"tags": []}', headers=headers)))) as server:
            with pytest.raises(NetworkError, match=words):
                Registry(server.host, patient()).tags("a")


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"manifests": [], "layers": [], "config": {}}, "an index and a manifest at once"),
        ({"schemaVersion": 1}, "schemaVersion"),
        ({"config": {"mediaType": CONFIG, "digest": "md5:x", "size": 1}}, "digest"),
        ({"config": {"mediaType": CONFIG, "digest": BLOB.digest, "size": -1}}, "size"),
        ({"config": {"mediaType": CONFIG, "digest": BLOB.digest, "size": True}}, "size"),
        ({"config": {"mediaType": "text/plain", "digest": BLOB.digest, "size": 4}}, "not a container image"),
        ({"mediaType": MANIFEST, "manifests": []}, "not what it holds"),
        ({"config": []}, "not an object"),
    ],
)
def test_manifests_that_make_no_sense_are_refused(document: dict[str, object], words: str) -> None:
    raw = json.dumps({"schemaVersion": 2, **document}).encode()
    with serving(
        http_only(lambda seen: Reply(body=raw, headers={"Content-Type": MANIFEST if "config" in document else ""}))
    ) as server:
        with pytest.raises(NetworkError, match=words):
            open_source(f"{server.host}/a:1", client=patient())


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b'{"schemaVersion": 2, "schemaVersion": 2}', "a key stands twice"),
        (b"[" * 100_000, "not valid JSON"),
        (b'{"a": ' * 60 + b"1" + b"}" * 60, "nested too deeply"),
        (b'{"schemaVersion": NaN}', "not JSON"),
        (b"\xff", "not valid JSON"),
        (b"[]", "not a JSON object"),
    ],
)
def test_documents_that_two_readers_could_read_differently_are_refused(raw: bytes, words: str) -> None:
    with pytest.raises(NetworkError, match=words):
        parse_document(raw, "it")


def test_an_endless_manifest_ends() -> None:
    with serving(http_only(lambda seen: Reply(body=b" " * (5 << 20)))) as server:
        with pytest.raises(NetworkError, match="sends too much"):
            open_source(f"{server.host}/a:1", client=patient())


def test_what_a_registry_serves_under_a_digest_is_checked(tmp_path: Path, registry: str) -> None:
    image = source(tmp_path)
    raw = image.manifest.raw + b" "
    wrong = {"Docker-Content-Digest": str(image.digest)}
    with serving(http_only(lambda seen: Reply(body=raw, headers={"Content-Type": MANIFEST, **wrong}))) as server:
        for name in (f"{server.host}/a@{image.digest}", f"{server.host}/a:1"):
            with pytest.raises(NetworkError, match="wrong digest"):
                open_source(name, client=patient())
    with pytest.raises(UsageError, match="cannot be pushed"):
        copy(image, f"docker://{registry}/a@{BLOB.digest}")


def test_fewer_diff_ids_than_layers_are_refused(tmp_path: Path) -> None:
    layout, manifest = sample(tmp_path / "a")
    extra = replace(manifest.layers[0])
    layout.add(make_manifest(manifest.config, [*manifest.layers, extra]).raw, "bad")
    with pytest.raises(NetworkError, match="2 diff IDs for 3 layers"):
        layout.open_image("bad")


@pytest.mark.parametrize("kind", ["fifo", "zero", "link", "folder", "huge"])
def test_a_layout_of_devices_and_pipes_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    layout, manifest = sample(tmp_path / "a")
    for victim in (layout.blob_path(manifest.digest), layout.path / "index.json"):
        victim.unlink()
        if kind == "fifo":
            os.mkfifo(victim)
        elif kind in ("zero", "link"):
            victim.symlink_to("/dev/zero" if kind == "zero" else "/etc/passwd")
        elif kind == "folder":
            victim.mkdir()
        else:
            with open(victim, "wb") as file:
                file.truncate(1 << 40)
        with pytest.raises(NetworkError, match=r"not a regular file|cannot be read|wrong size|too large"):
            layout.open_image("1.0")


def test_a_registrys_words_reach_the_terminal_harmless() -> None:
    body = json.dumps({"errors": [{"code": "X", "message": "\x1b]0;owned\x07\x1b[2J" + "a" * 9999}]}).encode()
    with serving(http_only(lambda seen: Reply(400, body))) as server:
        with pytest.raises(NetworkError) as found:
            Registry(server.host, patient()).tags("a")
    assert str(found.value).isprintable() and len(str(found.value)) < 600


def test_a_push_survives_a_registry_that_forgets_an_upload_and_one_that_wants_pieces() -> None:
    stored = bytearray()
    faults = [Reply(hang_up=True), Reply(500), Reply(413)]

    def answer(seen: Seen) -> Reply:
        if seen.method == "POST":
            return Reply(202, headers={"Location": "/v2/a/blobs/uploads/1"})
        if seen.method == "PATCH":
            stored.extend(seen.body)
            return Reply(202, headers={"Location": "/v2/a/blobs/uploads/2?state=x"})
        if seen.path.startswith("/v2/a/blobs/uploads/2"):
            return Reply(201)
        return faults.pop(0)

    with serving(http_only(answer)) as server:
        assert Registry(server.host, patient()).upload("a", BLOB, lambda: io.BytesIO(b"blob"))
        assert bytes(stored) == b"blob" and not faults
        assert server.seen[-1].path.startswith("/v2/a/blobs/uploads/2?state=x&digest=sha256")


@pytest.mark.parametrize(
    "text",
    [
        "a/b",
        "EXAMPLE.com/A",
        "example.com/a:",
        "example.com/a@sha256:12",
        "example.com/../a",
        "example.com:x/a",
        "-x.com/a",
        "example.com/a b",
    ],
)
def test_references_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_reference(text)
