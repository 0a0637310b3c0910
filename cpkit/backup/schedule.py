"""What can be scheduled: whether nodes can put backups into a store by themselves, and seal them."""

from collections.abc import Sequence
from configparser import ConfigParser
from configparser import Error as Unparsable
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from cpkit.backup.node.signing import Credentials
from cpkit.errors import UsageError

ELSEWHERE = (
    "Or set backup_schedule_store to sftp://… or to a directory that all nodes mount, or run\n"
    "  cpkit backup etcd from a machine that has the credentials."
)


def refuse_unusable(store: str, recipients: Sequence[str], credentials_file: str = "") -> None:
    """UsageError for a store that a node cannot write to alone, or when nobody is named to seal for."""
    if not store:
        raise UsageError(
            "nothing says where scheduled backups go",
            hint="Set backup_store, or backup_schedule_store where the nodes reach it in another way.",
        )
    credentials(store, credentials_file)
    if urlsplit(store).scheme == "" and not store.startswith("/"):
        raise UsageError(f"backup_schedule_store {store!r} must be an absolute path on the nodes")
    if not recipients:
        raise UsageError(
            "a backup holds every secret of the cluster, and nothing says whom to seal it for",
            hint="Make a key with `cpkit backup key FILE` and set backup_recipients in the inventory.",
        )


def credentials(store: str, path: str) -> Credentials | None:
    """What the nodes are given for an S3 store, from a file as AWS clients have it; None for any other store."""
    parts = urlsplit(store)
    if parts.scheme != "s3":
        return None
    if not path:
        raise UsageError(
            f"nodes cannot write to {parts.netloc} in S3: they have no credentials",
            hint="Set backup_schedule_s3_credentials to a file of yours, made as ~/.aws/credentials is, whose keys\n"
            f"  the nodes shall have: they need to read, add, copy and delete below the prefix.\n  {ELSEWHERE}",
        )
    section = parse_qs(parts.query).get("profile", ["default"])[-1]
    reader = ConfigParser(interpolation=None)
    try:
        reader.read_string(Path(path).expanduser().read_text(encoding="utf-8"))
        told = dict(reader.items(section))
        found = Credentials(told["aws_access_key_id"].strip(), told["aws_secret_access_key"].strip())
    except OSError as error:
        raise UsageError(f"backup_schedule_s3_credentials: {path}: {error.strerror}") from None
    except (Unparsable, KeyError, UnicodeDecodeError):
        what = f"[{section}] with aws_access_key_id and aws_secret_access_key"
        raise UsageError(f"backup_schedule_s3_credentials: {path} holds no {what}") from None
    if told.get("aws_session_token"):
        raise UsageError(
            f"backup_schedule_s3_credentials: the credentials in {path} end by themselves: they have a session token",
            hint="Nodes need credentials that last.",
        )
    return found
