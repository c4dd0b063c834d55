"""Every record that may not take effect has its own numbered refusal, and costs nothing but itself."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from aggregator.chains.intervals.flows import Flows, ParticipantFlow
from aggregator.chains.intervals.results import IntervalResult, PeriodFactors
from aggregator.ledger.record import RECORD_BYTES_MAX, Record
from config.carriers import Carrier
from config.grid_model import Grid, Source
from config.load import check
from protocol.batch import Batch, MeterBlock
from protocol.canonical import encode
from protocol.crypto import P256_ORDER, SoftwareKey
from protocol.envelope import ENVELOPE_BYTES_MAX, seal
from protocol.messages import MessageType, RightKind
from protocol.refusals import RefusalCode, Refused
from protocol.units import Quantity
from tests.village import INTERVAL_MS, START_MS, Village, a_grid_document, some_keys

STRANGER = SoftwareKey.from_secret(999)


@pytest.fixture
def village() -> Village:
    return Village()


def refusal_at_the_door(village: Village, data: bytes) -> RefusalCode:
    """Why an envelope does not even become a record."""
    state = village.five.ledger.state.root
    with pytest.raises(Refused) as refused:
        village.five.ledger.check(data)
    assert village.five.ledger.state.root == state
    return refused.value.code


def a_signed_batch(village: Village, **changes: Any) -> bytes:
    return village.sign(village.a_batch(**changes), MessageType.BATCH)


# -- at the door: the bytes and the signer


def test_a_batch_that_breaks_no_rule_is_accepted(village: Village) -> None:
    block = village.close([village.record(a_signed_batch(village))])
    assert [outcome.refusal for outcome in block.outcomes] == [None]


def test_an_oversized_message_is_refused_before_it_is_parsed(village: Village) -> None:
    assert refusal_at_the_door(village, bytes(RECORD_BYTES_MAX + 1)) is RefusalCode.OVERSIZED


def test_what_is_too_large_for_a_gateway_is_refused_before_its_signature_is_looked_at(village: Village) -> None:
    unsigned = seal(village.keys["gw"], region="elsewhere", type_="batch", payload=bytes(ENVELOPE_BYTES_MAX))
    assert refusal_at_the_door(village, unsigned) is RefusalCode.OVERSIZED


def test_the_interval_of_a_large_region_is_not_too_large(village: Village) -> None:
    participants = tuple(
        ParticipantFlow(f"p{n:06}", Carrier.ELECTRICITY, 10**9, 0, 0, ((Source.GRID, 10**9),)) for n in range(50_000)
    )
    flows = Flows(participants, ())
    interval = IntervalResult(village.link("node"), START_MS, START_MS + INTERVAL_MS, flows)
    data = village.sign(interval, MessageType.INTERVAL, "node")
    assert len(data) > ENVELOPE_BYTES_MAX
    assert village.five.ledger.check(data).message == interval


def test_a_truncated_message_is_refused(village: Village) -> None:
    assert refusal_at_the_door(village, a_signed_batch(village)[:-1]) is RefusalCode.TRUNCATED


def test_garbage_is_refused(village: Village) -> None:
    assert refusal_at_the_door(village, b"\x83\x01\x02\x03") is RefusalCode.MALFORMED


def test_a_high_s_twin_of_a_signature_is_a_second_spelling(village: Village) -> None:
    data = a_signed_batch(village)
    s = int.from_bytes(data[-32:])
    twin = data[:-32] + (P256_ORDER - s).to_bytes(32)
    assert refusal_at_the_door(village, twin) is RefusalCode.SECOND_SPELLING


def test_bytes_behind_the_end_are_a_second_spelling(village: Village) -> None:
    assert refusal_at_the_door(village, a_signed_batch(village) + b"\x00") in {
        RefusalCode.SECOND_SPELLING,
        RefusalCode.MALFORMED,
    }


def test_an_unknown_key_is_refused(village: Village) -> None:
    data = seal(STRANGER, region="village", type_="batch", payload=village.a_batch().encode())
    assert refusal_at_the_door(village, data) is RefusalCode.UNKNOWN_KEY


def test_a_batch_for_another_region_is_refused(village: Village) -> None:
    batch = village.a_batch(link=village.link(region="elsewhere"))
    assert refusal_at_the_door(village, village.sign(batch, MessageType.BATCH, region="elsewhere")) is (
        RefusalCode.OTHER_REGION
    )


def test_a_signature_that_does_not_fit_is_refused(village: Village) -> None:
    data = bytearray(a_signed_batch(village))
    data[-40] ^= 1  # inside r
    assert refusal_at_the_door(village, bytes(data)) is RefusalCode.BAD_SIGNATURE


def test_a_batch_signed_for_another_type_is_refused(village: Village) -> None:
    data = village.sign(village.a_batch(), MessageType.STATEMENT)
    assert refusal_at_the_door(village, data) is RefusalCode.NOT_THEIR_TYPE


def test_a_gateway_may_not_settle(village: Village) -> None:
    factors = PeriodFactors(village.link(), START_MS, START_MS + 1, bytes(32))
    assert refusal_at_the_door(village, village.sign(factors, MessageType.FACTORS)) is RefusalCode.NOT_THEIR_TYPE


def test_a_payload_that_is_no_batch_is_refused(village: Village) -> None:
    data = seal(village.keys["gw"], region="village", type_="batch", payload=encode({1: 2}))
    assert refusal_at_the_door(village, data) is RefusalCode.PAYLOAD_MALFORMED


def test_a_payload_in_a_second_spelling_is_refused(village: Village) -> None:
    payload = village.a_batch().encode()
    longer = b"\xb8\x07" + payload[1:]  # a map of seven, its length in one byte more than needed
    data = seal(village.keys["gw"], region="village", type_="batch", payload=longer)
    assert refusal_at_the_door(village, data) is RefusalCode.PAYLOAD_SPELLING


def test_nobody_signs_in_anothers_name(village: Village) -> None:
    batch = village.a_batch(link=village.link(author="gw-2"))
    assert refusal_at_the_door(village, village.sign(batch, MessageType.BATCH)) is RefusalCode.NOT_THEIR_NAME


# -- the sequence


def not_proposed(village: Village, record: Record) -> RefusalCode:
    chosen, refused = village.five.ledger.propose([record])
    assert chosen == []
    return refused[0].code


def test_a_replayed_batch_is_not_proposed(village: Village) -> None:
    record = village.record(a_signed_batch(village))
    village.close([record])
    assert not_proposed(village, record) is RefusalCode.SEQUENCE_REPLAYED


def test_a_batch_after_a_gap_is_not_proposed(village: Village) -> None:
    record = village.record(a_signed_batch(village, link=village.link(sequence=2)))
    assert not_proposed(village, record) is RefusalCode.SEQUENCE_SKIPPED


def test_a_batch_that_links_to_another_past_is_not_proposed(village: Village) -> None:
    village.close([village.record(a_signed_batch(village))])
    record = village.record(a_signed_batch(village, link=village.link(previous=bytes(32))))
    assert not_proposed(village, record) is RefusalCode.BROKEN_LINK


def test_two_batches_with_one_number_do_not_fit_into_one_block(village: Village) -> None:
    batch = village.a_batch()
    first = village.record(village.sign(batch, MessageType.BATCH))
    village.registers.clear()
    other = village.five.ledger.check(village.sign(replace(batch, boot_id=bytes(16)), MessageType.BATCH))
    chosen, refused = village.five.ledger.propose([first, other])
    assert (chosen, refused[0].code) == ([first], RefusalCode.SEQUENCE_REPLAYED)


# -- what the record says: refused on the chain, the sequence goes on


def refused_on_chain(village: Village, data: bytes) -> RefusalCode | None:
    """Close a block with one record and see that nothing but its refusal came of it."""
    accounts = dict(village.five.payment.accounts.items())
    readings = village.five.data.totals.readings
    record = village.record(data)
    outcome = village.close([record]).outcomes[0]
    assert village.five.ledger.last_record(record.author.name).sequence == record.link.sequence
    if outcome.refusal is not None:
        assert village.five.data.totals.readings == readings
        assert dict(village.five.payment.accounts.items()) == accounts
    return outcome.refusal


def with_block(change: Callable[[MeterBlock], MeterBlock]) -> Callable[[Village], Batch]:
    """A batch whose first meter block is changed."""

    def build(village: Village) -> Batch:
        batch = village.a_batch()
        return replace(batch, meters=(change(batch.meters[0]), *batch.meters[1:]))

    return build


def without_import(block: MeterBlock) -> MeterBlock:
    return replace(block, words={Quantity.EXPORTED_WH: block.words[Quantity.EXPORTED_WH]})


def with_an_absent_value(block: MeterBlock) -> MeterBlock:
    words = struct.pack(">Q", 1 << 63) * len(block)
    return replace(block, words=dict(block.words) | {Quantity.EXPORTED_WH: words})


def with_narrow_words(block: MeterBlock) -> MeterBlock:
    words = bytes(4 * len(block))
    return replace(block, words=dict(block.words) | {Quantity.EXPORTED_WH: words})


@pytest.mark.parametrize(
    ("build", "code"),
    [
        (with_block(lambda block: replace(block, meter="m-a")), RefusalCode.UNKNOWN_METER),
        (with_block(lambda block: replace(block, profile=bytes(32))), RefusalCode.PROFILE_DIFFERS),
        (with_block(without_import), RefusalCode.MISSING_ENERGY),
        (with_block(with_narrow_words), RefusalCode.WORDS_UNREADABLE),
        (with_block(with_an_absent_value), RefusalCode.WORDS_UNREADABLE),
        (with_block(lambda block: replace(block, first_ms=60_000)), RefusalCode.FROM_THE_FUTURE),
    ],
)
def test_a_batch_that_says_what_cannot_be_is_refused_on_the_chain(
    village: Village, build: Callable[[Village], Batch], code: RefusalCode
) -> None:
    batch = build(village)
    village.now_ms += INTERVAL_MS
    assert refused_on_chain(village, village.sign(batch, MessageType.BATCH)) is code
    assert refused_on_chain(village, a_signed_batch(village)) is None  # and the next one counts


def test_a_gateway_may_not_report_anothers_meter() -> None:
    document = a_grid_document()
    document["meters"][0]["gateway"] = "gw-2"
    village = Village(grid=check(document, Grid, "grid.yaml"), keys=some_keys("gw", "gw-2"))
    assert refused_on_chain(village, a_signed_batch(village)) is RefusalCode.NOT_THEIR_METER


def test_readings_of_one_boot_must_rise_in_time(village: Village) -> None:
    village.close([village.record(a_signed_batch(village))])
    assert refused_on_chain(village, a_signed_batch(village)) is RefusalCode.DISORDERED


# -- purchases


def rich(village: Village) -> Village:
    village.live(35)
    assert village.five.payment.balance("wind") == 171
    return village


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"participant": "nobody"}, RefusalCode.UNKNOWN_PARTICIPANT),
        ({"right": RightKind.PRIORITY_GENERATION}, RefusalCode.NO_SUCH_RIGHT),
        ({"price_max": 39}, RefusalCode.PRICE_ABOVE_LIMIT),
        ({"participant": "home"}, RefusalCode.BALANCE_TOO_LOW),
        ({"participant": "gas"}, RefusalCode.BALANCE_TOO_LOW),
    ],
)
def test_a_purchase_that_breaks_a_rule_is_refused(village: Village, changes: dict[str, Any], code: RefusalCode) -> None:
    purchase = rich(village).a_purchase(**changes)
    assert refused_on_chain(village, village.sign(purchase, MessageType.PURCHASE)) is code


def test_a_right_is_sold_once_per_period(village: Village) -> None:
    rich(village)
    assert refused_on_chain(village, village.sign(village.a_purchase(), MessageType.PURCHASE)) is None
    again = village.sign(village.a_purchase(), MessageType.PURCHASE)
    assert refused_on_chain(village, again) is RefusalCode.RIGHT_ALREADY_HELD


def test_a_gateway_speaks_for_its_own_participants_only(village: Village) -> None:
    from config.grid_model import Grid
    from config.load import check

    document = a_grid_document()
    document["meters"][-1]["gateway"] = "gw-2"  # wind
    two = Village(grid=check(document, Grid, "grid.yaml"), keys=some_keys("gw", "gw-2"))
    purchase = two.sign(two.a_purchase("wind"), MessageType.PURCHASE)
    assert refused_on_chain(two, purchase) is RefusalCode.NOT_THEIR_PARTICIPANT


# -- transfers


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"sender": "nobody"}, RefusalCode.UNKNOWN_PARTICIPANT),
        ({"receiver": "nobody"}, RefusalCode.UNKNOWN_RECEIVER),
        ({"receiver": "wind"}, RefusalCode.TO_ONESELF),
        ({"amount": 172}, RefusalCode.NOT_COVERED),
        ({"amount": 171, "fee": 1}, RefusalCode.NOT_COVERED),
        ({"sender": "gas", "amount": 1}, RefusalCode.NOT_COVERED),
    ],
)
def test_a_transfer_that_breaks_a_rule_is_refused(village: Village, changes: dict[str, Any], code: RefusalCode) -> None:
    transfer = rich(village).a_transfer(**changes)
    assert refused_on_chain(village, village.sign(transfer, MessageType.TRANSFER)) is code


def test_a_gateway_gives_away_what_its_own_participants_have_and_nobody_else_s(village: Village) -> None:
    document = a_grid_document()
    document["meters"][-1]["gateway"] = "gw-2"  # wind
    two = Village(grid=check(document, Grid, "grid.yaml"), keys=some_keys("gw", "gw-2"))
    transfer = two.sign(two.a_transfer("wind"), MessageType.TRANSFER)
    assert refused_on_chain(two, transfer) is RefusalCode.NOT_THEIR_PARTICIPANT


def test_a_fee_that_the_account_does_not_hold_beside_the_price_refuses_the_purchase(village: Village) -> None:
    purchase = rich(village).a_purchase(fee=171 - 40 + 1)
    assert refused_on_chain(village, village.sign(purchase, MessageType.PURCHASE)) is RefusalCode.BALANCE_TOO_LOW


# -- compute nodes


def test_factors_before_their_period_is_over_are_out_of_turn(village: Village) -> None:
    village.live(10)
    factors = PeriodFactors(village.link("node"), START_MS, START_MS + 30_000, bytes(32))
    data = village.sign(factors, MessageType.FACTORS, "node")
    assert refused_on_chain(village, data) is RefusalCode.OUT_OF_TURN


def test_a_second_genesis_is_out_of_turn(village: Village) -> None:
    genesis = village.five.asset.region.genesis
    again = replace(genesis, link=village.link("regulator", sequence=2, previous=_digest_of_genesis(village)))
    data = village.sign(again, MessageType.GENESIS, "regulator")
    assert refused_on_chain(village, data) is RefusalCode.OUT_OF_TURN


def _digest_of_genesis(village: Village) -> bytes:
    return village.five.ledger.last_record("regulator").digest


def an_interval_result(village: Village) -> Any:
    """The result that is due next, opened."""
    village.live(5)
    batch = village.a_batch()
    village.now_ms += INTERVAL_MS
    village.close([village.record(village.sign(batch, MessageType.BATCH))])
    data = village.compute.due_record(village.five)
    assert data is not None
    return village.five.ledger.check(data)


def test_a_result_with_other_energy_than_the_data_chain_is_refused(village: Village) -> None:
    record = an_interval_result(village)
    flows = record.message.flows
    more = replace(flows.participants[0], exported_wh=flows.participants[0].exported_wh + 1)
    lie = replace(record.message, flows=replace(flows, participants=(more, *flows.participants[1:])))
    data = village.sign(lie, MessageType.INTERVAL, "node")
    assert refused_on_chain(village, data) is RefusalCode.RESULT_DIFFERS


def test_origins_that_do_not_sum_to_the_import_are_refused(village: Village) -> None:
    record = an_interval_result(village)
    flows = record.message.flows
    home = next(flow for flow in flows.participants if flow.participant == "home")
    less = replace(home, origin_wh=home.origin_wh[:-1])
    others = tuple(less if flow is home else flow for flow in flows.participants)
    data = village.sign(
        replace(record.message, flows=replace(flows, participants=others)), MessageType.INTERVAL, "node"
    )
    assert refused_on_chain(village, data) is RefusalCode.RESULT_DIFFERS


def test_a_lying_compute_node_is_found_out_by_whoever_reckons_again(village: Village) -> None:
    record = an_interval_result(village)
    flows = record.message.flows
    home = next(flow for flow in flows.participants if flow.participant == "home")
    (first, wh), *rest = home.origin_wh
    (second, more), *others = rest
    shifted = replace(home, origin_wh=((first, wh - 3), (second, more + 3), *others))
    participants = tuple(shifted if flow is home else flow for flow in flows.participants)
    lie = village.sign(
        replace(record.message, flows=replace(flows, participants=participants)), MessageType.INTERVAL, "node"
    )
    with pytest.raises(Refused) as refused:
        village.five.ledger.vet(village.five.ledger.check(lie))
    assert refused.value.code is RefusalCode.RESULT_DIFFERS
    village.five.ledger.vet(record)  # the honest one passes
