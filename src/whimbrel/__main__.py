"""``python -m whimbrel``: the command line."""

from whimbrel.cli.app import main

main()
