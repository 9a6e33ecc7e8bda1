"""The tables of stack.toml that decide what is in the image: stack, base, packages, users, layer, image, push."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, ValidationInfo, WithJsonSchema, model_validator

from stackbuild.stack.recipe import Use
from stackbuild.stack.settled import kebab
from stackbuild.stack.table import (
    UNSAID,
    Account,
    ArchiveUrl,
    Argument,
    Bytes,
    ContainerPath,
    ExposedPort,
    Mode,
    Owner,
    PackageRequest,
    Plain,
    ProjectPath,
    Seconds,
    Several,
    Sha256,
    Table,
    Url,
    VariableName,
    Variables,
    matching,
    project_path,
    read_by,
)

BASE_KINDS = ("distro", "image", "stack", "scratch")
ACTIONS = ("copy", "files", "remove", "fetch", "run")
OF_RUN = ("workdir", "network", "caches", "secrets", "inputs", "env")
"""Keys of a layer that only a `run` layer may have."""

StackName = Annotated[
    str,
    *read_by(
        matching(
            r"(?=.{1,63}\Z)[a-z0-9]+([._-][a-z0-9]+)*",
            "a stack's name: lower-case letters, digits and single .-_ between",
        ),
        "string",
    ),
]
LayerName = Annotated[
    str,
    *read_by(
        matching(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", "a layer's name: letters, digits and ._-, at most 63"), "string"
    ),
]
Distro = Annotated[
    str,
    *read_by(matching(r"[a-z][a-z0-9.-]*/[a-z0-9][a-z0-9.-]*", 'a distribution; write "debian/bookworm"'), "string"),
]
Platform = Annotated[
    str,
    *read_by(matching(r"linux/[a-z0-9]+(/[a-z0-9]+)?", 'a platform; write "linux/amd64" or "linux/arm/v7"'), "string"),
]
User = Annotated[
    str,
    *read_by(
        matching(
            r"[A-Za-z0-9_][A-Za-z0-9_.\-]*\$?(:[A-Za-z0-9_][A-Za-z0-9_.\-]*\$?)?|",
            'a user; write "name", "name:group" or ids',
        ),
        "string",
    ),
]
Signal = Annotated[
    str, *read_by(matching(r"(SIG)?[A-Z][A-Z0-9+-]*|[1-9][0-9]?", 'a signal; write "SIGTERM"'), "string")
]
Snapshot = Annotated[
    str, *read_by(matching(r"[0-9]{8}T[0-9]{6}Z|[0-9]{8}", 'a snapshot; write "20261101T000000Z"'), "string")
]


def _copy_source(value: Any, info: ValidationInfo) -> Any:
    """`from`: a path of the project, or with `stage` one of the stage."""
    if not isinstance(value, str):
        return value  # pydantic's own finding is enough
    if info.data.get("stage") is None:
        return project_path(value)
    if not value.startswith("/") or "\0" in value or ".." in value.split("/"):
        raise ValueError(f'"{value}" is not an absolute path of the stage, such as "/app/dist"')
    return value


CopySource = Annotated[str, BeforeValidator(_copy_source), WithJsonSchema({"type": "string"})]


def said_of(table: Table, keys: tuple[str, ...]) -> list[str]:
    """Those of these keys that stand in a table."""
    return [key for key in keys if key in {kebab(name) for name in table.model_fields_set}]


def one_of(table: Table, keys: tuple[str, ...], what: str) -> None:
    """At most one of these keys may stand in a table of one file. Raises ValueError."""
    said = said_of(table, keys)
    if len(said) > 1:
        raise ValueError(f"{what} has both `{'` and `'.join(said)}`; exactly one of {', '.join(keys)} may stand")


class StackTable(Table):
    """`[stack]`: what it is called."""

    name: StackName = Field(UNSAID, description="The name of the stack, of its image and of its container.")
    requires_stackbuild: Plain | None = Field(
        None, description='Versions of stackbuild that can read this file: ">=0.1".'
    )
    env: Several[VariableName] = Field(
        (), description="Environment variables of the caller that {{ env.NAME }} may read."
    )
    recipes: Several[Use] = Field((), description="Recipes to start from, in order: a later one wins.")


class Base(Table):
    """`[base]`: what the image starts from; exactly one of distro, image, stack, scratch."""

    distro: Distro | None = Field(None, description="A distribution, bootstrapped from its packages.")
    image: Plain | None = Field(
        None, description="An image: a registry's reference, oci:DIR[:TAG], oci-archive:FILE or docker-archive:FILE."
    )
    stack: Plain | None = Field(
        None, description="Another stack, whose steps join this plan: its folder or its file, relative to the project."
    )
    scratch: Literal[True] | None = Field(None, description="Nothing.")
    variant: Literal["custom", "essential", "apt", "required", "important", "standard"] = Field(
        UNSAID, description="Which packages a bootstrapped base has, in mmdebstrap's words (distro only)."
    )

    @property
    def kind(self) -> str:
        """ "distro", "image", "stack" or "scratch"."""
        return next(key for key in BASE_KINDS if getattr(self, key) is not None)

    @model_validator(mode="after")
    def _one(self) -> Self:
        one_of(self, BASE_KINDS, "a base")
        return self


Priority = Annotated[int, Field(ge=-32768, le=32767)]


class Source(Table):
    """`[[packages.source]]`, `[[sources."distro/release"]]`: an archive of packages."""

    url: ArchiveUrl = Field(description="The archive's root, or `mirror+` and the URL of a list of mirrors.")
    suites: Several[Plain] = Field(
        (), description='Suites by codename or suite name; one that ends in "/" is a flat archive.'
    )
    components: Several[Plain] = Field((), description="Components, such as main.")
    architectures: Several[Plain] = Field((), description="Only these; otherwise what the platform needs.")
    signed_by: Plain | None = Field(None, description="A keyring file. Required unless trusted.")
    trusted: bool = Field(False, description="Use the archive although nothing proves where it comes from.")
    snapshot: Snapshot | None = Field(None, description="The archive as it was then, if it keeps snapshots.")
    check_valid_until: bool = Field(True, description="Refuse an index whose Valid-Until is over.")
    priority: Priority | None = Field(
        None, description="The pin priority of its versions; none: what its Release says."
    )

    @model_validator(mode="after")
    def _signed(self, info: ValidationInfo) -> Self:
        if not self.suites:
            raise ValueError("a source needs `suites`")
        if not (info.context or {}).get("whole"):  # one level may leave the rest to another
            return self
        if self.signed_by is None and not self.trusted:
            raise ValueError("a source needs `signed-by`, a keyring file (or `trusted = true`)")
        if not self.components and not all(suite.endswith("/") for suite in self.suites):
            raise ValueError('a source needs `components` (a flat archive\'s suite ends in "/")')
        return self


class Pin(Table):
    """`[packages.pin] NAME`: which versions of a package are preferred, as in apt_preferences(5)."""

    release: Plain | None = Field(None, description='Of this suite or codename, or apt\'s "n=bookworm,o=Debian".')
    version: Plain | None = Field(None, description='This version, or all that a pattern ("1.22*") fits.')
    origin: Plain | None = Field(None, description="From this host (the archive's URL).")
    priority: Priority = Field(
        description="The priority: 500 is usual, 100 on demand, 0 or less never, 1000 downgrades."
    )

    @model_validator(mode="after")
    def _one(self) -> Self:
        one_of(self, ("release", "version", "origin"), "a pin")
        if self.release is None and self.version is None and self.origin is None:
            raise ValueError("a pin needs `release`, `version` or `origin`")
        return self


class Packages(Table):
    """`[packages]`: what is installed."""

    install: Several[PackageRequest] = Field(
        (), description="Requests, in the order in which they are installed; with a slash: files of the project."
    )
    recommends: bool = Field(UNSAID, description="Install what packages recommend, too.")
    upgrade: bool = Field(UNSAID, description="Move all that a base image holds to its candidate, removing nothing.")
    allow_remove: Several[Plain] = Field((), description="Packages of a base image that may be removed if need be.")
    scripts: Literal["run", "skip"] = Field(
        UNSAID, description="Maintainer scripts: run, or skipped for an image without dpkg (docs/howto/distroless.md)."
    )
    path_exclude: Several[Plain] = Field((), description="dpkg's path-exclude: paths of packages that are left out.")
    path_include: Several[Plain] = Field((), description="dpkg's path-include: exceptions from path-exclude.")
    debconf: Variables = Field({}, description="Answers for scripts that ask: question -> answer.")
    generated: Literal["remove", "keep", "fail"] = Field(UNSAID, description="Keys and ids that scripts generate.")
    pin: Mapping[Plain, Pin] = Field(
        {},
        description='Preferred versions by package: a name, a pattern, "src:NAME" or "*"; the first that fits counts.',
    )
    source: Several[Source] = Field((), description="The archives; none: see docs/howto/settings.md.")


class UserTable(Table):
    """`[users.NAME]`: an account of the image, made after wave 0."""

    uid: Annotated[int, Field(ge=0, le=4294967293)] | None = Field(None, description="Its id; none: the next free one.")
    gid: Annotated[int, Field(ge=0, le=4294967293)] | None = Field(
        None, description="The id of its own group; none: as uid."
    )
    groups: Several[Account] = Field((), description="Further groups; one that is not there is made.")
    home: ContainerPath | None = Field(None, description="Its home folder, made if it is not there; none: /home/NAME.")
    shell: ContainerPath = Field("/usr/sbin/nologin", description="Its login shell.")
    system: bool = Field(False, description="Free ids come from the system's range (100 to 999).")


class CopyItem(Table):
    """One entry of `copy`."""

    stage: LayerName | None = Field(None, description="The stage whose finished files are copied; none: the project's.")
    from_: CopySource | None = Field(
        None,
        description="A file, folder or pattern of the project, or an absolute path of the stage; "
        "`site/` means what is in the folder.",
    )
    recipe_file: ContainerPath | None = Field(
        None, description="Instead of `from`: a file or folder that lies beside the file that names it."
    )
    to: ContainerPath = Field(description="Where it goes; a path that ends in / is a folder.")
    owner: Owner | None = Field(None, description="user[:group], by name or id; none: root.")
    mode: Mode | None = Field(None, description='chmod\'s words ("0644", "a+rX"); none: as in the project, normalised.')
    exclude: Several[Plain] = Field((), description="Patterns, as in .gitignore, of what is left out.")
    ignore: ProjectPath | None = Field(None, description="A file of such patterns (of the project only).")

    @model_validator(mode="after")
    def _one(self) -> Self:
        one_of(self, ("from", "recipe-file"), "an item of `copy`")
        if self.from_ is None and self.recipe_file is None:
            raise ValueError("an item of `copy` needs `from` or `recipe-file`")
        if self.recipe_file is not None and self.stage is not None:
            raise ValueError("`stage` goes with `from`: a path of the stage")
        if self.ignore is not None and (self.stage is not None or self.recipe_file is not None):
            raise ValueError("`ignore` is for files of the project; use `exclude` for others")
        return self


class FileItem(Table):
    """One entry of `files`: exactly one of content, template and link."""

    path: ContainerPath = Field(description="The file.")
    content: Argument | None = Field(None, description="Its text.")
    template: Plain | None = Field(
        None, description="A Jinja2 template beside the file that names it; settled, it is `content`."
    )
    link: Plain | None = Field(None, description="It is a symbolic link with this target.")
    owner: Owner | None = Field(None, description="user[:group], by name or id; none: root.")
    mode: Mode | None = Field(None, description='chmod\'s words; none: "0644".')

    @model_validator(mode="after")
    def _one(self) -> Self:
        one_of(self, ("content", "template", "link"), "a file")
        if self.content is None and self.link is None and self.template is None:
            raise ValueError("a file needs `content`, `template` or `link`")
        if self.link is not None and self.mode is not None:
            raise ValueError("a link has no `mode`")
        if self.path.endswith("/"):
            raise ValueError(f'"{self.path}" names a folder')
        return self


class FetchItem(Table):
    """One entry of `fetch`."""

    url: Url = Field(description="What is fetched.")
    sha256: Sha256 = Field(description="Its SHA-256: nothing else is used.")
    to: ContainerPath = Field(description="Where it goes; with unpack the folder.")
    unpack: bool = Field(False, description="It is an archive (tar, compressed or not); unpack it.")
    owner: Owner | None = Field(None, description="user[:group], by name or id; none: root.")
    mode: Mode | None = Field(None, description='chmod\'s words; none: "0644", unpacked: as in the archive.')


class Cache(Table):
    """One entry of `caches`: a folder that is kept between builds and is in no layer."""

    path: ContainerPath = Field(description="Where the step sees it.")
    sharing: Literal["shared", "private", "locked"] = Field(
        "shared", description="What two steps that use it at the same time do: share it, get one each, or wait."
    )


class Layer(Table):
    """`[[layer]]`: a layer of one's own; a unique name and exactly one of copy, files, remove, fetch, run."""

    name: LayerName = Field(description="Its name: what it merges by, and a target of `build`.")
    copy_: Several[CopyItem] = Field((), description="Files of the project, of a stage, or of a recipe.")
    files: Several[FileItem] = Field((), description="Files whose content stands here, and links.")
    remove: Several[ContainerPath] = Field((), description="Paths or patterns that are to go.")
    fetch: Several[FetchItem] = Field((), description="Files from the network, by digest.")
    run: Several[Argument] = Field((), description="The lines of one `sh -eu` script.")
    workdir: ContainerPath = Field("/", description="run: where the script starts; made if it is not there.")
    network: bool = Field(False, description="run: may use the network; then the result is not pinned.")
    caches: Several[Cache] = Field((), description="run: folders kept between builds.")
    secrets: Several[VariableName] = Field((), description="run: files in /run/secrets, from --secret.")
    inputs: Several[ProjectPath] = Field((), description="run: parts of the project, seen under /src.")
    env: Variables = Field({}, description="run: its environment; it never sees image.env.")

    @property
    def action(self) -> str:
        """ "copy", "files", "remove", "fetch" or "run"."""
        return said_of(self, ACTIONS)[0]

    @model_validator(mode="after")
    def _one(self) -> Self:
        one_of(self, ACTIONS, f'layer "{self.name}"')
        return self


