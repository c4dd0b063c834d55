"""The tables of the outbox file. A change of them is a new `VERSION`, with a way from the old one."""

from __future__ import annotations

from typing import Final

APPLICATION_ID: Final = 0x65737465
"""``este`` in ASCII, where file(1) and SQLite's own tools look for it."""

VERSION: Final = 5

_WISH: Final = """
    CREATE TABLE wish (
        id INTEGER PRIMARY KEY,
        sender TEXT NOT NULL,
        receiver TEXT NOT NULL,
        amount INTEGER NOT NULL,
        fee INTEGER NOT NULL
    ) STRICT
    """

_TRADE: Final = (
    # Offers of both sides, each by the digest of its terms, and where it stands.
    """
    CREATE TABLE offer (
        id INTEGER PRIMARY KEY,
        number BLOB NOT NULL UNIQUE,
        envelope BLOB NOT NULL,
        is_ours INTEGER NOT NULL,
        stage INTEGER NOT NULL,
        partner TEXT NOT NULL,
        gateway TEXT NOT NULL,
        sequence INTEGER,
        detail INTEGER NOT NULL,
        reason TEXT NOT NULL,
        sent_ms INTEGER NOT NULL,
        times INTEGER NOT NULL
    ) STRICT
    """,
    # Gateways that letters went to or came from, with their keys.
    """
    CREATE TABLE partner (
        gateway TEXT PRIMARY KEY,
        card BLOB NOT NULL
    ) STRICT
    """,
    # What was ordered about offers and is not done yet.
    """
    CREATE TABLE trade_wish (
        id INTEGER PRIMARY KEY,
        verb TEXT NOT NULL,
        number BLOB NOT NULL,
        terms BLOB,
        partner TEXT NOT NULL,
        reason TEXT NOT NULL
    ) STRICT
    """,
)

_ORDER: Final = """
    CREATE TABLE ordered (
        id INTEGER PRIMARY KEY,
        type TEXT NOT NULL,
        payload BLOB NOT NULL
    ) STRICT
    """

_QUOTE: Final = """
    CREATE TABLE quote (
        id INTEGER PRIMARY KEY,
        start_ms INTEGER NOT NULL,
        quote BLOB NOT NULL,
        sequence INTEGER,
        digest BLOB,
        taken_back INTEGER NOT NULL
    ) STRICT
    """
"""`sequence` and `digest` once it is signed; `taken_back` is 1 once that is ordered, 2 once it is signed."""

SCHEMA: Final = (
    # Who the file belongs to, the head of the gateway's sequence, and what has happened so far. One row.
    """
    CREATE TABLE head (
        id INTEGER PRIMARY KEY CHECK (id = 1) DEFAULT 1,
        region TEXT NOT NULL,
        gateway TEXT NOT NULL,
        sequence INTEGER NOT NULL DEFAULT 0,
        previous BLOB NOT NULL,
        readings_read INTEGER NOT NULL DEFAULT 0,
        records_signed INTEGER NOT NULL DEFAULT 0,
        records_received INTEGER NOT NULL DEFAULT 0,
        records_refused INTEGER NOT NULL DEFAULT 0,
        statements_verified INTEGER NOT NULL DEFAULT 0,
        rights_applied INTEGER NOT NULL DEFAULT 0
    ) STRICT
    """,
    # What was known about the clock in each boot that left readings, when the last of them was journaled.
    """
    CREATE TABLE boot (
        id INTEGER PRIMARY KEY,
        boot_id BLOB NOT NULL UNIQUE,
        state INTEGER NOT NULL,
        error_ms INTEGER NOT NULL,
        source TEXT NOT NULL,
        epoch_ms INTEGER NOT NULL
    ) STRICT
    """,
    # Readings that are in no record yet, in the order in which they were read.
    """
    CREATE TABLE journal (
        id INTEGER PRIMARY KEY,
        boot INTEGER NOT NULL REFERENCES boot (id),
        reading BLOB NOT NULL
    ) STRICT
    """,
    # Signed records without a receipt.
    """
    CREATE TABLE record (
        sequence INTEGER PRIMARY KEY,
        digest BLOB NOT NULL,
        envelope BLOB NOT NULL
    ) STRICT
    """,
    # Records that were refused for good: kept, never sent again.
    """
    CREATE TABLE set_aside (
        sequence INTEGER PRIMARY KEY,
        digest BLOB NOT NULL,
        envelope BLOB NOT NULL,
        code INTEGER NOT NULL,
        detail TEXT NOT NULL
    ) STRICT
    """,
    # The newest statement that is believed, and when it was heard on the clock of which boot. At most one row.
    """
    CREATE TABLE statement (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        envelope BLOB NOT NULL,
        boot_id BLOB NOT NULL,
        heard_ms INTEGER NOT NULL
    ) STRICT
    """,
    # The last purchase of each standing order.
    """
    CREATE TABLE placed (
        participant TEXT NOT NULL,
        right INTEGER NOT NULL,
        sequence INTEGER NOT NULL,
        height INTEGER,
        rest_until_ms INTEGER,
        PRIMARY KEY (participant, right)
    ) STRICT
    """,
    # The power that each device last confirmed, NULL where it is free, why it does not obey now, if so, and what it
    # confirmed that it is set to: to take, or, below 0, to feed in; NULL where it runs as it likes.
    """
    CREATE TABLE device (
        id TEXT PRIMARY KEY,
        power_max_w INTEGER,
        failing TEXT,
        set_w INTEGER
    ) STRICT
    """,
    # The last reading of each meter, the last that brought along what is read more rarely (of this run, or of the last
    # one), and why it cannot be read now, if so: for people who look.
    """
    CREATE TABLE meter (
        id TEXT PRIMARY KEY,
        boot INTEGER REFERENCES boot (id),
        reading BLOB,
        failing TEXT,
        with_slow BLOB
    ) STRICT
    """,
    # States of the running program: for people who look.
    """
    CREATE TABLE note (
        name TEXT PRIMARY KEY,
        text TEXT NOT NULL
    ) STRICT
    """,
    # Transfers that were ordered and are not signed yet.
    _WISH,
    *_TRADE,
    # Channels and exchanges that were ordered and are not signed yet, each with the link of nothing.
    _ORDER,
    # Quotes for intervals to come.
    _QUOTE,
)

FROM_VERSION: Final = {
    # Readings were spelled without parts and slow readings, as such readings still are.
    1: ("ALTER TABLE meter ADD COLUMN with_slow BLOB",),
    # There were no transfers.
    2: (_WISH,),
    # There were no offers, no quotes, and no other orders than transfers.
    3: (*_TRADE, _ORDER, _QUOTE),
    # Devices were limited, and never told what to do.
    4: ("ALTER TABLE device ADD COLUMN set_w INTEGER",),
}
"""What makes a file of the version after out of one of this version."""
