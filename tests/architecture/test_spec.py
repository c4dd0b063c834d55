"""The format that other languages are written against says what the code does."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Sequence
from dataclasses import fields

import pytest

from aggregator.chains.admission.membership import Admission, Cause, Ended, Revocation
from aggregator.chains.admission.validators import POWER_TOTAL_MAX, Validator, ValidatorChange, spell_validators
from aggregator.chains.congestion.congestions import LineLoad
from aggregator.chains.congestion.curtailing import Curtailed, limit_leaf
from aggregator.chains.congestion.events import Cancellation, ResponseEvent
from aggregator.chains.congestion.relief import DueRelief
from aggregator.chains.intervals.findings import FindingKind
from aggregator.chains.intervals.flows import SOURCES, Balance, BranchFlow, ConverterFlow, ParticipantFlow
from aggregator.chains.metering.correction import Correction, Delta
from aggregator.chains.metering.interval_energy import IntervalEnergy
from aggregator.chains.periods.carbon import FactorRow, PeriodSums
from aggregator.economy.accounts import MovementKind
from aggregator.ledger.record import Author, Role
from aggregator.service.history import PastBlock, PastEntry
from aggregator.service.portable import MAGIC, VERSION
from config import carriers, grid_model, meter_profile, rules, self_check
from config.model import Model
from protocol.answer import Answer, Reply
from protocol.canonical import Value, decode
from protocol.checkpoint import ChainName
from protocol.cometbft.block import BLOCK_PROTOCOL, VALIDATORS_MAX, Header
from protocol.crypto import SoftwareKey, ValidatorSigner
from protocol.envelope import Envelope
from protocol.evidence import Evidence
from protocol.messages import MessageType, RightKind
from protocol.node_request import VOUCHER, request_of_node, voucher_bytes
from protocol.partners import Ask, Card, Delivery, Partner, SealingKeyRecord
from protocol.quote import QuoteCancel, Side, TimeInForce
from protocol.refusals import RefusalCode
from protocol.registers import WordOrder, WordType
from protocol.rotation import POSSESSION, possession_bytes, rotate
from protocol.sealed import BOX_BYTES, INFO, seal_to
from protocol.topics import Kind
from protocol.units import ENERGY_REGISTERS, Quantity
from tests.architecture.house import ROOT
from tests.builders import a_batch, a_meter_block_in_parts, an_envelope
from tests.market_village import a_quote
from tests.village import INTERVAL_MS, START_MS, Village, a_grid, a_grid_document

GRAMMAR = (ROOT / "docs/spec/este.cddl").read_text(encoding="utf-8")
PROSE = (ROOT / "docs/spec/README.md").read_text(encoding="utf-8")


def rule(name: str) -> str:
    """One rule of the grammar, without its name and its comments."""
    found = re.search(rf"^{name} = (.*?)(?=^\S+ = |^; --|\Z)", GRAMMAR, re.MULTILINE | re.DOTALL)
    assert found, f"docs/spec/este.cddl has no rule {name!r}"
    return re.sub(r";.*", "", found[1])


def labels(name: str) -> list[str]:
    """What the grammar calls the values of an array, in their order; those of arrays inside it are left out."""
    inside, removed = rule(name).strip()[1:-1], 1
    while removed:
        inside, removed = re.subn(r"\[[^\[\]]*\]", "", inside)
    return re.findall(r"(\w+): ", inside)


def keys(name: str) -> list[int]:
    """The keys of a record of the grammar, its link's first."""
    return [int(key) for part in ("link", name) for key in re.findall(r"^    (\d+) => ", rule(part), re.MULTILINE)]


def texts(name: str) -> list[str]:
    """The texts that a rule of the grammar admits."""
    return re.findall(r'"(\w+)"', rule(name))


