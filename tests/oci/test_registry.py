"""The registry client against a real registry: logins, mirrors, tags; and what it says when it may not."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stackbuild.core.errors import NetworkError
from stackbuild.net.client import Client, Policy
from stackbuild.net.credentials import Credentials
from stackbuild.net.pools import HostSettings, Proxies
from stackbuild.oci.reference import HUB, parse_reference
from stackbuild.oci.registry import Registry
from stackbuild.oci.transports import copy, open_source
from tests.machine import free_port, run
from tests.net.servers import Reply, serving
from tests.oci.transports.contract import source
from tests.peers.registry import running_registry

HASH = "$2b$04$E7LF2hnXOqhOn8lLJ2BOguYtPIlBRw5ghGmB87zc6F4hSPYiZ8oKm"  # of "secret"


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A registry that asks for a user and a password."""
    folder = tmp_path_factory.mktemp("locked")
    (folder / "htpasswd").write_text(f"me:{HASH}\n")
    with running_registry(folder, f"auth: {{htpasswd: {{realm: here, path: {folder}/htpasswd}}}}") as host:
        yield host


def client_with(tmp_path: Path, host: str, login: str) -> Client:
    file = tmp_path / f"auth-{login.partition(':')[2]}.json"
    file.write_text(json.dumps({"auths": {host: {"auth": base64.b64encode(login.encode()).decode()}}}))
    return Client(credentials=Credentials({"HOME": str(tmp_path), "REGISTRY_AUTH_FILE": str(file)}))


def test_a_login_opens_it_and_a_wrong_one_says_so(tmp_path: Path, locked: str) -> None:
    image = source(tmp_path)
    place = f"docker://{locked}/team/app:1"
    mine = client_with(tmp_path, locked, "me:secret")
    copy(image, place, client=mine)
    assert open_source(place, client=mine).digest == image.digest
    with pytest.raises(NetworkError, match="asks for a login, and there is none") as found:
        open_source(place)
    assert found.value.hints[0].command == f"podman login {locked}"
    with pytest.raises(NetworkError, match="refuses the login"):
        open_source(place, client=client_with(tmp_path, locked, "me:wrong"))


def test_a_mirror_is_asked_first_and_the_registry_if_it_is_down(tmp_path: Path, registry: str) -> None:
    image = source(tmp_path)
    copy(image, f"docker://{registry}/mirror/team/app:1")
    mirrored = Client(settings={"gone.example.com": HostSettings(mirror=f"{registry}/mirror")}, sleep=lambda s: None)
    assert open_source("docker://gone.example.com/team/app:1", client=mirrored).digest == image.digest
    dead = Client(settings={registry: HostSettings(mirror=f"127.0.0.1:{free_port()}")}, sleep=lambda s: None)
    assert open_source(f"{registry}/mirror/team/app:1", client=dead).digest == image.digest


def test_tags_are_listed_and_a_missing_image_is_named(tmp_path: Path, registry: str) -> None:
    image = source(tmp_path)
    for tag in ("a", "b"):
        copy(image, f"docker://{registry}/tags/app:{tag}")
    there = Registry(registry, Client())
    assert sorted(there.tags("tags/app")) == ["a", "b"]
    assert there.has_manifest(parse_reference(f"{registry}/tags/app:a"))
    assert not there.has_manifest(parse_reference(f"{registry}/tags/app:c"))
    with pytest.raises(NetworkError, match="tags/app:c does not exist"):
        open_source(f"{registry}/tags/app:c")


def test_the_hub_is_asked_where_it_answers_and_by_its_whole_names() -> None:
    """docker.io itself is a web site. No packet leaves: a proxy sees where it would go."""
    assert str(parse_reference("docker.io/debian:12")) == "docker.io/library/debian:12"
    assert parse_reference("docker.io/team/app").path == "team/app"
    with serving(lambda seen: Reply(403)) as proxy:
        client = Client(proxies=Proxies.of({"https_proxy": proxy.url}), policy=Policy(retries=0))
        with pytest.raises(NetworkError):
            open_source("docker://docker.io/debian:12", client=client)
        assert [(seen.method, seen.path) for seen in proxy.seen] == [("CONNECT", f"registry-1.{HUB}:443")]


class Noting(Client):
    """A client that knows what it was asked."""

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.asked: list[str] = []

    def send(self, method: str, url: str, **more: Any) -> Any:
        self.asked.append(f"{method} {url.partition('/v2/')[2].partition('?')[0].partition('/uploads/')[0]}")
        return super().send(method, url, **more)


def test_what_the_tag_has_is_not_asked_for_again_and_what_was_lost_is_sent(tmp_path: Path, registry: str) -> None:
    image = source(tmp_path)
    place = f"docker://{registry}/again/app:1"
    client = Noting()
    assert copy(image, place, client=client).skipped == 0
    assert sum(asked.startswith("HEAD ") for asked in client.asked) == len(image.blobs)
    client.asked.clear()
    assert copy(image, place, client=client).sent == 0
    assert client.asked == ["GET ", "GET again/app/manifests/1", "PUT again/app/manifests/1"]

    lost = image.manifest.layers[0]
    with client.send("DELETE", f"http://{registry}/v2/again/app/blobs/{lost.digest}", auth="") as answer:
        assert answer.status == 202
    assert copy(image, place, client=client).sent == lost.size
    assert open_source(place).layers[0].open().read()


def test_a_registry_of_this_machine_may_speak_tls_all_the_same(tmp_path: Path) -> None:
    names = ["-keyout", "key.pem", "-out", "cert.pem", "-addext", "subjectAltName=IP:127.0.0.1"]
    argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    run([*argv, "-subj", "/CN=here", *names], cwd=tmp_path)
    with running_registry(tmp_path, f"  tls: {{certificate: {tmp_path}/cert.pem, key: {tmp_path}/key.pem}}") as host:
        client = Client(settings={host: HostSettings(ca=str(tmp_path / "cert.pem"))})
        image = source(tmp_path)
        copy(image, f"docker://{host}/tls/app:1", client=client)
        assert open_source(f"docker://{host}/tls/app:1", client=client).digest == image.digest
        there = Registry(host, client)
        there.ping()
        assert there._base == f"https://{host}"
