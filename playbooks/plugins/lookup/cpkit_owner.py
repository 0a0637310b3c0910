"""Name who runs a play, in the words that cpkit itself uses for the holder of a lock."""

from __future__ import annotations

DOCUMENTATION = r"""
name: cpkit_owner
short_description: Who runs this
description: The owner of a lock that plain C(ansible-playbook) takes, so that cpkit takes it for the same one.
"""

from typing import Any

from ansible.plugins.lookup import LookupBase

from cpkit.journal import owner


class LookupModule(LookupBase):
    """USER@HOST."""

    def run(self, terms: list[str], variables: dict[str, Any] | None = None, **options: Any) -> list[str]:  # noqa: ARG002
        """One name."""
        return [owner()]
