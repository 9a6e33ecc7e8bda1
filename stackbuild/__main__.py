"""`python -m stackbuild` is the command `stackbuild`."""

from stackbuild.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
