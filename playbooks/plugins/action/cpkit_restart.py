"""Restart units of a node together."""

from __future__ import annotations

from cpkit.carried import CarryingAction


class ActionModule(CarryingAction):
    """The module of the same name does it."""
