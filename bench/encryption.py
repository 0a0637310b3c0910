"""`python -m bench.encryption`: Secrets that `cpkit encryption rotate` rewrites a second, against the simplest client.

A fresh lab gets Secrets of a kilobyte. The floor is measured in the same run on the same Secrets: how many a second are
made, and how many are changed by a patch, by a few threads, each on one kept connection, with nothing else to do. A
rotation waits up to three minutes for the API servers' own looks; those are not in its rate.
"""

import argparse
import base64
import json
import ssl
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPSConnection
from pathlib import Path

from ruamel.yaml import YAML

from bench import host
from bench.labs import fresh
from bench.measure import CPKIT
from bench.process import run
from cpkit.inventory import Endpoint
from cpkit.operations.credentials import trusting
from cpkit.operations.patching import WORKERS

GOAL = 500  # Secrets a second
PATH = "/api/v1/namespaces/bench"
DATA = {"value": base64.b64encode(bytes(range(256)) * 4).decode()}


def main() -> None:
    """Measure, and print rates as JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench.encryption", description=__doc__)
    parser.add_argument("--secrets", type=int, default=5000, help="Secrets to rewrite (default: 5000)")
    count = parser.parse_args().secrets
    with fresh(3) as cluster, tempfile.TemporaryDirectory() as folder:
        kubeconfig = Path(folder) / "admin.conf"
        run((*CPKIT, "bootstrap", "-i", cluster.name, "--yes", "--kubeconfig", str(kubeconfig)))
        client = Simplest(cluster.endpoint, trusting(YAML(typ="safe").load(kubeconfig)))
        client.ask("POST", "/api/v1/namespaces", {"metadata": {"name": "bench"}})
        before = host.load()
        made = client.rate(count, client.make)
        changed = client.rate(count, client.change)
        told = run((*CPKIT, "encryption", "rotate", "-i", cluster.name, "--yes", "--no-backup", "-o", "json"))
        result = json.loads(told.stdout.splitlines()[-1])
    body = {
        "machine": host.machine(),
        "load": [before, host.load()],
        "secrets": count,
        "made_per_second": round(made),
        "changed_per_second": round(changed),
        "rewritten_per_second": result["rate"],
        "of_the_floor": round(result["rate"] / changed, 2),
        "goal_met": result["rate"] >= GOAL,
        "failed_requests": result["failed"],
    }
    print(json.dumps(body, indent=1))


class Simplest:
    """A client with one kept connection a thread, and nothing else."""

    def __init__(self, endpoint: Endpoint, context: ssl.SSLContext) -> None:
        self._endpoint, self._context = endpoint, context
        self._local = threading.local()

    def rate(self, count: int, work: Callable[[int], None]) -> float:
        """How many a second, in as many threads as what asks API servers for it has."""
        began = time.monotonic()
        with ThreadPoolExecutor(WORKERS) as pool:
            for _ in pool.map(work, range(count)):
                pass
        rate = count / (time.monotonic() - began)
        print(f"{work.__name__}: {rate:.0f}/s", file=sys.stderr, flush=True)
        return rate

    def make(self, number: int) -> None:
        """One Secret."""
        self.ask("POST", f"{PATH}/secrets", {"metadata": {"name": f"s{number:05}"}, "data": DATA})

    def change(self, number: int) -> None:
        """One Secret's annotation."""
        self.ask("PATCH", f"{PATH}/secrets/s{number:05}", {"metadata": {"annotations": {"bench": "1"}}})

    def ask(self, method: str, path: str, body: object) -> None:
        """One request."""
        if not hasattr(self._local, "api"):
            endpoint = self._endpoint
            self._local.api = HTTPSConnection(endpoint.host, endpoint.port, timeout=60, context=self._context)
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        self._local.api.request(method, path, json.dumps(body), {"Content-Type": kind})
        answer = self._local.api.getresponse()
        told = answer.read()
        assert answer.status in {200, 201}, told


if __name__ == "__main__":
    main()
