"""Name the PKI files whose contents decide what a node still lacks."""

from __future__ import annotations

DOCUMENTATION = r"""
name: cpkit_pki_paths
short_description: The PKI files of a control-plane node
description:
  - The files that cpkit reads before it creates or issues anything; with C(requests), those for it as well.
  - With C(derived), the other files that it lays down instead.
"""

from typing import Any

from ansible.plugins.lookup import LookupBase

from cpkit.pki import derived_paths, held_paths
from cpkit.pki.requests import request_paths


class LookupModule(LookupBase):
    """Paths on a node."""

    def run(self, terms: list[str], variables: dict[str, Any] | None = None, **options: Any) -> list[list[str]]:  # noqa: ARG002
        """One list."""
        if "derived" in terms:
            return [[*derived_paths()]]
        return [[*held_paths(), *(request_paths() if "requests" in terms else ())]]
