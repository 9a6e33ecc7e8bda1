"""From settled settings and a lock to the graph of steps (DESIGN, section 7). Pure: reads no file, runs nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stackbuild.core.errors import Hint, UsageError
from stackbuild.core.origin import Origin
from stackbuild.lock.lock import Lock, LockedPackage, LockedRemoval, PlatformLock
from stackbuild.plan.graph import Plan
from stackbuild.plan.grouping import groups
from stackbuild.plan.own_layers import layer_steps
from stackbuild.plan.several import of_stack
from stackbuild.plan.sharing import shared
from stackbuild.plan.step import STAGE, Step, plain_id
from stackbuild.stack.settled import as_tree
from stackbuild.stack.stack import Stack

MERGED_USR = {name: f"usr/{name}" for name in ("bin", "lib", "lib32", "lib64", "libo32", "libx32", "sbin")}
"""Every release that a base can be bootstrapped from has merged-/usr; dpkg renames through the links."""


Bases = Mapping[str, tuple[str, Plan]]
"""What `base.stack` says -> the name and the plan of that stack."""


def make_plan(stack: Stack, lock: Lock, bases: Bases | None = None) -> Plan:
    """All steps of a stack, for each of its platforms. Its goals are the images ("image", or "image/PLATFORM").

    bases: of the stack and its stages; their steps are in the plan, with the name of their stack: "base:image".
    Raises UsageError if the lock, or a base stack, lacks a platform.
    """
    named = {text: of_stack(name, plan) for text, (name, plan) in (bases or {}).items()}
    platforms = tuple(stack.image.platforms)
    steps = {step.id: step for plan in named.values() for step in plan.order()}
    goals: list[str] = []
    for platform in platforms:
        if platform not in lock.platforms:
            raise UsageError(f"stack.lock has nothing for {platform}", where=stack.origin("image", "platforms"))
        prefix = f"{platform}/" if len(platforms) > 1 else ""
        images = {text: _image_of(plan, platform) for text, plan in named.items()}
        for step in _with_stages(stack, lock.platforms[platform], platform, prefix, images):
            steps[step.id] = step
        goals.append(f"{prefix}image")
    return Plan.of(steps.values(), goals)


def _image_of(plan: Plan, platform: str) -> Step | None:
    """The step that makes a base stack's image for a platform; its tree is what a stack on it starts from."""
    return next((plan.steps[goal] for goal in plan.goals if plan.steps[goal].platform == platform), None)


def _with_stages(
    stack: Stack, lock: PlatformLock, platform: str, prefix: str, images: Mapping[str, Step | None]
) -> list[Step]:
    """The steps of one platform: those of the stages, each once its own sources are planned, and of the image."""
    trees: dict[str, tuple[str, ...]] = {}
    steps: list[Step] = []
    for name, stage in stack.stages.items():
        if name not in lock.stages:
            raise UsageError(f"stack.lock has nothing for the stage {name}", where=stack.origin("stages", name))
        planner = PlatformPlanner(stage, lock.stages[name], platform, f"{prefix}{STAGE}{name}/", trees, images)
        steps += planner.steps()
        trees[name] = planner.layers
    steps += PlatformPlanner(stack, lock, platform, prefix, trees, images).steps()
    return shared(steps)[0] if stack.stages else steps


