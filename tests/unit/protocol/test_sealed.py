"""A letter opens for its receiver alone, as RFC 9180 says it is sealed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.bindings._rust import openssl
from cryptography.hazmat.primitives import hmac
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from protocol import sealed as room
from protocol.errors import EncodingError, UnreadableError
from protocol.sealed import MESSAGE_BYTES_MAX, Sealed, SealingKey, seal_to
from tests.builders import REGION, a_key
from tests.unit.protocol.mutation import paths_in, with_field, without_field
from tests.vector_files import read_vectors

KEY = SealingKey(a_key(50))
OTHERS = SealingKey(a_key(51))
MESSAGE = b"ten kilowatt-hours at noon"


def a_letter(message: bytes = MESSAGE, **changes: Any) -> Sealed:
    arguments = {"region": REGION, "sender": "gw-1", "receiver": "gw-2", "expires_ms": 1_750_000_000_000} | changes
    return seal_to(KEY.public_key, message, **arguments)


class PlainHpke:
    """A second implementation, read off RFC 9180: §4 for the labels, §4.1 for the KEM, §5.1 for the key schedule."""

    SUITE = b"HPKE" + bytes((0, 0x10, 0, 1, 0, 1))
    KEM = b"KEM" + bytes((0, 0x10))

    @staticmethod
    def extract(salt: bytes, suite: bytes, label: bytes, secret: bytes) -> bytes:
        mac = hmac.HMAC(salt or bytes(32), SHA256())
        mac.update(b"HPKE-v1" + suite + label + secret)
        return mac.finalize()

    @staticmethod
    def expand(secret: bytes, suite: bytes, label: bytes, info: bytes, length: int) -> bytes:
        labeled = length.to_bytes(2) + b"HPKE-v1" + suite + label + info
        return HKDFExpand(SHA256(), length, labeled).derive(secret)

    @classmethod
    def shared_secret(cls, exchanged: bytes, enc: bytes, receiver: bytes) -> bytes:
        extracted = cls.extract(b"", cls.KEM, b"eae_prk", exchanged)
        return cls.expand(extracted, cls.KEM, b"shared_secret", enc + receiver, 32)

    @classmethod
    def key_and_nonce(cls, shared: bytes, info: bytes) -> tuple[bytes, bytes]:
        hashes = [
            cls.extract(b"", cls.SUITE, label, part) for label, part in ((b"psk_id_hash", b""), (b"info_hash", info))
        ]
        secret, context = cls.extract(shared, cls.SUITE, b"secret", b""), b"\0" + b"".join(hashes)
        key = cls.expand(secret, cls.SUITE, b"key", context, 16)
        return key, cls.expand(secret, cls.SUITE, b"base_nonce", context, 12)

    @classmethod
    def open(cls, secret: int, box: bytes, info: bytes) -> bytes:
        private = ec.derive_private_key(secret, ec.SECP256R1())
        theirs = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), box[:65])
        shared = cls.shared_secret(private.exchange(ec.ECDH(), theirs), box[:65], a_key(secret).public_key.point)
        key, nonce = cls.key_and_nonce(shared, info)
        return AESGCM(key).decrypt(nonce, box[65:], None)


def test_what_rfc_9180_prints_is_what_we_use() -> None:
    vector = {
        name: bytes.fromhex(text) for name, text in read_vectors("hpke/rfc9180_a3_1.yaml").items() if name != "source"
    }
    receiver = ec.derive_private_key(int.from_bytes(vector["skRm"]), ec.SECP256R1())
    box = vector["enc"] + vector["ct"]
    opened = openssl.hpke._decrypt_with_aad(room._SUITE, box, receiver, vector["info"], vector["aad"])
    assert opened == vector["pt"]
    exchanged = receiver.exchange(
        ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), vector["enc"])
    )
    shared = PlainHpke.shared_secret(exchanged, vector["enc"], vector["pkRm"])
    assert shared == vector["shared_secret"]
    assert PlainHpke.key_and_nonce(shared, vector["info"]) == (vector["key"], vector["base_nonce"])


def test_a_letter_opens_with_a_second_implementation_of_the_rfc() -> None:
    letter = a_letter()
    padded = PlainHpke.open(50, letter.box, letter.info)
    assert padded == (len(MESSAGE).to_bytes(2) + MESSAGE).ljust(2 + MESSAGE_BYTES_MAX, b"\0")


@pytest.mark.parametrize("message", [b"", MESSAGE, bytes(MESSAGE_BYTES_MAX)])
def test_a_letter_opens_for_its_receiver(message: bytes) -> None:
    assert KEY.open(Sealed.decode(a_letter(message).encode())) == message


def test_a_letter_for_somebody_else_does_not_open() -> None:
    with pytest.raises(UnreadableError, match="another key"):
        OTHERS.open(a_letter())
    with pytest.raises(UnreadableError, match="was changed"):
        OTHERS.open(replace(a_letter(), key_id=OTHERS.public_key.thumbprint))


@pytest.mark.parametrize(
    "change",
    [{"region": "elsewhere"}, {"sender": "gw-3"}, {"receiver": "gw-3"}, {"expires_ms": 1_850_000_000_000}],
    ids=lambda change: next(iter(change)),
)
def test_a_letter_with_something_else_written_on_it_does_not_open(change: dict[str, Any]) -> None:
    with pytest.raises(UnreadableError, match="was changed"):
        KEY.open(replace(a_letter(), **change))


def test_a_letter_of_which_one_bit_was_changed_does_not_open() -> None:
    letter = a_letter()
    for place in (0, 1, 64, 65, len(letter.box) - 1):
        box = bytearray(letter.box)
        box[place] ^= 1
        with pytest.raises(UnreadableError, match="was changed"):
            KEY.open(replace(letter, box=bytes(box)))


def test_a_letter_that_is_filled_up_otherwise_is_none() -> None:
    for padded in (b"\0\1ab".ljust(2048, b"\0"), b"\xff\xff".ljust(2048, b"\0"), b"\0\1a"):
        letter = a_letter()
        box = room._SUITE.encrypt(padded, KEY.public_key._loaded, letter.info)
        with pytest.raises(UnreadableError, match="filled up"):
            KEY.open(replace(letter, box=box))


def test_all_letters_are_equally_long_and_no_two_are_alike() -> None:
    letters = [a_letter(), a_letter(), a_letter(b""), a_letter(bytes(MESSAGE_BYTES_MAX))]
    assert len({letter.box for letter in letters}) == len(letters)
    assert len({len(letter.box) for letter in letters}) == 1


def test_what_is_too_long_for_a_letter_is_not_sealed() -> None:
    with pytest.raises(EncodingError, match="a letter takes"):
        a_letter(bytes(MESSAGE_BYTES_MAX + 1))


def test_every_field_of_a_letter_is_checked() -> None:
    data = a_letter().encode()
    for path in paths_in(data):
        with pytest.raises(EncodingError):
            Sealed.decode(with_field(data, path, None))
        with pytest.raises(EncodingError):
            Sealed.decode(without_field(data, path))


def test_a_sealing_key_does_not_show_itself() -> None:
    assert str(KEY) == f"SealingKey({KEY.public_key.thumbprint.hex()[:16]}…)"
