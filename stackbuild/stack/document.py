"""One file or level of settings as a whole, and which of its tables may stand where; not what they settle to."""

from __future__ import annotations

from pydantic import Field

from stackbuild.stack.container_tables import Container
from stackbuild.stack.image_tables import (
    Base,
    Build,
    Image,
    Layer,
    Packages,
    Push,
    Registries,
    Sources,
    StackTable,
    Stages,
    Users,
)
from stackbuild.stack.recipe import Header
from stackbuild.stack.table import UNSAID, Several, Table

OF_THE_MACHINE = ("container", "registries", "build", "sources")
"""Tables that a user's or site's config may hold: how things are built and run, never what is in the image."""


class Document(Table):
    """All tables of a stack file."""

    stack: StackTable = Field(UNSAID, description="What it is called.")
    base: Base = Field(UNSAID, description="What the image starts from.")
    packages: Packages = Field(UNSAID, description="What is installed.")
    users: Users = Field({}, description="Accounts.")
    layer: Several[Layer] = Field((), description="Layers of one's own, in order.")
    stages: Stages = Field({}, description="Build-only images that files are copied from.")
    image: Image = Field(UNSAID, description="The image's config.")
    push: Push = Field(UNSAID, description="Where it is sent.")
    container: Container = Field(UNSAID, description="How it runs.")
    build: Build = Field(UNSAID, description="How it is built.")
    registries: Registries = Field({}, description="Registries by host[:port].")
    sources: Sources = Field({}, description="Archives by distribution, for stacks that name none.")


class RecipeDocument(Document):
    """All tables of a recipe's file."""

    recipe: Header = Field(UNSAID, description="What it is called, and its parameters.")
