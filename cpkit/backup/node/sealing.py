"""Encryption by the program `age`, for a node has no library of it."""

import subprocess
import threading
from contextlib import suppress
from typing import IO

from cpkit.backup.errors import BackupError
from cpkit.backup.keys import Recipients, Sealing
from cpkit.backup.streams import BLOCK, Counted, Pulled, chunks


def seal(source: Pulled, target: Counted, key: Sealing) -> None:
    """Everything of the source to the target, encrypted; a source that breaks never ends as a whole stream."""
    if not isinstance(key, Recipients):
        raise BackupError("a scheduled backup is sealed for recipients")
    argv = ["age", "--encrypt", *(word for each in key.keys for word in ("--recipient", each))]
    try:
        process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    except OSError as error:
        raise BackupError(f"age cannot be run: {error.strerror}", hint="Install the package age.") from error
    failed: list[BaseException] = []
    assert process.stdin and process.stdout and process.stderr  # noqa: S101, PT018 - all three are pipes
    thread = threading.Thread(target=_feed, args=(source, process.stdin, process, failed), daemon=True)
    thread.start()
    try:
        while data := process.stdout.read(BLOCK):
            target.write(data)
        said = process.stderr.read().decode("utf-8", "replace").strip()
        code = process.wait()
    finally:
        process.kill()
        thread.join()
        process.wait()
        process.stdout.close()
        process.stderr.close()
    if failed:
        raise failed[0]
    if code:
        raise BackupError(f"age cannot seal the backup: {said.splitlines()[0] if said else f'code {code}'}")


def _feed(source: Pulled, stdin: IO[bytes], process: "subprocess.Popen[bytes]", failed: list[BaseException]) -> None:
    """Pass the source on; when it breaks, end age before it takes the end of its input for the end of the source."""
    try:
        for data in chunks(source):
            stdin.write(data)
    except BrokenPipeError:
        pass  # age has ended, and says why
    except BaseException as error:
        process.kill()
        failed.append(error)
    finally:
        with suppress(OSError):
            stdin.close()
