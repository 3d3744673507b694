"""Where the command begins: in time to meet Ctrl-C while the libraries are still loading."""

from leukospike.cli.stopping import Stopping


def main() -> None:
    """Listen for signals, then load the command line and run it."""
    stopping = Stopping()
    stopping.listen()
    from leukospike.cli.call import main as run

    run(stopping)


if __name__ == "__main__":
    main()
