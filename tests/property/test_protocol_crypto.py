"""Two implementations of ECDSA agree on every key and every message; what is no key or signature is told in one way."""

from __future__ import annotations

import hashlib

import pytest
from ecdsa import NIST256p, SigningKey, VerifyingKey
from ecdsa.util import sigdecode_string, sigencode_string
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.crypto import P256_ORDER, PublicKey, SoftwareKey, is_low_s
from protocol.errors import SignatureError
from tests.builders import a_key

secrets = st.integers(1, P256_ORDER - 1)
messages = st.binary(max_size=200)


@settings(max_examples=20)
@given(secrets, messages)
def test_whatever_we_sign_is_low_s_and_verifies_elsewhere(secret: int, message: bytes) -> None:
    key = SoftwareKey.from_secret(secret)
    signature = key.sign(message)
    assert is_low_s(signature)
    other = VerifyingKey.from_string(key.public_key.point, NIST256p, hashlib.sha256)
    assert other.verify(signature, message, hashlib.sha256, sigdecode_string)


@settings(max_examples=20)
@given(secrets, messages)
def test_whatever_is_signed_elsewhere_verifies_here(secret: int, message: bytes) -> None:
    other = SigningKey.from_secret_exponent(secret, NIST256p, hashlib.sha256)
    signature = other.sign_deterministic(message, hashlib.sha256, sigencode=sigencode_string)
    point = other.get_verifying_key().to_string("uncompressed")
    PublicKey(point).verify(signature, message)


@given(messages, messages, st.integers(1, 20))
def test_a_signature_fits_its_own_message_and_no_other(message: bytes, other: bytes, number: int) -> None:
    signature = a_key(number).sign(message)
    a_key(number).public_key.verify(signature, message)
    if other != message:
        with pytest.raises(SignatureError):
            a_key(number).public_key.verify(signature, other)


@given(st.binary(max_size=80) | st.binary(min_size=64, max_size=64))
def test_any_bytes_are_no_signature_or_told_as_none(signature: bytes) -> None:
    with pytest.raises(SignatureError):
        a_key().public_key.verify(signature, b"a reading")


@given(st.binary(max_size=80) | st.binary(min_size=64, max_size=64).map(lambda xy: b"\x04" + xy))
def test_any_bytes_are_a_key_or_told_as_none(point: bytes) -> None:
    try:
        key = PublicKey(point)
    except SignatureError:
        return
    assert PublicKey.from_pem(key.to_pem()).point == point


@given(st.text(max_size=200) | st.binary(max_size=120).map(lambda data: pem("PUBLIC KEY", data)))
def test_any_text_is_a_key_or_told_as_none(text: str) -> None:
    with pytest.raises(SignatureError):
        PublicKey.from_pem(text)
    with pytest.raises(SignatureError):
        SoftwareKey.from_pem(text.encode())


def pem(label: str, data: bytes) -> str:
    return f"-----BEGIN {label}-----\n{data.hex()}\n-----END {label}-----\n"
