"""Where the command begins: in time to meet Ctrl-C while the libraries are still loading."""

import sys


def main() -> None:
    """Load the command line and run it."""
    try:
        from leukospike.cli.call import main as run
    except KeyboardInterrupt:
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
