"""Any history of admissions, revocations, rotations, votes and lies: one live key per name, and what ended is ended."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from aggregator.chains.admission.genesis import open_genesis
from aggregator.chains.admission.membership import Admission, Revocation
from aggregator.chains.admission.validators import Validator, ValidatorChange, changed_powers
from aggregator.chains.five import wire
from aggregator.ledger.record import Author, Record, Role
from protocol.crypto import SoftwareKey
from protocol.envelope import Envelope
from protocol.errors import EncodingError
from protocol.evidence import Evidence
from protocol.link import Link
from protocol.messages import MessageType
from protocol.refusals import Refused
from protocol.rotation import rotate
from tests.village import INTERVAL_MS, Village

KEYS = [SoftwareKey.from_secret(secret) for secret in (3, *range(500, 506))]
"""The first is what the village's gateway begins with."""

keys = st.sampled_from(KEYS)
NODES = {"node": SoftwareKey.from_secret(2), "node-2": SoftwareKey.from_secret(510)}

names = st.sampled_from(["gw", "gw-2"])
voters = st.sampled_from(["node", "node-2", "gw"])
votes = st.none() | st.builds(Validator, st.sampled_from([bytes([n]) * 32 for n in range(3)]), st.integers(1, 5))


class Memberships(RuleBasedStateMachine):
    """A regulator, gateways and thieves, each doing whatever comes to mind, in blocks of one or several records."""

    def __init__(self) -> None:
        super().__init__()
        self.village = Village()
        self.waiting: list[Record] = []
        self.once_ended: set[bytes] = set()
        self.told: dict[bytes, int] = {}
        """What an engine knows that was told every change of power: by key."""

    def submit(self, message: Any, type_: MessageType, author: str, key: SoftwareKey) -> None:
        """Sign and queue, if the door lets it in."""
        self.village.keys[author] = key
        try:
            self.waiting.append(self.village.record(self.village.sign(message, type_, author)))
        except Refused:
            asset = self.village.five.asset
            holder = asset.author_of(key.public_key.thumbprint)
            assert holder is None or holder.name != author

    @rule(key=keys, name=names, replaces=st.none() | keys)
    def admit(self, key: SoftwareKey, name: str, replaces: SoftwareKey | None) -> None:
        """The regulator admits somebody."""
        member = Author(name, Role.GATEWAY, key.public_key)
        ended = replaces.public_key.thumbprint if replaces else None
        message = Admission(self.village.link("regulator"), member, ended)
        self.submit(message, MessageType.ADMISSION, "regulator", self.village.keys["regulator"])

    @rule(key=keys)
    def revoke(self, key: SoftwareKey) -> None:
        """The regulator revokes a key."""
        message = Revocation(self.village.link("regulator"), key.public_key.thumbprint, "because")
        self.submit(message, MessageType.REVOCATION, "regulator", self.village.keys["regulator"])

    @rule(name=names, old=keys, new=keys)
    def rotate(self, name: str, old: SoftwareKey, new: SoftwareKey) -> None:
        """Whoever has a key goes over to another."""
        message = rotate(self.village.link(name), old.public_key.thumbprint, new)
        self.submit(message, MessageType.ROTATION, name, old)

    @rule(key=keys)
    def report(self, key: SoftwareKey) -> None:
        """Whoever has a key reports readings as the gateway."""
        batch = self.village.a_batch()
        self.village.now_ms += INTERVAL_MS
        self.submit(batch, MessageType.BATCH, "gw", key)

    @rule(replaces=st.booleans())
    def admit_node(self, replaces: bool) -> None:
        """The regulator admits a second node, or gives it another key."""
        key = KEYS[-1] if replaces else NODES["node-2"]
        ended = NODES["node-2"].public_key.thumbprint if replaces else None
        message = Admission(self.village.link("regulator"), Author("node-2", Role.AGGREGATOR, key.public_key), ended)
        self.submit(message, MessageType.ADMISSION, "regulator", self.village.keys["regulator"])

    @rule(name=st.sampled_from(sorted(NODES)))
    def revoke_node(self, name: str) -> None:
        """The regulator revokes a node's key."""
        message = Revocation(self.village.link("regulator"), NODES[name].public_key.thumbprint, "because")
        self.submit(message, MessageType.REVOCATION, "regulator", self.village.keys["regulator"])

    @rule(name=voters, validator=votes)
    def vote(self, name: str, validator: Validator | None) -> None:
        """The regulator gives a vote, or takes it."""
        message = ValidatorChange(self.village.link("regulator"), name, validator)
        self.submit(message, MessageType.VALIDATOR, "regulator", self.village.keys["regulator"])

    @rule(key=keys, name=names, is_lie=st.booleans())
    def accuse(self, key: SoftwareKey, name: str, is_lie: bool) -> None:
        """The regulator brings two batches of one key, with one number or with two."""
        batch = self.village.a_batch(link=self.village.link(name, sequence=7))
        other = replace(batch, link=replace(batch.link, sequence=7 + (not is_lie)), boot_id=bytes(16))
        self.village.keys[name] = key
        pair = [Envelope.parse(self.village.sign(one, MessageType.BATCH, name)) for one in (batch, other)]
        first, second = sorted(pair, key=lambda envelope: envelope.digest)
        message = Evidence(self.village.link("regulator"), first, second)
        self.submit(message, MessageType.EVIDENCE, "regulator", self.village.keys["regulator"])

    @rule()
    def close(self) -> None:
        """Close a block of what waits, as far as it fits."""
        village = self.village
        before = {author.key.thumbprint for author in village.five.asset.membership.live()}
        votes_before = village.five.asset.validators()
        chosen, refused = village.five.ledger.propose(self.waiting)
        for refusal in refused:
            village._links[refusal.record.author.name] = self.last(refusal.record.author.name)
        block = village.close(chosen)
        assert {outcome.record.envelope.key_id for outcome in block.outcomes} <= before
        for record in chosen:
            village._links[record.author.name] = self.last(record.author.name)
        after = {author.key.thumbprint for author in village.five.asset.membership.live()}
        self.once_ended |= before - after
        self.tell_engine(changed_powers(votes_before, village.five.asset.validators()))
        self.waiting = []

    def tell_engine(self, updates: list[tuple[bytes, int]]) -> None:
        """What CometBFT does with updates: a key twice, the end of a stranger or of everybody would halt it."""
        assert len({key for key, _ in updates}) == len(updates)
        for key, power in updates:
            if power:
                self.told[key] = power
            else:
                del self.told[key]
        assert self.told or not updates

    def last(self, author: str) -> tuple[int, bytes]:
        """How far an author's sequence has come on the ledger."""
        last = self.village.five.ledger.last_record(author)
        return last.sequence, last.digest

    @invariant()
    def one_live_key_per_name(self) -> None:
        """Never two."""
        live = [author.name for author in self.village.five.asset.membership.live()]
        assert len(live) == len(set(live))

    @invariant()
    def the_index_says_what_the_tables_say(self) -> None:
        """Also after a block that was taken back."""
        register = self.village.five.asset.membership
        scanned = [author for author, ended in register.all() if ended is None]
        assert register.live() == scanned
        assert [register.live_of(author.name) for author in scanned] == scanned

    @invariant()
    def the_engine_knows_the_votes_that_the_chain_knows(self) -> None:
        """Told the differences only."""
        votes_now = self.village.five.asset.validators().values()
        assert self.told == {validator.key: validator.power for validator in votes_now}

    @invariant()
    def what_ended_never_comes_back(self) -> None:
        """Not by admission, nor by rotation."""
        asset = self.village.five.asset
        assert all(asset.author_of(key_id) is None for key_id in self.once_ended)
        assert all(asset.membership.holder_of(key_id) is not None for key_id in self.once_ended)

    def teardown(self) -> None:
        """Whoever replays the blocks from genesis comes to the same heads, with every signature checked again."""
        self.close()
        other = wire("village", self.village.physics)
        for block in self.village.blocks:
            data = [outcome.record.envelope.data for outcome in block.outcomes]
            records = [other.ledger.check(one) if other.ledger.height else open_genesis(one) for one in data]
            assert other.ledger.finalize(block.head.time_ms, records).head == block.head
            other.ledger.commit()


