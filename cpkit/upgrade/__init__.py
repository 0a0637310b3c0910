"""Upgrades as judgements: what is to be changed, in which order, and what forbids it."""

from cpkit.upgrade.passes import STEPS, Step, passes
from cpkit.upgrade.plan import Change, UpgradePlan, plan
from cpkit.upgrade.refusals import Outside, Refusal
from cpkit.upgrade.target import Target, target_of

__all__ = ["STEPS", "Change", "Outside", "Refusal", "Step", "Target", "UpgradePlan", "passes", "plan", "target_of"]
