"""este-aggregator prove, verify, audit and cosign: what somebody else can hold against a node."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

import typer

from aggregator.terminal import (
    DataFolder,
    err,
    instant,
    instant_ms,
    load_proof,
    load_quorum,
    out,
    own_command,
    plain,
    read_bounded,
)

if TYPE_CHECKING:
    from aggregator.service.replay import Progress
    from aggregator.service.store import Store
    from protocol.crypto import PublicKey
    from protocol.quorum import Quorum

T = TypeVar("T")

SEALED_EVERY_S: Final = 0.2
"""How often the ledger is asked whether the seal is there."""

SecondOpinion = Annotated[
    bool, typer.Option("--second-opinion", help="Verify every signature again with python-ecdsa; slow.")
]


def prove(
    data: DataFolder = Path("data"),
    meter: Annotated[str | None, typer.Option(help="Prove this meter's newest reading, or the one at --at.")] = None,
    at: Annotated[str | None, typer.Option(help="Instant of the reading, such as 2026-11-20T12:00:00Z.")] = None,
    balance: Annotated[str | None, typer.Option(help="Prove this participant's balance.")] = None,
    contract: Annotated[str | None, typer.Option(help="Write all evidence of the contract with this number.")] = None,
    cosignature: Annotated[list[Path] | None, typer.Option(help="File that `cosign` wrote; may be repeated.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="New file to write; none prints it.")] = None,
    wait_s: Annotated[
        float, typer.Option("--wait-s", min=0, help="How long to wait for the seal of the block, while a node runs.")
    ] = 10.0,
) -> None:
    """Write a file that proves a reading, a balance or a contract. To whoever has the keys of those who signed."""
    from aggregator.service.named import find
    from aggregator.service.proof import prove_balance, prove_contract, prove_reading, to_json
    from aggregator.service.query import LedgerFile
    from config.key_files import write_new

    if sum(asked is not None for asked in (meter, balance, contract)) != 1:
        raise typer.BadParameter("say what to prove: either --meter, --balance or --contract")
    cosignatures = [_cosignature(path) for path in cosignature or ()]
    ledger = LedgerFile(data)
    at_ms = None if at is None else instant_ms(at, "--at")

    def make() -> dict[str, Any]:
        if balance is not None:
            return prove_balance(ledger.five, ledger.store, balance, cosignatures)
        if contract is not None:
            return prove_contract(ledger.five, ledger.store, find(ledger.five, contract).digest, cosignatures)
        return prove_reading(ledger.five, ledger.store, meter or "", at_ms, cosignatures)

    document = _once_sealed(make, data, wait_s)
    if output is None:
        print(to_json(document), end="")
        return
    write_new(output, to_json(document).encode())
    many = document["seal"]["kind"] == "cometbft" or cosignatures
    trusted = "--quorum quorum.yaml" if many else "--key aggregator.pub.pem"
    out.print(f"Wrote {plain(output)}. Check it with: {own_command()} verify {plain(output)} {trusted}")


def verify(
    proof: Annotated[Path, typer.Argument(help="File that `prove` wrote.")],
    key: Annotated[Path | None, typer.Option(help="The aggregator's public key, from a source that you trust.")] = None,
    quorum: Annotated[
        Path | None, typer.Option(help="Who has to have signed, and their keys, from a source that you trust.")
    ] = None,
) -> None:
    """Check a proof offline, with nothing but public keys. Say whose: one node's, or those of a quorum."""
    from aggregator.service.proof import PROOF_BYTES_MAX
    from aggregator.service.proof import verify as verify_proof

    trusted = _trusted(key, quorum)
    document = load_proof(proof, PROOF_BYTES_MAX)
    proven = verify_proof(document, trusted)
    out.print(
        f"[green]proven[/] by block {proven.height} of region {plain(proven.region)}, {instant(proven.time_ms)} UTC:"
    )
    for name, value in proven.claim.items():
        shown = instant(value) if name.endswith("_ms") and isinstance(value, int) else plain(value)
        out.print(f"  {plain(name)}: {shown}")
    out.print(f"  head {proven.head_digest.hex()}")
    if quorum is not None:
        out.print(f"  signed by {plain(', '.join(proven.signed_by))}")


def cosign(
    key: Annotated[Path, typer.Option(help="Your private key; it need not be on the asset chain.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="New file to write the cosignature to.")],
    data: DataFolder = Path("data"),
    after: Annotated[
        Path | None, typer.Option(help="The last cosignature that you gave: the ledger must have grown from there.")
    ] = None,
    second_opinion: SecondOpinion = False,
) -> None:
    """Audit a ledger, then sign for its newest block. With a key of your own; on a copy, offline."""
    from aggregator.service.cosigning import cosign as vouch
    from config.key_files import load, write_new
    from protocol.crypto import fingerprint

    own, before = load(key), _cosignature(after) if after else None
    cosignature, report = _while_auditing(
        data, lambda store, told: vouch(store, own, before, second_opinion=second_opinion, progress=told)
    )
    write_new(output, cosignature)
    out.print(f"[green]audit ok[/]: {report.blocks} blocks; block {report.blocks} is cosigned in {plain(output)}")
    out.print(f"  head {report.head_digest.hex()}")
    out.print(f"  cosigned with the key {fingerprint(own.public_key.thumbprint)}")
    out.print(f"  all of it rests on the regulator's key {fingerprint(report.regulator.key.thumbprint)}: compare it")


def _once_sealed(make: Callable[[], T], data: Path, wait_s: float) -> T:
    """Make a proof as soon as its block has its seal, which comes a moment after it; no later than `wait_s` from now.

    Raises:
        NotSealedError: it did not come, or no node runs that could bring it.
    """
    from aggregator.service.proof import NotSealedError
    from aggregator.service.sqlite_port import LOCK_NAME
    from config import lock

    until_s = time.monotonic() + wait_s
    while True:
        try:
            return make()
        except NotSealedError:
            if time.monotonic() > until_s or not lock.is_held(data / LOCK_NAME):
                raise
        time.sleep(SEALED_EVERY_S)


def _while_auditing(data: Path, work: Callable[[Store, Progress], T]) -> T:
    """Do something with a ledger that takes as long as an audit, and tell how far it is."""
    from aggregator.service.store import Store

    store = Store.open_read_only(data)
    try:
        with store.frozen(), err.status("auditing …") as spinner:
            return work(store, lambda done, of: spinner.update(f"auditing block {done} of {of}"))
    finally:
        store.close()


def _trusted(key: Path | None, quorum: Path | None) -> PublicKey | Quorum:
    from config.key_files import load_public

    if key is not None and quorum is None:
        return load_public(key)
    if quorum is not None and key is None:
        return load_quorum(quorum)
    raise typer.BadParameter("say whom you trust: either --key or --quorum")


def _cosignature(path: Path) -> bytes:
    from protocol.errors import MessageError, OperatorError
    from protocol.seal import CHECKPOINT_BYTES_MAX, read_checkpoint

    expected = "a cosignature, as este-aggregator cosign writes it"
    data = read_bounded(path, expected, CHECKPOINT_BYTES_MAX)
    try:
        read_checkpoint(data)
    except MessageError as error:
        raise OperatorError(path, "", expected, str(error)) from error
    return data
