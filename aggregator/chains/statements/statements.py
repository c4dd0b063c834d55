"""What every gateway is to be told after a block: the same words on every node, which each then signs by itself.

A statement follows from the state alone. Its number and digest are state too, so that nodes which were handed the same
blocks make the same bytes, a node that joins later goes on where the others are, and a gateway can wait until several
nodes have said the same before it believes any. Everybody is told when analysis moves on, so that silence can be told
from contentment; and whoever's standing has changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from aggregator.chains.accounts.rights import CHANNELS_TABLE, RIGHTS_TABLE
from aggregator.chains.accounts.rows import ACCOUNTS_TABLE, RANKS_TABLE
from aggregator.chains.analysis import CURSOR_TABLE, AnalysisChain
from aggregator.chains.asset import AssetChain
from aggregator.chains.congestion.curtailing import CURTAILED_TABLE
from aggregator.chains.contracts.book import CONTRACTS_TABLE, ContractBook
from aggregator.chains.payment import PaymentChain
from aggregator.chains.periods.factor_rows import FACTORS_TABLE
from aggregator.chains.statements.standing import Standings
from aggregator.ledger.chain import BlockTime
from aggregator.ledger.record import Role
from aggregator.ledger.table import Journal, Table, flat
from protocol.crypto import digest_of
from protocol.link import NO_RECORD
from protocol.messages import Standing, Statement

TOLD_TABLE: Final = 60

TELLING_TABLES: Final = frozenset(
    (FACTORS_TABLE, ACCOUNTS_TABLE, RIGHTS_TABLE, RANKS_TABLE, CURTAILED_TABLE, CHANNELS_TABLE, CONTRACTS_TABLE)
)
"""Tables whose change alters somebody's standing."""


@dataclass(frozen=True, slots=True)
class Told:
    """The last statement to a gateway."""

    number: int
    digest: bytes
    """Of its payload."""
    standings: bytes
    """Digest of what it says about everybody: whether there is news."""


class Made(NamedTuple):
    """A statement that a block calls for, ready to be signed."""

    gateway: str
    number: int
    payload: bytes


class Statements:
    """What was told to whom."""

    def __init__(
        self,
        journal: Journal,
        asset: AssetChain,
        analysis: AnalysisChain,
        payment: PaymentChain,
        contracts: ContractBook,
    ) -> None:
        self._contracts = contracts
        self._journal = journal
        self._asset = asset
        self._analysis = analysis
        self._payment = payment
        spell, read = flat(Told)
        self.told: Table[str, Told] = Table(TOLD_TABLE, journal, spell=spell, read=read)
        self.tables: Mapping[int, Table[Any, Any]] = {TOLD_TABLE: self.told}
        self.made: tuple[Made, ...] = ()
        """What the block that was finalized last calls for, in the order of the gateways' names."""

    def end_block(self, block: BlockTime) -> None:
        """Make the statements that the block calls for."""
        self.made = ()
        touched = self._journal.tables()
        moved_on = CURSOR_TABLE in touched or block.height == 1
        if moved_on or not touched.isdisjoint(TELLING_TABLES):
            everybody = Standings(self._asset, self._analysis, self._payment, self._contracts, block.time_ms)
            gateways = [member.name for member in self._asset.members(Role.GATEWAY)]
            made = (self._make(gateway, everybody.behind(gateway), block, moved_on) for gateway in gateways)
            self.made = tuple(statement for statement in made if statement is not None)

    def _make(self, gateway: str, standings: tuple[Standing, ...], block: BlockTime, is_wanted: bool) -> Made | None:
        before = self.told.get(gateway)
        statement = Statement(
            region=self._asset.region.grid.region,
            gateway=gateway,
            number=before.number + 1 if before else 1,
            previous=before.digest if before else NO_RECORD,
            height=block.height,
            time_ms=block.time_ms,
            standings=standings,
        )
        news = digest_of(statement.spell_standings())
        if before is not None and before.standings == news and not is_wanted:
            return None
        payload = statement.encode()
        self.told.put(gateway, Told(statement.number, digest_of(payload), news))
        return Made(gateway, statement.number, payload)
