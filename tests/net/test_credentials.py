"""Each host gets its own login, from where apt, curl, podman and docker keep it, and no other host's."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from stackbuild.core.errors import HostError, NetworkError
from stackbuild.net.credentials import Credentials, Login
from stackbuild.net.urls import parse_url


def credentials(home: Path, **environ: str) -> Credentials:
    return Credentials({"HOME": str(home), "PATH": f"{home}/bin:/usr/bin:/bin", **environ}, apt=home / "apt")


def auths(**entries: str) -> str:
    return json.dumps({"auths": {k.replace("__", "/"): {"auth": base64.b64encode(v.encode()).decode()}
                                 for k, v in entries.items()}})  # fmt: skip


@pytest.mark.parametrize(
    ("url", "user"),
    [
        ("https://deb.example.com/private/x", "one"),
        ("https://deb.example.com/privately", "two"),
        ("http://deb.example.com/private/x", None),
        ("http://plain.example.com/x", "three"),
        ("https://deb.example.com:8443/private/x", None),
        ("https://net.example.com/x", "four"),
        ("https://evil-net.example.com/x", None),
        ("https://other.example.com/x", None),
        ("https://five:pw@other.example.com/x", "five"),
    ],
)
def test_archives_take_apts_logins_then_netrcs(tmp_path: Path, url: str, user: str | None) -> None:
    (tmp_path / "apt/auth.conf.d").mkdir(parents=True)
    (tmp_path / "apt/auth.conf.d/a.conf").write_text(
        "# mine\nmachine deb.example.com/private login one password p#1\n"
        "machine deb.example.com\n  login two\n  password p2\n"
        "machine http://plain.example.com login three password machine\n"
    )
    (tmp_path / ".netrc").write_text("machine net.example.com login four password p4\ndefault login any password p\n")
    found = credentials(tmp_path).for_url(parse_url(url))
    assert (found.user if found else None) == user


def test_registries_take_the_longest_key_that_fits(tmp_path: Path) -> None:
    (tmp_path / ".config/containers").mkdir(parents=True)
    (tmp_path / ".config/containers/auth.json").write_text(
        auths(
            **{"r.example.com": "host:1", "r.example.com__team": "team:2", "https:____old.example.com__v1__": "old:3"}
        )
    )
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker/config.json").write_text(auths(**{"r.example.com": "docker:4", "d.example.com": "docker:5"}))
    mine = credentials(tmp_path)
    assert mine.for_registry("r.example.com", "team/app") == Login("team", "2")
    assert mine.for_registry("r.example.com", "teamwork/app") == Login("host", "1")
    assert mine.for_registry("old.example.com", "x") == Login("old", "3")
    assert mine.for_registry("d.example.com") == Login("docker", "5")
    assert mine.for_registry("r.example.com:5000") is None
    assert "host" in repr(mine.for_registry("r.example.com")) and "'1'" not in repr(mine.for_registry("r.example.com"))


def test_the_hub_has_the_key_that_docker_login_writes(tmp_path: Path) -> None:
    file = tmp_path / "auth.json"
    name = "docker.io"
    hub = f"https://index.{name}/v1/"
    file.write_text(auths(**{hub.replace("/", "__"): "me:1"}))
    assert credentials(tmp_path, REGISTRY_AUTH_FILE=str(file)).for_registry(name, "library/x") == Login("me", "1")
    helper(tmp_path, "mine", 'read -r host; echo "{\\"Username\\": \\"me\\", \\"Secret\\": \\"for $host\\"}"')
    for tree in ({"credsStore": "mine"}, {"credHelpers": {hub: "mine"}}):
        file.write_text(json.dumps(tree))
        asked = credentials(tmp_path, REGISTRY_AUTH_FILE=str(file)).for_registry(name, "library/x")
        assert asked == Login("me", f"for {hub}")


def helper(home: Path, name: str, script: str) -> None:
    (home / "bin").mkdir(exist_ok=True)
    program = home / "bin" / f"docker-credential-{name}"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def test_a_helper_is_asked_for_one_host(tmp_path: Path) -> None:
    helper(tmp_path, "mine", 'read -r host; echo "{\\"Username\\": \\"$1\\", \\"Secret\\": \\"for $host\\"}"')
    helper(tmp_path, "none", 'echo "credentials not found in native keychain"; exit 1')
    helper(tmp_path, "broken", "echo locked >&2; exit 1")
    file = tmp_path / "auth.json"
    file.write_text(json.dumps({"credHelpers": {"r.example.com": "mine", "b.example.com": "broken",
                                                "e.example.com": "../evil"}, "credsStore": "none"}))  # fmt: skip
    mine = credentials(tmp_path, REGISTRY_AUTH_FILE=str(file))
    assert mine.for_registry("r.example.com") == Login("get", "for r.example.com")
    assert mine.for_registry("x.example.com") is None
    with pytest.raises(HostError, match=r"docker-credential-broken failed for b\.example\.com") as found:
        mine.for_registry("b.example.com")
    assert "locked" in found.value.output
    with pytest.raises(HostError, match="no valid name"):
        mine.for_registry("e.example.com")


@pytest.mark.parametrize("text", ["[]", "{", '{"auths": {"r.example.com": {"auth": "!"}}}'])
def test_a_broken_auth_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "auth.json").write_text(text)
    with pytest.raises(NetworkError, match=r"auth\.json is not a valid auth file"):
        credentials(tmp_path, REGISTRY_AUTH_FILE=str(tmp_path / "auth.json")).for_registry("r.example.com")
