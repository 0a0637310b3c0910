"""The way of a restore back to the old data."""

from __future__ import annotations

import shutil

from ansible.module_utils.cpkit_restore import ABORTING, Trouble
from ansible.module_utils.cpkit_services import API, CONTROLLERS, EVERY, start, stop
from ansible.module_utils.cpkit_units import systemctl
from ansible.module_utils.cpkit_way import Way


class Back(Way):
    """The stages that lead to the old data; none of them does anything where no restore is under way."""

    def would(self, stage: str) -> bool:
        """Whether a stage would change anything; refuses to go back where there is no way."""
        if self._apart:
            return False
        self._refuse_other(stage)
        self._refuse_no_way_back()
        return True

    def go(self, stage: str) -> bool:
        """Go through a stage."""
        if self._apart:
            return False
        self._refuse_other(stage)
        return bool(getattr(self, stage)())

    def aborting(self) -> bool:
        """Note that the way leads back."""
        if self.marker.stage == ABORTING:
            return False
        self._refuse_no_way_back()
        self.marker.write(stage=ABORTING)
        return True

    def reverted(self) -> bool:
        """Put the old data back in place."""
        if self.marker.values.get("held"):
            # Cut off between the note and the drop-ins, it may run still, and then on the old data.
            if self.guards.put(EVERY):
                systemctl("daemon-reload")
            stop(EVERY)
        self.data.switch_back()
        return True

    def resumed(self) -> bool:
        """Start etcd on the old data."""
        return bool(self.marker.values.get("held")) and start(("etcd",), self.guards)

    def aborted(self) -> bool:
        """Start the rest, and forget the restore."""
        if self.marker.values.get("held"):
            start((*API, *CONTROLLERS), self.guards)
        shutil.rmtree(self.snapshots, ignore_errors=True)
        self.marker.path.unlink()
        return True

    def _refuse_no_way_back(self) -> None:
        if self.marker.reached("committed"):
            raise Trouble(
                f"the restore is {self.marker.stage} here: etcd may have taken writes on the new data. "
                f"The old data is in {self.data.old}"
            )
