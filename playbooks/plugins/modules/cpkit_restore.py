"""Ansible module: take a restore of etcd one stage further on a node, or back."""

from __future__ import annotations

DOCUMENTATION = r"""
module: cpkit_restore
short_description: Take a restore of etcd one stage further on a node, or back
description:
  - Each stage may be cut off anywhere and asked for again; one that was reached is not gone through again.
  - A file on the node says how far the restore has come, and belongs to one backup.
  - From the stage C(quiet) on, the services are kept from starting, across reboots too, until it is their turn.
  - A stage must be reached on every node before the next one is begun on any; that is the play's part.
options:
  stage:
    description:
      - C(begun), C(prepared) touch nothing that runs. C(prepared) makes the new data beside the old.
      - C(quiet) ends the controllers and the API server.
      - C(switched) ends etcd, moves the old data aside and the new one in place.
      - C(started), C(serving), C(done) start the services. After C(started) was begun there is no way back.
      - C(aborting), C(reverted), C(resumed), C(aborted) go back to the old data.
    type: str
    required: true
    choices: [begun, prepared, quiet, switched, started, serving, done, aborting, reverted, resumed, aborted]
  restore:
    description: What tells this restore from others.
    type: str
    required: true
  backup:
    description: The backup's name.
    type: str
    default: ""
  sha256:
    description: The digest of the snapshot.
    type: str
    default: ""
  member:
    description: What etcdutl is told of this member, C(name), C(initial_cluster), C(token) and C(peer_url).
    type: dict
    default: {}
  data_dir:
    description: etcd's data directory.
    type: str
    default: /var/lib/etcd
  owner:
    description: Whom etcd's data belongs to.
    type: str
    default: etcd
  ready_url:
    description: A URL on the node that answers 200 once its API server works.
    type: str
    default: https://127.0.0.1:6443/readyz
  ready_authority:
    description: The CA bundle the URL's certificate is verified with.
    type: str
    default: /etc/kubernetes/pki/ca.crt
  timeout:
    description: Seconds to wait for O(ready_url).
    type: int
    default: 120
author: cpkit
"""

EXAMPLES = r"""
- name: Put the new data in the place of the old
  cpkit_restore:
    stage: switched
    restore: 20310506T070809Z-1f2e
"""

RETURN = r"""
reached:
  description: How far the restore has come on this node.
  type: str
  returned: always
aside:
  description: Where the old data is.
  type: str
  returned: always
"""

import shutil
import time
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.cpkit_restore import ABORTING, BUMP, STAGES, Data, Guards, Marker, Trouble, alone, unchecked
from ansible.module_utils.cpkit_units import UnitFailed, bring_up, properties, systemctl, wait_until_ready

MARKER = Path("/var/lib/cpkit/restore.json")
SNAPSHOTS = Path("/var/lib/cpkit/restore")
UNITS = Path("/etc/systemd/system")
FIRST = Path("/run/systemd/system/etcd.service.d/cpkit-first-start.conf")
ETCDUTL = Path("/opt/cpkit/etcd/current/etcdutl")
GRACE, POLL = 1.0, 0.05  # seconds
API = ("kube-apiserver",)
CONTROLLERS = ("kube-controller-manager", "kube-scheduler")
# What is gone through in one call. Between two calls the play waits for all nodes.
THROUGH = {
    "quiet": ("held", "quiet"),
    "switched": ("stopped", "switched"),
    "started": ("committed", "started"),
}
EVERY = ("etcd", *API, *CONTROLLERS)
BACK = (ABORTING, "reverted", "resumed", "aborted")
CHOICES = [*(stage for stage in STAGES if stage not in {"held", "stopped", "committed"}), *BACK]


