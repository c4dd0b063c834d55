"""Requests and certificates: the key that signs readings opens the broker's door, too. Row 8 of the pains."""

from __future__ import annotations

import subprocess
from base64 import b64decode, b64encode
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given
from hypothesis import strategies as st

from protocol.certificates import (
    REQUEST_BYTES_MAX,
    Authority,
    issue,
    read_request,
    revocation_list,
    serial_of,
)
from protocol.crypto import P256_ORDER, SoftwareKey
from protocol.errors import EncodingError, SignatureError
from protocol.request import request_for
from tests.builders import GATEWAY, REGION, a_key

NOW = datetime(2026, 11, 20, tzinfo=UTC)
DAYS = timedelta(days=825)
CA = trustme.CA()
AUTHORITY = Authority.from_pem(CA.cert_pem.bytes(), CA.private_key_pem.bytes())

names = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,62}[A-Za-z0-9])?", fullmatch=True)


def a_request(key: SoftwareKey | None = None) -> bytes:
    return request_for(key or a_key(), region=REGION, gateway=GATEWAY)


def a_foreign_request(*attributes: tuple[x509.ObjectIdentifier, str], private: ec.EllipticCurvePrivateKey) -> bytes:
    """A request as another program would make it."""
    subject = x509.Name([x509.NameAttribute(oid, value) for oid, value in attributes])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(private, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM)


@given(secret=st.integers(1, P256_ORDER - 1), region=names, gateway=names)
def test_a_request_says_who_asks_with_which_key(secret: int, region: str, gateway: str) -> None:
    key = SoftwareKey.from_secret(secret)
    request = read_request(request_for(key, region=region, gateway=gateway))
    assert (request.region, request.gateway, request.key) == (region, gateway, key.public_key)


def test_a_request_that_another_program_made_is_as_good() -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    pem = a_foreign_request((NameOID.ORGANIZATION_NAME, REGION), (NameOID.COMMON_NAME, GATEWAY), private=private)
    assert read_request(pem).gateway == GATEWAY


def test_a_request_for_a_key_that_one_does_not_hold_is_refused() -> None:
    ours, theirs = a_key(1), a_key(2)
    lines = [request_for(key, region=REGION, gateway=GATEWAY).decode().splitlines() for key in (ours, theirs)]
    mine, other = (b64decode("".join(part[1:-1])) for part in lines)
    forged = mine.replace(ours.public_key.point, theirs.public_key.point)
    assert len(forged) == len(mine) and forged != other
    pem = b"-----BEGIN CERTIFICATE REQUEST-----\n" + b64encode(forged) + b"\n-----END CERTIFICATE REQUEST-----\n"
    with pytest.raises(SignatureError, match="not signed with the key that it asks for"):
        read_request(pem)


@pytest.mark.parametrize(
    "attributes",
    [
        [(NameOID.COMMON_NAME, GATEWAY)],
        [(NameOID.COMMON_NAME, GATEWAY), (NameOID.ORGANIZATION_NAME, REGION)],
        [(NameOID.ORGANIZATION_NAME, REGION), (NameOID.COMMON_NAME, GATEWAY), (NameOID.COMMON_NAME, "gw-2")],
        [(NameOID.ORGANIZATION_NAME, REGION), (NameOID.COMMON_NAME, "gw/+/1")],
        [(NameOID.ORGANIZATION_NAME, "#"), (NameOID.COMMON_NAME, GATEWAY)],
    ],
)
def test_a_request_that_does_not_name_one_gateway_of_one_region_is_refused(
    attributes: list[tuple[x509.ObjectIdentifier, str]],
) -> None:
    pem = a_foreign_request(*attributes, private=ec.generate_private_key(ec.SECP256R1()))
    with pytest.raises(EncodingError):
        read_request(pem)


def test_a_request_for_a_key_on_another_curve_is_refused() -> None:
    private = ec.generate_private_key(ec.SECP384R1())
    pem = a_foreign_request((NameOID.ORGANIZATION_NAME, REGION), (NameOID.COMMON_NAME, GATEWAY), private=private)
    with pytest.raises(EncodingError, match="not on P-256"):
        read_request(pem)


@pytest.mark.parametrize("pem", [b"", b"rubbish", a_request()[:-40], a_request() * 30, b"\x00" * REQUEST_BYTES_MAX])
def test_what_is_no_request_is_refused(pem: bytes) -> None:
    with pytest.raises(EncodingError):
        read_request(pem if len(pem) < REQUEST_BYTES_MAX else pem + b"\x00" * REQUEST_BYTES_MAX)


