"""Ansible module: whether a node can do a scheduled work by itself; nothing is changed."""

from __future__ import annotations

DOCUMENTATION = r"""
module: cpkit_timer_ground
short_description: Look whether a node can do by itself what a timer starts
description: Fails with every reason why it cannot.
options:
  calendar:
    description: When it is due, as systemd's OnCalendar.
    type: str
    required: true
  variable:
    description: The variable that the calendar comes from, for the words of a refusal.
    type: str
    required: true
  programs:
    description: Programs that are needed, each with the package that has it.
    type: dict
    required: true
  store:
    description: A directory, or the URL of an SFTP server's or of a bucket; none if empty.
    type: str
    default: ""
  ssh_key:
    description: The private key for an SFTP server; root's own if empty.
    type: str
    default: ""
  probe:
    description: A signed request that a store in S3 has to answer, C(url) and C(headers); empty for another store.
    type: dict
    default: {}
author: cpkit
"""

EXAMPLES = r"""
- name: Look whether the node can take backups by itself
  cpkit_timer_ground:
    calendar: daily UTC
    variable: backup_schedule_at
    programs: {age: age}
    store: /mnt/backups
"""

RETURN = r"""
missing:
  description: Packages that have to be installed.
  type: list
  returned: always
"""

import http.client
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from ansible.module_utils.basic import AnsibleModule

ROOT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
OLDEST_PYTHON = (3, 11)
PATIENCE = 40  # seconds for an SFTP server


def ran(*argv: str, stdin: str = "") -> tuple[int, str]:
    """The code of a command, and what it says on one line."""
    try:
        done = subprocess.run(
            argv,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
            env={"PATH": ROOT_PATH, "LC_ALL": "C", "HOME": "/root"},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return 1, str(error)
    said = done.stderr.strip() or done.stdout.strip() or "it said nothing"
    return done.returncode, "; ".join(line.strip() for line in said.splitlines())


def python() -> str:
    """Why the system's Python does not do; empty when it does."""
    code, said = ran("/usr/bin/python3", "-c", "import sys; print(*sys.version_info[:2])")
    version = tuple(int(word) for word in said.split()) if code == 0 else ()
    wanted = ".".join(map(str, OLDEST_PYTHON))
    found = ".".join(map(str, version)) or f"none: {said}"
    return "" if version >= OLDEST_PYTHON else f"/usr/bin/python3 must be {wanted} or newer, and is {found}"


def calendar(expression: str, variable: str) -> str:
    """Why systemd does not understand an expression; empty when it does."""
    code, said = ran("systemd-analyze", "calendar", expression)
    hint = "Examples: hourly, 02:30, Mon..Fri 22:00, *-*-01 04:00 Europe/Berlin"
    return f"{variable} is no calendar of systemd: {said}. {hint}" if code else ""


def directory(path: str) -> str:
    """Why a directory cannot take backups; empty when it can."""
    if not Path(path).is_dir():
        return f"{path} is no directory here. Is it mounted? It has to be one and the same on all nodes"
    if os.statvfs(path).f_flag & os.ST_RDONLY or not os.access(path, os.W_OK):
        return f"{path} cannot be written to"
    return ""


def server(url: str, key: str) -> str:
    """Why an SFTP server's directory cannot be listed; empty when it can."""
    parts = urlsplit(url)
    user = f"{unquote(parts.username)}@" if parts.username else ""
    options = ["-oBatchMode=yes", "-oStrictHostKeyChecking=yes", "-oConnectTimeout=15"]
    options += [f"-oIdentityFile={key}", "-oIdentitiesOnly=yes"] if key else []
    root = unquote(parts.path)
    root = root.removeprefix("/~/")
    argv = ["sftp", "-q", *options, "-P", str(parts.port or 22), "-b", "-", f"{user}{parts.hostname}"]
    code, said = ran(*argv, stdin=f'ls -1 "{root}"\n')
    hint = "root's keys and known_hosts on the node are used, and the directory must be there"
    return f"{url} cannot be reached: {said} ({hint})" if code else ""


def bucket(store: str, probe: dict[str, Any]) -> str:
    """Why a bucket cannot be listed; empty when it can."""
    parts, what = urlsplit(probe["url"]), store.partition("?")[0]
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=PATIENCE)
    try:
        connection.request("GET", f"{parts.path}?{parts.query}", headers=probe["headers"])
        answer = connection.getresponse()
        told = re.search(rb"<Code>([^<]*)</Code>", answer.read(1 << 16))
    except (OSError, http.client.HTTPException) as error:
        return f"{what} cannot be reached: {error}"
    finally:
        connection.close()
    return (
        "" if answer.status == 200 else f"{what} refuses: HTTP {answer.status}{f', {told[1].decode()}' if told else ''}"
    )


def main() -> None:
    """Look, and change nothing."""
    module = AnsibleModule(
        argument_spec={
            "calendar": {"type": "str", "required": True},
            "variable": {"type": "str", "required": True},
            "programs": {"type": "dict", "required": True},
            "store": {"type": "str", "default": ""},
            "ssh_key": {"type": "str", "default": "", "no_log": False},
            "probe": {"type": "dict", "default": {}, "no_log": True},
        },
        supports_check_mode=True,
    )
    asked = module.params
    remote, in_s3 = asked["store"].startswith("sftp:"), asked["store"].startswith("s3:")
    path = unquote(urlsplit(asked["store"]).path) if asked["store"].startswith("file:") else asked["store"]
    problems = [python(), calendar(asked["calendar"], asked["variable"])]
    wanted = {**asked["programs"], **({"sftp": "openssh-client"} if remote else {})}
    missing = [package for command, package in wanted.items() if not shutil.which(command, path=ROOT_PATH)]
    if remote and "openssh-client" not in missing:
        problems.append(server(asked["store"], asked["ssh_key"]))
    elif in_s3:
        problems.append(bucket(asked["store"], asked["probe"]))
    elif path and not remote:
        problems.append(directory(path))
    problems = [problem for problem in problems if problem]
    if problems:
        module.fail_json(msg="; ".join(problems))
    module.exit_json(changed=bool(missing) and module.check_mode, missing=missing)


if __name__ == "__main__":
    main()
