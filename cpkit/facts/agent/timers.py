"""The timers of backups and renewals that the node runs by itself, and what their last runs left."""
# Importing pathlib would add a tenth to the run.
# ruff: noqa: PTH110

from __future__ import annotations

import json
import os

from cpkit.facts.agent.files import digest, read
from cpkit.facts.agent.machine import output

TYPE_CHECKING = False  # as typing's own, without importing typing
if TYPE_CHECKING:
    from typing import Any

BACKUP = ("/etc/cpkit/backup.json", "/var/lib/cpkit/backup/status.json", "cpkit-backup.timer")  # role backup_schedule
RAN = ("at", "next", "period", "outcome", "error", "hint", "verified", "record")  # what its last run left
# role renewal_schedule
RENEWAL = ("/etc/cpkit/renewal.json", "/var/lib/cpkit/renewal/status.json", "cpkit-renewal.timer")
RENEWED = ("at", "outcome", "error", "hint", "ends", "renewed", "renewed_at")  # what its last run left


def backup() -> dict[str, Any] | None:
    """The schedule of backups that the node takes by itself, and what its last run left; None when it has none."""
    settings_path, status_path, timer = BACKUP
    if not os.path.exists(settings_path):
        return None
    settings = json.loads(read(settings_path))
    common = {name: value for name, value in settings.items() if name not in ("node", "members", "without")}
    status = json.loads(read(status_path)) if os.path.exists(status_path) else {}
    return {
        "calendar": settings["calendar"],
        "store": settings["store"],
        "jitter": settings["jitter"],
        "digest": digest(json.dumps(common, sort_keys=True).encode())[:16],
        "timer": output("systemctl", "show", "-p", "ActiveState", "--value", timer).strip(),
        **{name: status[name] for name in RAN if name in status},
    }


def renewal() -> dict[str, Any] | None:
    """The timer that renews the node's leaves, and what its last run left; None when it has none."""
    settings_path, status_path, timer = RENEWAL
    if not os.path.exists(settings_path):
        return None
    status = json.loads(read(status_path)) if os.path.exists(status_path) else {}
    return {
        "calendar": json.loads(read(settings_path))["calendar"],
        "timer": output("systemctl", "show", "-p", "ActiveState", "--value", timer).strip(),
        **{name: status[name] for name in RENEWED if name in status},
    }
