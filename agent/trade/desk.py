"""The desk where offers are dealt with: carries out what was ordered, weighs what comes, sends what is due.

Works on the outbox file, in the thread that has it, and hands back what is to be sent and which records were signed.
What may follow what is in `offers`, how letters are written and read in `letters`. Everything may be done again: a
letter that comes twice is answered twice and changes nothing, and what nobody has answered is sent again. Is given the
time and the participants behind this gateway.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from typing import Final

from agent.log import Log
from agent.outbox.books import Books
from agent.trade.book import OFFERS_KEPT_MAX, TradeBook, Verb, Wish
from agent.trade.letters import Pen, Proposal
from agent.trade.mailbag import Done, Sent
from agent.trade.offers import LIVE, NEXT_STAGE, REPLY_OF, STEP_OF, Offer, Stage, Step, judge, other_side
from protocol.agreement import Agreement, Dispute, Termination, seal_offer
from protocol.answer import Answer, Reply
from protocol.crypto import fingerprint
from protocol.envelope import Envelope, seal
from protocol.errors import MessageError
from protocol.link import Link
from protocol.messages import MessageType, Refusal, Statement
from protocol.partners import Card, Delivery, Partner, SealingKeyRecord
from protocol.refusals import RefusalCode, Refused
from protocol.sealed import SealingKey
from protocol.topics import Kind

ANSWER_GOOD_MS: Final = 3_600_000
"""How long nodes may take to pass on an answer."""

_APPEALS: Final[Mapping[Verb, tuple[MessageType, type[Termination | Dispute]]]] = {
    Verb.END: (MessageType.TERMINATION, Termination),
    Verb.DISPUTE: (MessageType.DISPUTE, Dispute),
}

log = Log("trade")


class TradeDesk:
    """Everything between this gateway's participants and those of others."""

    def __init__(self, books: Books, pen: Pen, box: Callable[[], SealingKey | None]) -> None:
        """`box` opens our letters, if there is such a key yet."""
        self._books = books
        self._book = TradeBook(books.file)
        self._pen = pen
        self._box = box
        self._offers = {offer.number: offer for offer in self._book.offers()}
        self._sent = Sent()

    def tick(self, unix_ms: int, done: Done | None = None) -> Done:
        """Carry out what was ordered, end what has expired, and send what is due.

        Whoever brings a `done` finds in it what was done before an error, too.

        Raises:
            KeyUnavailable: the key does not sign now; what was ordered waits.
            StorageError: the disk takes nothing more; likewise.
        """
        done = Done() if done is None else done
        while (found := self._book.next_wish()) is not None:
            self._carry_out(*found, done, unix_ms)
        for offer in list(self._offers.values()):
            if offer.stage in LIVE and offer.terms.expires_ms <= unix_ms:
                self._move(offer, Step.EXPIRE)
        for offer in list(self._offers.values()):
            if offer.is_due(unix_ms):
                self._send(offer, done, unix_ms)
        return done

    def hear(self, word: Card | Delivery | Refusal, ours: Collection[str] | None, unix_ms: int) -> Done:
        """Deal with what the nodes say; `ours` are the participants behind us, if a statement has told them.

        Raises:
            MessageError: it is none of our business, or not what it should be.
            KeyUnavailable: the key does not sign now; whoever wrote writes again.
            StorageError: the disk takes nothing more.
        """
        done = Done()
        match word:
            case Card():
                self._card(word, done, unix_ms)
            case Refusal():
                self._refused(word)
            case Delivery():
                self._delivery(word, ours, done, unix_ms)
        return done

    def stated(self, statement: Statement) -> None:
        """Take note of the contracts that a statement tells of: what the nodes say counts, whatever was answered.

        Raises:
            StorageError: the disk takes nothing more.
        """
        for standing in statement.standings:
            for news in standing.contracts:
                if (offer := self._offers.get(news.contract)) is not None:
                    self._move(offer, Step.STATE, statement.height)

    def awaits(self, sequence: int) -> bool:
        """Whether a record of ours agrees to an offer."""
        return any(offer.sequence == sequence for offer in self._offers.values() if offer.stage is Stage.AGREED)

    def recorded(self, sequence: int, step: Step, detail: int, reason: str, unix_ms: int) -> Done:
        """Our record by this number is on the chain (`Step.RECORD`, in the block `detail`), or refused with a code."""
        done = Done()
        for offer in list(self._offers.values()):
            if offer.sequence == sequence and not offer.is_ours:
                self._tell(self._move(offer, step, detail, reason), done, unix_ms)
        return done

    # -- What was ordered here.

    def _carry_out(self, place: int, wish: Wish, done: Done, unix_ms: int) -> None:
        try:
            match wish.verb:
                case Verb.OPEN:
                    self._publish(place, done)
                case Verb.OFFER:
                    self._keep([self._ours(wish)], place=place)
                case Verb.COUNTER:
                    answered = self._decide(wish, Step.COUNTER, unix_ms)
                    self._keep([answered, self._ours(wish, answered.gateway)], place=place)
                case Verb.ACCEPT:
                    accepted = self._decide(wish, Step.ACCEPT, unix_ms)
                    self._agree(accepted, place, done)
                    self._tell(self._offers[accepted.number], done, unix_ms)
                case Verb.DECLINE:
                    declined = replace(self._decide(wish, Step.DECLINE, unix_ms), reason=wish.reason)
                    self._keep([declined], place=place)
                    self._tell(declined, done, unix_ms)
                case Verb.END | Verb.DISPUTE:
                    self._appeal(place, wish, done)
        except MessageError as error:
            log.warning("an order about an offer is void", order=wish.verb.value, reason=str(error))
            self._keep([], place=place)

    def _publish(self, place: int, done: Done) -> None:
        """Sign the record by which others learn how to write to us."""
        box = self._box()
        if box is None:
            raise MessageError("there is no sealing key")
        key = box.public_key
        self._record(place, MessageType.SEALING_KEY, lambda link: SealingKeyRecord(link, key).encode(), done)

    def _appeal(self, place: int, wish: Wish, done: Done) -> None:
        """Sign the record by which one of ours ends a contract early, or disputes what was measured."""
        offer = self._offers.get(wish.number)
        if offer is None or offer.stage not in (Stage.AGREED, Stage.RECORDED):
            raise MessageError(f"{wish.number.hex()[:16]} is no contract of ours")
        ours, (type_, kind) = offer.participant, _APPEALS[wish.verb]
        self._record(place, type_, lambda link: kind(link, wish.number, ours, wish.reason).encode(), done)

    def _record(self, place: int, type_: MessageType, payload: Callable[[Link], bytes], done: Done) -> None:
        """Sign what was ordered as our next record."""
        with self._books.file.transaction(durable=True):
            done.entries.append(self._books.append(payload, self._seal(type_)))
            self._book.drop_wish(place)
        log.info("record signed", type=type_.value, sequence=done.entries[-1].sequence)

    def _agree(self, offer: Offer, place: int, done: Done) -> None:
        """Sign the record that makes the contract."""

        def payload(link: Link) -> bytes:
            return Agreement.to(link, offer.envelope).encode()

        with self._books.file.transaction(durable=True):
            entry = self._books.append(payload, self._seal(MessageType.AGREEMENT))
            agreed = replace(offer, sequence=entry.sequence)
            self._book.keep(agreed)
            self._book.drop_wish(place)
        self._offers[agreed.number] = agreed
        done.entries.append(entry)
        log.info("agreement signed", number=agreed.number.hex(), sequence=entry.sequence)

    def _ours(self, wish: Wish, gateway: str = "") -> Offer:
        assert wish.terms is not None, "whoever offers says what"
        envelope = seal_offer(wish.terms, self._pen.key)
        return Offer(
            terms=wish.terms,
            envelope=envelope,
            is_ours=True,
            stage=Stage.WANTED,
            partner=wish.partner,
            gateway=gateway,
        )

    def _decide(self, wish: Wish, step: Step, unix_ms: int) -> Offer:
        """An offer of somebody else after our decision.

        Raises:
            MessageError: it does not wait for one.
        """
        offer = self._offers.get(wish.number)
        if offer is None or offer.stage is not Stage.OPEN or offer.terms.expires_ms <= unix_ms:
            raise MessageError(f"no offer {wish.number.hex()[:16]} waits for a decision")
        return replace(offer, stage=NEXT_STAGE[offer.stage, step])

    # -- What others say.

    def _card(self, card: Card, done: Done, unix_ms: int) -> None:
        """Write to whomever waits for this card."""
        if card.partner.gateway == self._pen.gateway:
            raise MessageError(f"{card.participant} is behind this gateway: nothing is sent to oneself")
        self._meet(card.partner)
        for offer in list(self._offers.values()):
            if offer.stage is Stage.WANTED and offer.partner == card.participant:
                self._send(replace(offer, gateway=card.partner.gateway, times=0), done, unix_ms)

    def _refused(self, refusal: Refusal) -> None:
        """Nodes do not pass a letter on, or know nobody to write to."""
        offer = self._offers.get(self._sent.offer_of(refusal.digest))
        if offer is None or refusal.code is RefusalCode.TOO_MANY_LETTERS:
            return
        if refusal.code is RefusalCode.SEALED_TO_OTHER_KEY and offer.is_ours:
            self._move(replace(offer, gateway="", times=0), Step.ASK_AGAIN)
            return
        log.warning("letter refused", number=offer.number.hex(), code=refusal.code.name, detail=refusal.detail)
        if offer.is_ours:
            self._move(offer, Step.REFUSE, refusal.code.value, refusal.detail)

    def _delivery(self, delivery: Delivery, ours: Collection[str] | None, done: Done, unix_ms: int) -> None:
        box = self._box()
        if box is None or ours is None:
            raise MessageError("nothing can be read before there is a sealing key and a statement")
        content = self._pen.read(delivery, box)
        self._meet(delivery.sender)
        if isinstance(content, Proposal):
            self._proposal(content, delivery.sender, ours, done, unix_ms)
        else:
            self._answer(content, delivery.sender)

    def _proposal(self, proposal: Proposal, sender: Partner, ours: Collection[str], done: Done, unix_ms: int) -> None:
        """Take an offer in, once; whoever sends it again gets the answer again."""
        terms, number = proposal.terms, proposal.terms.digest
        known = self._offers.get(number)
        if known is not None and not known.is_ours and known.gateway == sender.gateway:
            self._tell(known, done, unix_ms)
            return
        answered = self._offers.get(terms.answers)
        waiting = [offer.gateway for offer in self._offers.values() if offer.stage is Stage.OPEN]
        try:
            if known is not None:
                raise Refused(RefusalCode.NOT_THEIR_OFFER, "it is another's")
            judge(terms, sender, ours=ours, answered=answered, waiting=waiting, unix_ms=unix_ms)
        except Refused as no:
            log.warning("offer refused", number=number.hex(), code=no.code.name, detail=no.detail)
            self._reply(number, sender.gateway, Reply.REFUSED, no.code.value, no.detail, done, unix_ms)
            return
        sides = other_side(terms, ours)
        assert sides is not None, "it was judged"
        offer = Offer(
            terms=terms,
            envelope=proposal.envelope,
            is_ours=False,
            stage=Stage.OPEN,
            partner=sides[1],
            gateway=sender.gateway,
        )
        countered = [] if answered is None else [replace(answered, stage=NEXT_STAGE[answered.stage, Step.COUNTER])]
        self._keep([*countered, offer])
        log.info("offer received", number=number.hex(), partner=offer.partner)
        self._tell(offer, done, unix_ms)

    def _answer(self, answer: Answer, sender: Partner) -> None:
        """Take note of what has become of an offer of ours."""
        offer = self._offers.get(answer.offer)
        if offer is None or not offer.is_ours or offer.gateway != sender.gateway:
            raise MessageError("it answers nothing that was offered to them")
        self._move(offer, STEP_OF[answer.reply], answer.number, answer.reason)

    # -- What is sent.

    def _send(self, offer: Offer, done: Done, unix_ms: int) -> None:
        """Send an offer of ours; or ask to whom, while nobody has said."""
        if Envelope.parse(offer.envelope).key_id != self._pen.key.public_key.thumbprint:
            offer = replace(
                offer, envelope=seal_offer(offer.terms, self._pen.key)
            )  # of a key that is not ours any more
        partner = self._book.partner(offer.gateway) if offer.gateway else None
        if partner is None or partner.sealing_key is None:
            kind, data = Kind.ASK, self._pen.ask(offer.partner)
        else:
            kind, data = Kind.SEALED, self._pen.write(partner, offer.envelope, offer.terms.expires_ms)
            offer = replace(offer, stage=NEXT_STAGE.get((offer.stage, Step.SEND), offer.stage))
        self._keep([replace(offer, sent_ms=unix_ms, times=offer.times + 1)])
        self._sent.put(kind, data, offer.number, done)

    def _tell(self, offer: Offer, done: Done, unix_ms: int) -> None:
        """Tell whoever made an offer how it stands."""
        if (reply := REPLY_OF.get(offer.stage)) is not None:
            self._reply(offer.number, offer.gateway, reply, offer.detail, offer.reason, done, unix_ms)

    def _reply(
        self, number: bytes, gateway: str, reply: Reply, detail: int, reason: str, done: Done, unix_ms: int
    ) -> None:
        partner = self._book.partner(gateway)
        if partner is not None and partner.sealing_key is not None:
            answer = Answer(self._pen.region, self._pen.gateway, number, reply, detail, reason)
            data = self._pen.write(partner, self._pen.answer(answer), unix_ms + ANSWER_GOOD_MS)
            self._sent.put(Kind.SEALED, data, number, done)

    # -- What is kept.

    def _move(self, offer: Offer, step: Step, detail: int = 0, reason: str = "") -> Offer:
        """An offer after a step; as it was, where the table has no such step."""
        stage = NEXT_STAGE.get((offer.stage, step))
        if stage is None:
            return offer
        moved = replace(offer, stage=stage, detail=detail, reason=reason)
        self._keep([moved])
        log.info("offer", number=offer.number.hex(), stage=stage.name.lower())
        return moved

    def _meet(self, partner: Partner) -> None:
        if self._book.partner(partner.gateway) != partner:
            with self._books.file.transaction():
                self._book.keep_partner(partner)
            log.info("partner", gateway=partner.gateway, key=fingerprint(partner.key.thumbprint))

    def _keep(self, offers: Iterable[Offer], *, place: int | None = None) -> None:
        """Keep offers as they stand now, and drop the wish at `place`, all at once."""
        changed = {offer.number: offer for offer in offers}
        over = [n for n, one in self._offers.items() if one.stage not in LIVE and one.stage is not Stage.AGREED]
        forgotten = over[: max(0, len(self._offers.keys() | changed.keys()) - OFFERS_KEPT_MAX)]
        with self._books.file.transaction(durable=True):
            for offer in changed.values():
                self._book.keep(offer)
            self._book.forget(number for number in forgotten if number not in changed)
            if place is not None:
                self._book.drop_wish(place)
        for number in forgotten:
            del self._offers[number]
        self._offers |= changed

    def _seal(self, type_: MessageType) -> Callable[[bytes], bytes]:
        return lambda payload: seal(self._pen.key, region=self._pen.region, type_=type_, payload=payload)
