"""A ledger that has been through everything a region can live through, for whoever audits, exports or publishes it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from aggregator.chains.admission.membership import Admission
from aggregator.ledger.record import Author, Role
from aggregator.service.portable import export
from aggregator.service.store import Store
from aggregator.service.store_history import StoreHistory
from protocol.crypto import SoftwareKey
from protocol.messages import MessageType
from protocol.rotation import rotate
from tests.integration.test_ledger_file import Running
from tests.village import INTERVAL_MS

SECOND: Final = SoftwareKey.from_secret(700)
THIRD: Final = SoftwareKey.from_secret(701)


def live_through_everything(folder: Path) -> Path:
    """Batches, late energy, intervals, factors, settlements, purchases, refusals, a rotation and an admission."""
    running = Running(folder)
    village = running.village
    village.five = running.node.five  # who may sign is for the node to say
    running.live(40)
    running.send(village.sign(village.a_purchase(), MessageType.PURCHASE))
    running.send(village.sign(village.a_purchase("home"), MessageType.PURCHASE))  # refused: it holds no tokens
    running.live(30)
    _go_over(running, village.sign(rotate(village.link(), village.keys["gw"].public_key.thumbprint, SECOND),
                                   MessageType.ROTATION), SECOND)  # fmt: skip
    late = village.a_batch()
    village.now_ms += 4 * INTERVAL_MS
    running.send(village.sign(late, MessageType.BATCH))
    member = Author("gw", Role.GATEWAY, THIRD.public_key)
    admission = Admission(village.link("regulator"), member, SECOND.public_key.thumbprint)
    _go_over(running, village.sign(admission, MessageType.ADMISSION, "regulator"), THIRD)
    running.live(35)
    running.node.close()
    return folder


def exported(folder: Path, to: Path) -> Path:
    """The ledger of a folder, exported."""
    store = Store.open_read_only(folder)
    try:
        export(to, StoreHistory(store))
    finally:
        store.close()
    return to


def _go_over(running: Running, data: bytes, key: SoftwareKey) -> None:
    running.send(data)
    running.village.keys["gw"] = key
