"""Whatever others pay: nothing is lost, nobody overtakes themselves, every block shows its order, nobody starves."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.economy.accounts import Movement, MovementKind, effect_of, pay, receive
from aggregator.economy.bids import Bid
from aggregator.engine.local import LocalEngine
from aggregator.engine.order import STARVED_AFTER, broken_order, in_order
from aggregator.ledger.record import Record, Role
from config.settings.aggregator import Blocks
from protocol.crypto import digest_of
from protocol.link import NO_RECORD, Link


def a_record(name: str, sequence: int, fee: int, role: Role = Role.GATEWAY) -> Record:
    envelope = SimpleNamespace(digest=digest_of(f"{name}/{sequence}/{fee}".encode()))
    author = SimpleNamespace(name=name, role=role)
    link = Link("village", name, sequence, NO_RECORD)
    return cast(
        Record, SimpleNamespace(author=author, link=link, fee=fee, message=SimpleNamespace(fee=fee), envelope=envelope)
    )


def bid_of(record: Any) -> Bid:
    """Everybody can pay everything."""
    return Bid(record.author.name, record.fee, record.fee, 1 << 60)


def poor_bid_of(record: Any) -> Bid:
    """Everybody pays from one account, which holds 20."""
    return Bid("everybody", record.fee, record.fee, 20)


pending = st.lists(
    st.tuples(st.sampled_from("abcde"), st.integers(0, 9), st.integers(0, 2 * STARVED_AFTER)), max_size=25
)
roles = st.fixed_dictionaries({name: st.sampled_from(Role) for name in "abcde"})


@given(pending, roles, st.sampled_from([bid_of, poor_bid_of]), st.data())
def test_every_beginning_of_an_order_is_in_order_by_itself(
    waiting: list[tuple[str, int, int]], role: dict[str, Role], bids: Any, data: st.DataObject
) -> None:
    numbers: dict[str, int] = {}
    records, waited = [], []
    for name, fee, blocks in waiting:
        numbers[name] = numbers.get(name, 0) + 1
        records.append(a_record(name, numbers[name], fee, role[name]))
        waited.append(blocks)
    places = list(in_order(records, waited, bids))
    assert sorted(places) == list(range(len(records)))
    taken = places[: data.draw(st.integers(0, len(places)))]
    assert broken_order([records[n] for n in taken], [waited[n] for n in taken], bids) is None


class AnyLedger:
    """Takes every record whose number comes next, and keeps what it is given."""

    def __init__(self) -> None:
        self.last: dict[str, int] = {}
        self.blocks: list[tuple[list[Record], list[int]]] = []

    def propose(self, records: list[Record]) -> tuple[list[Record], list[Any]]:
        heads, fit, refused = dict(self.last), [], []
        for record in records:
            name, number = record.author.name, record.link.sequence
            if number == heads.get(name, 0) + 1:
                heads[name] = number
                fit.append(record)
            else:
                refused.append(SimpleNamespace(record=record))
        return fit, refused

    def finalize(self, time_ms: int, records: list[Record], waited: list[int]) -> Any:
        self.blocks.append((records, waited))
        self.last |= {record.author.name: record.link.sequence for record in records}

    def commit(self) -> None:
        pass


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 4),
    st.integers(1, 12),
    st.lists(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 50)), max_size=8), max_size=60),
    st.booleans(),
)
def test_a_record_is_in_a_block_before_long_whatever_fees_others_pay(
    entries_max: int, pending_max: int, arrivals: list[list[tuple[str, int]]], has_own: bool
) -> None:
    ledger = AnyLedger()
    engine = LocalEngine(
        cast(Any, ledger), Blocks(entries_max=entries_max), pending_max, keep=lambda block: None, bid_of=bid_of
    )
    bound = STARVED_AFTER + -(-pending_max // entries_max)
    sent: dict[str, int] = {}
    came: dict[bytes, int] = {}
    flood = [(f"rich-{n}", 10**6) for n in range(5)]
    for height, arriving in enumerate([*arrivals, *[flood] * bound]):
        for name, fee in arriving:
            record = a_record(name, sent.get(name, 0) + 1, fee)
            if engine.submit(record, 0):
                sent[name] = record.link.sequence
                came[record.envelope.digest] = height
        own = a_record("node", height + 1, 0, Role.AGGREGATOR) if has_own else None
        engine.close_block(0, own)
        records, waited = ledger.blocks[-1]
        assert broken_order(records, waited, bid_of) is None
        for record in records:
            if record.author.name != "node":
                assert height - came.pop(record.envelope.digest) < bound
        assert all(height - since < bound for since in came.values())


def test_the_bound_is_too_wide_by_one_block_at_most() -> None:
    ledger = AnyLedger()
    engine = LocalEngine(cast(Any, ledger), Blocks(entries_max=2), 6, keep=lambda block: None, bid_of=bid_of)
    poor = [a_record(f"p{n}", 1, 0) for n in range(6)]
    for record in poor[:4]:
        engine.submit(record, 0)
    blocks_of_the_last = None
    for height in range(STARVED_AFTER + 3):
        for n in range(2):
            engine.submit(a_record(f"rich-{height}-{n}", 1, 9), 0)
        engine.close_block(0)
        if any(record is poor[3] for record in ledger.blocks[-1][0]):
            blocks_of_the_last = height + 1
    assert blocks_of_the_last == STARVED_AFTER + 2  # four records and two by two


transfers = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from("abc"), st.integers(1, 200), st.integers(0, 50)), max_size=30
)


@given(transfers, st.dictionaries(st.sampled_from("abc"), st.integers(-100, 300)), st.integers(300, 400))
def test_no_token_is_lost_or_made_on_the_way(
    moves: list[tuple[str, str, int, int]], start: dict[str, int], ceiling: int
) -> None:
    accounts = dict.fromkeys("abc", 0) | start
    reserve, supply = 1000, 1000 + sum(accounts.values())
    for sender, receiver, amount, fee in moves:
        if sender == receiver or accounts[sender] < amount + fee:
            continue
        steps: list[Movement] = pay({MovementKind.FEE: fee, MovementKind.SENT: amount}, accounts[sender], sender)
        steps += receive(MovementKind.RECEIVED, amount, accounts[receiver], ceiling, receiver)
        for step in steps:
            effect = effect_of(step.kind, step.amount)
            assert (effect.minted, effect.burned) == (0, 0)
            accounts[step.participant] += effect.participant
            reserve += effect.reserve
            assert accounts[step.participant] == step.balance
            assert reserve >= 0
        assert reserve + sum(accounts.values()) == supply
        assert all(balance <= ceiling for balance in accounts.values())
        assert accounts[sender] >= 0