@pytest.fixture(scope="module")
def village() -> Village:
    """A region that has lived through a settlement period, restated a part of it, and sold a right."""
    rules = a_grid_document()["rules"]
    rules["time"] |= {"restate_after_ms": 0, "day_ms": INTERVAL_MS}
    rules["market"] = {"mechanism": "call", "gate_ms": INTERVAL_MS}
    participants = [{"id": name, "responds": name == "home"} for name in ("gas", "grid", "home", "wind")]
    village = Village(grid=a_grid(rules=rules, participants=participants))
    village.live(15)
    begin_ms = village.five.analysis.cursor.next_interval_ms + 2 * INTERVAL_MS
    for start_ms in (begin_ms, begin_ms + INTERVAL_MS):
        event = ResponseEvent(village.link("regulator"), start_ms, start_ms + INTERVAL_MS, "b1")
        village.close([village.record(village.sign(event, MessageType.EVENT, "regulator"))])
    cancellation = Cancellation(village.link("regulator"), 2, "no cloud came")
    village.close([village.record(village.sign(cancellation, MessageType.CANCELLATION, "regulator"))])
    for participant, side in (("wind", Side.SELL), ("home", Side.BUY), ("gas", Side.SELL)):
        quote = a_quote(village, participant, side, start_ms=begin_ms + 2 * INTERVAL_MS)
        village.close([village.record(village.sign(quote, MessageType.QUOTE))])
    taken_back = QuoteCancel(village.link(), village.blocks[-1].outcomes[0].record.envelope.digest)
    village.close([village.record(village.sign(taken_back, MessageType.QUOTE_CANCEL))])
    village.live(20)
    correction = Correction(village.link("regulator"), "m-gas", (Delta(START_MS, 0, 1000),), "seals were broken")
    village.close([village.record(village.sign(correction, MessageType.CORRECTION, "regulator"))])
    village.close_due()
    purchase = village.record(village.sign(village.a_purchase(), MessageType.PURCHASE))
    broken = village.a_batch(meters=(village.a_block_of("m-nobody", 0),))
    village.close([purchase, village.record(village.sign(broken, MessageType.BATCH))])
    box = SealingKeyRecord(village.link(), SoftwareKey.from_secret(802).public_key)
    village.close([village.record(village.sign(box, MessageType.SEALING_KEY))])
    first, second = SoftwareKey.from_secret(800), SoftwareKey.from_secret(801)
    rotation = rotate(village.link(), village.keys["gw"].public_key.thumbprint, first)
    village.close([village.record(village.sign(rotation, MessageType.ROTATION))])
    other = Author("gw", Role.GATEWAY, second.public_key)
    admission = Admission(village.link("regulator"), other, first.public_key.thumbprint)
    village.close([village.record(village.sign(admission, MessageType.ADMISSION, "regulator"))])
    revocation = Revocation(village.link("regulator"), second.public_key.thumbprint, "done")
    village.close([village.record(village.sign(revocation, MessageType.REVOCATION, "regulator"))])
    vote = ValidatorChange(village.link("regulator"), "node", Validator(bytes(32), 1))
    village.close([village.record(village.sign(vote, MessageType.VALIDATOR, "regulator"))])
    pair = sorted((an_envelope(), an_envelope(key=2)), key=lambda envelope: envelope.digest)
    shown = Evidence(village.link("regulator"), pair[0], pair[1])
    village.close([village.record(village.sign(shown, MessageType.EVIDENCE, "regulator"))])
    return village


def payloads(village: Village) -> dict[MessageType, Value]:
    """The last record of each type, as anybody would decode it."""
    records = [outcome.record for block in village.blocks for outcome in block.outcomes]
    return {record.type: decode(record.envelope.payload, size_max=1 << 24) for record in records}


def leaves(village: Village) -> dict[str, list[Value]]:
    """Every leaf that blocks themselves brought about, by its first word."""
    found: dict[str, list[Value]] = {}
    for block in village.blocks:
        for leaf in block.leaves:
            word, *rest = decode(leaf.body, size_max=1 << 16)
            found.setdefault(word, []).append(rest)
    return found


def test_every_rule_of_the_grammar_stands_once() -> None:
    names = re.findall(r"^([a-z][a-z0-9-]*) *=", GRAMMAR, re.MULTILINE)
    assert sorted(names) == sorted(set(names))


def test_the_table_of_refusal_codes_is_the_codes() -> None:
    listed = re.findall(r"^\| (\d+) \| `([A-Z_]+)` \|.*\| (\w+) \|$", PROSE, re.MULTILINE)
    told = {True: {True: "final", False: "told"}, False: {False: "counted"}}
    assert listed == [(str(c.value), c.name, told[c.is_from_known_author][c.is_final]) for c in RefusalCode]


def test_the_grammar_has_the_refusal_codes_and_no_others() -> None:
    spans = [(int(low), int(high)) for low, high in re.findall(r"(\d+)\.\.(\d+)", rule("refusal-code"))]
    assert {n for low, high in spans for n in range(low, high + 1)} == set(RefusalCode)


