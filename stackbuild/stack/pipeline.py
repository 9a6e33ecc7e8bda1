"""The text of a CI pipeline that builds a stack, from the templates that ship; writes no file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from stackbuild import __version__
from stackbuild.oci.reference import parse_reference

if TYPE_CHECKING:
    from stackbuild.stack.stack import Stack

PLACES = {"gitlab": ".gitlab-ci.yml", "github": ".github/workflows/image.yml"}
"""The systems, and the file that each reads."""
_LOCAL = ("oci:", "oci-archive:", "docker-archive:", "rootfs:")
_TEMPLATES = Path(__file__).parent.parent / "templates" / "ci"


def pipeline(system: str, stack: Stack) -> str:
    """The pipeline of a stack for a key of PLACES.

    The image's name is that of push.to without its tag, if the stack has one. `[[ … ]]` in the templates is ours, for
    the systems have a use for braces of their own.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        variable_start_string="[[",
        variable_end_string="]]",
        comment_start_string="[#",
        comment_end_string="#]",
        block_start_string="[%",
        block_end_string="%]",
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,  # YAML: values are written by `tojson`, which is YAML too
    )
    distro = stack.base.distro or "debian/bookworm"
    base = distro.replace("/", ":") if distro.startswith(("debian/", "ubuntu/")) else "debian:bookworm"
    return environment.get_template(f"{system}.yml.j2").render(version=__version__, image=_image(stack), base=base)


def _image(stack: Stack) -> str:
    for text in stack.push.to:
        if "://" not in text.removeprefix("docker://") and not text.startswith(_LOCAL):
            reference = parse_reference(text)
            return f"{reference.host}/{reference.path}"
    return f"registry.example.com/team/{stack.name}"
