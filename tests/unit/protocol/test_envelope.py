"""The signed envelope: what is accepted is exactly what this region's member sent, byte for byte."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import cbor2
import pytest

from protocol.canonical import encode
from protocol.crypto import P256_ORDER, PublicKey, SoftwareKey
from protocol.envelope import ENVELOPE_BYTES_MAX, Envelope, protected_header, seal, signed_bytes
from protocol.errors import EncodingError, EsteError, OversizedError, SignatureError, SpellingError, TruncatedError
from protocol.messages import MessageType
from protocol.purchase import Purchase
from tests.builders import REGION, a_batch, a_key, a_link, a_purchase, a_sealed, an_envelope
from tests.vector_files import read_vectors

COSE_WG = read_vectors("cose/cose_wg_examples.yaml")
CWT = read_vectors("cose/python_cwt.yaml")

SIGN1 = [case for case in COSE_WG["cases"] if "payload" in case]
COSE_WG_KEY = PublicKey(b"\x04" + bytes.fromhex(COSE_WG["key"]["x"] + COSE_WG["key"]["y"]))


def unhex(case: dict[str, Any], *names: str) -> list[bytes]:
    return [bytes.fromhex(case[name]) for name in names]


@pytest.mark.parametrize("case", SIGN1, ids=lambda case: case["name"])
def test_published_signatures_hold_over_what_we_say_is_signed(case: dict[str, Any]) -> None:
    protected, external, payload, signature, signed = unhex(
        case, "protected", "external", "payload", "signature", "signed"
    )
    ours = signed_bytes(protected, external, payload)
    COSE_WG_KEY.verify(signature, signed)
    if case["holds"]:
        assert ours == signed
        COSE_WG_KEY.verify(signature, ours)
    else:
        assert ours != signed
        with pytest.raises(SignatureError):
            COSE_WG_KEY.verify(signature, ours)


def test_a_published_signature_of_another_structure_holds_over_what_it_says_is_signed() -> None:
    (case,) = (case for case in COSE_WG["cases"] if "payload" not in case)
    signature, signed = unhex(case, "signature", "signed")
    COSE_WG_KEY.verify(signature, signed)


@pytest.mark.parametrize("case", COSE_WG["cases"], ids=lambda case: case["name"])
def test_an_envelope_of_another_profile_is_refused_as_not_ours(case: dict[str, Any]) -> None:
    with pytest.raises(EncodingError):
        Envelope.parse(bytes.fromhex(case["sealed"]))


def test_an_envelope_that_another_implementation_signed_is_accepted() -> None:
    envelope = Envelope.parse(bytes.fromhex(CWT["sealed"]))
    key = SoftwareKey.from_secret(int(CWT["secret"], 16)).public_key
    envelope.verify(key, CWT["region"])
    assert envelope.key_id == key.thumbprint
    assert envelope.type == CWT["type"]
    assert Purchase.decode(envelope.payload) == a_purchase(link=a_link(region=CWT["region"]))


def test_what_another_implementation_verified_is_what_we_write() -> None:
    key = SoftwareKey.from_secret(int(CWT["secret"], 16))
    sealed = seal(key, region=CWT["region"], type_=CWT["type"], payload=bytes.fromhex(CWT["payload"]))
    assert sealed.hex() == CWT["sealed_by_este"]


def test_an_envelope_tells_who_signed_what() -> None:
    envelope = an_envelope()
    envelope.verify(a_key().public_key, REGION)
    assert envelope.key_id == a_key().public_key.thumbprint
    assert envelope.type == MessageType.BATCH
    assert envelope.payload == a_batch().encode()
    assert envelope.data == a_sealed()


def test_an_envelope_is_known_by_the_digest_of_its_bytes() -> None:
    assert an_envelope().digest == sha256(a_sealed()).digest()


def test_an_empty_payload_can_be_sealed() -> None:
    assert an_envelope(b"").payload == b""


# -- What nobody may do to an envelope on its way


def test_what_is_signed_for_one_region_verifies_in_no_other() -> None:
    with pytest.raises(SignatureError):
        an_envelope().verify(a_key().public_key, "moonvale")


def test_what_one_key_signed_does_not_verify_with_another() -> None:
    with pytest.raises(SignatureError):
        an_envelope().verify(a_key(2).public_key, REGION)


def test_a_message_cannot_pass_for_one_of_another_type() -> None:
    mine = an_envelope()
    passed_off = assembled(protected=protected_header(mine.key_id, MessageType.PURCHASE), signature=mine.signature)
    envelope = Envelope.parse(passed_off)
    assert envelope.type == MessageType.PURCHASE
    with pytest.raises(SignatureError):
        envelope.verify(a_key().public_key, REGION)


def test_a_message_cannot_pass_for_one_of_another_signer() -> None:
    mine = an_envelope()
    stranger = a_key(2).public_key
    envelope = Envelope.parse(
        assembled(protected=protected_header(stranger.thumbprint, MessageType.BATCH), signature=mine.signature)
    )
    with pytest.raises(SignatureError):
        envelope.verify(stranger, REGION)


def test_bytes_cut_off_anywhere_are_told_as_truncated() -> None:
    sealed = a_sealed()
    for end in range(len(sealed)):
        with pytest.raises(TruncatedError):
            Envelope.parse(sealed[:end])


def test_a_single_flipped_bit_anywhere_is_never_accepted() -> None:
    sealed = a_sealed(b"payload")
    for place in range(len(sealed)):
        for bit in range(8):
            flipped = bytearray(sealed)
            flipped[place] ^= 1 << bit
            with pytest.raises(EsteError):
                Envelope.parse(bytes(flipped)).verify(a_key().public_key, REGION)


def test_rubbish_is_refused_at_its_first_byte() -> None:
    """A megabyte of empty arrays where a byte string is due must not cost a stranger's worth of parsing."""
    with pytest.raises(EncodingError, match="expected a byte string"):
        Envelope.parse(b"\xd2\x84" + b"\x9a\x00\x0f\xff\x00" + b"\x80" * 1_000_000)