def test_the_grammar_has_the_quantities_and_no_others() -> None:
    told = [int(number) for number in re.findall(r": (\d+),", rule("quantity"))]
    assert told == [quantity for quantity in Quantity if quantity not in ENERGY_REGISTERS]


def test_the_grammar_has_the_rights_and_no_others() -> None:
    assert {int(number) for number in re.findall(r"\d+", rule("right-kind"))} == set(RightKind)


def test_the_grammar_has_the_sides_of_quotes_their_times_in_force_and_the_market_s_words() -> None:
    numbers = {int(key): told for key, told in re.findall(r"^    (\d+) => ([\d /]+),", rule("quote"), re.MULTILINE)}
    assert [int(n) for n in re.findall(r"\d+", numbers[7])] == list(Side)
    assert [int(n) for n in re.findall(r"\d+", numbers[11])] == list(TimeInForce)
    assert texts("market-rule") == [*rules.Mechanism, *rules.Pricing]


def test_the_grammar_and_the_table_have_the_kinds_of_findings_and_no_others() -> None:
    spans = re.findall(r"(\d+)(?:\.\.(\d+))?", rule("finding-kind"))
    assert {n for low, high in spans for n in range(int(low), int(high or low) + 1)} == set(FindingKind)
    table = PROSE.partition("| kind | finding |")[2].partition("## ")[0]
    assert [int(n) for n in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)] == list(FindingKind)


def test_the_grammar_names_the_chains_in_their_order() -> None:
    assert re.findall(r"(\w+): log-head", rule("logs")) == [chain.name.lower() for chain in ChainName]


PACKED: dict[str, type[Model]] = {
    "grid": grid_model.Grid,
    "rules": rules.Rules,
    "time-rule": rules.TimeRule,
    "carbon-rule": rules.CarbonRule,
    "token-rule": rules.TokenRule,
    "account-rule": rules.AccountRule,
    "congestion-rule": rules.CongestionRule,
    "contract-rule": rules.ContractRule,
    "market-rule": rules.MarketRule,
    "curtailment-rule": rules.CurtailmentRule,
    "exchange-rule": rules.ExchangeRule,
    "right-price": rules.RightPrice,
    "grid-pipe": carriers.Pipe,
    "grid-converter": carriers.Converter,
    "converter-output": carriers.ConverterOutput,
    "grid-storage": carriers.Storage,
    "grid-participant": grid_model.Participant,
    "grid-node": grid_model.Node,
    "grid-branch": grid_model.Branch,
    "grid-meter": grid_model.Meter,
    "grid-generator": grid_model.Generator,
    "grid-device": grid_model.Device,
    "grid-permit": grid_model.Permit,
    "meter-profile": meter_profile.MeterProfile,
    "serial-number": meter_profile.SerialNumber,
    "register": meter_profile.Register,
    "power-limit": meter_profile.PowerLimit,
    "fixed-word": self_check.FixedWord,
    "self-check": self_check.SelfCheck,
}
"""Rule of the grammar → the class whose fields it packs."""


@pytest.mark.parametrize(("name", "model"), PACKED.items(), ids=PACKED)
def test_the_grammar_packs_the_fields_of_a_class_in_their_order(name: str, model: type[Model]) -> None:
    assert labels(name) == list(model.model_fields)


def test_every_class_that_is_packed_is_in_the_grammar() -> None:
    small = {meter_profile.Block, meter_profile.NotAvailable}  # spelled inside the profile's own rule
    packed = {
        thing
        for module in (grid_model, carriers, rules, meter_profile, self_check)
        for thing in vars(module).values()
        if isinstance(thing, type) and issubclass(thing, Model) and thing.__module__ == module.__name__
    }
    assert packed - small == set(PACKED.values())


ROWS: dict[str, type] = {
    "member": Author,
    "ended": Ended,
    "vote": Validator,
    "participant-flow": ParticipantFlow,
    "branch-flow": BranchFlow,
    "balance": Balance,
    "converter-flow": ConverterFlow,
    "line-load": LineLoad,
    "delta": Delta,
    "sums": PeriodSums,
}


@pytest.mark.parametrize(("name", "kind"), ROWS.items(), ids=ROWS)
def test_the_grammar_names_the_fields_of_a_row_in_their_order(name: str, kind: type) -> None:
    assert labels(name) == [field.name for field in fields(kind)]