class Stage(Table):
    """`[stages.NAME]`: a build-only image; what is copied out of it is all that reaches another one."""

    base: Base = Field(UNSAID, description="What it starts from; none: as the stack.")
    packages: Packages = Field(
        UNSAID, description="What is installed in it; all but `install` and `scripts` is as in the stack unless said."
    )
    users: Mapping[Account, UserTable] = Field({}, description="Its accounts.")
    layer: Several[Layer] = Field((), description="Its layers, in order.")


class ImageHealthcheck(Table):
    """`[image.healthcheck]`: Docker's HEALTHCHECK, for other engines; `up` uses container.healthcheck first."""

    test: Several[Argument] = Field((), description='["CMD", …], ["CMD-SHELL", "…"] or ["NONE"].')
    interval: Seconds | None = Field(None, description="Between two checks.")
    timeout: Seconds | None = Field(None, description="For one check.")
    start_period: Seconds | None = Field(None, description="Failures in this time do not count.")
    retries: Annotated[int, Field(ge=1)] | None = Field(None, description="Failures in a row that mean unhealthy.")


class Image(Table):
    """`[image]`: the OCI image config, and how the image is written."""

    entrypoint: Several[Argument] = Field((), description="The program and its first arguments.")
    cmd: Several[Argument] = Field((), description="More arguments, that `run REF …` replaces.")
    env: Variables = Field({}, description="The environment of containers (never of build steps).")
    user: User = Field(UNSAID, description='Who runs it: "name[:group]" or ids; "" is root.')
    workdir: ContainerPath = Field(UNSAID, description="Where it starts.")
    expose: Several[ExposedPort] = Field((), description='Ports that it listens on: 8080, "53/udp".')
    volumes: Several[ContainerPath] = Field((), description="Folders whose content is not the image's.")
    stop_signal: Signal | None = Field(None, description="The signal that stops it; none: SIGTERM.")
    labels: Variables = Field({}, description="Labels of the config.")
    annotations: Variables = Field({}, description="Annotations of the manifest.")
    healthcheck: ImageHealthcheck | None = Field(None, description="Docker's HEALTHCHECK.")
    platforms: Several[Platform] = Field(UNSAID, description="What it is built for; never the host's own by itself.")
    layers: Annotated[int, Field(ge=1, le=120)] = Field(UNSAID, description="Budget for package layers.")
    compression: Literal["gzip", "zstd"] = Field(UNSAID, description="Of layers.")
    source_date_epoch: Annotated[int, Field(ge=0, le=253402300799)] = Field(
        UNSAID, description="Seconds since 1970: the time of all that has no time of its own."
    )


