"""The tables of a ledger file. The only importer of sqlite_utils in this program.

block      height → head, and the node's checkpoint of it
entry      the envelopes of a block, in order, with what became of them and how many blocks each had waited; an
           accepted one is a leaf of its chain
leaf       the leaves that blocks themselves brought about: factors, movements, refusals
node       perfect subtrees of the logs, of two leaves and more, for proofs
state      the rows of all tables, as of the last block
statement  the last word to each gateway
seal       height → what closes a block for others: cosignatures, or the commit of a quorum (protocol.seal)
engine     how far the engine has come: blocks of its own that changed nothing leave no block here;
           and the block that this file begins at, where that is not the genesis
"""

from __future__ import annotations

from typing import Any, Final

from sqlite_utils import Database

SCHEMA_VERSION: Final = 6


def create_schema(connection: Any) -> None:
    """Make the tables, through an open SQLite connection."""
    db = Database(connection)
    db.table("block").create({"height": int, "head": bytes, "checkpoint": bytes}, pk="height", strict=True)
    entry = {"id": int, "author": str, "sequence": int, "code": int, "chain": int, "leaf": int, "waited": int}
    entry |= {"envelope": bytes}
    db.table("entry").create(entry, pk="id", not_null=set(entry), strict=True)
    db.table("entry").create_index(["author", "sequence"], unique=True)
    db.table("entry").create_index(["chain", "leaf"], unique=True)
    leaf = {"chain": int, "idx": int, "height": int, "body": bytes}
    db.table("leaf").create(leaf, pk=("chain", "idx"), not_null=set(leaf), strict=True)
    db.table("leaf").create_index(["height"])
    db.execute(
        "CREATE TABLE node (chain INTEGER, level INTEGER, position INTEGER, hash BLOB NOT NULL,"
        " PRIMARY KEY (chain, level, position)) STRICT, WITHOUT ROWID"
    )
    db.execute("CREATE TABLE state (key BLOB PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID")
    db.table("seal").create({"height": int, "seal": bytes}, pk="height", not_null={"seal"}, strict=True)
    db.table("engine").create({"id": int, "height": int, "begins_at": int}, pk="id", strict=True)
    db.table("statement").create({"gateway": str, "number": int, "envelope": bytes}, pk="gateway", strict=True)