RECORDS = [
    *("genesis", "admission", "revocation", "rotation", "validator", "evidence"),
    *("batch", "purchase", "interval", "factors", "settlement", "correction", "restatement", "adjustment"),
    *("event", "cancellation", "sealing-key", "quote", "quote-cancel", "clearing"),
]


@pytest.mark.parametrize("type_", RECORDS)
def test_a_record_has_the_keys_of_the_grammar(type_: str, village: Village) -> None:
    assert keys(type_) == list(payloads(village)[MessageType(type_)])


def test_letters_and_what_they_are_passed_on_with_have_the_keys_of_the_grammar() -> None:
    key, partner = (
        SoftwareKey.from_secret(800).public_key,
        Partner("gw", SoftwareKey.from_secret(1).public_key, None, ()),
    )
    letter = seal_to(key, b"", region="village", sender="gw", receiver="other", expires_ms=1)
    said = {
        "ask": Ask("village", "gw", "home"),
        "card": Card("village", "gw", "home", partner),
        "partner": partner,
        "sealed": letter,
        "delivery": Delivery("village", "gw", partner, b""),
        "answer": Answer("village", "gw", bytes(32), Reply.RECEIVED),
    }
    for name, message in said.items():
        found = [int(key) for key in re.findall(r"^    (\d+) => ", rule(name), re.MULTILINE)]
        assert found == list(decode(message.encode(), size_max=1 << 14)), name
    info = decode(letter.info, size_max=1 << 10)
    assert (len(info), info[0]) == (len(labels("sealed-info")), INFO)
    assert f'"{INFO}"' in rule("sealed-info")
    assert f"bstr .size {BOX_BYTES}" in rule("sealed")
    assert {int(number) for number in re.findall(r"\d+", rule("reply"))} == set(Reply)


@pytest.mark.parametrize(("name", "where"), [("meter-block", ()), ("slow-readings", (9,))], ids=str)
def test_a_meter_block_has_the_keys_of_the_grammar(name: str, where: tuple[int, ...]) -> None:
    value = decode(a_batch(meters=(a_meter_block_in_parts(),)).encode(), size_max=1 << 20)[7][0]
    for key in where:
        value = value[key]
    assert [int(key) for key in re.findall(r"^    (?:\? )?(\d+) => ", rule(name), re.MULTILINE)] == list(value)


def test_the_rows_of_an_interval_are_as_long_as_the_grammar_says(village: Village) -> None:
    interval = payloads(village)[MessageType.INTERVAL]
    assert {len(row) for row in interval[7]} == {len(labels("participant-flow"))}
    assert {len(row) for row in interval[8]} == {len(labels("branch-flow"))}
    assert {len(part) for row in interval[7] for part in row[5]} == {2}


def test_the_rows_of_a_restatement_are_as_the_grammar_says(village: Village) -> None:
    restatement = payloads(village)[MessageType.RESTATEMENT]
    assert labels("metered-row") == ["meter", *(field.name for field in fields(IntervalEnergy))]
    assert {len(row) for row in restatement[7]} == {len(labels("metered-row"))}
    assert labels("deeds") == ["participant", *(field.name for field in fields(PeriodSums))]
    for key, row in ((8, "deeds"), (11, "participant-flow"), (12, "branch-flow"), (13, "balance")):
        assert {len(part) for part in restatement[key]} == {len(labels(row))}


def test_the_grammar_has_the_sources_and_their_numbers() -> None:
    assert re.findall(r"\d+", rule("source")) == ["0", str(len(SOURCES) - 1)]
    assert texts("source-name") == [source.value for source in SOURCES if source is not grid_model.Source.OTHER]


def test_the_grammar_has_the_roles_and_no_others() -> None:
    assert {int(number) for number in re.findall(r"\d+", rule("role"))} == set(Role)


def test_the_grammar_has_the_causes_for_which_keys_end_and_no_others() -> None:
    causes = re.search(r"cause: ([\d /]+),", rule("ended"))
    assert causes is not None and {int(number) for number in re.findall(r"\d+", causes[1])} == set(Cause)


def test_a_genesis_lists_validators_as_the_grammar_says(village: Village) -> None:
    assert re.search(r"^    \? 9 => \[1\*1000 genesis-validator\]", rule("genesis"), re.MULTILINE)
    (row,) = spell_validators(village.five.asset.validators())
    assert len(row) == len(labels("genesis-validator"))
    assert f"1..{POWER_TOTAL_MAX}" in rule("power")


