"""CometBFT's messages to plain values and back. Pure, and the only user of the generated protobuf code."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum
from typing import Any, Final

from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp

from aggregator.engine.cometbft import abci_pb2 as pb
from aggregator.engine.cometbft.application import (
    VALIDATOR_KEY_BYTES,
    Application,
    Draft,
    Genesis,
    LastCommit,
    Misbehaviour,
    Offence,
    OrderedBlock,
    Query,
    Snapshot,
    TxResult,
    Validator,
    Vote,
    VoteKind,
)
from protocol.errors import EncodingError


class Lane(Enum):
    """Where a request is answered."""

    LINE = "line"
    """At once: it is about the connection, not about the application."""
    CHECK = "check"
    """In any thread."""
    LEDGER = "ledger"
    """In the one thread of the ledger."""


_LANE_OF_KIND: Final = {"echo": Lane.LINE, "flush": Lane.LINE, "check_tx": Lane.CHECK}
_LENGTH_DELIMITED: Final = 2
_LANE_OF_FIRST_BYTE: Final = {
    field.number << 3 | _LENGTH_DELIMITED: _LANE_OF_KIND[field.name]
    for field in pb.Request.DESCRIPTOR.fields
    if field.name in _LANE_OF_KIND
}


def lane_of(request: bytes) -> Lane:
    """Where a request belongs, by its first byte: before it is read."""
    return _LANE_OF_FIRST_BYTE.get(request[0], Lane.LEDGER) if request else Lane.LINE


def read_request(request: bytes) -> pb.Request:
    """Read a request.

    Raises:
        EncodingError: it is none, is one that este never has a use for, or is not what its first byte says it is.
    """
    try:
        asked = pb.Request.FromString(request)
    except DecodeError as error:
        raise EncodingError("not a request of ABCI") from error
    kind = asked.WhichOneof("value")
    if kind is None:
        raise EncodingError("a request that ABCI 2.0 does not have, or one about vote extensions, which are off")
    if _LANE_OF_KIND.get(kind, Lane.LEDGER) is not lane_of(request):
        raise EncodingError("two requests in one")
    return asked


def answer(application: Application, asked: pb.Request) -> bytes:
    """Have the application answer a request that `read_request` let through.

    Raises:
        Exception: the application is broken; what it raised.
    """
    kind = asked.WhichOneof("value")
    assert kind is not None, "read_request lets none through"
    response: pb.Response = _ANSWERS[kind](application, getattr(asked, kind))
    return response.SerializeToString()


def exception(reason: str) -> bytes:
    """The answer that ends CometBFT: the application is broken."""
    return pb.Response(exception=pb.ResponseException(error=reason)).SerializeToString()


# -- One answer per kind of request


def _echo(_: Application, asked: pb.RequestEcho) -> pb.Response:
    return pb.Response(echo=pb.ResponseEcho(message=asked.message))


def _flush(_: Application, __: pb.RequestFlush) -> pb.Response:
    return pb.Response(flush=pb.ResponseFlush())


def _info(application: Application, _: pb.RequestInfo) -> pb.Response:
    standing = application.info()
    return pb.Response(
        info=pb.ResponseInfo(
            version=standing.version,
            app_version=standing.app_version,
            last_block_height=standing.height,
            last_block_app_hash=standing.app_hash,
        )
    )


def _init_chain(application: Application, asked: pb.RequestInitChain) -> pb.Response:
    founded = application.init_chain(
        Genesis(
            chain_id=asked.chain_id,
            time_ms=_to_ms(asked.time),
            initial_height=asked.initial_height,
            block_bytes_max=asked.consensus_params.block.max_bytes,
            validators=tuple(_to_validator(update) for update in asked.validators),
            app_state=asked.app_state_bytes,
        )
    )
    return pb.Response(
        init_chain=pb.ResponseInitChain(app_hash=founded.app_hash, validators=_validators(founded.validators))
    )


def _query(application: Application, asked: pb.RequestQuery) -> pb.Response:
    told = application.query(Query(path=asked.path, data=asked.data, height=asked.height))
    return pb.Response(
        query=pb.ResponseQuery(code=told.code, value=told.value, log=told.log, key=asked.data, height=told.height)
    )


def _check_tx(application: Application, asked: pb.RequestCheckTx) -> pb.Response:
    result = application.check_tx(asked.tx, asked.type == pb.RECHECK)
    return pb.Response(check_tx=pb.ResponseCheckTx(code=result.code, data=result.data, log=result.log))


def _prepare_proposal(application: Application, asked: pb.RequestPrepareProposal) -> pb.Response:
    draft = Draft(
        height=asked.height,
        time_ms=_to_ms(asked.time),
        txs=tuple(asked.txs),
        txs_bytes_max=asked.max_tx_bytes,
        last_commit=_to_commit(asked.local_last_commit),
        misbehaviour=_to_misbehaviour(asked.misbehavior),
        next_validators_hash=asked.next_validators_hash,
        proposer=asked.proposer_address,
    )
    chosen = application.prepare_proposal(draft)
    return pb.Response(prepare_proposal=pb.ResponsePrepareProposal(txs=chosen))


def _process_proposal(application: Application, asked: pb.RequestProcessProposal) -> pb.Response:
    accepts = application.process_proposal(_to_block(asked, asked.proposed_last_commit))
    verdict = pb.ResponseProcessProposal.ACCEPT if accepts else pb.ResponseProcessProposal.REJECT
    return pb.Response(process_proposal=pb.ResponseProcessProposal(status=verdict))


def _finalize_block(application: Application, asked: pb.RequestFinalizeBlock) -> pb.Response:
    finalized = application.finalize_block(_to_block(asked, asked.decided_last_commit))
    assert len(finalized.results) == len(asked.txs), "one result per transaction"
    return pb.Response(
        finalize_block=pb.ResponseFinalizeBlock(
            app_hash=finalized.app_hash,
            tx_results=[_result(result) for result in finalized.results],
            validator_updates=_validators(finalized.validators),
        )
    )


def _commit(application: Application, _: pb.RequestCommit) -> pb.Response:
    return pb.Response(commit=pb.ResponseCommit(retain_height=application.commit()))


def _list_snapshots(application: Application, _: pb.RequestListSnapshots) -> pb.Response:
    snapshots = [
        pb.Snapshot(height=s.height, format=s.format, chunks=s.chunks, hash=s.hash, metadata=s.metadata)
        for s in application.list_snapshots()
    ]
    return pb.Response(list_snapshots=pb.ResponseListSnapshots(snapshots=snapshots))


def _offer_snapshot(application: Application, asked: pb.RequestOfferSnapshot) -> pb.Response:
    offered = Snapshot(
        height=asked.snapshot.height,
        format=asked.snapshot.format,
        chunks=asked.snapshot.chunks,
        hash=asked.snapshot.hash,
        metadata=asked.snapshot.metadata,
    )
    verdict = application.offer_snapshot(offered, asked.app_hash)
    result = pb.ResponseOfferSnapshot.Result.Name(verdict)
    return pb.Response(offer_snapshot=pb.ResponseOfferSnapshot(result=result))


def _load_snapshot_chunk(application: Application, asked: pb.RequestLoadSnapshotChunk) -> pb.Response:
    chunk = application.load_snapshot_chunk(asked.height, asked.format, asked.chunk)
    return pb.Response(load_snapshot_chunk=pb.ResponseLoadSnapshotChunk(chunk=chunk))


def _apply_snapshot_chunk(application: Application, asked: pb.RequestApplySnapshotChunk) -> pb.Response:
    applied = application.apply_snapshot_chunk(asked.index, asked.chunk, asked.sender)
    return pb.Response(
        apply_snapshot_chunk=pb.ResponseApplySnapshotChunk(
            result=pb.ResponseApplySnapshotChunk.Result.Name(applied.verdict),
            refetch_chunks=applied.refetch,
            reject_senders=applied.reject_senders,
        )
    )


_ANSWERS: Final[dict[str, Callable[[Application, Any], pb.Response]]] = {
    "echo": _echo,
    "flush": _flush,
    "info": _info,
    "init_chain": _init_chain,
    "query": _query,
    "check_tx": _check_tx,
    "prepare_proposal": _prepare_proposal,
    "process_proposal": _process_proposal,
    "finalize_block": _finalize_block,
    "commit": _commit,
    "list_snapshots": _list_snapshots,
    "offer_snapshot": _offer_snapshot,
    "load_snapshot_chunk": _load_snapshot_chunk,
    "apply_snapshot_chunk": _apply_snapshot_chunk,
}


# -- Values


def _to_ms(time: Timestamp) -> int:
    """UTC, cut to the millisecond: the same on every node."""
    return time.seconds * 1000 + time.nanos // 1_000_000


def _to_validator(update: pb.ValidatorUpdate) -> Validator:
    return Validator(update.pub_key.ed25519, update.power)


def _validators(validators: Iterable[Validator]) -> list[pb.ValidatorUpdate]:
    updates = []
    for validator in validators:
        assert len(validator.key) == VALIDATOR_KEY_BYTES, "an Ed25519 key"
        updates.append(pb.ValidatorUpdate(pub_key=pb.PublicKey(ed25519=validator.key), power=validator.power))
    return updates


def _to_commit(commit: pb.CommitInfo | pb.ExtendedCommitInfo) -> LastCommit:
    votes = (Vote(vote.validator.address, vote.validator.power, VoteKind(vote.block_id_flag)) for vote in commit.votes)
    return LastCommit(commit.round, tuple(votes))


def _to_misbehaviour(found: Iterable[pb.Misbehavior]) -> tuple[Misbehaviour, ...]:
    return tuple(
        Misbehaviour(
            offence=Offence(one.type),
            address=one.validator.address,
            power=one.validator.power,
            height=one.height,
            time_ms=_to_ms(one.time),
            total_power=one.total_voting_power,
        )
        for one in found
    )


def _to_block(asked: pb.RequestProcessProposal | pb.RequestFinalizeBlock, commit: pb.CommitInfo) -> OrderedBlock:
    return OrderedBlock(
        hash=asked.hash,
        height=asked.height,
        time_ms=_to_ms(asked.time),
        txs=tuple(asked.txs),
        last_commit=_to_commit(commit),
        misbehaviour=_to_misbehaviour(asked.misbehavior),
        next_validators_hash=asked.next_validators_hash,
        proposer=asked.proposer_address,
    )


def _result(result: TxResult) -> pb.ExecTxResult:
    return pb.ExecTxResult(code=result.code, data=result.data, log=result.log)