def test_a_certificate_is_for_the_key_of_the_request_and_opens_one_door() -> None:
    request = read_request(a_request())
    certificate = x509.load_pem_x509_certificate(issue(request, AUTHORITY, now=NOW, lasts=DAYS))
    certificate.verify_directly_issued_by(AUTHORITY.certificate)
    point = certificate.public_key().public_bytes(  # type: ignore[union-attr]
        serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
    )
    assert point == request.key.point
    assert certificate.subject.rfc4514_string() == f"CN={GATEWAY},O={REGION}"
    assert certificate.serial_number == serial_of(request.key.thumbprint)
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert certificate.not_valid_after_utc == min(NOW + DAYS, AUTHORITY.certificate.not_valid_after_utc)


def test_a_certificate_never_outlives_its_authority() -> None:
    certificate = x509.load_pem_x509_certificate(
        issue(read_request(a_request()), AUTHORITY, now=NOW, lasts=timedelta(days=400_000))
    )
    assert certificate.not_valid_after_utc == AUTHORITY.certificate.not_valid_after_utc


def test_an_authority_that_is_over_issues_nothing() -> None:
    later = AUTHORITY.certificate.not_valid_after_utc
    with pytest.raises(EncodingError, match="the authority's certificate is over"):
        issue(read_request(a_request()), AUTHORITY, now=later, lasts=DAYS)


def test_the_list_of_revoked_certificates_follows_from_the_keys_that_have_ended() -> None:
    ended = [a_key(number).public_key.thumbprint for number in (1, 2)]
    listed = x509.load_pem_x509_crl(revocation_list(AUTHORITY, ended, now=NOW))
    assert listed.is_signature_valid(AUTHORITY.certificate.public_key())  # type: ignore[arg-type]
    assert {one.serial_number for one in listed} == {serial_of(key_id) for key_id in ended}
    assert listed.get_revoked_certificate_by_serial_number(serial_of(a_key(3).public_key.thumbprint)) is None


def of_another_version(pem: bytes, version: int) -> bytes:
    """The same PEM, of a version that no standard knows."""
    kind = "CERTIFICATE REQUEST" if b"REQUEST" in pem else "CERTIFICATE"
    der = bytearray(b64decode(b"".join(pem.splitlines()[1:-1])))
    marks = (b"\x02\x01\x00",) if "REQUEST" in kind else (b"\xa0\x03\x02\x01\x02",)
    place = der.index(marks[0]) + len(marks[0]) - 1
    der[place] = version
    body = b64encode(der)
    lines = [body[at : at + 64] for at in range(0, len(body), 64)]
    return b"\n".join([f"-----BEGIN {kind}-----".encode(), *lines, f"-----END {kind}-----".encode(), b""])


def test_a_request_of_a_version_that_does_not_exist_is_refused() -> None:
    with pytest.raises(EncodingError, match="PKCS #10"):
        read_request(of_another_version(a_request(), 5))


def test_an_authority_of_a_version_that_does_not_exist_is_told() -> None:
    with pytest.raises(EncodingError, match="not a certificate"):
        Authority.from_pem(of_another_version(CA.cert_pem.bytes(), 9), CA.private_key_pem.bytes())


def test_a_certificate_names_its_authoritys_key_as_the_authority_itself_does(tmp_path: Path) -> None:
    """RFC 7093 makes the identifier with SHA-256; openssl compares the bytes."""
    private = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "CA")])
    point = private.public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    identifier = x509.SubjectKeyIdentifier(sha256(point).digest()[:20])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(private.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(identifier, critical=False)
        .sign(private, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    key = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (tmp_path / "ca.pem").write_bytes(pem)
    issued = issue(read_request(a_request()), Authority.from_pem(pem, key), now=now, lasts=timedelta(days=9))
    (tmp_path / "gw.pem").write_bytes(issued)
    command = ["openssl", "verify", "-CAfile", str(tmp_path / "ca.pem"), str(tmp_path / "gw.pem")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("first_byte", [0x00, 0x7F, 0x80, 0xFF])
def test_a_serial_number_is_one_that_every_library_takes(first_byte: int) -> None:
    serial = serial_of(bytes([first_byte]) + bytes(31))
    assert 0 < serial < 1 << 159


def test_an_authority_with_an_rsa_key_issues_too() -> None:
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "CA")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(private.public_key())
        .serial_number(1)
        .not_valid_before(NOW)
        .not_valid_after(NOW + DAYS)
        .sign(private, hashes.SHA256())
    )
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    authority = Authority.from_pem(certificate.public_bytes(serialization.Encoding.PEM), pem)
    x509.load_pem_x509_certificate(issue(read_request(a_request()), authority, now=NOW, lasts=DAYS))


@pytest.mark.parametrize(
    ("certificate", "key"),
    [
        (b"", CA.private_key_pem.bytes()),
        (CA.cert_pem.bytes(), b"rubbish"),
        (CA.cert_pem.bytes(), trustme.CA().private_key_pem.bytes()),
    ],
)
def test_what_is_no_authority_is_told(certificate: bytes, key: bytes) -> None:
    with pytest.raises(EncodingError):
        Authority.from_pem(certificate, key)
