"""The files of a node that renews its leaves by itself."""

from __future__ import annotations

DOCUMENTATION = r"""
name: cpkit_renewal
short_description: What a node needs to renew its leaves by itself
description: The program and its settings as entries of C(cpkit_files).
options:
  _terms:
    description: C(files).
    required: true
  settings:
    description: What the program has to know.
    type: dict
"""

from typing import Any

from ansible.plugins.lookup import LookupBase

from cpkit.node.calendar import zoned
from cpkit.renewing import shipping


class LookupModule(LookupBase):
    """One list of files."""

    def run(self, terms: list[str], variables: dict[str, Any] | None = None, **options: Any) -> list[Any]:  # noqa: ARG002
        """The files."""
        self.set_options(var_options=variables, direct=options)
        # Ansible's containers work their values out when they are read, and cannot be copied.
        told = {str(name): _plain(value) for name, value in self.get_option("settings").items()}
        told["calendar"] = zoned(told["calendar"])
        public = [{"path": path, "content": text, "mode": "0644"} for path, text in shipping.program().items()]
        private = shipping.settings(told)
        return [public + [{"path": path, "content": text, "mode": "0600"} for path, text in private.items()]]


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    return value if isinstance(value, int) else str(value)
