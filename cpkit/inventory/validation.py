"""A cluster's variables, checked by the model, with its complaints put into the inventory's words."""

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from cpkit.inventory.complaints import FIELDS, complaints
from cpkit.inventory.hosts import Settings
from cpkit.inventory.problems import Place, Problems
from cpkit.inventory.spec import ClusterSpec
from cpkit.inventory.variables import literal

# Stands in for what is missing or wrong, so that the rest can be checked in the same run.
_STAND_IN = {"cluster_name": "unnamed", "cluster_endpoint": "unnamed.invalid"}


def agreed(variables: Mapping[str, Settings], balancers: Iterable[str], problems: Problems) -> Settings:
    """The cluster's variables: each has one value, the same for every node that it concerns."""
    balancing = set(balancers)
    result: Settings = {}
    for name in FIELDS:
        concerned = [host for host in variables if _concerns(name, balancer=host in balancing)]
        here = {host: setting for host in concerned if (setting := variables[host].get(name)) is not None}
        if not here:
            continue
        first, setting = next(iter(here.items()))
        odd = next((host for host in concerned if host not in here or here[host].value != setting.value), None)
        if odd:
            said = here[odd].value if odd in here else "not set"
            hint = "it belongs to the cluster, so set it once, in group_vars/all.yml"
            problems.add(setting.place(), f"{name} is {setting.value!r} for {first} but {said!r} for {odd}; {hint}")
        result[name] = setting
    return result


def validated(settings: Settings, missing: Place, problems: Problems) -> tuple[ClusterSpec, frozenset[str]]:
    """The spec, and the names of variables that are wrong or missing, for which the spec holds a stand-in."""
    values, wrong = _literals(settings, problems)
    while True:
        stand_ins = {name: value for name, value in _STAND_IN.items() if name in wrong}
        try:
            return ClusterSpec.model_validate(values | stand_ins), frozenset(wrong)
        except ValidationError as error:
            for complaint in complaints(error, values):
                setting = settings.get(complaint.names[0])
                problems.add(setting.place(*complaint.inside) if setting else missing, complaint.text)
                wrong.update(complaint.names)
        values = {name: value for name, value in values.items() if name not in wrong}


def _literals(settings: Settings, problems: Problems) -> tuple[dict[str, Any], set[str]]:
    values: dict[str, Any] = {}
    wrong: set[str] = set()
    for name, setting in settings.items():
        why = literal(setting)
        if why:
            problems.add(setting.place(), f"{name} {why}")
            wrong.add(name)
        elif setting.value is None:
            problems.add(setting.place(), f"{name} has no value; write one, or take the line out")
            wrong.add(name)
        else:
            values[name] = setting.value
    return values, wrong


def _concerns(name: str, *, balancer: bool) -> bool:
    if name.startswith("cluster_"):
        return True
    return name.startswith("load_balancer_") == balancer
