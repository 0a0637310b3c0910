"""What an EncryptionConfiguration says: which resources it encrypts, and where the keys are."""

from typing import Any

from cpkit.backup.errors import DamagedBackup
from cpkit.errors import Refused


def encrypted(configuration: bytes | None) -> frozenset[str]:
    """The resources it names, as `secrets` or `deployments.apps`; wildcards as they stand."""
    return frozenset(name for entry in _entries(configuration) for name in entry.get("resources") or ())


def covers(names: frozenset[str], resource: str) -> bool:
    """Whether a resource, by its name with its group, is among those."""
    _, _, group = resource.partition(".")
    return bool(names & {resource, f"*.{group}", "*.*"})


def refuse_distant_keys(configuration: bytes | None) -> None:
    """Refused when the keys are not in the backup, but with a service elsewhere."""
    for entry in _entries(configuration):
        for provider in entry.get("providers") or ():
            if "kms" in provider:
                name = (provider["kms"] or {}).get("name", "?")
                raise Refused(
                    f"the keys of this backup's Secrets are with the KMS {name!r}, which cannot be asked from here",
                    hint="Only a cluster that reaches it can read them: cpkit restore etcd",
                )


def _entries(configuration: bytes | None) -> list[dict[str, Any]]:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    if configuration is None:
        return []
    try:
        body = YAML(typ="safe").load(configuration)
        return [dict(entry) for entry in body["resources"]]
    except (YAMLError, TypeError, KeyError, ValueError):
        raise DamagedBackup("the backup's encryption.yaml is no EncryptionConfiguration") from None
