"""Look an address of a network up by its number."""

from __future__ import annotations

DOCUMENTATION = r"""
name: cpkit_network
short_description: The nth address of a network
description: Ansible's own filters for addresses are not part of ansible-core.
options:
  _terms:
    description: Networks, as 10.96.0.0/12.
    required: true
  host:
    description: The number of the address.
    type: int
    default: 1
"""

from ipaddress import ip_network
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase


class LookupModule(LookupBase):
    """Addresses by number."""

    def run(self, terms: list[str], variables: dict[str, Any] | None = None, **options: Any) -> list[str]:
        """One address for each network."""
        self.set_options(var_options=variables, direct=options)
        try:
            return [str(ip_network(term)[self.get_option("host")]) for term in terms]
        except (ValueError, IndexError) as error:
            raise AnsibleError(str(error)) from error
