"""Keys, signatures and thumbprints: ours against published values and against a second implementation."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from ecdsa import NIST256p, SigningKey, VerifyingKey
from ecdsa.util import sigdecode_string, sigencode_string

from protocol.crypto import P256_ORDER, PUBLIC_KEY_BYTES, PublicKey, SoftwareKey, digest_of, fingerprint, is_low_s
from protocol.errors import SignatureError
from tests.builders import a_key
from tests.vector_files import read_vectors

RFC6979 = read_vectors("cose/rfc6979_p256_sha256.yaml")
RFC9679 = read_vectors("thumbprint/rfc9679.yaml")


def point(x: str, y: str) -> PublicKey:
    return PublicKey(b"\x04" + bytes.fromhex(x) + bytes.fromhex(y))


def test_a_secret_number_gives_the_public_key_that_the_rfc_prints() -> None:
    key = SoftwareKey.from_secret(int(RFC6979["secret"], 16))
    assert key.public_key == point(RFC6979["x"], RFC6979["y"])


@pytest.mark.parametrize("case", RFC6979["cases"], ids=lambda case: case["message"])
def test_signatures_are_deterministic_as_the_rfc_prints_them(case: dict[str, Any]) -> None:
    key = SoftwareKey.from_secret(int(RFC6979["secret"], 16))
    signature = key.sign(case["message"].encode())
    s = int(case["s"], 16)
    assert signature[:32].hex() == case["r"]
    assert int.from_bytes(signature[32:]) == min(s, P256_ORDER - s)
    key.public_key.verify(bytes.fromhex(case["r"] + case["s"]), case["message"].encode())


def test_a_thumbprint_is_what_the_rfc_prints() -> None:
    assert point(RFC9679["x"], RFC9679["y"]).thumbprint.hex() == RFC9679["thumbprint"]
    assert digest_of(bytes.fromhex(RFC9679["hashed"])).hex() == RFC9679["thumbprint"]


MESSAGES = [b"", b"a reading", bytes(2000)]


@pytest.mark.parametrize("number", [1, 2, 2**200 + 7, P256_ORDER - 1])
def test_a_second_implementation_verifies_what_we_sign(number: int) -> None:
    key = a_key(number)
    other = VerifyingKey.from_string(key.public_key.point, NIST256p, hashlib.sha256)
    for message in MESSAGES:
        assert other.verify(key.sign(message), message, hashlib.sha256, sigdecode_string)


@pytest.mark.parametrize("number", [1, 2, 2**200 + 7, P256_ORDER - 1])
def test_we_verify_what_a_second_implementation_signs(number: int) -> None:
    other = SigningKey.from_secret_exponent(number, NIST256p, hashlib.sha256)
    for message in MESSAGES:
        a_key(number).public_key.verify(
            other.sign_deterministic(message, hashlib.sha256, sigencode=sigencode_string), message
        )


def test_every_signature_of_ours_is_low_s() -> None:
    signatures = [a_key(number).sign(b"a reading") for number in range(1, 40)]
    assert all(map(is_low_s, signatures))
    assert is_low_s(bytes(32) + (P256_ORDER // 2).to_bytes(32))
    assert not is_low_s(bytes(32) + (P256_ORDER // 2 + 1).to_bytes(32))


def test_signing_twice_gives_the_same_bytes() -> None:
    assert a_key().sign(b"a reading") == a_key().sign(b"a reading")


SIGNED = b"a reading"


MINE = a_key().sign(SIGNED)

NO_SIGNATURES = {
    "nothing": b"",
    "short": MINE[:-1],
    "long": MINE + b"\x00",
    "zero": bytes(64),
    "r zero": bytes(32) + MINE[32:],
    "s zero": MINE[:32] + bytes(32),
    "r too large": P256_ORDER.to_bytes(32) + MINE[32:],
    "s too large": MINE[:32] + P256_ORDER.to_bytes(32),
    "all ones": b"\xff" * 64,
    "another key's": a_key(2).sign(SIGNED),
    "another message's": a_key().sign(b"another reading"),
}


@pytest.mark.parametrize("signature", NO_SIGNATURES.values(), ids=NO_SIGNATURES.keys())
def test_a_signature_that_is_none_is_refused(signature: bytes) -> None:
    with pytest.raises(SignatureError):
        a_key().public_key.verify(signature, SIGNED)


def test_one_flipped_bit_breaks_a_signature_wherever_it_is() -> None:
    for place in range(64):
        flipped = bytearray(MINE)
        flipped[place] ^= 0x01
        with pytest.raises(SignatureError):
            a_key().public_key.verify(bytes(flipped), SIGNED)


POINT = a_key().public_key.point

NO_POINTS = {
    "nothing": b"",
    "short": POINT[:-1],
    "long": POINT + b"\x00",
    "origin": b"\x04" + bytes(64),
    "out of the field": b"\x04" + b"\xff" * 64,
    "hybrid even": b"\x06" + POINT[1:],
    "hybrid odd": b"\x07" + POINT[1:],
    "no form": b"\x00" + POINT[1:],
    "off the curve": POINT[:-1] + b"\x00",
    "zeros": bytes(PUBLIC_KEY_BYTES),
}


@pytest.mark.parametrize("octets", NO_POINTS.values(), ids=NO_POINTS.keys())
def test_bytes_that_are_no_point_on_the_curve_are_no_key(octets: bytes) -> None:
    with pytest.raises(SignatureError):
        PublicKey(octets)


def test_keys_survive_being_written_and_read() -> None:
    key = a_key()
    assert SoftwareKey.from_pem(key.to_pem()).public_key == key.public_key
    assert PublicKey.from_pem(key.public_key.to_pem()) == key.public_key


def test_a_generated_key_signs() -> None:
    key = SoftwareKey.generate()
    key.public_key.verify(key.sign(SIGNED), SIGNED)


def _private_pem(key: Any, encryption: Any) -> bytes:
    pem: bytes = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    return pem


OTHER_CURVE = ec.derive_private_key(5, ec.SECP384R1())
NOT_ENCRYPTED = serialization.NoEncryption()


@pytest.mark.parametrize(
    "pem",
    [
        b"",
        b"not PEM",
        _private_pem(OTHER_CURVE, NOT_ENCRYPTED),
        _private_pem(ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32)), NOT_ENCRYPTED),
        _private_pem(ec.derive_private_key(5, ec.SECP256R1()), serialization.BestAvailableEncryption(b"secret")),
        a_key().public_key.to_pem().encode(),
    ],
    ids=["nothing", "rubbish", "P-384", "Ed25519", "encrypted", "a public key"],
)
def test_a_private_key_that_este_cannot_use_is_refused(pem: bytes) -> None:
    with pytest.raises(SignatureError):
        SoftwareKey.from_pem(pem)


@pytest.mark.parametrize(
    "pem",
    [
        "",
        "not PEM",
        "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        OTHER_CURVE.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode(),
        a_key().to_pem().decode(),
    ],
    ids=["nothing", "rubbish", "empty PEM", "P-384", "a private key"],
)
def test_a_public_key_that_este_cannot_use_is_refused(pem: str) -> None:
    with pytest.raises(SignatureError):
        PublicKey.from_pem(pem)


def test_a_key_shows_its_thumbprint_and_never_its_secret() -> None:
    shown = repr(a_key(0xC0FFEE))
    assert a_key(0xC0FFEE).public_key.thumbprint.hex()[:16] in shown
    assert "c0ffee" not in shown.lower()


def test_a_fingerprint_can_be_read_aloud() -> None:
    assert fingerprint(bytes(range(32))) == "0001 0203 0405 0607 0809 0a0b 0c0d 0e0f"