def test_what_a_node_sends_and_its_consensus_key_signs_are_as_the_grammar_says() -> None:
    key, signer = SoftwareKey.from_secret(800), ValidatorSigner(bytes(32))
    data = request_of_node(region="village", name="node-2", key=key, consensus=signer)
    envelope = Envelope.parse(b64decode(b"".join(data.splitlines()[1:-1])))
    fields = decode(envelope.payload, size_max=1 << 12)
    assert list(fields) == [int(n) for n in re.findall(r"^    (\d+) => ", rule("node-request"), re.MULTILINE)]
    signed = decode(voucher_bytes("village", "node-2", key.public_key, signer.public_key), size_max=1 << 10)
    assert (len(signed), signed[0]) == (len(labels("voucher")), VOUCHER)
    assert f'"{VOUCHER}"' in rule("voucher")


def test_what_a_new_key_signs_is_as_the_grammar_says() -> None:
    key = SoftwareKey.from_secret(800).public_key
    signed = decode(possession_bytes("village", "gw", bytes(32), key), size_max=1 << 10)
    assert (len(signed), signed[0]) == (len(labels("possession")), POSSESSION)
    assert f'"{POSSESSION}"' in rule("possession")


def test_the_grammar_has_the_words_of_profiles_and_prices_and_no_others() -> None:
    assert texts("word-type") == [type_.value for type_ in WordType]
    assert texts("law") == [law.value for law in self_check.Law]
    assert texts("word-table") == [table.value for table in meter_profile.Table]
    assert texts("right-name") == [kind.name.lower() for kind in RightKind]
    words: list[Sequence[str]] = [[g.value for g in meter_profile.Grade], [o.value for o in WordOrder]]
    assert texts("meter-profile") == [word for group in words for word in group]


def test_leaves_are_as_the_grammar_says(village: Village) -> None:
    found = leaves(village)
    words = ("refused", "factors", "movement", "metered", "inherited", "response", "restated", "adjusted", "match")
    assert set(found) == {rule(f"{word}-leaf").split('"')[1] for word in words}
    for word, rows in found.items():
        assert {len(row) for row in rows} == {len(labels(f"{word}-leaf"))}
    relief = decode(DueRelief("home", 1, 2, 3, 4, 5).leaf(START_MS), size_max=1 << 10)
    assert (len(relief) - 1, relief[0]) == (len(labels("relief-leaf")), "relief")
    limited = decode(
        limit_leaf(("b1", "home", 1), START_MS, Curtailed(1, 2, 3, 4, 5), -1, is_limited=True), size_max=1 << 10
    )
    assert (len(limited) - 1, limited[0]) == (len(labels("limited-leaf")), "limited")
    assert labels("factors-leaf") == [field.name for field in fields(FactorRow)]
    kinds = re.search(r"kind: ([\d /]+),", rule("movement-leaf"))
    assert kinds is not None and {int(number) for number in re.findall(r"\d+", kinds[1])} == set(MovementKind)


def test_every_type_of_message_that_is_sealed_is_in_the_format() -> None:
    unsealed = {MessageType.SUMMARY}
    for type_ in set(MessageType) - unsealed:
        assert f"este.{type_}" in GRAMMAR, f"docs/spec/este.cddl says nothing of este.{type_}"


def test_the_table_of_topics_is_the_kinds() -> None:
    assert re.findall(r"^\| `(\w+)` \| \w+ → ", PROSE, re.MULTILINE) == [kind.value for kind in Kind]


def test_a_header_of_cometbft_is_spelled_in_the_order_in_which_it_is_hashed() -> None:
    assert labels("comet-header") == [field.name for field in fields(Header)]
    assert f"version_block: {BLOCK_PROTOCOL}," in rule("comet-header")
    assert f"[1*{VALIDATORS_MAX} comet-validator]" in rule("light-block")


def test_the_grammar_spells_an_export_as_the_code_does() -> None:
    assert labels("export-header") == ["magic", "version", "region", "blocks"]
    assert labels("export-block") == [field.name for field in fields(PastBlock)]
    assert labels("export-entry") == [field.name for field in fields(PastEntry)]
    assert (f'magic: "{MAGIC}"' in GRAMMAR, f"version: {VERSION}," in GRAMMAR) == (True, True)
