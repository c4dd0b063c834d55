"""Becoming a member: the request that a gateway makes, and what it does with the regulator's slip. And other keys.

Keys are changed while no agent runs, with the outbox held, and everything can be done again: after a crash between any
two steps, the same command leads to the same end. A key file that is not in force yet stands beside the one that is,
and takes its place in one step.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agent.keys import succession
from agent.keys.keystore import open_key
from agent.keys.mark import Mark
from agent.log import Log
from agent.outbox.books import Books
from agent.outbox.file import OutboxFile
from agent.outbox.queue import Entry
from config import key_files
from config.admission import AdmissionSlip
from config.settings.agent import AgentSettings
from protocol.crypto import PublicKey, SigningKey, SoftwareKey
from protocol.envelope import Envelope
from protocol.errors import OperatorError, SignatureError
from protocol.messages import MessageType
from protocol.request import request_for
from protocol.rotation import Rotation

REQUEST_NAME: Final = "request.csr"
CERTIFICATE_NAME: Final = "gateway.crt.pem"
CERTIFICATE_BESIDE_NAME: Final = "gateway-key.crt.pem"
"""Where the broker's door opens with another key today: its certificate stays as it is."""
NEW_SUFFIX: Final = ".new"

log = Log("enrolment")


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that was made."""

    key: PublicKey
    pem: bytes
    file: Path


@dataclass(frozen=True, slots=True)
class Accepted:
    """What came of a slip."""

    aggregators: tuple[PublicKey, ...]
    signed_again: int
    """Records in the outbox that got the admitted key's signature, or other numbers."""
    is_other_key: bool
    """Whether the key that waited beside the old one has taken its place."""
    certificate: Path | None


def ask(settings: AgentSettings, folder: Path, *, new_key: bool) -> Asked:
    """Make the request to be admitted, and write it beside the settings.

    Args:
        settings: of this gateway.
        folder: where the request goes.
        new_key: ask for a key beside the present one, which is made if it is not there.

    Raises:
        OperatorError: there is no key, a file cannot be written, or an agent runs that a new key is not for.
    """
    if new_key:
        with _outbox(settings):
            key: SigningKey = _next_key(settings)
    else:
        key = open_key(settings)
    pem = request_for(key, region=settings.region, gateway=settings.gateway)
    file = folder / REQUEST_NAME
    _put(file, pem)
    return Asked(key.public_key, pem, file)


def accept(settings: AgentSettings, slip: AdmissionSlip, folder: Path) -> Accepted:
    """Take up what the regulator's slip says: the aggregators' keys, the place in the sequence, the certificate.

    Raises:
        OperatorError: the slip is not for this gateway or not for a key of it, another aggregator is believed, the key
            has signed already what it would have to sign otherwise, or an agent runs.
        StorageError: the disk is full.
    """
    key, is_other = _admitted_key(settings, slip)
    aggregators = _aggregators_of(settings, slip)
    with _outbox(settings) as books:
        _see_that_it_signs_on(books, Mark(settings, key.public_key), slip)
        last = Entry(slip.sequence, bytes.fromhex(slip.previous))
        signed_again = succession.take_up(books, last, key)
        certificate = _put_certificate(settings, slip, folder)
        if is_other:
            succession.forget_rotations(books)
            _put_in_force(settings)
    return Accepted(aggregators, signed_again, is_other, certificate)


def rotate(settings: AgentSettings) -> PublicKey:
    """Go over to a new key by the gateway's own word: the step is its next record, and what follows has the new key.

    Raises:
        OperatorError: the key is in a chip or opens the broker's door too, nothing is enrolled yet, it was done too
            often since the regulator's last admission, or an agent runs.
        StorageError: the disk is full.
    """
    if _opens_the_door_too(settings):
        expected = "a TLS key of its own; with one key for both, the regulator issues a certificate for the new one:"
        raise OperatorError("este-agent rotate", "", f"{expected} este-agent enrol --new-key", "the key that signs")
    with _outbox(settings) as books:
        if not books.totals().records_received:
            expected = "a gateway whose records have been received: an unknown key cannot vouch for another"
            raise OperatorError(settings.data, "", expected, "no receipt yet")
        new = _next_key(settings)
        succession.queue_rotation(books, open_key(settings), new)
        _put_in_force(settings)
    return new.public_key


def settle(settings: AgentSettings) -> None:
    """Finish a rotation that a crash has interrupted, before anything is signed.

    A waiting key that cannot be used stops nobody from reading meters with the present one, unless a rotation to it is
    queued already. One that is no key, as a power cut may leave it, is set aside.

    Raises:
        OperatorError: an agent runs, a file cannot be written, or the key that a rotation leads to cannot be used.
    """
    path = settings.key_file
    if path is None or not (waiting := _beside(path, succession.NEXT_SUFFIX)).exists():
        return
    with _outbox(settings) as books:
        try:
            new = key_files.load(waiting)
        except OperatorError as error:
            if _waits_for_other_key(books, open_key(settings).public_key):
                raise
            log.error("the key that waits cannot be used; the present one stays in force", reason=str(error))
            if isinstance(error.__cause__, SignatureError):
                _set_aside(waiting)
            return
        if succession.is_rotation_queued(books, new.public_key.thumbprint):
            _put_in_force(settings)