TestMemberships = Memberships.TestCase
TestMemberships.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


# -- the bytes of these records

links = st.builds(
    Link, st.just("village"), st.just("regulator"), st.integers(1, 2**63 - 1), st.binary(min_size=32, max_size=32)
)
digests = st.binary(min_size=32, max_size=32)
any_name = st.from_regex(r"[a-z0-9]([a-z0-9_.-]{0,62}[a-z0-9])?", fullmatch=True).filter(
    lambda name: name != "aggregator"
)
authors = st.builds(
    Author, any_name, st.sampled_from([Role.AGGREGATOR, Role.GATEWAY]), keys.map(lambda k: k.public_key)
)
messages = st.one_of(
    st.builds(Admission, links, authors, st.none() | digests),
    st.builds(Revocation, links, digests, st.text(max_size=300)),
    st.builds(rotate, links, digests, keys),
    st.builds(ValidatorChange, links, any_name, votes),
)


@given(messages)
def test_a_record_of_membership_survives_being_written_and_read(message: Any) -> None:
    assert type(message).decode(message.encode()) == message


@given(messages, st.data())
def test_a_changed_byte_makes_another_record_or_none(message: Any, data: st.DataObject) -> None:
    payload = message.encode()
    place, bit = data.draw(st.integers(0, len(payload) - 1)), data.draw(st.integers(0, 7))
    changed = payload[:place] + bytes([payload[place] ^ 1 << bit]) + payload[place + 1 :]
    with suppress(EncodingError):
        other = type(message).decode(changed)
        assert other != message and other.encode() == changed


@given(messages, st.binary(max_size=300))
def test_rubbish_is_no_record_of_membership(message: Any, rubbish: bytes) -> None:
    with pytest.raises(EncodingError):
        type(message).decode(rubbish)
