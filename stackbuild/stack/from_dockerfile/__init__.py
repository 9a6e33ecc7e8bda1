"""A Dockerfile translated into a stack.toml: read, decide, write; builds nothing and asks no registry."""