def test_an_envelope_larger_than_allowed_is_not_even_parsed() -> None:
    with pytest.raises(OversizedError):
        Envelope.parse(bytes(ENVELOPE_BYTES_MAX + 1))
    with pytest.raises(OversizedError):
        Envelope.parse(a_sealed(), size_max=len(a_sealed()) - 1)
    Envelope.parse(a_sealed(), size_max=len(a_sealed()))


# -- Second spellings and other shapes


def string(octets: bytes, *, head: int = 0) -> bytes:
    """A byte string, with a head of at least `head` bytes for its length."""
    if not head:
        return encode(octets)
    return bytes([{1: 0x58, 2: 0x59, 4: 0x5A, 8: 0x5B}[head]]) + len(octets).to_bytes(head) + octets


def assembled(**parts: Any) -> bytes:
    """An envelope by hand. Each part can be replaced: bytes objects as content, `raw_…` as they stand."""
    mine = an_envelope()
    content = {"protected": mine.protected, "payload": mine.payload, "signature": mine.signature}
    content |= {name: value for name, value in parts.items() if not name.startswith("raw_")}
    raw = {name: string(value) for name, value in content.items()} | {"head": b"\xd2\x84", "unprotected": b"\xa0"}
    raw |= {name.removeprefix("raw_"): value for name, value in parts.items() if name.startswith("raw_")}
    return b"".join(raw.get(name, b"") for name in ("head", "protected", "unprotected", "payload", "signature", "tail"))


def header(fields: bytes) -> bytes:
    """A protected header by hand, with a signature that fits it."""
    mine = an_envelope()
    return assembled(protected=fields, signature=a_key().sign(signed_bytes(fields, REGION.encode(), mine.payload)))


def high_s() -> bytes:
    signature = an_envelope().signature
    return signature[:32] + (P256_ORDER - int.from_bytes(signature[32:])).to_bytes(32)


KID = a_key().public_key.thumbprint
MINE = an_envelope()

SECOND_SPELLINGS = {
    "a protected header with a longer head": assembled(raw_protected=string(MINE.protected, head=2)),
    "a payload with a longer head": assembled(raw_payload=string(MINE.payload, head=4)),
    "a signature with a longer head": assembled(raw_signature=string(MINE.signature, head=2)),
    "an indefinite payload": assembled(raw_payload=b"\x5f" + string(MINE.payload) + b"\xff"),
    "bytes behind the end": assembled(raw_tail=b"\x00"),
    "another envelope behind the end": assembled(raw_tail=a_sealed()),
    "the high-S twin": assembled(signature=high_s()),
    "an algorithm in two bytes": header(bytes.fromhex("a3013806") + MINE.protected[3:]),
    "a key in two bytes": header(b"\xa3\x18\x01" + MINE.protected[2:]),
    "a header map with a longer head": header(b"\xb8\x03" + MINE.protected[1:]),
    "a header in another order": header(cbor2.dumps({4: KID, 1: -7, 16: "este.batch"})),
    "bytes behind the header": header(MINE.protected + b"\x00"),
}


