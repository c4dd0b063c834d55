"""Who has to have signed before a head counts: the members, their power, and the few without whom nothing counts.

A quorum is what its holder trusts. It comes from outside of whatever it is held against: a file that the regulator
hands out, or a single key.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from protocol.crypto import PublicKey, ValidatorKey
from protocol.errors import ProofError

MEMBERS_MAX: Final = 100
"""As many as one CometBFT answer names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One whose signature counts."""

    name: str
    power: int = 1
    node_key: PublicKey | None = None
    """P-256, for checkpoints and cosignatures."""
    validator_key: ValidatorKey | None = None
    """Ed25519, for votes under CometBFT."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quorum:
    """Members, and how much of them it takes."""

    region: str
    members: tuple[Member, ...]
    threshold: int
    """Power that has to have signed, at least."""
    required: tuple[str, ...] = ()
    """Names without whom it is not enough, whoever else signed."""

    @classmethod
    def of_one(cls, region: str, key: PublicKey) -> Quorum:
        """Whoever trusts one node alone."""
        name = "the key that was given"
        return cls(region=region, members=(Member(name=name, node_key=key),), threshold=1, required=(name,))

    @property
    def power(self) -> int:
        """Of all members together."""
        return sum(member.power for member in self.members)

    def see_that_it_suffices(self, signed: Iterable[str], what: str) -> None:
        """See that those who signed are enough, and that the required ones are among them.

        Args:
            signed: names of members.
            what: what they signed, for the error.

        Raises:
            ProofError: they are not; says who is missing.
        """
        names = set(signed)
        missing = [member.name for member in self.members if member.name not in names]
        if absent := [name for name in self.required if name not in names]:
            late = "a block may be decided before it came; ask for a newer proof"
            raise ProofError(f"{what} is not signed by {_listed(absent)}, whose signature is required: {late}")
        power = sum(member.power for member in self.members if member.name in names)
        if power < self.threshold:
            raise ProofError(
                f"{what} is signed by {power} of {self.power} power and {self.threshold} are needed:"
                f" {_listed(missing)} did not sign"
            )


def more_than_two_thirds(power: int) -> int:
    """The least power that is more than two thirds of all: what no third of liars reaches against the rest."""
    return 2 * power // 3 + 1


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
