"""What runs have left behind, read again: which there are, what a run did, and a page that draws it."""

from cpkit.runs.catalogue import find, listed, runs_of
from cpkit.runs.drawn import drawn_run
from cpkit.runs.page import PAGE, draw
from cpkit.runs.record import Leader, Record, Step, read
from cpkit.runs.unfinished import unfinished

__all__ = ["PAGE", "Leader", "Record", "Step", "draw", "drawn_run", "find", "listed", "read", "runs_of", "unfinished"]
