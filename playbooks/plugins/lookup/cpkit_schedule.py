"""The files of a node that takes scheduled backups, and the calendar they follow."""

from __future__ import annotations

DOCUMENTATION = r"""
name: cpkit_schedule
short_description: What a node needs to take scheduled backups
description:
  - C(calendar) gives the time as it means the same on every node.
  - C(files) gives the program, its settings and the inventory as entries of C(cpkit_files).
  - C(credentials) gives the file with what the node shows to S3, likewise; for C(no_log) alone.
  - C(probe) gives a signed request to S3 that a node may try for a quarter of an hour; empty for another store.
options:
  _terms:
    description: C(calendar), C(files), C(credentials) or C(probe).
    required: true
  at:
    description: When backups are due, as systemd's OnCalendar.
    type: str
  settings:
    description: What the program has to know.
    type: dict
  credentials:
    description: The operator's file with what a node shows to S3.
    type: str
    default: ""
"""

from datetime import UTC, datetime
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase

from cpkit.backup import schedule, shipping
from cpkit.backup.node import s3_calls
from cpkit.backup.node.signing import Credentials, signed
from cpkit.errors import CpkitError
from cpkit.inventory import load
from cpkit.node.calendar import zoned


class LookupModule(LookupBase):
    """One value for each term."""

    def run(self, terms: list[str], variables: dict[str, Any] | None = None, **options: Any) -> list[Any]:
        """The calendar, or the files."""
        self.set_options(var_options=variables, direct=options)
        try:
            return [self._value(term, variables or {}) for term in terms]
        except CpkitError as error:
            raise AnsibleError(f"{error}. {error.hint}") from error

    def _value(self, term: str, variables: dict[str, Any]) -> Any:
        if term == "calendar":
            return self._calendar()
        if term == "files":
            return self._files(variables)
        held = schedule.credentials(self.get_option("settings")["store"], self.get_option("credentials"))
        return self._probe(held) if term == "probe" else _private(shipping.credentials(held))

    def _probe(self, held: Credentials | None) -> dict[str, Any]:
        if held is None:
            return {}
        place = s3_calls.place(str(self.get_option("settings")["store"]))
        request = s3_calls.listing(place)
        headers = signed(request, held, place.region, datetime.now(UTC))
        return {"url": f"{place.endpoint}{request.target}", "headers": headers}

    def _calendar(self) -> str:
        return zoned(self.get_option("at"))

    def _files(self, variables: dict[str, Any]) -> list[dict[str, str]]:
        # Ansible's containers work their values out when they are read, and cannot be copied.
        told = {name: _plain(value) for name, value in self.get_option("settings").items()}
        schedule.refuse_unusable(told["store"], told["recipients"], self.get_option("credentials"))
        told["calendar"] = zoned(told["calendar"])
        hosts = load(variables["inventory_file"]).inventory
        private = shipping.settings(hosts, told)
        public = [{"path": path, "content": text, "mode": "0644"} for path, text in shipping.program().items()]
        return public + _private(private)


def _private(files: dict[str, str]) -> list[dict[str, Any]]:
    return [{"path": path, "content": text, "mode": "0600"} for path, text in files.items()]


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return tuple(_plain(each) for each in value)
    return value if isinstance(value, int) else str(value)
