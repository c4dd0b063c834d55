"""Key files: a private key, public keys, and a password, each in a file of its own.

A private key is written once, whole, readable by its owner alone, and never overwritten; one that others can read is
not used, because nobody could tell any more who signed. Nothing here prints or logs a key, except its public half.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from protocol.crypto import Ed25519Key, PublicKey, SoftwareKey
from protocol.errors import OperatorError, SignatureError

OWNER_ONLY: Final = 0o600

UNFINISHED_SUFFIX: Final = ".unfinished"
"""Of a file that is being written, on a file system that cannot do without a name."""

NO_NAMELESS_FILES: Final = frozenset((errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL))
"""What a file system, or an old kernel, says that has none (open(2), O_TMPFILE)."""


def create(path: Path) -> SoftwareKey:
    """Make a new key and write it to `path`.

    Raises:
        OperatorError: there is a file already, or it cannot be written.
    """
    key = SoftwareKey.generate()
    keep(path, key)
    return key


def keep(path: Path, key: SoftwareKey) -> None:
    """Write a key to `path`, for its owner alone.

    Raises:
        OperatorError: there is a file already, or it cannot be written.
    """
    write_new(path, key.to_pem(), mode=OWNER_ONLY)


def write_new(path: Path, data: bytes | Iterable[bytes], *, mode: int = 0o644) -> None:
    """Write a file that must not be there yet, whole or not at all, with its permissions from the first byte on.

    It gets its name when all of it is on the disk: whenever the power fails, under this name there is no part of it,
    and under no other name is there a private key.

    Args:
        path: where to.
        data: what, at once or piece after piece; if making the pieces fails, nothing has been written.
        mode: who may do what with the file.

    Raises:
        OperatorError: there is a file already, or it cannot be written.
    """
    try:
        with _nameless(path) as handle:
            with os.fdopen(handle, "wb", closefd=False) as file:
                os.fchmod(handle, mode)
                file.writelines([data] if isinstance(data, bytes) else data)
                file.flush()
                os.fsync(handle)
            os.link(f"/proc/self/fd/{handle}", path, src_dir_fd=handle)  # with src_dir_fd, Python follows the link
        sync_folder(path.parent)
    except FileExistsError as error:
        raise OperatorError(path, "", "no file yet, since nothing is ever overwritten", "one that exists") from error
    except OSError as error:
        raise OperatorError(path, "", "a place to write to", error.strerror or str(error)) from error


@contextmanager
def _nameless(path: Path) -> Iterator[int]:
    """A file beside `path` that has no name and is gone if it gets none, for its owner alone.

    Where the file system has no such files, it has a name until it is closed; what a crash has left of an earlier one
    under that name is removed first. It may be a second name of the file that was meant, and is never written to.
    """
    aside = path.with_name(f".{path.name}{UNFINISHED_SUFFIX}")
    aside.unlink(missing_ok=True)
    try:
        handle = os.open(path.parent, os.O_TMPFILE | os.O_WRONLY, OWNER_ONLY)
    except OSError as error:
        if error.errno not in NO_NAMELESS_FILES:
            raise
        handle = os.open(aside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, OWNER_ONLY)
    try:
        yield handle
    finally:
        os.close(handle)
        aside.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """See that the names in `folder` outlive the power.

    Raises:
        OSError: it cannot be seen to.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def load(path: Path) -> SoftwareKey:
    """Read a private key.

    Raises:
        OperatorError: there is none, others can read it, or it is no P-256 key in PEM.
    """
    pem = _read(path, "a private key, made by this program's init")
    _see_that_others_cannot_read(path, "a key")
    try:
        return SoftwareKey.from_pem(pem)
    except SignatureError as error:
        raise OperatorError(path, "", "a P-256 private key in PEM (PKCS #8)", str(error)) from error


def note_key(path: Path) -> Ed25519Key:
    """Read the key that notes are signed with; the first time, make it.

    Raises:
        OperatorError: it cannot be written, others can read it, or it is no Ed25519 key in PEM.
    """
    if not path.exists():
        made = Ed25519Key.generate()
        write_new(path, made.to_pem(), mode=OWNER_ONLY)
        return made
    pem = _read(path, "a note key")
    _see_that_others_cannot_read(path, "a key")
    try:
        return Ed25519Key.from_pem(pem)
    except SignatureError as error:
        raise OperatorError(path, "", "an Ed25519 private key in PEM (PKCS #8)", str(error)) from error


def load_public(path: Path) -> PublicKey:
    """Read somebody's public key.

    Raises:
        OperatorError: there is none, or it is no P-256 public key in PEM.
    """
    pem = _read(path, "a public key, as its owner hands it out")
    try:
        return PublicKey.from_pem(pem.decode("ascii", errors="replace"))
    except SignatureError as error:
        raise OperatorError(path, "", "a P-256 public key in PEM", str(error)) from error


def load_public_keys(path: Path) -> tuple[PublicKey, ...]:
    """Read the public keys of one or several, one after another in a file.

    Raises:
        OperatorError: there is none, one is no P-256 public key in PEM, or one stands there twice.
    """
    pem = _read(path, "public keys, as their owners hand them out; a gateway's come with its slip (este-agent enrol)")
    try:
        keys = PublicKey.all_from_pem(pem.decode("ascii", errors="replace"))
    except SignatureError as error:
        raise OperatorError(path, "", "P-256 public keys in PEM", str(error)) from error
    if len(set(keys)) < len(keys):
        raise OperatorError(path, "", "each key once", "one twice")
    return keys


def load_password(path: Path) -> str:
    """Read a password: the file's first line.

    Raises:
        OperatorError: there is no such file, or nothing in it.
    """
    lines = _read(path, "a file that holds the broker's password").decode(errors="replace").splitlines()
    if not lines or not lines[0]:
        raise OperatorError(path, "", "a password in the first line", "none")
    return lines[0]


def load_secret(path: Path, what: str) -> str:
    """Read the first line of a file that only its owner may read, such as the PIN of a chip.

    Raises:
        OperatorError: there is no such file, nothing in it, or others can read it.
    """
    lines = _read(path, f"a file that holds {what}").decode(errors="replace").splitlines()
    _see_that_others_cannot_read(path, what)
    if not lines or not lines[0]:
        raise OperatorError(path, "", f"{what} in the first line", "none")
    return lines[0]


def _see_that_others_cannot_read(path: Path, what: str) -> None:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        expected = f"{what} that only its owner can read: run `chmod 600 {path}`"
        raise OperatorError(path, "", expected, f"permissions {mode:o}")


def _read(path: Path, expected: str) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise OperatorError(path, "", expected, "no such file") from error
    except OSError as error:
        raise OperatorError(path, "", expected, error.strerror or str(error)) from error
