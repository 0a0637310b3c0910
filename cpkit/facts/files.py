"""Files of a node, read into memory."""

import io
import tarfile
from collections.abc import Sequence

from cpkit.errors import CpkitError
from cpkit.ssh import Connection


def read_files(connection: Connection, paths: Sequence[str], *, timeout: float) -> dict[str, bytes]:
    """The content of every file by its path, in one command; one that is missing is an error that names it."""
    relative = [path.lstrip("/") for path in paths]
    argv = ["tar", "--create", "--file=-", "--dereference", "--directory=/", "--", *relative]
    done = connection.run(argv, sudo=True, timeout=timeout)
    node = connection.node.name
    if done.rc:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise CpkitError(f"files cannot be read: {lines[0] if lines else 'tar failed'}", node=node)
    found = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
            for member in archive:
                content = archive.extractfile(member)
                found[f"/{member.name}"] = content.read() if content else b""
    except tarfile.TarError as error:
        raise CpkitError(f"files cannot be read: {error}", node=node) from error
    return {path: found[f"/{name}"] for path, name in zip(paths, relative, strict=True)}
