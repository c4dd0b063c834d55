"""Whether a contract can be, beside all that were confirmed before it: capability, overlap, and every line's rating.

What contracts promise adds up, and nothing is set off: of two contracts in opposite directions over one line each has
to fit alone, beside the channels that are sold. So whatever is taken out of a set that fits, by breach or by early
termination, the rest still fits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from aggregator.economy.channels import Channel
from aggregator.economy.contracts.line_use import Use, peak_beside
from aggregator.economy.contracts.profile import Peak, Profile
from aggregator.economy.contracts.sensitivity import Sensitivity
from protocol.energy_register import MS_PER_HOUR
from protocol.money import said
from protocol.refusals import RefusalCode
from protocol.units import PPM

SiteKey = tuple[str, str]
"""Participant and carrier."""
ChannelsOf = Callable[[str], Sequence[Channel]]
"""What is sold of a line."""


WAYS_MAX: Final = 4096
"""Pairs of seller and buyer whose ways over lines are kept; where there are more they are worked out anew."""


@dataclass(frozen=True, slots=True)
class Site:
    """Where and how much a participant can feed into one network, and take from it."""

    feed_in_w: int = 0
    clean_w: int = 0
    """What clean sources can feed in of it."""
    take_w: int = 0
    gives_at: Mapping[str, int] = field(default_factory=dict)
    """By node, millionths of what they feed in; a million together."""
    takes_at: Mapping[str, int] = field(default_factory=dict)


NO_SITE: Final = Site()


@dataclass(frozen=True, slots=True)
class Limits:
    """What a region's devices and lines can do."""

    sites: Mapping[SiteKey, Site]
    network: Sensitivity
    rating_w: Mapping[str, int]
    """By line, what contracts may use of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """What a contract asks of devices and lines: the same power all through its window."""

    seller: str
    buyer: str
    carrier: str
    start_ms: int
    end_ms: int
    power_w: int
    clean_only: bool = False


@dataclass(frozen=True, slots=True)
class Objection:
    """Why a contract cannot be."""

    rule: RefusalCode
    subject: str
    """The line, or the participant."""
    start_ms: int
    """Of the first interval in which it is so."""
    excess_w: int
    """By how much it is too much; 0 where that is not the reason."""
    excess_money: int = 0
    """By how much a buyer would owe too much, in millionths of a minor unit; 0 where that is not the reason."""

    @property
    def said(self) -> str:
        """For people."""
        excess = f" by {self.excess_w} W" if self.excess_w else ""
        excess += f" by {said(self.excess_money)} of money" if self.excess_money else ""
        return f"{self.subject}, in the interval from {self.start_ms}{excess}"


def power_w(quantity_wh: int, length_ms: int) -> int:
    """The power that delivers a quantity evenly, rounded up."""
    return -(-quantity_wh * MS_PER_HOUR // length_ms)


def energy_wh(power_w: int, length_ms: int) -> int:
    """The energy that a power comes to, rounded down."""
    return power_w * length_ms // MS_PER_HOUR


class Plan:
    """What all confirmed contracts promise, and room for more."""

    def __init__(self, limits: Limits, channels_of: ChannelsOf = lambda line: ()) -> None:
        """Nothing is promised. `channels_of` tells what is sold of a line, whenever it is asked."""
        self.limits = limits
        self._channels_of = channels_of
        self._of_party: dict[str, Counter[Promise]] = {}
        self._profiles: dict[tuple[str, ...], Profile] = {}
        self._ways: dict[tuple[str, str, str], Mapping[str, int]] = {}

    def objection(self, promise: Promise) -> Objection | None:
        """The first rule by which a promise cannot be kept beside the others, or None."""
        return self._alone(promise) or self._together(promise, promise.power_w)

    def overload(self, promise: Promise) -> Objection | None:
        """The first rule that is broken where and while a promise that was taken is to be kept, if one is."""
        return self._alone(promise) or self._together(promise, 0)

    def _alone(self, promise: Promise) -> Objection | None:
        """What is against a promise, whatever else is promised."""
        seller, buyer = self._site(promise.seller, promise), self._site(promise.buyer, promise)
        for rule, who, limit_w in (
            (RefusalCode.SELLER_CANNOT, promise.seller, seller.feed_in_w),
            (RefusalCode.BUYER_CANNOT, promise.buyer, buyer.take_w),
            (RefusalCode.NOT_CLEAN, promise.seller, seller.clean_w if promise.clean_only else promise.power_w),
        ):
            if promise.power_w > limit_w:
                return Objection(rule, who, promise.start_ms, promise.power_w - limit_w)
        if not self._is_connected(seller, buyer):
            return Objection(RefusalCode.NO_CONNECTION, promise.buyer, promise.start_ms, 0)
        return None

    def _together(self, promise: Promise, more_w: int) -> Objection | None:
        """What is too much in the window of a promise, if so much more is promised beside what is taken."""
        seller, buyer = self._site(promise.seller, promise), self._site(promise.buyer, promise)
        shared = [
            (RefusalCode.SOLD_ALREADY, promise.seller, "sold", seller.feed_in_w),
            (RefusalCode.BOUGHT_ALREADY, promise.buyer, "bought", buyer.take_w),
        ]
        if promise.clean_only:
            shared.append((RefusalCode.NOT_CLEAN, promise.seller, "clean", seller.clean_w))
        for rule, who, what, limit_w in shared:
            peak = self._peak((what, who, promise.carrier), promise)
            if (excess_w := peak.level + more_w - limit_w) > 0:
                return Objection(rule, who, peak.at_ms, excess_w)
        for line, share in sorted(self._way(promise).items()):
            key, amount = (line, _direction(share)), more_w * abs(share)
            peak = self._peak(key, promise).plus(amount)
            if channels := self._channels_of(line):
                more = Use(promise.seller, promise.buyer, promise.start_ms, promise.end_ms, amount)
                peak = self._asked(key, channels, more)
            if (excess_w := self._excess_w(line, peak)) > 0:
                return Objection(RefusalCode.LINE_FULL, line, peak.at_ms, excess_w)
        return None

    def crowding_w(self, line: str, *more: Channel) -> int:
        """By how much a line is asked for too much while channels of it are sold, and more if named; 0 if it is not."""
        channels = [*self._channels_of(line), *more]
        if not channels:
            return 0
        window = (min(one.start_ms for one in channels), max(one.end_ms for one in channels))
        return max(0, *(self._excess_w(line, peak) for peak in self._both_ways(line, channels, *window)))

    def free(self, key: SiteKey, start_ms: int, end_ms: int) -> Site:
        """What a participant can still promise all through a window; below 0 where devices are promised too much."""
        who, carrier = key
        site = self.limits.sites.get(key, NO_SITE)
        window = Promise(seller=who, buyer=who, carrier=carrier, start_ms=start_ms, end_ms=end_ms, power_w=0)
        sold, bought, clean = (self._peak((what, who, carrier), window).level for what in ("sold", "bought", "clean"))
        feed_in_w = site.feed_in_w - sold
        return replace(
            site, feed_in_w=feed_in_w, take_w=site.take_w - bought, clean_w=min(feed_in_w, site.clean_w - clean)
        )

    def used_w(self, line: str, start_ms: int, end_ms: int) -> tuple[int, int]:
        """What is asked of a line in a window at most, from its first node and towards it; rounded up."""
        peaks = self._both_ways(line, self._channels_of(line), start_ms, end_ms)
        forward_w, backward_w = (-(-peak.level // PPM) for peak in peaks)
        return forward_w, backward_w

    def take(self, promise: Promise) -> None:
        """Count a promise among those that are to be kept."""
        self._count(promise, promise.power_w)

    def release(self, promise: Promise) -> None:
        """A promise that was taken need not be kept any more."""
        self._count(promise, -promise.power_w)

    def _count(self, promise: Promise, watts: int) -> None:
        span, carrier = (promise.start_ms, promise.end_ms), promise.carrier
        self._profile(("sold", promise.seller, carrier)).add(*span, watts)
        self._profile(("bought", promise.buyer, carrier)).add(*span, watts)
        if promise.clean_only:
            self._profile(("clean", promise.seller, carrier)).add(*span, watts)
        for line, share in self._way(promise).items():
            self._profile((line, _direction(share))).add(*span, watts * abs(share))
        for party in (promise.seller, promise.buyer):
            promises = self._of_party.setdefault(party, Counter())
            promises[promise] += 1 if watts > 0 else -1
            if not promises[promise]:
                del promises[promise]

    def _site(self, participant: str, promise: Promise) -> Site:
        return self.limits.sites.get((participant, promise.carrier), NO_SITE)

    def _is_connected(self, seller: Site, buyer: Site) -> bool:
        """Whether all their nodes lie on one island: else what one feeds in cannot balance what the other takes."""
        island = self.limits.network.island
        return len({island.get(node, node) for node in (*seller.gives_at, *buyer.takes_at)}) == 1

    def _way(self, promise: Promise) -> Mapping[str, int]:
        key = (promise.seller, promise.buyer, promise.carrier)
        way = self._ways.get(key)
        if way is None:
            if len(self._ways) >= WAYS_MAX:
                self._ways.clear()
            seller, buyer = self._site(promise.seller, promise), self._site(promise.buyer, promise)
            way = self._ways[key] = self.limits.network.carried(seller.gives_at, buyer.takes_at)
        return way

    def _asked(self, key: tuple[str, str], channels: Sequence[Channel], more: Use) -> Peak:
        """Where most is asked of a line in one direction in the window of one more contract, if that is made."""
        return peak_beside(self._profile(key), self._uses(*key, channels), channels, more)

    def _both_ways(self, line: str, channels: Sequence[Channel], start_ms: int, end_ms: int) -> list[Peak]:
        """Where most is asked of a line in a window, forward and backward."""
        nothing = Use("", "", start_ms, end_ms, 0)
        return [self._asked((line, direction), channels, nothing) for direction in ("forward", "backward")]

    def _uses(self, line: str, direction: str, channels: Sequence[Channel]) -> Iterator[Use]:
        """What is carried over a line for those who hold channels of it."""
        holders = dict.fromkeys(one.participant for one in channels)
        found = {promise: n for who in holders for promise, n in self._of_party.get(who, {}).items()}
        for promise, count in found.items():
            share = self._way(promise).get(line, 0)
            if share and _direction(share) == direction:
                amount = count * promise.power_w * abs(share)
                yield Use(promise.seller, promise.buyer, promise.start_ms, promise.end_ms, amount)

    def _excess_w(self, line: str, peak: Peak) -> int:
        return -(-(peak.level - self.limits.rating_w[line] * PPM) // PPM)

    def _peak(self, key: tuple[str, ...], promise: Promise) -> Peak:
        profile = self._profiles.get(key)
        return profile.peak(promise.start_ms, promise.end_ms) if profile else Peak(0, promise.start_ms)

    def _profile(self, key: tuple[str, ...]) -> Profile:
        return self._profiles.setdefault(key, Profile())


def _direction(share: int) -> str:
    return "forward" if share > 0 else "backward"
