"""Look a version up in cpkit's table of supported versions."""

from __future__ import annotations

DOCUMENTATION = r"""
name: cpkit_versions
short_description: Versions cpkit supports
description: C(kubernetes) gives the default Kubernetes version; C(etcd) the etcd that goes with O(kubernetes).
options:
  _terms:
    description: C(kubernetes) or C(etcd).
    required: true
  kubernetes:
    description: The Kubernetes version that etcd has to go with.
    type: str
"""

from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase

from cpkit.errors import CpkitError
from cpkit.versions import Version, version_table


class LookupModule(LookupBase):
    """The table's row of a version."""

    def run(self, terms: list[str], variables: dict[str, Any] | None = None, **options: Any) -> list[str]:
        """One version for each term."""
        self.set_options(var_options=variables, direct=options)
        table = version_table()
        named = self.get_option("kubernetes")
        try:
            row = table.minor(Version.parse(named)) if named else table.minors[table.default]
        except CpkitError as error:
            raise AnsibleError(f"{error}. {error.hint}") from error
        return [str(getattr(row, term)) for term in terms]
