"""The tables of stack.toml that decide how a container of the image runs: container and what is in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from stackbuild.stack.image_tables import User, one_of
from stackbuild.stack.quantities import Ulimit, parse_ulimit
from stackbuild.stack.table import (
    UNSAID,
    Argument,
    Bytes,
    Capability,
    Plain,
    PublishedPort,
    Seconds,
    Several,
    Table,
    TmpfsMount,
    Variables,
    VolumeMount,
    matching,
    read_by,
)

HEALTH_KINDS = ("http", "tcp", "test")
RLIMITS = "as core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack"


def _rlimit(name: Any) -> str:
    if name not in RLIMITS.split():
        raise ValueError(f'"{name}" is not a limit; known: {RLIMITS}')
    return str(name)


def _test(value: Any) -> Any:
    if isinstance(value, str):
        return ["CMD-SHELL", value]
    if isinstance(value, list) and value and all(isinstance(word, str) for word in value):
        if value[0] == "NONE" and len(value) == 1:
            return value
        if value[0] in ("CMD", "CMD-SHELL"):
            if len(value) > 1 and (value[0] == "CMD" or len(value) == 2):
                return value
        else:
            return ["CMD", *value]
    raise ValueError('a test is a line for a shell, or a list: ["CMD", "program", "argument"], ["CMD-SHELL", "line"]')


Limits = Mapping[
    Annotated[str, *read_by(_rlimit, "string")], Annotated[Ulimit, *read_by(parse_ulimit, ("integer", "string"))]
]
Test = Annotated[
    Several[Argument],
    BeforeValidator(_test),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
]
HttpUrl = Annotated[
    str, *read_by(matching(r"https?://[^\s/]+(/\S*)?", 'a URL; write "http://127.0.0.1:8080/"'), "string")
]
Endpoint = Annotated[
    str,
    *read_by(matching(r"(\[[0-9a-fA-F:.]+\]|[^\s:\[\]]+):[0-9]{1,5}", 'an endpoint; write "127.0.0.1:5432"'), "string"),
]


class Healthcheck(Table):
    """`container.healthcheck`: when the container counts as healthy; one of http, tcp, test."""

    http: HttpUrl | None = Field(
        None, description="A URL, asked from inside the container's network; 2xx and 3xx are healthy."
    )
    tcp: Endpoint | None = Field(None, description="host:port that must accept a connection, inside its network.")
    test: Test | None = Field(
        None, description='A command inside the container: a line for a shell, or Docker\'s list; ["NONE"]: no check.'
    )
    interval: Seconds = Field(UNSAID, description="Between two checks.")
    timeout: Seconds = Field(UNSAID, description="For one check.")
    retries: Annotated[int, Field(ge=1)] = Field(UNSAID, description="Failures in a row that mean unhealthy.")
    start_period: Seconds = Field(UNSAID, description="Failures in this time do not count.")

    @property
    def kind(self) -> str | None:
        """ "http", "tcp", "test"; None if there is nothing to check."""
        if self.test == ("NONE",):
            return None
        return next((key for key in HEALTH_KINDS if getattr(self, key) is not None), None)

    @model_validator(mode="after")
    def _one(self) -> Self:
        one_of(self, HEALTH_KINDS, "a health check")
        return self


class Resources(Table):
    """`container.resources`: limits; none: unlimited."""

    memory: Bytes | None = Field(None, description='Memory, in bytes or "256MiB".')
    cpus: Annotated[float, Field(gt=0)] | None = Field(None, description="Processors' worth of time.")
    pids: Annotated[int, Field(ge=1)] | None = Field(None, description="Processes and threads.")


class Container(Table):
    """`[container]`: what `up` starts."""

    ports: Several[PublishedPort] = Field((), description='Published ports: "8080:80", "127.0.0.1:8080:80/udp".')
    env: Variables = Field({}, description="Over the image's environment.")
    env_file: Several[Plain] = Field((), description="Files of such variables in Docker's form, below `env`.")
    volumes: Several[VolumeMount] = Field(
        (), description='"./data:/srv/data:ro" (a path) or "cache:/var/cache" (a named volume).'
    )
    tmpfs: Several[TmpfsMount] = Field((), description='File systems in memory: "/run", "/run:size=64m".')
    network: Literal["private", "host", "none"] = Field(UNSAID, description="Its own network, the host's, or none.")
    healthcheck: Healthcheck = Field(UNSAID, description="When it counts as healthy.")
    restart: Literal["no", "on-failure", "always", "unless-stopped"] = Field(
        UNSAID, description="When it is started again."
    )
    resources: Resources = Field(UNSAID, description="Limits.")
    ulimits: Limits = Field({}, description='Limits of each process: { nofile = "1024:4096" }.')
    user: User | None = Field(None, description="Instead of image.user.")
    read_only: bool = Field(UNSAID, description="The root file system cannot be written.")
    cap_add: Several[Capability] = Field((), description="Capabilities beyond the default.")
    cap_drop: Several[Capability] = Field((), description='Capabilities taken away; ["ALL"]: all.')
    no_new_privileges: bool = Field(UNSAID, description="setuid programs give nobody more rights.")
    init: bool = Field(UNSAID, description="A small process 1 that passes signals on and reaps.")
    stop_grace_period: Seconds = Field(UNSAID, description="From the stop signal to SIGKILL.")
    runtime: Literal["auto", "runc", "crun", "bwrap"] = Field(UNSAID, description="What starts the process.")
