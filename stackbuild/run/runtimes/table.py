"""The table of container runtimes, and which one starts a given container. To add one: a line here, a file beside."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from stackbuild.core.errors import Hint, HostError, UsageError
from stackbuild.core.files import write_file
from stackbuild.host.overlay import in_user_namespace
from stackbuild.run.runtimes.protocol import Lack, Runtime
from stackbuild.run.spec import RuntimeSpec

NAMES = ("bwrap", "runc", "crun")
"""In the order in which "auto" tries them: bwrap starts fastest, and is there wherever stackbuild is."""
HELPERS = ("ip", "iptables-restore", "pasta", "slirp4netns")


def runtime(name: str) -> Runtime:
    """The runtime of this name; imports only its module. Raises UsageError."""
    if name == "bwrap":
        from stackbuild.run.runtimes.bwrap import RUNTIME

        return RUNTIME
    if name in NAMES:
        from stackbuild.run.runtimes.oci_runtime import OciRuntime

        return OciRuntime(name)
    raise UsageError(f"`{name}` is not a runtime", hints=(Hint(f"known: auto, {', '.join(NAMES)}"),))


def find_programs(memory: Path | None = None) -> dict[str, str]:
    """Where the programs are that runtimes and networks use; those that are not there are left out.

    memory: as for `choose`; a bwrap that worked for it need not be tried again.
    """
    path = os.pathsep.join(filter(None, (os.environ.get("PATH"), "/usr/local/sbin", "/usr/sbin", "/sbin")))
    found = {name: shutil.which(name, path=path) for name in (*NAMES, *HELPERS)}
    found["bwrap"] = (memory and _Probes(memory, {}).proven("bwrap")) or _bwrap() or found["bwrap"]
    return {name: place for name, place in found.items() if place}


def _bwrap() -> str | None:
    from stackbuild.host.bwrap import find

    try:
        return str(find())
    except HostError:
        return None


class Choice(NamedTuple):
    """What was chosen, and what of the engine's own defaults it leaves out, in sentences."""

    name: str
    notes: tuple[str, ...] = ()


def choose(spec: RuntimeSpec, programs: Mapping[str, str], memory: Path) -> Choice:
    """The first runtime that works here and can do all that `spec` asks for; spec.runtime unless it is "auto".

    memory: a file that keeps what probes found until the machine starts anew or a program changes.
    Raises HostError that names the setting and a runtime that can, if there is one.
    """
    if spec.runtime != "auto":
        runtime(spec.runtime)
    probes = _Probes(memory, programs)
    refusals: dict[str, tuple[Lack, ...]] = {}
    broken: dict[str, str] = {}
    for name in NAMES if spec.runtime == "auto" else (spec.runtime,):
        broken[name] = probes.why_not(name)
        if broken[name]:
            continue
        lacks = runtime(name).lacks(spec)
        refusals[name] = tuple(lack for lack in lacks if lack.setting not in spec.soft)
        if not refusals[name]:
            return Choice(name, tuple(f"{lack.setting} is not set: {lack.why}" for lack in lacks))
    for name, lacking in refusals.items():
        raise _cannot(spec, name, lacking[0], probes)
    raise HostError(
        "no container runtime works here" if spec.runtime == "auto" else f"{spec.runtime} does not work here",
        why="; ".join(f"{name}: {why}" for name, why in broken.items()),
        hints=(Hint("see what is missing", "stackbuild doctor"),),
    )


def _cannot(spec: RuntimeSpec, name: str, lack: Lack, probes: _Probes) -> HostError:
    """The error for a setting that a runtime cannot honour; it names one that can."""
    able = [
        other
        for other in NAMES
        if other != name
        and not probes.why_not(other)
        and not any(one.setting not in spec.soft for one in runtime(other).lacks(spec))
    ]
    if able:
        hint = Hint(f'set container.runtime = "{able[0]}": it can', f"stackbuild --set container.runtime={able[0]} up")
    elif in_user_namespace():
        hint = Hint("runc can when run as root; or leave the setting out")
    else:
        hint = Hint("leave the setting out")
    return HostError(f"{name} cannot honour container.{lack.setting}", why=lack.why, hints=(hint,))


class _Probes:
    """Results of probes, kept in a file: a probe costs as much as a container's start."""

    def __init__(self, memory: Path, programs: Mapping[str, str]) -> None:
        self._memory, self._programs = memory, programs
        try:
            self._known: dict[str, str] = json.loads(memory.read_bytes())
        except (OSError, ValueError):
            self._known = {}

    def why_not(self, name: str) -> str:
        """ "" if the runtime works."""
        key = _key(name, self._programs.get(name, ""))
        why = self._known.get(key)
        if not isinstance(why, str):
            why = runtime(name).probe(self._programs)
            if name in self._programs:
                self._known = {**{k: v for k, v in self._known.items() if not k.startswith(f"{name} ")}, key: why}
                self._memory.parent.mkdir(parents=True, exist_ok=True)
                write_file(self._memory, json.dumps(self._known).encode())
        return why

    def proven(self, name: str) -> str:
        """Where a program is that worked and has not changed since; "" if none is known."""
        for key, why in self._known.items():
            place = key.removeprefix(f"{name} ").rsplit(" ", 5)[0]
            if not why and key == _key(name, place):
                return place
        return ""


def _key(name: str, place: str) -> str:
    try:
        info = os.stat(place)
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return f"{name} none"
    return f"{name} {place} {info.st_mtime_ns} {info.st_size} {boot} {os.geteuid()} {in_user_namespace()}"