class Restore:
    """One restore on this node; a method for each stage says whether it changed anything."""

    def __init__(self, wanted: dict[str, object]) -> None:
        self.wanted = wanted
        self.marker = Marker(MARKER)
        self.guards = Guards(UNITS)
        self.data = Data(str(wanted["data_dir"]), str(wanted["restore"]), str(wanted["owner"]))

    def would(self, stage: str) -> bool:
        """Whether a stage would change anything; refuses to go back where there is no way."""
        if stage in BACK:
            if self._apart:
                return False
            self._refuse_other(stage)
            self._refuse_no_way_back()
            return True
        return self.marker.values.get("restore") != self.wanted["restore"] or not self.marker.reached(stage)

    def go(self, stage: str) -> bool:
        """Go through a stage."""
        if stage in BACK and self._apart:
            return False
        if stage != "begun":
            self._refuse_other(stage)
        changed = False
        for each in THROUGH.get(stage, (stage,)):
            changed = bool(getattr(self, each)()) or changed
        return changed

    @property
    def _apart(self) -> bool:
        """Whether the restore was never begun on this node."""
        return self.marker.stage in {"", "done"}

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
            snapshot = SNAPSHOTS / f"{self.wanted['sha256']}.db"
            options = {
                "name": member["name"],
                "initial-cluster": member["initial_cluster"],
                "initial-cluster-token": member["token"],
                "initial-advertise-peer-urls": member["peer_url"],
                "bump-revision": BUMP,
            }
            flags = [f"--{name}={value}" for name, value in options.items()]
            self.data.prepare([str(ETCDUTL), "snapshot", "restore", str(snapshot), *flags, "--mark-compacted"])
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
        _refuse_running(("etcd",))
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
        if not _running("etcd") and unchecked(UNITS / "etcd.service", FIRST):
            systemctl("daemon-reload")
        try:
            return self._begun("started", after="committed", units=("etcd",))
        finally:
            if FIRST.exists():
                FIRST.unlink()
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
        shutil.rmtree(SNAPSHOTS, ignore_errors=True)
        return changed

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
            _stop(EVERY)
        self.data.switch_back()
        return True

    def resumed(self) -> bool:
        """Start etcd on the old data."""
        return bool(self.marker.values.get("held")) and self._started(("etcd",))

    def aborted(self) -> bool:
        """Start the rest, and forget the restore."""
        if self.marker.values.get("held"):
            self._started((*API, *CONTROLLERS))
        shutil.rmtree(SNAPSHOTS, ignore_errors=True)
        MARKER.unlink()
        return True

    def _ended(self, stage: str, *, after: str, units: tuple[str, ...]) -> bool:
        if self.marker.reached("committed"):
            return False
        self._require(after)
        changed = _stop(units)
        if not self.marker.reached(stage):
            self.marker.write(stage=stage)
            changed = True
        return changed

    def _begun(self, stage: str, *, after: str, units: tuple[str, ...]) -> bool:
        self._require(after)
        changed = self._started(units)
        if not self.marker.reached(stage):
            self.marker.write(stage=stage)
            changed = True
        return changed

    def _started(self, units: tuple[str, ...]) -> bool:
        changed = self.guards.lift(units)
        if changed:
            systemctl("daemon-reload")
        for unit in units:
            changed = bool(bring_up(f"{unit}.service", restart=False, reload=False)) or changed
        return changed

    def _refuse_no_way_back(self) -> None:
        if self.marker.reached("committed"):
            raise Trouble(
                f"the restore is {self.marker.stage} here: etcd may have taken writes on the new data. "
                f"The old data is in {self.data.old}"
            )

    def _require(self, stage: str) -> None:
        if not self.marker.reached(stage):
            raise Trouble(f"the restore is {self.marker.stage or 'not begun'} here, and not {stage}")

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


def _running(unit: str) -> bool:
    return properties(f"{unit}.service").get("ActiveState") not in {"inactive", "failed"}


def _refuse_running(units: tuple[str, ...]) -> None:
    for unit in units:
        if _running(unit):
            raise Trouble(f"{unit} runs, and its data must not be moved under it")


def _stop(units: tuple[str, ...]) -> bool:
    """End units, and wait until they are gone; whether any ran.

    They are killed after a moment. An API server would go on to serve for seconds, and whatever it accepted would be
    undone; the last etcd would wait seconds for a quorum to hand leadership to. Neither loses what is on the disk.
    """
    alive = [f"{unit}.service" for unit in units if _running(unit)]
    if not alive:
        return False
    systemctl("stop", "--no-block", *alive)
    deadline = time.monotonic() + GRACE
    while any(map(_running, units)) and time.monotonic() < deadline:
        time.sleep(POLL)
    left = [f"{unit}.service" for unit in units if _running(unit)]
    if left:
        systemctl("kill", "--signal=SIGKILL", *left, check=False)
        systemctl("stop", *left)
    _refuse_running(units)
    return True


def main() -> None:
    """Go through the stage that is asked for."""
    module = AnsibleModule(
        argument_spec={
            "stage": {
                "type": "str",
                "required": True,
                "choices": CHOICES,
            },
            "restore": {"type": "str", "required": True},
            "backup": {"type": "str", "default": ""},
            "sha256": {"type": "str", "default": ""},
            "member": {"type": "dict", "default": {}},
            "data_dir": {"type": "str", "default": "/var/lib/etcd"},
            "owner": {"type": "str", "default": "etcd"},
            "ready_url": {"type": "str", "default": "https://127.0.0.1:6443/readyz"},
            "ready_authority": {"type": "str", "default": "/etc/kubernetes/pki/ca.crt"},
            "timeout": {"type": "int", "default": 120},
        },
        supports_check_mode=True,
    )
    stage = module.params["stage"]
    try:
        with alone(MARKER.with_suffix(".lock")):
            restore = Restore(module.params)
            changed = restore.would(stage) if module.check_mode else restore.go(stage)
    except (Trouble, UnitFailed, OSError, KeyError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=changed, reached=restore.marker.stage, aside=str(restore.data.old))


if __name__ == "__main__":
    main()
