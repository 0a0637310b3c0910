"""Whether binaries of another version take the flags they will be given: they are asked themselves."""

import subprocess
from collections.abc import Mapping

from cpkit import artifacts
from cpkit.errors import CpkitError
from cpkit.inventory import Cluster
from cpkit.upgrade import Target

PATIENCE = 20.0  # seconds a binary may take to read its flags


def unaccepted(cluster: Cluster, target: Target, bundle: artifacts.Bundle) -> dict[str, str]:
    """Component -> why its target refuses the inventory's own flags or feature gates.

    Every binary reads its flags before it prints its version, so it knows best which ones are gone and which gates are
    unknown; nothing is started.
    """
    found = {}
    for component, flags in added(cluster, target).items():
        binary = next(each for each in bundle.components[component] if each.name == component)
        words = [f"--{name}={value}" for name, value in flags.items()]
        try:
            done = subprocess.run(
                [str(binary.path), *words, "--version"], capture_output=True, text=True, timeout=PATIENCE, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise CpkitError(f"{component} {target.of(component)} cannot be asked about flags: {error}") from error
        if done.returncode:
            found[component] = _reason(done.stderr + done.stdout)
    return found


def added(cluster: Cluster, target: Target) -> dict[str, Mapping[str, str]]:
    """Component -> the flags that the inventory and an emulation add to cpkit's own, where there are any."""
    spec = cluster.spec
    gates = ",".join(f"{name}={str(on).lower()}" for name, on in sorted(spec.cluster_feature_gates.items()))
    shared = {"feature-gates": gates} if gates else {}
    shared |= {"emulated-version": target.emulates} if target.emulates else {}
    flags: dict[str, Mapping[str, str]] = {
        "etcd": spec.etcd_extra_args,
        "kube-apiserver": shared | spec.kube_apiserver_extra_args,
        "kube-controller-manager": shared | spec.kube_controller_manager_extra_args,
        "kube-scheduler": shared | spec.kube_scheduler_extra_args,
    }
    return {component: values for component, values in flags.items() if values}


def _reason(text: str) -> str:
    """The line that says what is wrong, without the usage around it."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    told = next((line for line in lines if 'err="' in line), "")
    if told:
        return told.partition('err="')[2].rstrip('"')
    words = ("Error:", "flag provided", "invalid", "unknown")
    first = next((line for line in lines if line.startswith(words)), lines[-1] if lines else "it said nothing")
    return first.removeprefix("Error: ")