class PlatformPlanner:
    """The steps of one platform. Ids get a prefix only if a stack has several. A stage has no image of its own.

    stages: the finished trees of the stages that are planned already. images: of base stacks, by what `base.stack`
    says. layers: after `steps`, the finished tree."""

    def __init__(
        self,
        stack: Stack,
        lock: PlatformLock,
        platform: str,
        prefix: str,
        stages: Mapping[str, tuple[str, ...]],
        images: Mapping[str, Step | None],
    ) -> None:
        self._stack, self._lock, self._platform, self._prefix = stack, lock, platform, prefix
        self._stages = stages
        self._image = self._base_stack(images)
        self.layers: tuple[str, ...] = ()
        self._steps: list[Step] = []
        self._unpacked: list[str] = []  # layers of packages, all waves so far
        self._made: list[str] = []  # configure and users layers, in order

    def steps(self) -> list[Step]:
        base = self._base()
        if self._stack.packages.scripts == "skip" and not base:
            return self._rest((), self._without_scripts())
        waves = self._lock.waves
        if self._lock.removed and len(waves) <= 1:
            waves = (*(waves or ((),)), ())  # a wave that only removes
        for number, wave in enumerate(waves):
            if number == 1:
                self._users(base)
            if wave or (number == 1 and self._lock.removed):
                self._wave(number, wave, base)
        if len(waves) <= 1:
            self._users(base)
        self._keep_to_budget()
        return self._rest(base, (*base, *self._unpacked, *self._made))

    def _without_scripts(self) -> tuple[str, ...]:
        """Packages unpacked, wave by wave, then what scripts would leave, then the users. Ids of the layers."""
        packages = [package for wave in self._lock.waves for package in wave]
        fetches: dict[str, str] = {}
        for number, wave in enumerate(self._lock.waves):
            of_wave = self._fetches(wave)
            self._unpack(number, wave, (), of_wave)
            fetches |= of_wave
        self._keep_to_budget()
        answers = self._stack.packages.debconf
        area = answers.get("tzdata/Areas", "Etc")
        params = {
            "packages": [_package(package) for package in packages],
            "timezone": f"{area}/{answers.get(f'tzdata/Zones/{area}', 'UTC')}",
            "compression": self._stack.image.compression,
            "epoch": self._stack.image.source_date_epoch,
        }
        origin = self._stack.origin("packages", "scripts")
        tree = tuple(self._unpacked)
        self._made.append(self._add("effects", "effects", params, needs=fetches, tree=tree, layer=True, origin=origin))
        self._users(())
        return (*self._unpacked, *self._made)

    def _rest(self, base: tuple[str, ...], below: tuple[str, ...]) -> list[Step]:
        """The layers of the stack's own, and the image."""
        own = layer_steps(self._stack, below, self._platform, self._prefix, self._stages)
        self._steps += own
        self.layers = (*below, *(step.id for step in own if step.layer))
        if not self._stack.stage:
            needs = {"base": self._image.id} if self._image else {}
            self._add("image", "assemble", self._image_params(), needs=needs, tree=self.layers)
        return self._steps

    def _keep_to_budget(self) -> None:
        """Raises UsageError if the packages need more layers than `image.layers` allows."""
        budget, needed = self._stack.image.layers, len(self._unpacked) + len(self._lock.waves)
        if self._unpacked and needed > budget:
            raise UsageError(
                f"image.layers = {budget} is too few for the packages",
                where=self._stack.origin("image", "layers"),
                why=f"{len(self._lock.waves)} waves need {needed} layers: each one that is configured, and its files",
                hints=[Hint(f"allow {needed} layers or more")],
            )

    def _add(
        self,
        name: str,
        kind: str,
        params: Mapping[str, Any],
        *,
        needs: Mapping[str, str] | None = None,
        tree: tuple[str, ...] = (),
        layer: bool = False,
        origin: Origin | None = None,
    ) -> str:
        step = Step(self._prefix + name, kind, params, needs or {}, tree, layer, self._platform, origin)
        self._steps.append(step)
        return step.id

    def _base_stack(self, images: Mapping[str, Step | None]) -> Step | None:
        """The image step of the base stack, if the base is one."""
        if not self._stack.base.stack:
            return None
        image = images[self._stack.base.stack]
        if image is None:
            raise UsageError(
                f"the base stack has no image for {self._platform}",
                where=self._stack.origin("base", "stack"),
                hints=[Hint("add the platform to image.platforms of the base stack, too")],
            )
        return image

    def _base(self) -> tuple[str, ...]:
        """The layers below: the base image's step, or the steps of the base stack's layers."""
        if self._image:
            return self._image.tree
        if not self._stack.base.image:
            return ()
        params = {"image": self._stack.base.image, "digest": self._lock.base_digest}
        return (self._add("base", "base", params, layer=True, origin=self._stack.origin("base", "image")),)

    def _wave(self, number: int, wave: tuple[LockedPackage, ...], base: tuple[str, ...]) -> None:
        """fetch each package; unpack the groups; configure the wave over all fragments so far."""
        fetches = self._fetches(wave)
        own = self._unpack(number, wave, base, fetches)
        origin = self._stack.origin("packages", "install") if number else self._stack.origin("base")
        configured = self._add(
            f"configure/{number}",
            "configure",
            {
                "wave": number,
                "first": not base and not any(step.kind == "configure" for step in self._steps),
                "packages": [_package(package, wave=True) for package in wave],
                "own": [plain_id(id) for id in own],
                "way": "auto",
                "debconf": dict(self._stack.packages.debconf),
                "generated": self._stack.packages.generated,
                "exclude": list(self._stack.packages.path_exclude),
                "include": list(self._stack.packages.path_include),
                "renames": {} if base else MERGED_USR,
                "compression": self._stack.image.compression,
                "epoch": self._stack.image.source_date_epoch,
                "arch": _debian_architecture(self._platform),
                **({"remove": self._removed()} if self._lock.removed and number == 1 else {}),
            },
            needs=fetches,
            tree=(*base, *self._unpacked, *self._made),
            layer=True,
            origin=origin,
        )
        self._made.append(configured)

    def _fetches(self, wave: tuple[LockedPackage, ...]) -> dict[str, str]:
        """A download for each package: its role as a need -> the step."""
        return {
            _role(package): self._add(
                f"fetch/{package.name}" + ("" if self._native(package) else f":{package.architecture}"),
                "fetch",
                {"sha256": package.sha256, "size": package.size, **_identity(package)},
            )
            for package in wave
        }

    def _unpack(
        self, number: int, wave: tuple[LockedPackage, ...], base: tuple[str, ...], fetches: Mapping[str, str]
    ) -> list[str]:
        """The steps that unpack the groups of a wave."""
        facet = {"facet": self._links_of_base(base)} if base else {}
        skip = self._stack.packages.scripts == "skip" and not base
        own: list[str] = []
        for group, packages in groups(wave, number, self._stack.image.layers):
            params = {
                "packages": [_package(package) for package in packages],
                "exclude": list(self._stack.packages.path_exclude),
                "include": list(self._stack.packages.path_include),
                "renames": {} if base else MERGED_USR,
                "skeleton": not self._unpacked and not own and not base,
                **({"database": "status.d"} if skip else {}),
                "compression": self._stack.image.compression,
                "epoch": self._stack.image.source_date_epoch,
                "arch": _debian_architecture(self._platform),
            }
            needs = {role: id for role, id in fetches.items() if role in {_role(p) for p in packages}}
            own.append(self._add(f"unpack/{number}/{group}", "unpack", params, needs={**needs, **facet}, layer=True))
        self._unpacked += own
        return own

    def _removed(self) -> list[str]:
        """As dpkg's command line names them."""
        return [p.name if self._native(p) else f"{p.name}:{p.architecture}" for p in self._lock.removed]

    def _native(self, package: LockedPackage | LockedRemoval) -> bool:
        return package.architecture in ("all", _debian_architecture(self._platform))

    def _links_of_base(self, base: tuple[str, ...]) -> str:
        """The facet that says which top-level folders of the base are links into /usr; made once."""
        id = f"{self._prefix}facet/merged-usr"
        if not any(step.id == id for step in self._steps):
            self._add("facet/merged-usr", "facet", {"users": [], "groups": [], "paths": sorted(MERGED_USR)}, tree=base)
        return id

    def _users(self, base: tuple[str, ...]) -> None:
        if not self._stack.users:
            return
        users = as_tree(self._stack.users, absent=True)
        params = {
            "users": users,
            "compression": self._stack.image.compression,
            "epoch": self._stack.image.source_date_epoch,
        }
        tree = (*base, *self._unpacked, *self._made)
        self._made.append(
            self._add("users", "users", params, tree=tree, layer=True, origin=self._stack.origin("users"))
        )

    def _image_params(self) -> dict[str, Any]:
        return {"image": image_values(self._stack, self._lock)}


