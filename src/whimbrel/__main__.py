"""``python -m whimbrel``: the command line."""

from whimbrel.cli.streams import hold_streams


def main() -> None:
    """Holds the streams before anything else can take their place, then runs the command line."""
    hold_streams()
    from whimbrel.cli import app

    app.main()


if __name__ == "__main__":
    main()
