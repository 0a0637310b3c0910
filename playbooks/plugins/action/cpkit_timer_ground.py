"""Look whether a node can do by itself what a timer starts."""

from __future__ import annotations

from cpkit.carried import CarryingAction


class ActionModule(CarryingAction):
    """The module of the same name does it."""
