"""Keys and signatures: ECDSA over P-256 with SHA-256 (ES256), the Ed25519 of validators, and digests.

Signing is deterministic (RFC 6979), so that a gateway with poor randomness cannot leak its key, and
signatures are low-S, so that nobody on the way can turn one valid envelope into another.
The only module that touches `cryptography`, apart from `protocol.certificates` and `protocol.sealed`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Protocol

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, utils
from cryptography.hazmat.primitives.hashes import SHA256

from protocol.canonical import encode
from protocol.errors import SignatureError

P256_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""n of SP 800-186 §3.2.1.3."""

SIGNATURE_BYTES: Final = 64
"""r and s, 32 bytes each (RFC 9053 §2.1)."""

PUBLIC_KEY_BYTES: Final = 65
"""Uncompressed point (SEC 1 §2.3.3): 04, x, y. Loads four times as fast as a compressed one."""

VALIDATOR_KEY_BYTES: Final = 32
"""An Ed25519 point (RFC 8032 §5.1.2)."""

_ES256: Final = ec.ECDSA(SHA256(), deterministic_signing=True)


def digest_of(data: bytes) -> bytes:
    """SHA-256."""
    return hashlib.sha256(data).digest()


@dataclass(frozen=True)
class PublicKey:
    """A P-256 public key, known by its thumbprint.

    Raises:
        SignatureError: the bytes are not a point on the curve.
    """

    point: bytes
    """Uncompressed, 65 bytes."""

    def __post_init__(self) -> None:
        if len(self.point) != PUBLIC_KEY_BYTES:
            raise SignatureError(f"a public key is {PUBLIC_KEY_BYTES} bytes, not {len(self.point)}")
        self._loaded  # noqa: B018  a point off the curve is refused here, not at the first signature

    @cached_property
    def _loaded(self) -> ec.EllipticCurvePublicKey:
        try:
            return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), self.point)
        except (ValueError, UnsupportedAlgorithm) as error:
            raise SignatureError("not a point on P-256") from error

    @cached_property
    def thumbprint(self) -> bytes:
        """COSE key thumbprint with SHA-256 (RFC 9679 §4.2): what a key id is in este."""
        return digest_of(
            b"\xa4" + encode(1) + encode(2)
            + b"\x20" + encode(1)
            + b"\x21" + encode(self.point[1:33])
            + b"\x22" + encode(self.point[33:])
        )  # fmt: skip

    def verify(self, signature: bytes, message: bytes) -> None:
        """See that the holder of this key signed `message`.

        Raises:
            SignatureError: somebody else did, or nobody.
        """
        if len(signature) != SIGNATURE_BYTES:
            raise SignatureError(f"a signature is {SIGNATURE_BYTES} bytes, not {len(signature)}")
        r, s = int.from_bytes(signature[:32]), int.from_bytes(signature[32:])
        try:
            self._loaded.verify(utils.encode_dss_signature(r, s), message, _ES256)
        except InvalidSignature as error:
            raise SignatureError("the signature does not fit these bytes and this key") from error

    def to_pem(self) -> str:
        """SubjectPublicKeyInfo in PEM, as other tools read it."""
        return self._loaded.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        ).decode()

    @classmethod
    def from_pem(cls, pem: str) -> PublicKey:
        """Read SubjectPublicKeyInfo.

        Raises:
            SignatureError: not a P-256 public key in PEM.
        """
        try:
            key = serialization.load_pem_public_key(pem.encode())
        except (ValueError, UnsupportedAlgorithm) as error:
            raise SignatureError("not a public key in PEM") from error
        if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
            raise SignatureError("a public key, but not on P-256")
        return cls(_point_of(key))

    @classmethod
    def all_from_pem(cls, pem: str) -> tuple[PublicKey, ...]:
        """Read one or more, one after another.

        Raises:
            SignatureError: none, or one that is not a P-256 public key in PEM.
        """
        end = "-----END PUBLIC KEY-----"
        *parts, rest = pem.split(end)
        if rest.strip() or not parts:
            return (cls.from_pem(pem),)
        return tuple(cls.from_pem(part + end) for part in parts)


@dataclass(frozen=True)
class ValidatorKey:
    """An Ed25519 public key, with which a validator's votes are verified. No record of este is signed with one.

    Raises:
        SignatureError: not 32 bytes.
    """

    point: bytes

    def __post_init__(self) -> None:
        if len(self.point) != VALIDATOR_KEY_BYTES:
            raise SignatureError(f"a validator's key is {VALIDATOR_KEY_BYTES} bytes, not {len(self.point)}")

    @cached_property
    def _loaded(self) -> ed25519.Ed25519PublicKey:
        return ed25519.Ed25519PublicKey.from_public_bytes(self.point)

    def verify(self, signature: bytes, message: bytes) -> None:
        """See that this validator signed `message` (RFC 8032).

        Stricter than CometBFT, which also takes what ZIP 215 adds: no honest signer makes such signatures.

        Raises:
            SignatureError: somebody else did, or nobody.
        """
        try:
            self._loaded.verify(signature, message)
        except (InvalidSignature, ValueError) as error:
            raise SignatureError("the signature does not fit these bytes and this validator's key") from error


