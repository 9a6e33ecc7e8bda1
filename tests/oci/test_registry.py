"""The registry client against a real registry: logins, mirrors, tags; and what it says when it may not."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from stackbuild.core.errors import NetworkError
from stackbuild.net.client import Client
from stackbuild.net.credentials import Credentials
from stackbuild.net.pools import HostSettings
from stackbuild.oci.reference import parse_reference
from stackbuild.oci.registry import Registry
from stackbuild.oci.transports import copy, open_source
from tests.oci.transports.contract import source
from tests.peers.registry import free_port, running_registry

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
