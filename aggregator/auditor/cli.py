"""este-aggregator audit, export and publish: what anybody does with a ledger who trusts no node."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aggregator.terminal import AsJson, DataFolder, err, load_quorum, out, own_command, plain

if TYPE_CHECKING:
    from aggregator.service.replay import AuditReport, Progress
    from protocol.crypto import PublicKey
    from protocol.quorum import Quorum

DATA = Path("data")


def audit(
    file: Annotated[Path | None, typer.Argument(help="An exported ledger, to be audited instead of a folder.")] = None,
    data: DataFolder = DATA,
    as_json: AsJson = False,
    second_opinion: Annotated[
        bool, typer.Option("--second-opinion", help="Verify every signature again with python-ecdsa; slow.")
    ] = False,
    regulator_key: Annotated[
        Path | None, typer.Option(help="The regulator's public key: the genesis must be signed with it.")
    ] = None,
    quorum: Annotated[
        Path | None, typer.Option(help="Also hold the stored seals against this quorum. Not for an exported ledger.")
    ] = None,
) -> None:
    """Replay a whole ledger from its genesis, and re-derive every factor, token and balance."""
    from aggregator.service.replay import AuditError
    from config.key_files import load_public
    from protocol.crypto import fingerprint

    regulator = load_public(regulator_key) if regulator_key else None
    try:
        with err.status("auditing …") as spinner:
            report = _audit(
                file,
                data,
                quorum=load_quorum(quorum) if quorum else None,
                second_opinion=second_opinion,
                regulator=regulator,
                progress=lambda done, of: spinner.update(f"auditing block {done} of {of}"),
            )
    except AuditError as error:
        if as_json:
            _print_json({"audit": "failed", "place": error.place, "finding": error.finding})
        else:
            out.print(f"[red]audit failed[/] at {plain(error.place)}: {plain(error.finding)}")
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
    out.print(f"  head {report.head_digest.hex()}")
    known = "as it should" if regulator else "compare it"
    out.print(f"  all of it rests on the regulator's key {fingerprint(thumbprint)}: {known}")


def export(
    output: Annotated[Path, typer.Option("--output", "-o", help="New file to write.")],
    data: DataFolder = DATA,
) -> None:
    """Write the whole ledger to one file, which anybody can audit offline."""
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
    """Write the five logs as static tiles, which witnesses and monitors of transparency logs read."""
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
    second_opinion: bool,
    regulator: PublicKey | None,
    progress: Progress,
) -> AuditReport:
    from aggregator.service.audit import audit as audit_store
    from aggregator.service.audit import audit_file
    from aggregator.service.store import Store

    if file is not None:
        return audit_file(file, second_opinion=second_opinion, regulator=regulator, progress=progress)
    store = Store.open_read_only(data)
    try:
        with store.frozen():
            return audit_store(
                store, second_opinion=second_opinion, regulator=regulator, quorum=quorum, progress=progress
            )
    finally:
        store.close()


def _print_json(document: object) -> None:
    print(json.dumps(document, indent=1, default=str))
