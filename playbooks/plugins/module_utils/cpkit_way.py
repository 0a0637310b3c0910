"""What the way of a restore forward and the way back have in common: what they go by, and what they refuse."""

from __future__ import annotations

from ansible.module_utils.cpkit_data import Data
from ansible.module_utils.cpkit_guards import Guards
from ansible.module_utils.cpkit_restore import ABORTING, BACK, STAGES, Marker, Trouble

TYPE_CHECKING = False  # as typing's own, without importing typing
if TYPE_CHECKING:
    from pathlib import Path


class Way:
    """One restore on this node; a way has a method for each of its stages, which says whether it changed anything."""

    def __init__(
        self, wanted: dict[str, object], *, marker: Path, snapshots: Path, units: Path, first: Path, etcdutl: Path
    ) -> None:
        self.wanted = wanted
        self.snapshots, self.units, self.first, self.etcdutl = snapshots, units, first, etcdutl
        self.marker = Marker(marker)
        self.guards = Guards(units)
        self.data = Data(str(wanted["data_dir"]), str(wanted["restore"]), str(wanted["owner"]))

    @property
    def _apart(self) -> bool:
        """Whether the restore was never begun on this node."""
        return self.marker.stage in {"", "done"}

    def _refuse_other(self, stage: str) -> None:
        held = self.marker.values
        if not held:
            raise Trouble("no restore is under way here")
        if held.get("restore") != self.wanted["restore"]:
            raise Trouble(f"a restore of {held.get('backup')} is under way here; finish it, or go back: --abort")
        if self.marker.stage == ABORTING and stage in STAGES:
            raise Trouble("this restore is being taken back; finish that: cpkit restore etcd --abort")
        if self.marker.stage != ABORTING and stage in BACK[1:]:
            raise Trouble(f"the restore is {self.marker.stage} here, and not being taken back")
