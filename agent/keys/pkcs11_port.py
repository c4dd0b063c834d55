"""The door to a chip that holds the gateway's key: PKCS#11, through the library that its maker brings.

Signs, and checks each signature before anybody sees it, since chips lie. What fails is tried once more in a new
session, and the library started afresh; then somebody is told, and the next call begins again. A chip that holds
another key than the one that it held at the start signs nothing. Never falls back to a key in memory. The only importer
of `pkcs11`. Its calls take as long as the chip takes: not for the event loop.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from functools import cached_property
from typing import Any, Final, TypeVar

import pkcs11
from pkcs11.exceptions import NoSuchKey, NoSuchToken, PinIncorrect, PinLocked, PKCS11Error
from pkcs11.util.ec import encode_named_curve_parameters

from config import key_files
from config.settings.agent import ChipKey
from protocol.crypto import P256_ORDER, PUBLIC_KEY_BYTES, SIGNATURE_BYTES, PublicKey
from protocol.errors import KeyUnavailable, OperatorError, PinRefused, SignatureError

TRIES: Final = 2
"""For each call: once as it is, once in a new session."""

P256_PARAMETERS: Final = encode_named_curve_parameters("secp256r1")

OCTET_STRING_HEAD: Final = bytes((0x04, PUBLIC_KEY_BYTES))
"""CKA_EC_POINT is the point in a DER octet string; some libraries leave that out."""

T = TypeVar("T")


class ChipSigner:
    """A key in a chip: has the face of `protocol.crypto.SigningKey`."""

    def __init__(self, settings: ChipKey, pin: str | None) -> None:
        self.failures = 0
        """How often the chip failed since the start, mended or not."""
        self._settings = settings
        self._pin = pin
        self._session: Any = None
        self._private: Any = None

    @classmethod
    def open(cls, settings: ChipKey) -> ChipSigner:
        """Find the key, and see that it signs.

        Raises:
            OperatorError: no such library, token or key, or a key that is not on P-256.
            PinRefused: a wrong PIN; it was tried once.
            KeyUnavailable: the chip fails.
        """
        signer = cls(settings, _pin(settings))
        signer.sign(b"este: is the key there?")
        return signer

    @cached_property
    def public_key(self) -> PublicKey:
        """The other half, as the chip told it when it was first asked; it never changes."""
        return self._in_session(self._read_public_key)

    def sign(self, message: bytes) -> bytes:
        """Sign with ES256.

        Returns:
            r and s, 64 bytes, low-S.

        Raises:
            OperatorError: the key is gone, or the PIN is refused.
            KeyUnavailable: the chip fails, or its signature does not fit its key.
        """
        key = self.public_key
        digest = hashlib.sha256(message).digest()

        def sign() -> bytes:
            signature = low_s(self._private.sign(digest, mechanism=pkcs11.Mechanism.ECDSA))
            key.verify(signature, message)
            return signature

        return self._in_session(sign)

    def close(self) -> None:
        """Let go of the chip."""
        session, self._session, self._private = self._session, None, None
        if session is not None:
            with contextlib.suppress(PKCS11Error):
                session.close()

    def _in_session(self, call: Callable[[], T]) -> T:
        """Do something with the chip, in a new session if the old one is no good any more."""
        for left in reversed(range(TRIES)):
            try:
                if self._session is None:
                    self._connect(afresh=left < TRIES - 1 or self.failures > 0)
                return call()
            except (PKCS11Error, SignatureError, RuntimeError) as error:
                self.failures += 1
                self.close()
                if not left:
                    raise KeyUnavailable(f"the chip cannot sign: {told(error)}; tried again at every tick") from error
        raise AssertionError("either it returns or it raises")

    def _connect(self, *, afresh: bool) -> None:
        settings = self._settings
        library = _library(settings)
        if afresh:
            library.reinitialize()
        try:
            token = library.get_token(token_label=settings.token_label)
            self._session = token.open(user_pin=self._pin)
            self._private = self._session.get_key(
                label=settings.key_label, object_class=pkcs11.ObjectClass.PRIVATE_KEY, key_type=pkcs11.KeyType.EC
            )
        except (PinIncorrect, PinLocked) as error:
            self.close()
            expected = f"the PIN of token {settings.token_label!r}; a chip locks itself after a few wrong ones"
            raise PinRefused(settings.pin_file or settings.module, "", expected, told(error)) from error
        except (NoSuchToken, NoSuchKey) as error:
            self.close()
            if "public_key" in self.__dict__:
                raise  # it was there before: the chip fails
            expected = f"private key {settings.key_label!r} on P-256 in token {settings.token_label!r}"
            raise OperatorError(settings.module, "pkcs11", expected, told(error)) from error
        known = self.__dict__.get("public_key")
        if known is not None and self._read_public_key() != known:
            raise SignatureError("it holds another key than when this program started")

    def _read_public_key(self) -> PublicKey:
        key = self._session.get_key(
            label=self._settings.key_label, object_class=pkcs11.ObjectClass.PUBLIC_KEY, key_type=pkcs11.KeyType.EC
        )
        try:
            return public_key_of(bytes(key[pkcs11.Attribute.EC_POINT]))
        except SignatureError as error:
            expected = f"key {self._settings.key_label!r} on P-256"
            raise OperatorError(self._settings.module, "pkcs11", expected, str(error)) from error


def make_key(settings: ChipKey) -> PublicKey:
    """Have the chip make a key that will never leave it.

    Raises:
        OperatorError: there is a key of this name already, no such token, or a wrong PIN.
        KeyUnavailable: the chip fails, or makes no keys on P-256.
    """
    pin = _pin(settings)
    try:
        token = _library(settings).get_token(token_label=settings.token_label)
        with token.open(user_pin=pin, rw=True) as session:
            if any(True for _ in session.get_objects({pkcs11.Attribute.LABEL: settings.key_label})):
                raise OperatorError(settings.module, "pkcs11", f"no {settings.key_label!r} yet in the token", "one")
            parameters = session.create_domain_parameters(
                pkcs11.KeyType.EC, {pkcs11.Attribute.EC_PARAMS: P256_PARAMETERS}, local=True
            )
            public, _ = parameters.generate_keypair(
                mechanism=pkcs11.Mechanism.EC_KEY_PAIR_GEN,
                store=True,
                label=settings.key_label,
                capabilities=pkcs11.MechanismFlag.SIGN | pkcs11.MechanismFlag.VERIFY,
                private_template={pkcs11.Attribute.SENSITIVE: True, pkcs11.Attribute.EXTRACTABLE: False},
            )
            return public_key_of(bytes(public[pkcs11.Attribute.EC_POINT]))
    except (PinIncorrect, PinLocked) as error:
        raise PinRefused(settings.pin_file or settings.module, "", "the token's PIN", told(error)) from error
    except NoSuchToken as error:
        expected = f"token {settings.token_label!r}"
        raise OperatorError(settings.module, "pkcs11", expected, told(error)) from error
    except PKCS11Error as error:
        raise KeyUnavailable(f"the chip makes no key: {told(error)}") from error


def low_s(signature: bytes) -> bytes:
    """The one spelling of a signature that este accepts; chips return either.

    Raises:
        SignatureError: that is no signature.
    """
    if len(signature) != SIGNATURE_BYTES:
        raise SignatureError(f"it signed with {len(signature)} bytes instead of {SIGNATURE_BYTES}")
    s = int.from_bytes(signature[32:])
    return signature[:32] + min(s, P256_ORDER - s).to_bytes(32) if 0 < s < P256_ORDER else signature


def public_key_of(point: bytes) -> PublicKey:
    """The public key out of CKA_EC_POINT.

    Raises:
        SignatureError: it is not a point on P-256.
    """
    is_wrapped = len(point) == PUBLIC_KEY_BYTES + len(OCTET_STRING_HEAD) and point.startswith(OCTET_STRING_HEAD)
    return PublicKey(point.removeprefix(OCTET_STRING_HEAD) if is_wrapped else point)


def told(error: Exception) -> str:
    """What went wrong, in words: most errors of PKCS#11 have a name and no text."""
    return f"{type(error).__name__}{f': {error}' if str(error) else ''}"


def _pin(settings: ChipKey) -> str | None:
    return None if settings.pin_file is None else key_files.load_secret(settings.pin_file, "the chip's PIN")


def _library(settings: ChipKey) -> Any:
    try:
        return pkcs11.lib(str(settings.module))
    except PKCS11Error as error:
        if not settings.module.exists():
            expected = "the PKCS#11 library of the chip's maker"
            raise OperatorError(settings.module, "", expected, "no such file") from error
        raise
