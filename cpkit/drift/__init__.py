"""Drift as judgements: what differs between the inventory and the nodes, what that needs, and what forbids it."""

from cpkit.drift.change import Change, Diff, changes_of, leaf_changes
from cpkit.drift.fixed import Refusal, refuse_fixed, refuse_versions
from cpkit.drift.plan import BALANCERS, FILES, LEAVES, REST, STEPS, DriftPlan, Round, plan, restarting
from cpkit.drift.words import told

__all__ = [
    "BALANCERS",
    "FILES",
    "LEAVES",
    "REST",
    "STEPS",
    "Change",
    "Diff",
    "DriftPlan",
    "Refusal",
    "Round",
    "changes_of",
    "leaf_changes",
    "plan",
    "refuse_fixed",
    "refuse_versions",
    "restarting",
    "told",
]
