"""Fetches the seals of blocks: the votes of the validators for each head, as CometBFT has them.

The votes for a ledger head come one height of consensus after its block. They are checked before they are kept, like
anything from elsewhere; what a node lacks is fetched while others still have it, and one seal proves all before it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import structlog

from aggregator.engine.cometbft.rpc_port import Rpc
from aggregator.service.consensus.replica import Replica, Unsealed
from aggregator.service.store import Store
from protocol.cometbft.light import verify_commit, without_unsigned
from protocol.cometbft.rpc import read_light_block
from protocol.errors import EsteError, ProofError
from protocol.seal import Commit, encode_seal

PAUSE_S: Final = 0.2

log = structlog.get_logger("este.sealing")


class Sealing:
    """Seals every block, in their order."""

    def __init__(
        self,
        replica: Replica,
        store: Store,
        rpc: Rpc,
        in_ledger_thread: Callable[[Callable[[], Any]], Awaitable[Any]],
    ) -> None:
        self._replica = replica
        self._store = store
        self._rpc = rpc
        self._in_ledger_thread = in_ledger_thread

    async def run(self) -> None:
        """Fetch what there is to fetch, for ever."""
        while True:
            await asyncio.sleep(PAUSE_S)
            try:
                while self._replica.unsealed:
                    await self._seal(self._replica.unsealed[0])
                    self._replica.unsealed.popleft()
            except EsteError as error:
                log.debug("no seal yet", why=str(error))

    async def _seal(self, unsealed: Unsealed) -> None:
        """Fetch, check and keep the votes for one block.

        Raises:
            LinkError: CometBFT does not have them yet, or is away.
            ProofError: they are not votes for this block.
        """
        signed = await self._rpc.commit(unsealed.engine_height)
        validators = await self._rpc.validators(unsealed.engine_height)
        number = str(unsealed.engine_height)
        document = {"block_height": number, "validators": validators, "total": str(len(validators))}
        block = without_unsigned(read_light_block({"signed_header": signed, "canonical": True}, document))
        verify_commit(block)
        if block.header.app_hash != unsealed.digest:
            raise ProofError(f"the header at {number} does not carry the head of block {unsealed.height}")
        await self._in_ledger_thread(lambda: self._store.write_seal(unsealed.height, encode_seal(Commit(block))))
