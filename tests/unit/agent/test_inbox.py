"""Nothing is believed that the aggregator did not sign for this gateway."""

from __future__ import annotations

from typing import Any

import pytest

from agent.inbox import Inbox
from protocol.errors import MessageError
from protocol.messages import MessageType, Receipt, Refusal, Statement
from protocol.topics import Kind
from tests.builders import GATEWAY, REGION, a_key, a_receipt, a_refusal, a_sealed, a_statement

AGGREGATOR = 99

INBOX = Inbox((a_key(AGGREGATOR).public_key,), REGION, GATEWAY)

MESSAGES: list[tuple[Kind, MessageType, Receipt | Refusal | Statement]] = [
    (Kind.RECEIPT, MessageType.RECEIPT, a_receipt()),
    (Kind.REFUSAL, MessageType.REFUSAL, a_refusal()),
    (Kind.STATEMENT, MessageType.STATEMENT, a_statement()),
]


def sealed(payload: bytes, type_: str = MessageType.RECEIPT, **changes: Any) -> bytes:
    return a_sealed(payload, **{"key": AGGREGATOR, "type_": type_} | changes)


@pytest.mark.parametrize(("kind", "type_", "message"), MESSAGES, ids=[kind for kind, _, _ in MESSAGES])
def test_the_aggregator_s_word_is_opened(kind: Kind, type_: MessageType, message: Receipt) -> None:
    assert INBOX.open(kind, sealed(message.encode(), type_)).message == message


@pytest.mark.parametrize(
    ("kind", "data", "why"),
    [
        (Kind.RECEIPT, b"", "ends early"),
        (Kind.RECEIPT, b"rubbish", "not a tagged"),
        (Kind.RECEIPT, sealed(a_receipt().encode(), key=1), "another key"),
        (Kind.RECEIPT, sealed(a_receipt().encode(), region="elsewhere"), "does not fit"),
        (Kind.RECEIPT, sealed(a_receipt(region="elsewhere").encode()), "meant for gw-1 in elsewhere"),
        (Kind.RECEIPT, sealed(a_receipt(gateway="gw-2").encode()), "meant for gw-2 in sunvale"),
        (Kind.RECEIPT, sealed(a_refusal().encode(), MessageType.REFUSAL), "a refusal on the topic of a receipt"),
        (Kind.RECEIPT, sealed(a_refusal().encode(), MessageType.RECEIPT), "receipt: "),
        (Kind.RECEIPT, sealed(a_receipt().encode())[:-1] + b"\0", "does not fit"),
        (Kind.RECORD, sealed(a_receipt().encode()), "nothing of kind record"),
        (Kind.SUMMARY, sealed(a_receipt().encode()), "nothing of kind summary"),
    ],
    ids=[
        "nothing",
        "rubbish",
        "another key",
        "signed for another region",
        "written for another region",
        "written for another gateway",
        "on another topic",
        "another message under this type",
        "altered",
        "a topic of gateways",
        "a topic of operators",
    ],
)
def test_anything_else_is_not(kind: Kind, data: bytes, why: str) -> None:
    with pytest.raises(MessageError, match=why):
        INBOX.open(kind, data)
