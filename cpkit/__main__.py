"""Run the command line: `python -m cpkit`."""

from cpkit.cli import main

main()
