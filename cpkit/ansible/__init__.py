"""The only package that knows ansible-playbook: its arguments, its environment, its events and its exit codes."""

from cpkit.ansible.outcome import Event, Outcome, failure
from cpkit.ansible.play import Play, argv, equivalent, program
from cpkit.ansible.process import Loaded, loaded, run

__all__ = [
    "Event",
    "Loaded",
    "Outcome",
    "Play",
    "argv",
    "equivalent",
    "failure",
    "loaded",
    "program",
    "run",
]
