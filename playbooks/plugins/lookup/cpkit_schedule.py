"""The files of a node that takes scheduled backups, and the calendar they follow."""

from __future__ import annotations

DOCUMENTATION = r"""
name: cpkit_schedule
short_description: What a node needs to take scheduled backups
description:
  - C(calendar) gives the time as it means the same on every node.
  - C(files) gives the program, its settings and the inventory as entries of C(cpkit_files).
options:
  _terms:
    description: C(calendar) or C(files).
    required: true
  at:
    description: When backups are due, as systemd's OnCalendar.
    type: str
  settings:
    description: What the program has to know.
    type: dict
"""

from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase

from cpkit.backup import schedule, shipping
from cpkit.backup.node.calendar import zoned
from cpkit.errors import CpkitError
from cpkit.inventory import load


class LookupModule(LookupBase):
    """One value for each term."""

    def run(self, terms: list[str], variables: dict[str, Any] | None = None, **options: Any) -> list[Any]:
        """The calendar, or the files."""
        self.set_options(var_options=variables, direct=options)
        try:
            return [self._calendar() if term == "calendar" else self._files(variables or {}) for term in terms]
        except CpkitError as error:
            raise AnsibleError(f"{error}. {error.hint}") from error

    def _calendar(self) -> str:
        return zoned(self.get_option("at"))

    def _files(self, variables: dict[str, Any]) -> list[dict[str, str]]:
        # Ansible's containers work their values out when they are read, and cannot be copied.
        told = {name: _plain(value) for name, value in self.get_option("settings").items()}
        schedule.refuse_unusable(told["store"], told["recipients"])
        told["calendar"] = zoned(told["calendar"])
        hosts = load(variables["inventory_file"]).inventory
        private = shipping.settings(hosts, told)
        public = [{"path": path, "content": text, "mode": "0644"} for path, text in shipping.program().items()]
        return public + [{"path": path, "content": text, "mode": "0600"} for path, text in private.items()]


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return tuple(_plain(each) for each in value)
    return value if isinstance(value, int) else str(value)
