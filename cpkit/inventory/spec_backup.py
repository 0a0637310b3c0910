"""The variables of backups: where they are kept and how long, and when nodes take them by themselves."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field

from cpkit.inventory.values import recipient, store_location

Recipient = Annotated[str, AfterValidator(recipient)]


class BackupSpec(BaseModel):
    """Backups of a cluster."""

    backup_store: Annotated[
        str,
        AfterValidator(store_location),
        Field(
            description="Where backups are kept: an absolute path on the operator's machine, or the URL of a store.",
            examples=[
                "/srv/backups",
                "sftp://backup@nas.example.org/srv/backups",
                "s3://backups/prod?endpoint=https://s3.example.org&region=eu-1",
            ],
        ),
    ] = ""
    backup_recipients: Annotated[
        tuple[Recipient, ...],
        Field(
            description="Public keys backups are sealed for (cpkit backup key makes one); several may open them.",
            examples=[["age1c5pxfq5evhgrn70sejxxvskwk52wvwtgdw923sfrvazqeallma3qx7y0p5"]],
        ),
    ] = ()
    backup_keep_last: Annotated[
        int, Field(ge=0, le=10000, description="How many of the newest backups pruning keeps.")
    ] = 0
    backup_keep_daily: Annotated[
        int, Field(ge=0, le=10000, description="Of how many days pruning keeps the newest backup.")
    ] = 0
    backup_keep_weekly: Annotated[
        int, Field(ge=0, le=10000, description="Of how many weeks pruning keeps the newest backup.")
    ] = 0
    backup_keep_monthly: Annotated[
        int, Field(ge=0, le=10000, description="Of how many months pruning keeps the newest backup.")
    ] = 0

    backup_schedule_at: Annotated[
        str,
        Field(
            pattern=r"^[A-Za-z0-9 *,.:/~_+-]*$",
            description="When nodes take a backup by themselves, as systemd's OnCalendar, in UTC; never if empty.",
            examples=["hourly", "02:30", "Mon..Fri 22:00 Europe/Berlin"],
        ),
    ] = ""
    backup_schedule_jitter_seconds: Annotated[
        int, Field(ge=0, le=86400, description="Seconds by which a node at most waits longer, at random.")
    ] = 60
    backup_schedule_store: Annotated[
        str,
        AfterValidator(store_location),
        Field(
            description="Store of the nodes' own backups, a directory being one that all mount; backup_store if empty.",
            examples=["/mnt/backups", "sftp://backup@nas.example.org/srv/backups", "s3://backups/prod?region=eu-1"],
        ),
    ] = ""
    backup_schedule_ssh_key: Annotated[
        str,
        Field(pattern="^(/.*)?$", description="Private key on the nodes for an sftp:// store; root's own if empty."),
    ] = ""
    backup_schedule_s3_credentials: Annotated[
        str,
        Field(
            pattern="^([/~].*)?$",
            description="File on the operator's machine with what the nodes show to S3, made as ~/.aws/credentials is.",
            examples=["~/.aws/backup-of-prod"],
        ),
    ] = ""
    backup_schedule_metrics_dir: Annotated[
        str,
        Field(pattern="^(/.*)?$", description="Where a node exporter reads text files on the nodes; none if empty."),
    ] = "/var/lib/prometheus/node-exporter"
