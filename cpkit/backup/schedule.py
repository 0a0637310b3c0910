"""What can be scheduled: whether nodes can put backups into a store by themselves, and seal them."""

from collections.abc import Sequence
from urllib.parse import urlsplit

from cpkit.errors import UsageError


def refuse_unusable(store: str, recipients: Sequence[str]) -> None:
    """UsageError for a store that a node cannot write to alone, or when nobody is named to seal for."""
    scheme = urlsplit(store).scheme
    if not store:
        raise UsageError(
            "nothing says where scheduled backups go",
            hint="Set backup_store, or backup_schedule_store where the nodes reach it in another way.",
        )
    if scheme == "s3":
        raise UsageError(
            f"nodes cannot write to {store}: they hold no credentials of S3",
            hint="Set backup_schedule_store to sftp://… or to a directory that all nodes mount, or run\n"
            "  cpkit backup etcd from a machine that has the credentials.",
        )
    if scheme == "" and not store.startswith("/"):
        raise UsageError(f"backup_schedule_store {store!r} must be an absolute path on the nodes")
    if not recipients:
        raise UsageError(
            "a backup holds every secret of the cluster, and nothing says whom to seal it for",
            hint="Make a key with `cpkit backup key FILE` and set backup_recipients in the inventory.",
        )
