"""`python -m celebgen_cli` is the same program as `celebgen`."""

from celebgen_cli.cli import main

if __name__ == "__main__":
    main()
