"""Signed notes: how the head of one log is told to the world's transparency logs, their witnesses and monitors.

The text is a checkpoint as in c2sp.org/tlog-checkpoint, the signature Ed25519 as in c2sp.org/signed-note. Within este a
checkpoint is something else, a block head in an envelope, which binds all five logs and the state; a note is made from
one, for readers who know nothing of este.
"""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from dataclasses import dataclass
from typing import Final

from protocol.crypto import Ed25519Key, digest_of, verify_ed25519
from protocol.errors import EncodingError, SignatureError
from protocol.fields import digest

NOTE_BYTES_MAX: Final = 1 << 16
ORIGIN_LENGTH_MAX: Final = 255
_ED25519: Final = b"\x01"
"""Signature type identifier byte of c2sp.org/signed-note."""
_DASH: Final = "\N{EM DASH}"


@dataclass(frozen=True, slots=True)
class LogText:
    """What a note says: how far one log has grown."""

    origin: str
    """Which log, for all the world: a URL without its scheme, by custom."""
    size: int
    root: bytes

    def __str__(self) -> str:
        return f"{self.origin}\n{self.size}\n{b64encode(self.root).decode()}\n"

    @classmethod
    def parse(cls, text: str) -> LogText:
        """Read the text of a note; further lines are no business of este's.

        Raises:
            EncodingError: it is not a checkpoint's text.
        """
        origin, size, root, *_ = [*text.split("\n"), "", "", ""]
        if not size.isascii() or not size.isdecimal() or size != str(int(size)):
            raise EncodingError("a checkpoint's second line is the size of its log")
        try:
            read = b64decode(root, validate=True)
        except binascii.Error as error:
            raise EncodingError("a checkpoint's third line is its root in base 64") from error
        return cls(origin, int(size), digest(read, "root"))


def is_origin(text: str) -> bool:
    """Whether `text` may name a log and its key: printable ASCII without spaces and plus."""
    return 0 < len(text) <= ORIGIN_LENGTH_MAX and all("!" <= c <= "~" and c != "+" for c in text)


def key_id(name: str, public: bytes) -> bytes:
    """Four bytes that tell a key apart, not that prove anything."""
    return digest_of(name.encode() + b"\n" + _ED25519 + public)[:4]


def verifier_key(name: str, public: bytes) -> str:
    """What others need in order to verify notes: name, key id and key in one line (a *vkey*)."""
    return f"{name}+{key_id(name, public).hex()}+{b64encode(_ED25519 + public).decode()}"


def sign_note(text: LogText, key: Ed25519Key) -> bytes:
    """A note that the log itself signs: the key's name is the log's origin."""
    assert is_origin(text.origin), "an origin is checked where it comes from"
    said = str(text)
    signature = b64encode(key_id(text.origin, key.public) + key.sign(said.encode())).decode()
    return f"{said}\n{_DASH} {text.origin} {signature}\n".encode()


def open_note(note: bytes, origin: str, public: bytes) -> LogText:
    """What a note says, having seen that the log of this origin and key signed it. Other signatures do not count.

    Raises:
        EncodingError: not a note.
        SignatureError: the log did not sign it.
    """
    if len(note) > NOTE_BYTES_MAX:
        raise EncodingError(f"a note of {len(note)} bytes where at most {NOTE_BYTES_MAX} are allowed")
    try:
        said, parted, lines = note.decode().rpartition("\n\n")
    except UnicodeDecodeError as error:
        raise EncodingError("a note that is not UTF-8") from error
    if not parted:
        raise EncodingError("a note is text, an empty line, and signatures")
    text = f"{said}\n"
    for line in lines.splitlines():
        dash, name, signature = [*line.split(" "), "", ""][:3]
        if (dash, name) != (_DASH, origin):
            continue
        try:
            raw = b64decode(signature, validate=True)
        except binascii.Error as error:
            raise EncodingError("a signature that is not in base 64") from error
        if raw[:4] == key_id(origin, public):
            verify_ed25519(public, raw[4:], text.encode())
            return LogText.parse(text)
    raise SignatureError(f"{origin} did not sign this note with this key")
