"""este-aggregator audit, export and publish: what anybody does with a ledger who trusts no node."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aggregator.terminal import AsJson, DataFolder, err, load_proof, load_quorum, out, own_command, plain

if TYPE_CHECKING:
    from aggregator.service.proof import Proven
    from aggregator.service.replay import AuditReport, Progress
    from protocol.crypto import PublicKey
    from protocol.quorum import Quorum

DATA = Path("data")


def audit(
    file: Annotated[Path | None, typer.Argument(help="An exported ledger, to be audited instead of a folder.")] = None,
    data: Annotated[
        Path | None, typer.Option(help="Folder of the ledger, where no file is given.", show_default="data")
    ] = None,
    as_json: AsJson = False,
    second_opinion: Annotated[
        bool, typer.Option("--second-opinion", help="Verify every signature again with python-ecdsa; slow.")
    ] = False,
    regulator_key: Annotated[
        Path | None, typer.Option(help="The regulator's public key: the genesis must be signed with it.")
    ] = None,
    quorum: Annotated[
        Path | None,
        typer.Option(help="Hold the stored seals against this quorum, or, of an exported ledger, that of --proof."),
    ] = None,
    proof: Annotated[
        Path | None,
        typer.Option(help="With --quorum: the exported ledger must hold the block that this proof ends in."),
    ] = None,
) -> None:
    """Replay a ledger from its genesis, and re-derive all of it. Every factor, token and balance."""
    from aggregator.service.replay import AuditError
    from config.key_files import load_public
    from protocol.crypto import fingerprint

    regulator = load_public(regulator_key) if regulator_key else None
    believed = load_quorum(quorum) if quorum else None
    proven = _proven(file, data, proof, believed)
    try:
        with err.status("auditing …") as spinner:
            report = _audit(
                file,
                data or DATA,
                quorum=believed,
                proven=proven,
                second_opinion=second_opinion,
                regulator=regulator,
                progress=lambda done, of: spinner.update(f"auditing block {done} of {of}"),
            )
    except AuditError as error:
        if as_json:
            _print_json({"audit": "failed", "place": error.place, "finding": error.finding})
        else:
            out.print(f"[red]audit failed[/] at {plain(error.place)}: {plain(error.finding)}", soft_wrap=True)
        raise typer.Exit(1) from error
    thumbprint = report.regulator.key.thumbprint
    if as_json:
        found = {"audit": "ok", "head_digest": report.head_digest.hex(), "regulator": thumbprint.hex()}
        _print_json(asdict(report) | found)
        return
    out.print(f"[green]audit ok[/]: {report.blocks} blocks, {report.records} records, {report.readings} readings,")
    tokens = f"{report.minted} tokens minted, {report.burned} charged"
    out.print(f"  {report.intervals} intervals, {report.periods} periods, {tokens}, {report.refused} records refused")
    if report.sealed:
        out.print(f"  {report.sealed} blocks have seals, all by those whose votes counted")
    if proven is not None:
        out.print(f"  block {proven.height} is the one that {plain(', '.join(proven.signed_by))} signed")
    out.print(f"  head {report.head_digest.hex()}")
    out.print(f"  all of it rests on the regulator's key {fingerprint(thumbprint)}: {_known(regulator)}")


def _known(regulator: PublicKey | None) -> str:
    return "as it should" if regulator else "compare it"


def export(
    output: Annotated[Path, typer.Option("--output", "-o", help="New file to write.")],
    data: DataFolder = DATA,
) -> None:
    """Write the whole ledger to one file, to be audited anywhere."""
    from aggregator.service.portable import export as write
    from aggregator.service.store import Store
    from aggregator.service.store_history import StoreHistory

    store = Store.open_read_only(data)
    try:
        history = StoreHistory(store)
        with err.status("exporting …") as spinner:
            write(output, history, lambda done, of: spinner.update(f"exporting block {done} of {of}"))
    finally:
        store.close()
    size = f"{output.stat().st_size:,} bytes"
    out.print(f"Wrote {plain(output)}: {history.blocks} blocks, {size}. It holds every reading: mind who gets it.")
    out.print(f"Check it with: {own_command()} audit {plain(output)} --regulator-key regulator.pub.pem")


def publish(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder that a web server serves.")],
    data: DataFolder = DATA,
    origin: Annotated[
        str | None,
        typer.Option(help="What the logs are called: their URL without https://; the region's name if none."),
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option(help="Ed25519 key that signs; made on first use; note.key in the ledger's folder if none."),
    ] = None,
    entries: Annotated[
        bool, typer.Option("--entries", help="Publish the records too: every reading of every household.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Write the five logs as static tiles, for witnesses. Monitors of transparency logs read them, too."""
    from aggregator.service.publish import Publisher
    from aggregator.service.store import Store
    from aggregator.service.store_history import StoreHistory
    from config.key_files import note_key

    store = Store.open_read_only(data)
    try:
        name = origin or StoreHistory(store).region
        signing = note_key(key or data / "note.key")
        with err.status("publishing …"):
            published = Publisher(store, output, signing, name, with_entries=entries).publish()
    finally:
        store.close()
    if as_json:
        _print_json([asdict(log) for log in published])
        return
    for log in published:
        out.print(f"{log.chain:10}{log.size:>10} leaves {log.files:>7} new files  {plain(log.verifier_key)}")


def _audit(
    file: Path | None,
    data: Path,
    *,
    quorum: Quorum | None,
    proven: Proven | None,
    second_opinion: bool,
    regulator: PublicKey | None,
    progress: Progress,
) -> AuditReport:
    from aggregator.service.audit import audit as audit_store
    from aggregator.service.audit import audit_file
    from aggregator.service.store import Store

    if file is not None:
        return audit_file(file, second_opinion=second_opinion, regulator=regulator, proven=proven, progress=progress)
    store = Store.open_read_only(data)
    try:
        with store.frozen():
            return audit_store(
                store, second_opinion=second_opinion, regulator=regulator, quorum=quorum, progress=progress
            )
    finally:
        store.close()


def _proven(file: Path | None, data: Path | None, proof: Path | None, quorum: Quorum | None) -> Proven | None:
    """What a proof shows that an exported ledger is to be held against; what does not go together is told first."""
    from aggregator.service.proof import PROOF_BYTES_MAX, verify
    from protocol.errors import OperatorError

    if file is None:
        if proof is not None:
            raise typer.BadParameter("is for an exported ledger: a ledger's folder has its seals", param_hint="--proof")
        return None
    if data is not None:
        raise typer.BadParameter("give either an exported ledger or --data")
    if file.is_dir():
        raise OperatorError(file, "", "a file that export wrote; a ledger's folder goes with --data", "a folder")
    if (proof is None) != (quorum is None):
        raise typer.BadParameter(
            "an export has no seals: --quorum needs a --proof that the quorum signed, and that needs it"
        )
    return verify(load_proof(proof, PROOF_BYTES_MAX), quorum) if proof is not None and quorum is not None else None


def _print_json(document: object) -> None:
    print(json.dumps(document, indent=1, default=str))