class Push(Table):
    """`[push]`: where `push` and `build --push` send the image."""

    to: Several[Plain] = Field((), description="References; none by default.")


class BuildCache(Table):
    """`[build.cache]`: step results in a registry, for machines that begin with an empty store."""

    from_: Plain | None = Field(None, description="HOST/PATH that is asked for results before a step runs.")
    to: Plain | None = Field(None, description="HOST/PATH that is given what a build made.")
    trusted_keys: Several[Plain] = Field((), description="OpenPGP certificates; others' entries are not used.")
    sign_with: Plain | None = Field(None, description="A file with the OpenPGP secret key for what is sent.")


class Build(Table):
    """`[build]`: how it is built; nothing here reaches a byte of the image."""

    jobs: Annotated[int, Field(ge=0)] = Field(UNSAID, description="Steps at the same time; 0: one per processor.")
    sandboxes: Annotated[int, Field(ge=0)] = Field(
        UNSAID, description="Of these, how many may run commands in a sandbox; 0: all."
    )
    downloads: Annotated[int, Field(ge=0)] = Field(UNSAID, description="Downloads at the same time; 0: 4.")
    max_cache_size: Bytes | None = Field(None, description="What `cache prune` leaves, and each build; none: no limit.")
    cache: BuildCache | None = Field(None, description="A cache that is shared with other machines.")


class Registry(Table):
    """`[registries."host[:port]"]`: how a registry is reached."""

    mirror: Plain | None = Field(None, description="host[:port][/prefix] that is asked first.")
    insecure: bool = Field(False, description="Plain HTTP, or a certificate that nobody vouches for.")
    ca: Plain | None = Field(None, description="A file of certificates to trust for it.")
    credential_helper: Plain | None = Field(None, description="docker-credential-NAME is asked for its password.")


Users = Mapping[Account, UserTable]
Stages = Mapping[LayerName, Stage]
Registries = Mapping[Plain, Registry]
Sources = Mapping[Distro, Several[Source]]
