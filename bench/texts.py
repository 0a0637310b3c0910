"""The very files cpkit would lay down, so that the floor runs the same units and configuration."""

import json
import subprocess
import sys
from collections import defaultdict

Texts = dict[str, dict[str, str]]  # node -> path -> content; nothing secret is among them


def texts(lab: str) -> Texts:
    """Every file that is no secret, of every node, as `cpkit bootstrap --dry-run --diff` shows it."""
    command = [sys.executable, "-m", "cpkit", "bootstrap", "-i", lab, "--dry-run", "--diff", "-o", "json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=300)
    found: Texts = defaultdict(dict)
    for line in done.stdout.splitlines():
        event = json.loads(line)
        for diff in event.get("diff", ()):
            found[event["host"]][diff["after_header"]] = diff["after"]
    return dict(found)
