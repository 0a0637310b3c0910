"""What can be wrong with a backup, its key or its store."""

from cpkit.errors import CpkitError, Exit


class BackupError(CpkitError):
    """A backup could not be taken, kept or read."""


class DamagedBackup(BackupError):
    """What the store holds is not what was put there, or never was a sound backup; nothing may be restored from it."""

    code = Exit.REFUSED


class DamagedDatabase(DamagedBackup):
    """The database inside a snapshot is broken."""


class FailedDrill(DamagedBackup):
    """A backup was brought back, and is not what it says, or cannot be read."""


class WrongKey(BackupError):
    """The key opens another backup, not this one."""

    code = Exit.REFUSED


class NoSuchBackup(BackupError):
    """The store holds no backup of that name."""

    code = Exit.USAGE


class StoreError(BackupError):
    """The store cannot be reached, refuses, or is full."""