def image_values(stack: Stack, lock: PlatformLock) -> dict[str, Any]:
    """The settled [image] table as the config of the OCI image-spec (config.md), with annotations and epoch."""
    image = stack.image
    config: dict[str, Any] = {
        "Env": [f"{name}={value}" for name, value in image.env.items()],
        "Entrypoint": list(image.entrypoint) if image.entrypoint else None,
        "Cmd": list(image.cmd) if image.cmd else None,
        "User": image.user,
        "WorkingDir": image.workdir,
        "ExposedPorts": {str(port): {} for port in image.expose},
        "Volumes": {path: {} for path in image.volumes},
        "StopSignal": image.stop_signal,
        "Labels": dict(image.labels),
        "Healthcheck": _healthcheck(image.healthcheck),
    }
    annotations = dict(image.annotations)
    if stack.base.image and lock.base_digest:
        annotations.setdefault("org.opencontainers.image.base.digest", lock.base_digest)
        annotations.setdefault("org.opencontainers.image.base.name", stack.base.image)
    return {
        "config": {key: value for key, value in config.items() if value},
        "annotations": annotations,
        "epoch": image.source_date_epoch,
    }


def _healthcheck(said: Any) -> dict[str, Any]:
    """`[image.healthcheck]` as Docker's extension of the config has it: times in nanoseconds."""
    if said is None:
        return {}
    times = {"Interval": said.interval, "Timeout": said.timeout, "StartPeriod": said.start_period}
    nanoseconds = {name: round(seconds * 1e9) for name, seconds in times.items() if seconds is not None}
    found = {"Test": list(said.test), **nanoseconds, "Retries": said.retries}
    return {key: value for key, value in found.items() if value}


def _debian_architecture(platform: str) -> str:
    """linux/amd64 -> amd64; linux/arm/v7 -> armhf (the only name that differs among what we support)."""
    names = {"386": "i386", "arm/v7": "armhf", "arm/v5": "armel", "ppc64le": "ppc64el", "mips64le": "mips64el"}
    architecture = platform.partition("/")[2].removesuffix("/v8")
    return names.get(architecture, architecture)


def _identity(package: LockedPackage) -> dict[str, Any]:
    return {
        "name": package.name,
        "version": package.version,
        "architecture": package.architecture,
        "archive": package.archive,
        "path": package.path,
    }


def _role(package: LockedPackage) -> str:
    return f"package {package.name}:{package.architecture}"


def _package(package: LockedPackage, *, wave: bool = False) -> dict[str, Any]:
    """One package among a step's params; its digest is what makes it part of the key."""
    version = package.version.replace(":", "%3a")
    tree: dict[str, Any] = {
        "name": package.name,
        "version": package.version,
        "architecture": package.architecture,
        "file": f"{package.name}_{version}_{package.architecture}.deb",
        "sha256": package.sha256,
    }
    if wave:
        tree |= {"manual": package.manual, "essential": package.essential}
        if package.replaces:
            tree["upgrades"] = package.replaces
    return tree
