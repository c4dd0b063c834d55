"""A node's request: both of its keys have signed it, or it is none."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from protocol.canonical import decode, encode
from protocol.crypto import ValidatorSigner
from protocol.envelope import Envelope, seal
from protocol.errors import EncodingError, SignatureError
from protocol.node_request import (
    NODE_REQUEST_BYTES_MAX,
    VOUCHER,
    NodeRequest,
    is_node_request,
    read_node_request,
    request_of_node,
    voucher_bytes,
)
from protocol.request import request_for
from tests.builders import REGION, a_key

KEY, OTHER = a_key(), a_key(2)
VOTES = ValidatorSigner(bytes(range(32)))


def a_request(consensus: ValidatorSigner | None = VOTES, **changes: Any) -> bytes:
    return request_of_node(**{"region": REGION, "name": "node-2", "key": KEY, "consensus": consensus} | changes)


def changed(key: Any = KEY, region: str = REGION, type_: str = "node-request", **fields: Any) -> bytes:
    """The request with some of its fields changed, sealed again."""
    envelope = base64.b64decode(b"".join(a_request().splitlines()[1:-1]))
    payload = decode(Envelope.parse(envelope).payload, size_max=4096)
    payload |= {int(name[1:]): value for name, value in fields.items()}
    data = seal(key, region=region, type_=type_, payload=encode(payload))
    return b"-----BEGIN ESTE NODE REQUEST-----\n" + base64.b64encode(data) + b"\n-----END ESTE NODE REQUEST-----\n"


@pytest.mark.parametrize("consensus", [VOTES, None])
def test_a_request_survives_being_written_and_read(consensus: ValidatorSigner | None) -> None:
    expected = NodeRequest(REGION, "node-2", KEY.public_key, consensus.public_key if consensus else None)
    data = a_request(consensus)
    assert read_node_request(data) == expected
    assert read_node_request(b"\r\n" + data.replace(b"\n", b"\r\n")) == expected  # as mail programs carry it
    assert is_node_request(data) and not is_node_request(request_for(KEY, region=REGION, gateway="gw-1"))
    assert all(len(line) <= 64 for line in data.splitlines())


def test_the_public_half_of_a_vote_is_that_of_rfc_8032() -> None:
    """RFC 8032 §7.1, test 1."""
    signer = ValidatorSigner(bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"))
    assert signer.public_key.point.hex() == "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    assert signer.sign(b"").hex().startswith("e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555")
    assert "9d61" not in repr(signer)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (changed(key=OTHER), SignatureError),
        (changed(_3=OTHER.public_key.point), SignatureError),
        (changed(_2="node-3"), SignatureError),
        (changed(_4=ValidatorSigner(bytes(32)).public_key.point), SignatureError),
        (changed(_5=bytes(64)), SignatureError),
        (changed(_1="elsewhere"), SignatureError),
        (changed(region="elsewhere"), SignatureError),
        (changed(_5=None), EncodingError),
        (changed(_4=None), EncodingError),
        (changed(_4=bytes(31)), EncodingError),
        (changed(type_="batch"), EncodingError),
        (changed(_2="no name"), EncodingError),
        (a_request()[:-40], EncodingError),
        (a_request().replace(b"\n", b"\n!", 1), EncodingError),
        (b"rubbish", EncodingError),
        (b"", EncodingError),
        (b"\xff" * 40, EncodingError),
        (b"-----BEGIN ESTE NODE REQUEST-----\n" + bytes(NODE_REQUEST_BYTES_MAX), EncodingError),
    ],
)
def test_what_is_not_signed_by_both_keys_is_no_request(data: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        read_node_request(data)


def test_what_a_consensus_key_signs_here_is_never_a_vote() -> None:
    """A vote of CometBFT is signed behind its own length, a varint; read so, these bytes are fewer than they claim."""
    statement = voucher_bytes(REGION, "node-2", KEY.public_key, VOTES.public_key)
    length = (statement[0] & 0x7F) | statement[1] << 7
    assert statement[0] & 0x80 and not statement[1] & 0x80
    assert length > len(statement) - 2
    assert statement[2:].startswith(VOUCHER.encode())


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_a_private_key_of_another_size_is_none(size: int) -> None:
    with pytest.raises(SignatureError):
        ValidatorSigner(bytes(size))
