"""Take a restore of etcd one stage further on a node, or back."""

from __future__ import annotations

from cpkit.carried import CarryingAction


class ActionModule(CarryingAction):
    """The module of the same name does it."""
