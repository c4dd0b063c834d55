"""What closes a ledger block for everybody outside: the signatures over its head, by one node or by many.

    checkpoints   the head in the envelopes of nodes that vouch for it: their checkpoints (local engine)
    commit        a CometBFT header whose app hash is the head's digest, with the validators' votes for it

Under CometBFT the validators vote at height E + 1 on what the application's state was after height E, so their commit
of E + 1 is a cosignature of the ledger head, without anything that is signed twice (docs/adr/0027-*.md).
Verification asks nobody: bytes and a `Quorum` in, the names of those who signed out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from protocol.canonical import Value, decode, encode
from protocol.checkpoint import HEAD_BYTES_MAX, BlockHead
from protocol.cometbft.block import LightBlock
from protocol.cometbft.light import verify_commit
from protocol.cometbft.spelling import LIGHT_BLOCK_BYTES_MAX, decode_light_block, encode_light_block
from protocol.envelope import HEADER_BYTES_MAX, Envelope
from protocol.errors import EncodingError, ProofError, SignatureError
from protocol.fields import items, row, uint
from protocol.messages import MessageType
from protocol.quorum import MEMBERS_MAX, Quorum

CHECKPOINT_BYTES_MAX: Final = HEAD_BYTES_MAX + HEADER_BYTES_MAX + 256
SEAL_BYTES_MAX: Final = max(MEMBERS_MAX * CHECKPOINT_BYTES_MAX, LIGHT_BLOCK_BYTES_MAX) + 256

_CHECKPOINTS, _COMMIT = 1, 2


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """The head in the envelopes of those who vouch for it, as received."""

    envelopes: tuple[bytes, ...]

    def signers(self, quorum: Quorum, head: BlockHead) -> tuple[str, ...]:
        """The members who signed the head. Envelopes of strangers count for nothing, and against nothing.

        Raises:
            EncodingError: not envelopes.
            SignatureError: a member's signature does not fit.
            ProofError: a member signed another head.
        """
        members = {member.node_key.thumbprint: member for member in quorum.members if member.node_key}
        names = []
        for data in self.envelopes:
            envelope = read_checkpoint(data)
            member = members.get(envelope.key_id)
            if member is None or member.node_key is None:
                continue
            if envelope.payload != head.encode():
                raise ProofError(f"{member.name} signed another head than the one that is to be proven")
            envelope.verify(member.node_key, quorum.region)
            names.append(member.name)
        return tuple(names)


@dataclass(frozen=True, slots=True)
class Commit:
    """The commit of the validators over a header that carries the head."""

    block: LightBlock

    def signers(self, quorum: Quorum, head: BlockHead) -> tuple[str, ...]:
        """The members who voted for the header.

        Whoever the quorum consists of, more than two thirds of the header's *own* validators have to have voted for
        it, too: less is a vote, and not yet a decision.

        Raises:
            ProofError: the header does not carry the head, or is not decided, or a vote is not signed.
        """
        header = self.block.header
        if header.chain_id != quorum.region:
            raise ProofError(f"the commit is of the chain {header.chain_id}, not of {quorum.region}")
        if header.app_hash != head.digest:
            raise ProofError(f"the header that was voted for does not carry the head of height {head.height}")
        voted = {validator.key for validator in verify_commit(self.block)}
        return tuple(member.name for member in quorum.members if member.validator_key in voted)


Seal = Checkpoints | Commit


def verify(seal: Seal, quorum: Quorum, head: BlockHead) -> tuple[str, ...]:
    """See that a quorum vouches for a head.

    Returns:
        The names of its members who signed.

    Raises:
        ProofError: too few did, or somebody who has to did not; says who is missing.
        SignatureError: a signature does not fit.
        EncodingError: not a seal.
    """
    if head.region != quorum.region:
        raise ProofError(f"the quorum is of the region {quorum.region}, the head of {head.region}")
    if isinstance(seal, Commit) and not any(member.validator_key for member in quorum.members):
        raise ProofError("this block is sealed by the votes of validators: a quorum with their keys is needed")
    signed = seal.signers(quorum, head)
    quorum.see_that_it_suffices(signed, f"block {head.height}")
    return signed


def encode_seal(seal: Seal) -> bytes:
    """Spell a seal: `seal` in docs/spec/este.cddl."""
    match seal:
        case Checkpoints(envelopes):
            return encode([_CHECKPOINTS, list(envelopes)])
        case Commit(block):
            return encode([_COMMIT, encode_light_block(block)])


def decode_seal(data: bytes) -> Seal:
    """Read a seal. Nothing in it is trusted afterwards.

    Raises:
        EncodingError: not the one spelling of a seal.
        ProofError: a commit whose parts do not belong together.
    """
    kind, body = row(decode(data, size_max=SEAL_BYTES_MAX), "seal", 2)
    if uint(kind, "kind of seal") == _CHECKPOINTS:
        return Checkpoints(tuple(_octets(envelope) for envelope in items(body, "checkpoints", MEMBERS_MAX)))
    if kind == _COMMIT:
        return Commit(decode_light_block(_octets(body)))
    raise EncodingError(f"seal: there is no kind {kind}")


def read_checkpoint(data: bytes) -> Envelope:
    """Take a checkpoint apart: nothing in it is trusted afterwards.

    Raises:
        EncodingError: not the envelope of one.
        SignatureError: an envelope of something else.
    """
    envelope = Envelope.parse(data, size_max=CHECKPOINT_BYTES_MAX)
    if envelope.type != MessageType.CHECKPOINT:
        raise SignatureError(f"an envelope of type {envelope.type!r:.40}, not a checkpoint")
    return envelope


def _octets(value: Value) -> bytes:
    if type(value) is not bytes:
        raise EncodingError(f"seal: expected bytes, got {value!r:.40}")
    return value