@pytest.mark.parametrize("sealed", SECOND_SPELLINGS.values(), ids=SECOND_SPELLINGS.keys())
def test_a_second_spelling_is_told_as_one(sealed: bytes) -> None:
    assert sealed != a_sealed()
    with pytest.raises(SpellingError):
        Envelope.parse(sealed)


NOT_OURS = {
    "no bytes of CBOR": b"\xff" * 200,
    "no tag": assembled(raw_head=b"\x84"),
    "a tag in two bytes": assembled(raw_head=b"\xd8\x12\x84"),
    "another tag": assembled(raw_head=b"\xd8\x62\x84"),
    "three parts": assembled(raw_head=b"\xd2\x83", raw_signature=b""),
    "five parts": assembled(raw_head=b"\xd2\x85", raw_tail=b"\x00"),
    "an array without an end": assembled(raw_head=b"\xd2\x9f", raw_tail=b"\xff"),
    "a map": b"\xd2\xa0",
    "a header that is no byte string": assembled(raw_protected=b"\xa0"),
    "a payload that is null": assembled(raw_payload=b"\xf6"),
    "a payload of text": assembled(raw_payload=encode("text")),
    "a signature of text": assembled(raw_signature=encode("s" * 64)),
    "a signature of 63 bytes": assembled(signature=MINE.signature[:-1]),
    "a signature of 65 bytes": assembled(signature=MINE.signature + b"\x00"),
    "a DER signature": assembled(signature=bytes.fromhex("3006020101020101")),
    "something in the unprotected header": assembled(raw_unprotected=encode({4: KID})),
    "an unprotected header that is no map": assembled(raw_unprotected=b"\x80"),
    "an indefinite unprotected header": assembled(raw_unprotected=b"\xbf\xff"),
    "an unprotected header with a longer head": assembled(raw_unprotected=b"\xb8\x00"),
    "an empty header": header(b""),
    "a header without key id": header(cbor2.dumps({1: -7, 16: "este.batch"})),
    "a header without type": header(cbor2.dumps({1: -7, 4: KID})),
    "a header without algorithm": header(cbor2.dumps({4: KID, 16: "este.batch"})),
    "a header that says more": header(cbor2.dumps({1: -7, 4: KID, 5: b"iv", 16: "este.batch"})),
    "a header with critical fields": header(cbor2.dumps({1: -7, 2: [16], 4: KID, 16: "este.batch"})),
    "a header with a key twice": header(bytes.fromhex("a40126") + MINE.protected[1:]),
    "EdDSA": header(cbor2.dumps({1: -8, 4: KID, 16: "este.batch"})),
    "ES256 by name": header(cbor2.dumps({1: "ES256", 4: KID, 16: "este.batch"})),
    "a key id of 31 bytes": header(cbor2.dumps({1: -7, 4: KID[:-1], 16: "este.batch"})),
    "a key id of text": header(cbor2.dumps({1: -7, 4: "k" * 32, 16: "este.batch"})),
    "another's type": header(cbor2.dumps({1: -7, 4: KID, 16: "application/cwt"})),
    "a type of no name": header(cbor2.dumps({1: -7, 4: KID, 16: "este."})),
    "a type with a space": header(cbor2.dumps({1: -7, 4: KID, 16: "este.a batch"})),
    "a type without end": header(cbor2.dumps({1: -7, 4: KID, 16: "este." + "x" * 70})),
    "a type in numbers": header(cbor2.dumps({1: -7, 4: KID, 16: 61})),
    "a header that is an array": header(cbor2.dumps([-7, KID, "este.batch"])),
    "a header larger than any": header(cbor2.dumps({1: -7, 4: KID, 16: "este." + "x" * 300})),
}


@pytest.mark.parametrize("sealed", NOT_OURS.values(), ids=NOT_OURS.keys())
def test_another_shape_is_refused_as_not_ours(sealed: bytes) -> None:
    with pytest.raises(EncodingError):
        Envelope.parse(sealed)


def test_a_refusal_tells_what_was_expected() -> None:
    with pytest.raises(EncodingError, match="ES256"):
        Envelope.parse(NOT_OURS["EdDSA"])
    with pytest.raises(EncodingError, match="unprotected header must be empty"):
        Envelope.parse(NOT_OURS["something in the unprotected header"])
    with pytest.raises(EncodingError, match="64 bytes"):
        Envelope.parse(NOT_OURS["a DER signature"])


def test_by_hand_is_the_same_as_sealed() -> None:
    assert assembled() == a_sealed()
