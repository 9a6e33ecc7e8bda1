"""stackbuild: a declarative build-and-run tool for container images."""

__version__ = "0.1.0"
