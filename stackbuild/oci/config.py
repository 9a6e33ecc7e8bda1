"""The image config (image-spec, config.md): how to run an image, what its layers are, how they came about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from stackbuild.core.action import canonical
from stackbuild.core.digest import Digest, parse_digest
from stackbuild.oci.descriptor import Platform
from stackbuild.oci.documents import Fields, read_object, shown


@dataclass(frozen=True, slots=True)
class Healthcheck:
    """Docker's extension. test: ["CMD", …] | ["CMD-SHELL", LINE] | ["NONE"]. Times: nanoseconds, 0: the engine's."""

    test: tuple[str, ...] = ()
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0


@dataclass(frozen=True, slots=True)
class History:
    """How one layer came about. created: RFC 3339. empty_layer: it changed no file and has no layer."""

    created: str = ""
    created_by: str = ""
    author: str = ""
    comment: str = ""
    empty_layer: bool = False


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """All of an image's config. diff_ids: one per layer, lowest first.

    entrypoint, cmd, shell: None is "not said", () is "said to be empty". env: "NAME=value", in order.
    exposed_ports: "8080/tcp". labels are of the config, annotations are the manifest's.
    """

    architecture: str = "amd64"
    os: str = "linux"
    variant: str = ""
    os_version: str = ""
    created: str = ""
    author: str = ""
    user: str = ""
    exposed_ports: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    volumes: tuple[str, ...] = ()
    working_dir: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    stop_signal: str = ""
    healthcheck: Healthcheck | None = None
    shell: tuple[str, ...] | None = None
    on_build: tuple[str, ...] | None = None
    diff_ids: tuple[Digest, ...] = ()
    history: tuple[History, ...] = ()

    @property
    def platform(self) -> Platform:
        return Platform(self.os, self.architecture, self.variant)

    def to_json(self) -> bytes:
        """The canonical bytes: sorted keys, no spaces, nothing that was not said."""
        tree: dict[str, Any] = {
            "architecture": self.architecture,
            "os": self.os,
            "variant": self.variant,
            "os.version": self.os_version,
            "created": self.created,
            "author": self.author,
        }
        tree = {key: value for key, value in tree.items() if value}
        tree["config"] = self._run_config()
        tree["rootfs"] = {"type": "layers", "diff_ids": list(self.diff_ids)}
        tree["history"] = [_history_json(item) for item in self.history]
        return canonical(tree)

    def _run_config(self) -> dict[str, Any]:
        tree: dict[str, Any] = {
            "User": self.user,
            "ExposedPorts": {port: {} for port in self.exposed_ports},
            "Env": list(self.env),
            "Volumes": {path: {} for path in self.volumes},
            "WorkingDir": self.working_dir,
            "Labels": dict(self.labels),
            "StopSignal": self.stop_signal,
        }
        tree = {key: value for key, value in tree.items() if value}
        said = {"Entrypoint": self.entrypoint, "Cmd": self.cmd, "Shell": self.shell, "OnBuild": self.on_build}
        tree.update({key: list(value) for key, value in said.items() if value is not None})
        if self.healthcheck is not None:
            tree["Healthcheck"] = _healthcheck_json(self.healthcheck)
        return tree


def _healthcheck_json(check: Healthcheck) -> dict[str, Any]:
    tree: dict[str, Any] = {
        "Test": list(check.test),
        "Interval": check.interval,
        "Timeout": check.timeout,
        "StartPeriod": check.start_period,
        "StartInterval": check.start_interval,
        "Retries": check.retries,
    }
    return {key: value for key, value in tree.items() if value}


def _history_json(item: History) -> dict[str, Any]:
    tree: dict[str, Any] = {
        "created": item.created,
        "created_by": item.created_by,
        "author": item.author,
        "comment": item.comment,
        "empty_layer": item.empty_layer,
    }
    return {key: value for key, value in tree.items() if value}


def parse_config(raw: bytes, name: str) -> ImageConfig:
    """The config that these bytes hold; fields that we do not know are left out. Raises NetworkError."""
    fields = read_object(raw, name)
    run = fields.object("config")
    return ImageConfig(
        architecture=fields.text("architecture"),
        os=fields.text("os"),
        variant=fields.text("variant"),
        os_version=fields.text("os.version"),
        created=fields.text("created"),
        author=fields.text("author"),
        user=run.text("User"),
        exposed_ports=run.keys("ExposedPorts"),
        env=_env(run),
        entrypoint=run.texts("Entrypoint"),
        cmd=run.texts("Cmd"),
        volumes=run.keys("Volumes"),
        working_dir=run.text("WorkingDir"),
        labels=run.mapping("Labels"),
        stop_signal=run.text("StopSignal"),
        healthcheck=_healthcheck(run.object("Healthcheck")) if "Healthcheck" in run else None,
        shell=run.texts("Shell"),
        on_build=run.texts("OnBuild"),
        diff_ids=_diff_ids(fields.object("rootfs")),
        history=tuple(_history(item) for item in fields.objects("history")),
    )


def _env(run: Fields) -> tuple[str, ...]:
    env = run.texts("Env") or ()
    for item in env:
        if "=" not in item or item.startswith("=") or "\0" in item:
            raise run.wrong("Env", f"has an entry that is not NAME=value: {shown(item)!r}")
    return env


def _healthcheck(fields: Fields) -> Healthcheck:
    return Healthcheck(
        test=fields.texts("Test") or (),
        interval=fields.number("Interval"),
        timeout=fields.number("Timeout"),
        start_period=fields.number("StartPeriod"),
        start_interval=fields.number("StartInterval"),
        retries=fields.number("Retries"),
    )


def _history(fields: Fields) -> History:
    return History(
        created=fields.text("created"),
        created_by=fields.text("created_by"),
        author=fields.text("author"),
        comment=fields.text("comment"),
        empty_layer=fields.flag("empty_layer"),
    )


def _diff_ids(rootfs: Fields) -> tuple[Digest, ...]:
    if rootfs.text("type", "layers") != "layers":
        raise rootfs.wrong("type", "is not `layers`")
    try:
        return tuple(parse_digest(text) for text in rootfs.texts("diff_ids") or ())
    except ValueError as error:
        raise rootfs.wrong("diff_ids", shown(str(error))) from None
