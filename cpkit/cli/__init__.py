"""The command line: one module per command group, imported only when it is called."""

from cpkit.cli.app import main

__all__ = ["main"]
