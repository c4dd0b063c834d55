"""How everybody stands, as a gateway is told: drawn from the chains, and kept nowhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from functools import cached_property

from aggregator.chains.analysis import AnalysisChain
from aggregator.chains.asset import AssetChain
from aggregator.chains.congestion.curtailing import Curtailed
from aggregator.chains.contracts.book import ContractBook
from aggregator.chains.payment import PaymentChain
from aggregator.chains.statements.duties import Duties
from protocol.contract_news import NEWS_MAX, NEWS_PER_STATEMENT_MAX, ContractNews
from protocol.duty import DUTIES_MAX, DUTIES_PER_STATEMENT_MAX, Duty
from protocol.limits import Direction, Limit, Tier, Why
from protocol.messages import Right, Standing
from protocol.units import PPM


class Standings:
    """How everybody stands after one block. Rights are sorted out once, for all who are asked about."""

    def __init__(
        self,
        asset: AssetChain,
        analysis: AnalysisChain,
        payment: PaymentChain,
        contracts: ContractBook,
        time_ms: int = 0,
    ) -> None:
        """`time_ms` is the block's: from then on gateways are told what is due."""
        self._time_ms = time_ms
        self._contracts = contracts
        self._asset = asset
        self._analysis = analysis
        self._payment = payment

    @cached_property
    def _rights(self) -> Mapping[str, Sequence[Right]]:
        return self._payment.rights.by_holder()

    @cached_property
    def _limited(self) -> Mapping[str, Sequence[tuple[str, Direction, Curtailed]]]:
        return self._analysis.curtailments.by_participant()

    @cached_property
    def _duties(self) -> Duties:
        return Duties(self._contracts, self._time_ms)

    def behind(self, gateway: str) -> tuple[Standing, ...]:
        """The standing of every participant behind a gateway, in the order of their names."""
        participants = self._asset.region.participants_of.get(gateway, ())
        return tuple(self.of(participant, gateway) for participant in participants)

    def of(self, participant: str, gateway: str = "") -> Standing:
        """The standing of one participant; if a gateway is named, with what it is to do: limits, and contracts."""
        row = self._analysis.factors.get(participant)
        rank = self._payment.ranks.get(participant)
        balance = self._payment.balance(participant)
        return Standing(
            participant=participant,
            balance=balance,
            supply_factor_ppm=_ppm(row.factors.supply) if row else None,
            demand_factor_ppm=_ppm(row.factors.demand) if row else None,
            rank=rank.place if rank else len(self._asset.region.participants),
            limits=tuple(self._limits(participant, gateway, is_restricted=balance < 0)),
            rights=tuple(self._rights.get(participant, ())),
            contracts=self._news(participant, gateway) if gateway else (),
            duties=self._due(participant, gateway) if gateway else (),
        )

    def _news(self, participant: str, gateway: str) -> tuple[ContractNews, ...]:
        """What a gateway is told of a participant's contracts: as much as fits, whatever all the others have."""
        others = len(self._asset.region.participants_of.get(gateway, ())) or 1
        count = min(NEWS_MAX, NEWS_PER_STATEMENT_MAX // others)
        return tuple(one.news_for(participant) for one in self._contracts.told_to(participant, count))

    def _due(self, participant: str, gateway: str) -> tuple[Duty, ...]:
        """What a gateway is told to do: how far ahead depends on how many there are, and never how much is due now."""
        others = len(self._asset.region.participants_of.get(gateway, ())) or 1
        return self._duties.of(participant, min(DUTIES_MAX, max(1, DUTIES_PER_STATEMENT_MAX // others)))

    def _limits(self, participant: str, gateway: str, *, is_restricted: bool) -> Iterator[Limit]:
        """What is left to the devices of somebody who owes tokens, or loads congested lines: each way, the least."""
        region = self._asset.region
        left_ppm = region.rules.accounts.restricted_ppm
        for device in region.devices_of.get((gateway, participant), ()):
            for way in device.directions:
                found = [Limit(device.id, device.rated_w * left_ppm // PPM, direction=way)] if is_restricted else []
                for branch, limited_way, row in self._limited.get(participant, ()):
                    if limited_way is not way:
                        continue
                    rated_w = region.limitable_w[participant, way]
                    why = Why(row.loading_ppm, Tier(row.tier), row.share_ppm(rated_w))
                    found.append(Limit(device.id, device.rated_w * row.allowed_w // rated_w, branch, way, why))
                if found:
                    yield min(found, key=lambda limit: (limit.power_max_w, limit.branch))


def _ppm(factor: Fraction | None) -> int | None:
    """A factor in millionths, rounded down; the exact one stands on the analysis chain."""
    return None if factor is None else factor.numerator * PPM // factor.denominator
