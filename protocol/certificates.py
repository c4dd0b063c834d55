"""Certificates for the broker's door: requests read and verified, certificates issued for the same key, and taken back.

X.509 says who may speak to the broker, and nothing else: what counts is decided by the asset chain. So nothing is kept
about certificates. The serial number of each is its key's thumbprint, and the list of those taken back follows from the
keys that have ended. Reads no clock.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from protocol.crypto import PublicKey
from protocol.errors import EncodingError, SignatureError
from protocol.fields import name

REQUEST_BYTES_MAX: Final = 8192

SERIAL_BYTES: Final = 19
"""Of a thumbprint that make a serial number: RFC 5280 §4.1.2.2 allows 20, the first bit 0."""

CLOCK_SKEW: Final = timedelta(minutes=5)
"""By which a certificate begins earlier, for brokers whose clock is late."""

LIST_LASTS: Final = timedelta(days=3650)
"""How long a list of revoked certificates may be used. Mosquitto lets nobody in with one that is over."""

_UNREADABLE: Final = (
    ValueError, TypeError, UnsupportedAlgorithm,
    x509.InvalidVersion, x509.DuplicateExtension, x509.UnsupportedGeneralNameType,
)  # fmt: skip
"""What `cryptography` raises on bytes that it cannot read."""

CaKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


@dataclass(frozen=True, slots=True)
class Request:
    """Somebody who holds `key` asks to be this gateway of this region."""

    region: str
    gateway: str
    key: PublicKey


@dataclass(frozen=True, slots=True)
class Authority:
    """Who issues certificates."""

    certificate: x509.Certificate
    key: CaKey

    @classmethod
    def from_pem(cls, certificate: bytes, key: bytes) -> Authority:
        """Read an authority's certificate and key.

        Raises:
            EncodingError: one of them is none, or they do not belong together.
        """
        try:
            found = x509.load_pem_x509_certificate(certificate)
            _key_identifier_of(found)
            private = serialization.load_pem_private_key(key, password=None)
        except _UNREADABLE as error:
            raise EncodingError("not a certificate, and an unencrypted private key, in PEM") from error
        if not isinstance(private, CaKey):
            raise EncodingError("not a key of a kind that signs certificates: EC, RSA or Ed25519")
        if private.public_key() != found.public_key():
            raise EncodingError("the key is not the one of the authority's certificate")
        return cls(found, private)

    @property
    def digest(self) -> hashes.SHA256 | None:
        """What it signs with; Ed25519 brings its own."""
        return None if isinstance(self.key, ed25519.Ed25519PrivateKey) else hashes.SHA256()


def read_request(pem: bytes) -> Request:
    """Read a certification request, and see that it was signed with the key that it is about.

    Raises:
        EncodingError: not a request of a gateway of este.
        SignatureError: whoever made it does not hold the key.
    """
    if len(pem) > REQUEST_BYTES_MAX:
        raise EncodingError(f"a request of {len(pem)} bytes where at most {REQUEST_BYTES_MAX} are allowed")
    try:
        request = x509.load_pem_x509_csr(pem)
        key, is_signed = request.public_key(), request.is_signature_valid
        subject = [(attribute.oid, attribute.value) for attribute in request.subject]
    except _UNREADABLE as error:
        raise EncodingError("not a certification request in PEM (PKCS #10)") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise EncodingError("a request for a key that is not on P-256")
    if not is_signed:
        raise SignatureError("the request is not signed with the key that it asks for")
    if [oid for oid, _ in subject] != [NameOID.ORGANIZATION_NAME, NameOID.COMMON_NAME]:
        raise EncodingError("the request has to name the region as O and the gateway as CN, and nobody else")
    point = key.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    region, gateway = (name(value, what) for (_, value), what in zip(subject, ("O", "CN"), strict=True))
    return Request(region, gateway, PublicKey(point))


def issue(request: Request, authority: Authority, *, now: datetime, lasts: timedelta) -> bytes:
    """A TLS client certificate in PEM, for the key of a request; never longer than the authority's own.

    Raises:
        EncodingError: the authority's certificate is over.
    """
    if now >= authority.certificate.not_valid_after_utc:
        raise EncodingError(f"the authority's certificate is over since {authority.certificate.not_valid_after_utc}")
    key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), request.key.point)
    issuer = authority.certificate
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, request.region),
            x509.NameAttribute(NameOID.COMMON_NAME, request.gateway),
        ]
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject)
        .public_key(key)
        .serial_number(serial_of(request.key.thumbprint))
        .not_valid_before(max(now - CLOCK_SKEW, issuer.not_valid_before_utc))
        .not_valid_after(min(now + lasts, issuer.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_SIGNS_ONLY, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .add_extension(_key_identifier_of(issuer), critical=False)
        .sign(authority.key, authority.digest)
    )
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_identifier_of(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    """As the issuer's certificate spells it; where it says nothing, SHA-1 of its key (RFC 5280 §4.2.1.2).

    It may be made in other ways, too (RFC 7093), and whoever verifies compares the bytes.
    """
    try:
        own = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key())  # type: ignore[arg-type]
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)


def revocation_list(authority: Authority, key_ids: Iterable[bytes], *, now: datetime) -> bytes:
    """The certificates, in PEM, that a broker must not accept any more: those of keys that have ended."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(authority.certificate.subject)
        .last_update(now - CLOCK_SKEW)
        .next_update(now + LIST_LASTS)
    )
    for key_id in key_ids:
        gone = x509.RevokedCertificateBuilder().serial_number(serial_of(key_id)).revocation_date(now).build()
        builder = builder.add_revoked_certificate(gone)
    return builder.sign(authority.key, authority.digest).public_bytes(serialization.Encoding.PEM)


def serial_of(key_id: bytes) -> int:
    """The serial number of every certificate for this key: all of them are taken back together."""
    return int.from_bytes(key_id[:SERIAL_BYTES]) | 1


_SIGNS_ONLY: Final = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=False,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)
