"""Backups of a cluster: one sealed archive each, in a store, with a sidecar that lists it.

`open_bundle` is the only way to read one: it gives nothing out before every byte was proven.
"""

from cpkit.backup.bundle import Bundle, open_bundle
from cpkit.backup.errors import BackupError, DamagedBackup, NoSuchBackup, StoreError, WrongKey
from cpkit.backup.keys import Identities, Opening, Passphrase, Recipients, Sealing
from cpkit.backup.manifest import MANIFEST, SNAPSHOT, Manifest, Part, Sidecar
from cpkit.backup.stores import Store, open_store

__all__ = [
    "MANIFEST",
    "SNAPSHOT",
    "BackupError",
    "Bundle",
    "DamagedBackup",
    "Identities",
    "Manifest",
    "NoSuchBackup",
    "Opening",
    "Part",
    "Passphrase",
    "Recipients",
    "Sealing",
    "Sidecar",
    "Store",
    "StoreError",
    "WrongKey",
    "open_bundle",
    "open_store",
]
