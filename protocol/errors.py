"""The one tree of errors, sorted by who can act on them.

A broken invariant is a bug and stays outside this tree: it is an ``AssertionError`` that nobody
catches. A *refusal* is a value, not an error (see `protocol.messages`).
"""

from __future__ import annotations

from pathlib import Path


class EsteError(Exception):
    """Everything that este raises on purpose."""


class MessageError(EsteError):
    """They sent something wrong: the sender has to mend it."""


class EncodingError(MessageError):
    """The bytes are not the one spelling of a value."""


class TruncatedError(EncodingError):
    """The bytes end before the value does."""


class OversizedError(EncodingError):
    """The bytes are more than the limit for their kind."""


class SpellingError(EncodingError):
    """The bytes are a second spelling of a value that has a shorter or better ordered one."""


class SignatureError(MessageError):
    """The signature does not belong to these bytes, this key, or this region."""


class UnreadableError(MessageError):
    """A sealed letter does not open: it is for somebody else, or was changed on its way."""


class ProofError(MessageError):
    """A Merkle proof does not lead to the root it was given for."""


class OperatorError(EsteError):
    """The operator can mend it. Says where, what was expected, and what was found."""

    def __init__(
        self, place: Path | str, key_path: str, expected: str, got: str, *, position: object | None = None
    ) -> None:
        """`position` in a text that the place is, as people say it, such as ``line 3, column 9``."""
        self.place = str(place)
        self.key_path = key_path
        self.expected = expected
        self.got = got
        self.where = self.place if position is None else f"{self.place}, {position}"
        """The place, and the position in it."""
        where = f"{self.where}: {key_path}" if key_path else self.where
        super().__init__(f"{where}: expected {expected}, got {got}")


class PinRefused(OperatorError):
    """A chip refused its PIN. It locks itself after a few wrong ones, so nobody may try again without a person."""


class WorldError(EsteError):
    """The world may mend itself: a device, a link. Says whether trying again can help."""

    def __init__(self, message: str, *, retry: bool) -> None:
        self.retry = retry
        super().__init__(message)


class DeviceError(WorldError):
    """A meter or a controllable device did not answer, or answered nonsense."""


class KeyUnavailable(WorldError):
    """The key cannot sign now: its chip does not answer, or what it signed does not fit."""

    def __init__(self, message: str) -> None:
        super().__init__(message, retry=True)


class LinkError(WorldError):
    """The way to the broker or to another node is closed."""
