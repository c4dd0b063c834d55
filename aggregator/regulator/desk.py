"""What a regulator does, beside founding: admits gateways, gives them other keys, revokes, corrects, and certifies.

It reads the ledger's file and speaks through the node's broker, as a gateway does: its records are one hash-linked
sequence, and the next number is read from the ledger. Signing is deterministic, so a command that is repeated before
the node has taken the record signs the same bytes again; another command has to wait for that one (see `runner`), so
there are never two records with one number. Aggregators are in `nodes`. Reads no clock.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Final

from aggregator.chains.admission.evidence import acquittal
from aggregator.chains.admission.membership import Admission, Ended, Revocation
from aggregator.chains.metering.correction import Correction, Delta
from aggregator.ledger.record import Author, Role
from aggregator.regulator.correcting import deltas_of
from aggregator.regulator.rehearsal import rehearse
from aggregator.service.query import LedgerFile
from aggregator.service.sqlite_port import LOCK_NAME
from config import lock
from config.admission import AdmissionSlip
from config.settings.aggregator import AggregatorSettings
from protocol.certificates import Authority, Request, issue, revocation_list
from protocol.crypto import SigningKey, fingerprint
from protocol.envelope import seal
from protocol.errors import EsteError, OperatorError
from protocol.evidence import Evidence, evidence_of
from protocol.link import Link
from protocol.messages import MessageType
from protocol.refusals import RefusalCode
from protocol.topics import Kind, Topic

FINGERPRINT_DIGITS: Final = 32
"""As many hexadecimal digits as `protocol.crypto.fingerprint` shows."""

CERTIFICATE_LASTS: Final = timedelta(days=825)

Payload = Callable[[Link], bytes]


class RegulatorError(EsteError):
    """What the regulator asks for cannot be, or has not come about."""


class State(StrEnum):
    """How a member, or somebody who could be one, stands."""

    LIVE = "live"
    REVOKED = "revoked"
    REPLACED = "replaced"
    ROTATED = "rotated"
    EQUIVOCATED = "equivocated"
    """Its holder signed what cannot both be honest; the evidence is on the asset chain."""
    NOT_ENROLLED = "not enrolled"
    """The grid names this gateway, and it has no live key."""


@dataclass(frozen=True, slots=True)
class MemberView:
    """One key of the register, or a gateway that has none."""

    name: str
    role: str
    key: str
    """Fingerprint; empty where there is no key."""
    state: State
    until_block: int | None
    """The last block in which the key counted."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """A record that waits to be published and to appear in the ledger."""

    sequence: int
    envelope: bytes
    topic: str


class Regulator:
    """The regulator of one region, in front of its ledger."""

    def __init__(self, settings: AggregatorSettings) -> None:
        """Read the state as of the last block.

        Raises:
            OperatorError: there is no ledger, or it is another region's.
        """
        self._settings = settings
        self._ledger = LedgerFile(settings.data)
        self.five = self._ledger.five
        """As of the last block, as all that is read here."""
        self.asset = self.five.asset
        self.region: str = self._ledger.five.ledger.region
        if self.region != settings.region:
            raise OperatorError(settings.data, "", f"the ledger of {settings.region}", f"that of {self.region}")

    def close(self) -> None:
        """Let go of the ledger's file."""
        self._ledger.close()

    @property
    def height(self) -> int:
        """Of the last block in the ledger, now."""
        head = self._ledger.store.last_block()
        return head.height if head else 0

    # -- Who is there.

    def members(self) -> list[MemberView]:
        """Every key that was ever admitted, and every gateway that has none, in the order of their names."""
        views = [
            MemberView(
                author.name, author.role.name.lower(), fingerprint(author.key.thumbprint), _state(ended),
                ended.height if ended else None,
            )
            for author, ended in self.asset.membership.all()
        ]  # fmt: skip
        views += [MemberView(name, "gateway", "", State.NOT_ENROLLED, None) for name in self._ledger.not_enrolled()]
        return sorted(views, key=lambda view: (view.name, view.until_block or 0))

    def member(self, name: str) -> Author | None:
        """The member of this name, with its live key."""
        return self.asset.membership.live_of(name)

    def check_request(self, request: Request) -> None:
        """See that a request is for a gateway of this region.

        Raises:
            RegulatorError: it is not.
        """
        if request.region != self.region:
            raise RegulatorError(f"the request is for region {request.region}, this is {self.region}")
        gateways = self.asset.region.grid.gateways
        if request.gateway not in gateways:
            named = ", ".join(gateways)
            raise RegulatorError(f"no meter or device of the grid hangs on {request.gateway}; it names {named}")

    def aggregator(self) -> Author:
        """The aggregator whose receipts and statements an admitted gateway is to believe: this node, as admitted.

        Raises:
            RegulatorError: the asset chain knows no live key of an aggregator of this node's name.
        """
        node = self.member(self._settings.name)
        if node is None or node.role is not Role.AGGREGATOR:
            known = ", ".join(author.name for author in self.asset.members(Role.AGGREGATOR))
            raise RegulatorError(
                f"{self._settings.name} is no aggregator of the region, {known} is: see `name` in aggregator.yaml"
            )
        return node

    def believed(self) -> list[Author]:
        """The aggregators whose word an admitted gateway is to weigh: all that vote, or this node where nobody does.

        A node that follows without a vote is not among them: it may be away for long, and gateways wait for a part of
        those that they know.

        Raises:
            RegulatorError: see `aggregator`.
        """
        here, votes = self.aggregator(), self.asset.validators()
        return [node for node in self.asset.members(Role.AGGREGATOR) if node.name in votes] or [here]

    # -- Records.

    def admission(self, request: Request, key: SigningKey, *, replace: bool) -> Sealed | None:
        """Sign the admission of a gateway; None if it is admitted with this very key already.

        Raises:
            RegulatorError: the name is taken and is not to be replaced, or `key` is not the regulator's.
        """
        self.check_request(request)
        self.aggregator()
        return self.admit(Author(request.gateway, Role.GATEWAY, request.key), key, replace=replace)

    def admit(self, member: Author, key: SigningKey, *, replace: bool) -> Sealed | None:
        """Sign the admission of a member in any role; None if it is admitted with this very key already.

        Raises:
            RegulatorError: the name is taken and is not to be replaced, or `key` is not the regulator's.
        """
        present = self.member(member.name)
        if present is not None and present.key == member.key:
            return None
        if present is not None and not replace:
            known = fingerprint(present.key.thumbprint)
            raise RegulatorError(f"{member.name} is admitted with the key {known}: say --replace to end that one")
        replaces = present.key.thumbprint if present else None
        return self.seal(lambda link: Admission(link, member, replaces).encode(), MessageType.ADMISSION, key)

    def revocation(self, name: str, reason: str, key: SigningKey) -> Sealed:
        """Sign the revocation of a member's live key.

        Raises:
            RegulatorError: nobody of that name has one, or `key` is not the regulator's.
        """
        member = self.member(name)
        if member is None:
            raise RegulatorError(f"nobody by the name {name} has a live key: see este-aggregator regulator members")
        key_id = member.key.thumbprint
        return self.seal(lambda link: Revocation(link, key_id, reason).encode(), MessageType.REVOCATION, key)

    def accusation(self, one: bytes, other: bytes, key: SigningKey) -> Sealed:
        """Sign evidence: two envelopes of one key that cannot both be honest.

        Raises:
            RegulatorError: they prove nothing, the key has ended already, or `key` is not the regulator's.
        """
        found = evidence_of(one, other)
        if found is None:
            raise RegulatorError("these are not two envelopes of one key that say different things")
        why_not = acquittal(found, self.asset.membership, self.region)
        if why_not is not None:
            raise RegulatorError(f"this proves nothing: {why_not}")
        if self.asset.author_of(found[0].key_id) is None:
            raise RegulatorError(f"the key {fingerprint(found[0].key_id)} has ended already")
        return self.seal(lambda link: Evidence(link, *found).encode(), MessageType.EVIDENCE, key)

    def correction(
        self, meter: str, span: tuple[int, int], times: Decimal, reason: str, key: SigningKey
    ) -> tuple[Sealed, tuple[Delta, ...]]:
        """Sign a correction: a meter's energy times a factor, in the intervals that begin in a span of UTC.

        Raises:
            CorrectionError: there is nothing to correct, or too much at once.
            RegulatorError: `key` is not the regulator's.
        """
        deltas = deltas_of(self._ledger, meter, *span, times)
        sealed = self.seal(lambda link: Correction(link, meter, deltas, reason).encode(), MessageType.CORRECTION, key)
        return sealed, deltas

    def check_running(self) -> None:
        """See that a node is there to take a record.

        Raises:
            OperatorError: none runs on this ledger.
        """
        if not lock.is_held(self._settings.data / LOCK_NAME):
            expected = "a node that runs on this ledger and takes the record: este-aggregator run"
            raise OperatorError(self._settings.data, "", expected, "none")

    def is_taken(self, sealed: Sealed) -> bool:
        """Whether the record stands in the ledger, so that it counts from the next block on.

        Raises:
            RegulatorError: it was refused, or another record got its number.
        """
        entry = self._ledger.store.entry_of(self._name, sealed.sequence)
        if entry is None:
            return False
        if entry.envelope != sealed.envelope:
            raise RegulatorError("the regulator's key was used elsewhere meanwhile: look at the members, and try again")
        if entry.code:
            raise RegulatorError(f"the ledger refuses it: {RefusalCode(entry.code).name}")
        return True

    # -- What is handed out.

    def slip(self, request: Request, certificate: bytes | None) -> AdmissionSlip:
        """What an admitted gateway needs. Open the ledger anew after the admission has been taken."""
        last = self._ledger.five.ledger.last_record(request.gateway)
        return AdmissionSlip(
            region=self.region,
            gateway=request.gateway,
            key_id=request.key.thumbprint.hex(),
            sequence=last.sequence,
            previous=last.digest.hex(),
            aggregator_key="".join(node.key.to_pem() for node in self.believed()),
            certificate=certificate.decode("ascii") if certificate else None,
        )

    def revoked_certificates(self, authority: Authority, now: datetime) -> bytes:
        """The list of certificates that the broker must not accept: those of every key that has ended."""
        ended = sorted(a.key.thumbprint for a, end in self.asset.membership.all() if end is not None)
        return revocation_list(authority, ended, now=now)

    @property
    def _name(self) -> str:
        return self.asset.region.genesis.regulator.name

    def seal(self, payload: Payload, type_: MessageType, key: SigningKey) -> Sealed:
        """Sign the regulator's next record, once it is seen that the ledger would take it.

        Raises:
            RegulatorError: `key` is not the regulator's.
            WouldBeRefusedError: a rule says no.
        """
        author = self.asset.author_of(key.public_key.thumbprint)
        if author is None or author.role is not Role.REGULATOR:
            wanted = fingerprint(self.asset.region.genesis.regulator.key.thumbprint)
            raise RegulatorError(f"the key is not the regulator's of {self.region}, whose fingerprint is {wanted}")
        last = self._ledger.five.ledger.last_record(author.name)
        link = Link(self.region, author.name, last.sequence + 1, last.digest)
        envelope = seal(key, region=self.region, type_=type_, payload=payload(link))
        rehearse(self._ledger.five, envelope)
        return Sealed(link.sequence, envelope, str(Topic(self.region, author.name, Kind.RECORD)))


def certificate_for(request: Request, authority: Authority, now: datetime) -> bytes:
    """The TLS client certificate of an admitted gateway, for the key that it signs with."""
    return issue(request, authority, now=now, lasts=CERTIFICATE_LASTS)


def is_fingerprint_of(key_id: bytes, told: str) -> bool:
    """Whether somebody read out this key's fingerprint, however they grouped the digits."""
    digits = "".join(told.split()).replace(":", "").lower()
    return digits == key_id.hex()[:FINGERPRINT_DIGITS]


def _state(ended: Ended | None) -> State:
    if ended is None:
        return State.LIVE
    return State[ended.cause.name]
