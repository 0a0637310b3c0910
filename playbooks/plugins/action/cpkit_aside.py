"""Stop units, and move what they leave aside."""

from __future__ import annotations

from cpkit.carried import CarryingAction


class ActionModule(CarryingAction):
    """The module of the same name does it."""
