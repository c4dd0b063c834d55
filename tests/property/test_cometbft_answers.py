"""Whatever a node answers, a light client either believes what validators signed or says no in one tree of errors."""

from __future__ import annotations

import copy
from contextlib import suppress
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from protocol.cometbft.block import LightBlock
from protocol.cometbft.light import verify_commit
from protocol.cometbft.rpc import read_light_block
from protocol.cometbft.spelling import decode_light_block, encode_light_block
from protocol.errors import EsteError
from protocol.seal import decode_seal
from tests.validators import a_light_block
from tests.vector_files import read_vectors

ANSWER: dict[str, Any] = read_vectors("cometbft/kvstore_chain.json")["blocks"][0]
BLOCK = read_light_block(ANSWER["commit"], ANSWER["validators"])
SPELLED = encode_light_block(BLOCK)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=70),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=8,
)


def places(value: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every way into a document."""
    keys = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    return [found for key in keys for found in ((*way, key), *places(value[key], (*way, key)))]


def put(document: Any, way: tuple[Any, ...], value: object) -> None:
    *before, last = way
    for step in before:
        document = document[step]
    document[last] = value


def signed_part(block: LightBlock) -> object:
    return block.header, block.commit.round, block.commit.block_id, block.validators


@given(st.sampled_from(places(ANSWER)), json_values)
def test_an_answer_with_anything_in_any_place_is_refused_or_says_the_same(way: tuple[Any, ...], value: object) -> None:
    answer = copy.deepcopy(ANSWER)
    put(answer, way, value)
    try:
        block = read_light_block(answer["commit"], answer["validators"])
        verify_commit(block)
    except EsteError:
        return
    assert signed_part(block) == signed_part(BLOCK)


@given(st.binary(max_size=200), st.integers(0, len(SPELLED)), st.integers(0, 60))
def test_a_spelling_with_anything_in_any_place_is_refused_or_is_the_same(new: bytes, at: int, over: int) -> None:
    changed = SPELLED[:at] + new + SPELLED[at + over :]
    try:
        block = decode_light_block(changed)
        verify_commit(block)
    except EsteError:
        return
    assert encode_light_block(block) == changed
    assert signed_part(block) == signed_part(BLOCK)


@given(st.binary(max_size=300))
def test_bytes_that_nobody_made_are_no_seal(data: bytes) -> None:
    with suppress(EsteError):
        decode_seal(data)


@given(st.integers(1, 20), st.data())
def test_a_light_block_comes_back_from_its_spelling_whoever_signed(count: int, data: st.DataObject) -> None:
    signing = data.draw(st.sets(st.integers(0, count - 1)))
    block = a_light_block(count=count, signing=signing)
    assert decode_light_block(encode_light_block(block)) == block
