"""Entry point of the command: listens for Ctrl-C before the libraries are loaded."""

from leukospike.cli.stopping import Stopping


def main() -> None:
    """Listen for signals, then load the command line and run it."""
    stopping = Stopping()
    stopping.listen()
    from leukospike.cli.call import main as run

    run(stopping)


if __name__ == "__main__":
    main()
