"""Take or give back the cluster's lock on a node, and read what the node holds."""

from __future__ import annotations

from cpkit.carried import CarryingAction


class ActionModule(CarryingAction):
    """The module of the same name does it."""
