"""The way of a restore forward, from the old data to the new."""

from __future__ import annotations

import shutil
import time

from ansible.module_utils.cpkit_guards import unchecked
from ansible.module_utils.cpkit_restore import Trouble
from ansible.module_utils.cpkit_services import API, CONTROLLERS, EVERY, refuse_running, running, start, stop
from ansible.module_utils.cpkit_units import systemctl, wait_until_ready
from ansible.module_utils.cpkit_way import Way

BUMP = 1_000_000_000  # more revisions than a cluster writes in the time between a backup and its restore
# What is gone through in one call. Between two calls the play waits for all nodes.
THROUGH = {
    "quiet": ("held", "quiet"),
    "switched": ("stopped", "switched"),
    "started": ("committed", "started"),
}


class Forward(Way):
    """The stages that lead to the new data; after `committed` there is no way but this."""

    def would(self, stage: str) -> bool:
        """Whether a stage would change anything."""
        return self.marker.values.get("restore") != self.wanted["restore"] or not self.marker.reached(stage)

    def go(self, stage: str) -> bool:
        """Go through a stage."""
        if stage != "begun":
            self._refuse_other(stage)
        changed = False
        for each in THROUGH.get(stage, (stage,)):
            changed = bool(getattr(self, each)()) or changed
        return changed

    def begun(self) -> bool:
        """Note that a restore begins; a finished one is forgotten, unless it is this one and others are behind."""
        if not self._apart:
            self._refuse_other("begun")
            return False
        if self.marker.values.get("restore") == self.wanted["restore"]:
            return False
        kept = ("restore", "backup", "sha256", "data_dir")
        self.marker.values = {}
        self.marker.write(stage="begun", at=int(time.time()), **{name: self.wanted[name] for name in kept})
        return True

    def prepared(self) -> bool:
        """Make the new data beside the old, from the snapshot."""
        if self.marker.reached("prepared"):
            return False
        member = self.wanted["member"]
        assert isinstance(member, dict)  # noqa: S101 - Ansible has checked it
        if not self.data.new.exists():
            snapshot = self.snapshots / f"{self.wanted['sha256']}.db"
            options = {
                "name": member["name"],
                "initial-cluster": member["initial_cluster"],
                "initial-cluster-token": member["token"],
                "initial-advertise-peer-urls": member["peer_url"],
                "bump-revision": BUMP,
            }
            flags = [f"--{name}={value}" for name, value in options.items()]
            self.data.prepare([str(self.etcdutl), "snapshot", "restore", str(snapshot), *flags, "--mark-compacted"])
        self.marker.write(stage="prepared")
        return True

    def held(self) -> bool:
        """Keep the services from starting, whatever happens to the node."""
        if self.marker.reached("committed"):
            return False
        if not self.marker.reached("held"):
            self._require("prepared")
            self.marker.write(stage="held", held=True)
        if not self.guards.put(EVERY):
            return False
        systemctl("daemon-reload")
        return True

    def quiet(self) -> bool:
        """End what reads and writes etcd on this node."""
        return self._ended("quiet", after="held", units=(*CONTROLLERS, *API))

    def stopped(self) -> bool:
        """End etcd; without quorum the last member takes some seconds."""
        return self._ended("stopped", after="quiet", units=("etcd",))

    def switched(self) -> bool:
        """Move the old data aside and the new one in place."""
        if self.marker.reached("switched"):
            return False
        self._require("stopped")
        refuse_running(("etcd",))
        self.data.switch()
        self.marker.write(stage="switched", aside=str(self.data.old))
        return True

    def committed(self) -> bool:
        """Note that there is no way back, which is right only when every node has switched."""
        if self.marker.reached("committed"):
            return False
        self._require("switched")
        self.marker.write(stage="committed")
        return True

    def started(self) -> bool:
        """Start etcd on the new data, this once without its check of corruption.

        Before it serves, etcd asks all other members for their hashes; started at once, none of them serves yet, so
        each would wait 7 seconds for each other and learn nothing. The hashes are compared when all of them run.
        """
        if not running("etcd") and unchecked(self.units / "etcd.service", self.first):
            systemctl("daemon-reload")
        try:
            return self._begun("started", after="committed", units=("etcd",))
        finally:
            if self.first.exists():
                self.first.unlink()
                systemctl("daemon-reload")

    def serving(self) -> bool:
        """Start the API server, and wait until it is ready."""
        changed = self._begun("serving", after="started", units=API)
        ready = str(self.wanted["ready_url"]), str(self.wanted["ready_authority"])
        wait_until_ready("kube-apiserver.service", *ready, float(str(self.wanted["timeout"])))
        return changed

    def done(self) -> bool:
        """Start the controllers, and leave nothing behind but the old data."""
        changed = self._begun("done", after="serving", units=CONTROLLERS)
        shutil.rmtree(self.snapshots, ignore_errors=True)
        return changed

    def _ended(self, stage: str, *, after: str, units: tuple[str, ...]) -> bool:
        if self.marker.reached("committed"):
            return False
        self._require(after)
        changed = stop(units)
        if not self.marker.reached(stage):
            self.marker.write(stage=stage)
            changed = True
        return changed

    def _begun(self, stage: str, *, after: str, units: tuple[str, ...]) -> bool:
        self._require(after)
        changed = start(units, self.guards)
        if not self.marker.reached(stage):
            self.marker.write(stage=stage)
            changed = True
        return changed

    def _require(self, stage: str) -> None:
        if not self.marker.reached(stage):
            raise Trouble(f"the restore is {self.marker.stage or 'not begun'} here, and not {stage}")
