"""Judging a snapshot: pure rules that turn facts into findings."""

# Importing a module of rules registers its checks, in the order they are reported.
from cpkit.health import members, storage, api, controllers, balancer, certs, rotation, renewal, nodes, schedule  # noqa: F401, I001
from cpkit.health.check import CHECKS, exit_code, judge
from cpkit.health.finding import Finding
from cpkit.health.settle import settle

__all__ = ["CHECKS", "Finding", "exit_code", "judge", "settle"]
