"""Upgrades as judgements: what is to be changed, in which order, and what forbids it."""

from cpkit.upgrade.advice import advice, backup_age, expected, lasting
from cpkit.upgrade.chain import after, chain
from cpkit.upgrade.outside import Outside
from cpkit.upgrade.passes import STEPS, Step, passes
from cpkit.upgrade.plan import Change, UpgradePlan, downgrade_of, plan
from cpkit.upgrade.refusals import Refusal
from cpkit.upgrade.saved import Saved, drift, read_saved, saved_of
from cpkit.upgrade.target import Target, acting, final_target, goes_back, target_before, target_of

__all__ = [
    "STEPS",
    "Change",
    "Outside",
    "Refusal",
    "Saved",
    "Step",
    "Target",
    "UpgradePlan",
    "acting",
    "advice",
    "after",
    "backup_age",
    "chain",
    "downgrade_of",
    "drift",
    "expected",
    "final_target",
    "goes_back",
    "lasting",
    "passes",
    "plan",
    "read_saved",
    "saved_of",
    "target_before",
    "target_of",
]
