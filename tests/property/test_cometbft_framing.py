"""The decoder under CometBFT's socket: any cut, any rubbish, never more than the bound."""

from __future__ import annotations

from itertools import pairwise

from google.protobuf.internal.encoder import _VarintBytes  # type: ignore[attr-defined]  # protobuf's own, to compare
from hypothesis import given
from hypothesis import strategies as st

from aggregator.engine.cometbft import abci_pb2 as pb
from aggregator.engine.cometbft.application import Application, size_in_block
from aggregator.engine.cometbft.framing import LENGTH_BYTES_MAX, FrameReader, framed
from aggregator.engine.cometbft.wire import answer, lane_of, read_request
from protocol.errors import EncodingError
from tests.toy_chain import ToyChain

BOUND = 300

messages = st.lists(st.binary(max_size=BOUND), max_size=8)


def read_in_pieces(data: bytes, cuts: list[int]) -> tuple[list[bytes], FrameReader]:
    reader, read = FrameReader(BOUND), list[bytes]()
    places = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    for start, end in pairwise(places):
        read += reader.feed(data[start:end])
    return read, reader


@given(messages, st.lists(st.integers(0, 10_000), max_size=10))
def test_messages_come_out_as_they_went_in_however_they_are_cut(sent: list[bytes], cuts: list[int]) -> None:
    read, reader = read_in_pieces(b"".join(map(framed, sent)), cuts)
    assert (read, reader.waiting, reader.fault) == (sent, 0, None)


@given(st.binary(max_size=1000), st.lists(st.integers(0, 10_000), max_size=10))
def test_rubbish_is_read_alike_however_it_is_cut_and_never_kept_beyond_the_bound(data: bytes, cuts: list[int]) -> None:
    at_once, whole = read_in_pieces(data, [])
    in_pieces, pieces = read_in_pieces(data, cuts)
    assert at_once == in_pieces
    assert str(whole.fault) == str(pieces.fault)
    assert all(len(message) <= BOUND for message in at_once)
    if pieces.fault is None:
        assert pieces.waiting < BOUND + LENGTH_BYTES_MAX


@given(st.integers(0, 1 << 20))
def test_the_length_is_protobufs_own_varint(length: int) -> None:
    assert framed(bytes(length))[: -length or None] == _VarintBytes(length)


@given(st.binary(max_size=200))
def test_rubbish_is_refused_as_such_or_answered_in_its_own_lane(data: bytes) -> None:
    try:
        asked = read_request(data)
    except EncodingError:
        return
    assert lane_of(data) is lane_of(asked.SerializeToString())


@given(st.binary(max_size=300))
def test_a_transaction_takes_as_much_of_a_block_as_is_said(tx: bytes) -> None:
    assert size_in_block(tx) == pb.RequestFinalizeBlock(txs=[tx]).ByteSize()


def test_each_kind_of_request_is_answered_in_kind() -> None:
    for field in pb.Request.DESCRIPTOR.fields:
        application: Application = ToyChain()
        asked = pb.Request()
        getattr(asked, field.name).SetInParent()
        if field.name == "finalize_block":
            asked.finalize_block.height = 1
        if field.name in {"commit", "apply_snapshot_chunk"}:
            continue  # what must come before: tests/integration/test_cometbft_server.py
        told = pb.Response.FromString(answer(application, read_request(asked.SerializeToString())))
        assert told.WhichOneof("value") == field.name
