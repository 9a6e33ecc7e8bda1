"""`python -m stackbuild` is the command `stackbuild`."""

from stackbuild.cli.main import entry as main

if __name__ == "__main__":
    main()