def _see_that_it_signs_on(books: Books, mark: Mark, slip: AdmissionSlip) -> None:
    """A key that has signed goes on only from the outbox that knows what it signed."""
    totals, last = books.totals(), books.last_signed()
    mark.check(last)
    if totals.records_received or totals.records_refused:
        mark.check_slip(slip.sequence, last)


def _opens_the_door_too(settings: AgentSettings) -> bool:
    """Whether the key that signs is the TLS key too, by whatever name."""
    tls = settings.broker.tls
    if tls is None or tls.key_file is None or settings.key_file is None:
        return False
    if tls.key_file == settings.key_file:
        return True
    try:
        other = SoftwareKey.from_pem(tls.key_file.read_bytes())
    except SignatureError:
        return False  # of another kind, so it is another one
    except OSError as error:
        raise OperatorError(tls.key_file, "", "the TLS key", error.strerror or str(error)) from error
    return other.public_key == key_files.load(settings.key_file).public_key


def _waits_for_other_key(books: Books, present: PublicKey) -> bool:
    """Whether a step to another key than the present one waits in the outbox."""
    with books.file.transaction():
        for (data,) in books.file.rows_one_by_one("SELECT envelope FROM record"):
            envelope = Envelope.parse(data)
            if envelope.type == MessageType.ROTATION and Rotation.decode(envelope.payload).key != present:
                return True
    return False


def _set_aside(path: Path) -> None:
    """Give a file that is of no use a name where it is in nobody's way; an earlier one keeps its own."""
    number = 1
    while (aside := _beside(path, f".unusable-{number}")).exists():
        number += 1
    try:
        path.rename(aside)
    except OSError as error:
        raise OperatorError(path, "", "a file that can be moved aside", error.strerror or str(error)) from error
    log.error("set aside: it is no key, and nothing rests on it", file=str(aside))


def _admitted_key(settings: AgentSettings, slip: AdmissionSlip) -> tuple[SigningKey, bool]:
    """The key that the slip admits, and whether it is the one that waits beside the present one."""
    if (slip.region, slip.gateway) != (settings.region, settings.gateway):
        expected = f"the slip of {settings.gateway} in {settings.region}"
        raise OperatorError("admission", "", expected, f"that of {slip.gateway} in {slip.region}")
    path = settings.key_file
    if path is not None and (waiting := _beside(path, succession.NEXT_SUFFIX)).exists():
        key: SigningKey = key_files.load(waiting)
        if key.public_key.thumbprint.hex() == slip.key_id:
            return key, True
    key = open_key(settings)
    if key.public_key.thumbprint.hex() != slip.key_id:
        raise OperatorError("admission", "key_id", "a slip for this gateway's key", "one for another key")
    return key, False


def _aggregators_of(settings: AgentSettings, slip: AdmissionSlip) -> tuple[PublicKey, ...]:
    """Whom to believe: as the slip says, unless somebody else is believed already."""
    try:
        told = PublicKey.all_from_pem(slip.aggregator_key)
    except SignatureError as error:
        raise OperatorError("admission", "aggregator_key", "public keys in PEM", str(error)) from error
    path = settings.aggregator_key_file
    if not path.exists():
        _put(path, "".join(key.to_pem() for key in told).encode())
    elif set(key_files.load_public_keys(path)) != set(told):
        expected = "the aggregators' keys of the slip; move this file away if the slip is right"
        raise OperatorError(path, "", expected, "others")
    return told


def _put_certificate(settings: AgentSettings, slip: AdmissionSlip, folder: Path) -> Path | None:
    if slip.certificate is None:
        return None
    tls = settings.broker.tls
    file = folder / CERTIFICATE_NAME
    if tls is not None and tls.certificate_file is not None:
        is_for_it = _opens_the_door_too(settings)
        file = tls.certificate_file if is_for_it else folder / CERTIFICATE_BESIDE_NAME
    _put(file, slip.certificate.encode())
    return file


def _next_key(settings: AgentSettings) -> SoftwareKey:
    """The key beside the present one; made, if it is not there."""
    if settings.key_file is None:
        expected = "a key file: make a chip's next key with its maker's tools, and enrol it with settings of its own"
        raise OperatorError("este-agent", "key_file", expected, "a key in a chip")
    path = _beside(settings.key_file, succession.NEXT_SUFFIX)
    if path.exists() and not path.stat().st_size:
        path.unlink()  # a crash came before the key was in it, so nothing can rest on it
    if path.exists():
        return key_files.load(path)
    key = key_files.create(path)
    _sync_folder(path.parent)
    return key


def _put_in_force(settings: AgentSettings) -> None:
    assert settings.key_file is not None, "only a key file has another one beside it"
    waiting = _beside(settings.key_file, succession.NEXT_SUFFIX)
    try:
        waiting.replace(settings.key_file)
        _sync_folder(settings.key_file.parent)
    except OSError as error:
        raise OperatorError(waiting, "", "a file that can take its place", error.strerror or str(error)) from error


def _put(path: Path, data: bytes) -> None:
    """Write a file that anybody may read, whole or not at all."""
    aside = _beside(path, NEW_SUFFIX)
    try:
        with aside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        aside.chmod(0o644)
        aside.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise OperatorError(path, "", "a place to write to", error.strerror or str(error)) from error


def _sync_folder(folder: Path) -> None:
    key_files.sync_folder(folder)


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


@contextmanager
def _outbox(settings: AgentSettings) -> Iterator[Books]:
    with closing(OutboxFile.open(settings.data, region=settings.region, gateway=settings.gateway)) as file:
        yield Books(file)
