"""The request of a node to be admitted as an aggregator: a file that its operator carries to the regulator.

It names the key that the node signs records with, and the key that its engine votes with, where it has one. Both sign
it: whoever asks has to hold what it asks for, or a node could claim the vote of another. It is carried as text, as
certificates are, and nothing in it is secret. Format: docs/spec/este.cddl.
"""

from __future__ import annotations

import base64
import binascii
import textwrap
from dataclasses import dataclass
from typing import Final

from protocol.canonical import Value, decode, encode, fields_of
from protocol.crypto import VALIDATOR_KEY_BYTES, PublicKey, SigningKey, ValidatorKey, ValidatorSigner
from protocol.envelope import Envelope, seal
from protocol.errors import EncodingError, SignatureError
from protocol.fields import name, octets, optional
from protocol.messages import MessageType
from protocol.rotation import read_key

NODE_REQUEST_BYTES_MAX: Final = 8192
VOUCHER_BYTES: Final = 64
"""An Ed25519 signature (RFC 8032)."""

VOUCHER: Final = "este.vote"
"""What a consensus key signs is an array that begins so. No vote of CometBFT is one: those begin with their own length,
and read as a length this beginning is more than all of it."""

_BEGIN: Final = "-----BEGIN ESTE NODE REQUEST-----"
_END: Final = "-----END ESTE NODE REQUEST-----"


@dataclass(frozen=True, slots=True)
class NodeRequest:
    """Somebody who holds these keys asks to be this aggregator of this region."""

    region: str
    name: str
    key: PublicKey
    """For records, checkpoints, receipts."""
    consensus_key: ValidatorKey | None
    """For votes; None for a node that has no engine of its own."""


def request_of_node(*, region: str, name: str, key: SigningKey, consensus: ValidatorSigner | None) -> bytes:
    """The request of a node, as text for a file."""
    vote, voucher = None, None
    if consensus is not None:
        vote = consensus.public_key.point
        voucher = consensus.sign(voucher_bytes(region, name, key.public_key, consensus.public_key))
    payload = encode({1: region, 2: name, 3: key.public_key.point, 4: vote, 5: voucher})
    envelope = seal(key, region=region, type_=MessageType.NODE_REQUEST, payload=payload)
    lines = textwrap.wrap(base64.b64encode(envelope).decode("ascii"), 64)
    return "\n".join([_BEGIN, *lines, _END, ""]).encode()


def voucher_bytes(region: str, name: str, key: PublicKey, consensus_key: ValidatorKey) -> bytes:
    """What a consensus key signs: that it votes for this key, of this name, in this region, and nothing else."""
    return encode([VOUCHER, region, name, key.point, consensus_key.point])


def is_node_request(data: bytes) -> bool:
    """Whether a file says of itself that it is the request of a node."""
    return data.lstrip().startswith(_BEGIN.encode())


def read_node_request(data: bytes) -> NodeRequest:
    """Read a request, and see that both of its keys have signed it.

    Raises:
        EncodingError: not the request of a node.
        SignatureError: one of the keys has not signed it.
    """
    envelope = Envelope.parse(_unwrap(data), size_max=NODE_REQUEST_BYTES_MAX)
    if envelope.type != MessageType.NODE_REQUEST:
        raise EncodingError(f"node request: an envelope of type {envelope.type}")
    fields = fields_of(decode(envelope.payload, size_max=NODE_REQUEST_BYTES_MAX), (1, 2, 3, 4, 5), "node request")
    request = NodeRequest(
        region=name(fields[1], "region"),
        name=name(fields[2], "name"),
        key=read_key(fields[3]),
        consensus_key=optional(fields[4], _read_consensus_key, "consensus key"),
    )
    voucher = optional(
        fields[5], lambda value, what: octets(value, what, VOUCHER_BYTES), "signature of the consensus key"
    )
    if (voucher is None) != (request.consensus_key is None):
        raise EncodingError("node request: a consensus key with its signature, or neither")
    if envelope.key_id != request.key.thumbprint:
        raise SignatureError("the request is not signed with the key that it names")
    envelope.verify(request.key, request.region)
    if request.consensus_key is not None and voucher is not None:
        statement = voucher_bytes(request.region, request.name, request.key, request.consensus_key)
        request.consensus_key.verify(voucher, statement)
    return request


def _read_consensus_key(value: Value, what: str) -> ValidatorKey:
    return ValidatorKey(octets(value, what, VALIDATOR_KEY_BYTES))


def _unwrap(data: bytes) -> bytes:
    if len(data) > NODE_REQUEST_BYTES_MAX:
        raise EncodingError(f"node request: more than {NODE_REQUEST_BYTES_MAX} bytes")
    try:
        first, *lines, last = data.decode("ascii").strip().splitlines()
        if (first.strip(), last.strip()) != (_BEGIN, _END):
            raise EncodingError(f"not the request of a node: it stands between {_BEGIN} and {_END}")
        return base64.b64decode("".join(map(str.strip, lines)), validate=True)
    except (ValueError, binascii.Error) as error:
        raise EncodingError("not the request of a node: no base64 in lines") from error
