"""Which levels of settings there are; the order of the members is the precedence. Not what is in them."""

from __future__ import annotations

from enum import Enum


class Level(Enum):
    """Lowest first: a later one wins. The value is the word that people read in an origin."""

    ENGINE = "engine"  # built in, then the machine's config
    IMAGE = "image"  # the base image's own config
    RECIPE = "recipe"  # in the order in which they are used; one that another uses is below it
    PROJECT = "project"  # stack.toml
    PROFILE = "profile"  # stack.PROFILE.toml, in the order of --profile
    USER = "user"
    ENVIRONMENT = "environment"
    COMMAND_LINE = "command line"

    @property
    def rank(self) -> int:
        return list(Level).index(self)