class SigningKey(Protocol):
    """Whatever can sign: a key file, or a chip that never lets its key out."""

    @property
    def public_key(self) -> PublicKey:
        """The other half, for everybody."""

    def sign(self, message: bytes) -> bytes:
        """Sign with ES256.

        Returns:
            r and s, 64 bytes, low-S.
        """


@dataclass(frozen=True)
class SoftwareKey:
    """A private key held in memory."""

    _private: ec.EllipticCurvePrivateKey

    @classmethod
    def generate(cls) -> SoftwareKey:
        """Make a new key from the operating system's randomness."""
        return cls(ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def from_secret(cls, secret: int) -> SoftwareKey:
        """The key with a known secret number: for published vectors and tests."""
        return cls(ec.derive_private_key(secret, ec.SECP256R1()))

    @classmethod
    def from_pem(cls, pem: bytes) -> SoftwareKey:
        """Read PKCS #8.

        Raises:
            SignatureError: not an unencrypted P-256 private key in PEM.
        """
        try:
            key = serialization.load_pem_private_key(pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise SignatureError("not an unencrypted private key in PEM") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
            raise SignatureError("a private key, but not on P-256")
        return cls(key)

    def to_pem(self) -> bytes:
        """PKCS #8 in PEM, unencrypted: the file it goes to must be readable by its owner alone."""
        return self._private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    @cached_property
    def public_key(self) -> PublicKey:
        """The other half, for everybody."""
        return PublicKey(_point_of(self._private.public_key()))

    def sign(self, message: bytes) -> bytes:
        """Sign with ES256, deterministic and low-S."""
        r, s = utils.decode_dss_signature(self._private.sign(message, _ES256))
        return r.to_bytes(32) + min(s, P256_ORDER - s).to_bytes(32)

    def __repr__(self) -> str:
        return f"SoftwareKey({self.public_key.thumbprint.hex()[:16]}…)"


@dataclass(frozen=True)
class ValidatorSigner:
    """A validator's private key in memory, for one thing only: to vouch for the request to be admitted.

    Its votes are signed by the engine, which keeps the file.

    Raises:
        SignatureError: not 32 bytes.
    """

    seed: bytes
    """Private key of RFC 8032 §5.1.5: the first half of what CometBFT's file holds."""

    def __post_init__(self) -> None:
        if len(self.seed) != VALIDATOR_KEY_BYTES:
            raise SignatureError(f"a validator's private key is {VALIDATOR_KEY_BYTES} bytes, not {len(self.seed)}")

    @cached_property
    def _private(self) -> ed25519.Ed25519PrivateKey:
        return ed25519.Ed25519PrivateKey.from_private_bytes(self.seed)

    @cached_property
    def public_key(self) -> ValidatorKey:
        """The other half, for everybody."""
        return ValidatorKey(self._private.public_key().public_bytes_raw())

    def sign(self, message: bytes) -> bytes:
        """Sign with Ed25519."""
        return self._private.sign(message)

    def __repr__(self) -> str:
        return f"ValidatorSigner({self.public_key.point.hex()[:16]}…)"


@dataclass(frozen=True)
class Ed25519Key:
    """A private Ed25519 key (RFC 8032), for notes to the world outside: este itself believes nothing signed so."""

    _private: ed25519.Ed25519PrivateKey

    @classmethod
    def generate(cls) -> Ed25519Key:
        """Make a new key from the operating system's randomness."""
        return cls(ed25519.Ed25519PrivateKey.generate())

    @classmethod
    def from_pem(cls, pem: bytes) -> Ed25519Key:
        """Read PKCS #8.

        Raises:
            SignatureError: not an unencrypted Ed25519 private key in PEM.
        """
        try:
            key = serialization.load_pem_private_key(pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise SignatureError("not an unencrypted private key in PEM") from error
        if not isinstance(key, ed25519.Ed25519PrivateKey):
            raise SignatureError("a private key, but not of Ed25519")
        return cls(key)

    def to_pem(self) -> bytes:
        """PKCS #8 in PEM, unencrypted: the file it goes to must be readable by its owner alone."""
        return self._private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    @cached_property
    def public(self) -> bytes:
        """The other half, for everybody: 32 bytes."""
        return self._private.public_key().public_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        """Sign; 64 bytes."""
        return self._private.sign(message)

    def __repr__(self) -> str:
        return f"Ed25519Key({self.public.hex()[:16]}…)"


def verify_ed25519(public: bytes, signature: bytes, message: bytes) -> None:
    """See that the holder of an Ed25519 key signed `message`.

    Raises:
        SignatureError: somebody else did, or nobody, or the key is none.
    """
    try:
        ed25519.Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError) as error:
        raise SignatureError("the signature does not fit these bytes and this key") from error


def is_low_s(signature: bytes) -> bool:
    """Whether s is in the lower half, the one spelling of a signature that este accepts."""
    return int.from_bytes(signature[32:]) <= P256_ORDER // 2


def fingerprint(thumbprint: bytes) -> str:
    """A thumbprint as people compare it: eight groups of four hexadecimal digits."""
    digits = thumbprint.hex()[:32]
    return " ".join(digits[i : i + 4] for i in range(0, 32, 4))


def _point_of(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
