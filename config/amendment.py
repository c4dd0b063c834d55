"""The file of an amendment: sections of a grid file's rules, and its permits, each as it is to be from then on."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import model_validator

from config.grid_model import Permit
from config.model import Listed, Model, mistake
from config.rules import (
    AccountRule,
    CarbonRule,
    CongestionRule,
    ContractRule,
    CurtailmentRule,
    ExchangeRule,
    MarketRule,
    RightPrice,
    Rules,
    TokenRule,
)

NEVER_NONE = ("carbon", "tokens", "accounts", "rights", "permits")


class AmendmentFile(Model):
    """What is to change: a section that stands here takes the place of the one in force, whole."""

    carbon: CarbonRule | None = None
    tokens: TokenRule | None = None
    accounts: AccountRule | None = None
    rights: Annotated[tuple[RightPrice, ...] | None, Listed] = None
    congestion: CongestionRule | None = None
    contracts: ContractRule | None = None
    market: MarketRule | None = None
    curtailment: CurtailmentRule | None = None
    exchange: ExchangeRule | None = None
    permits: Annotated[tuple[Permit, ...] | None, Listed] = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.model_fields_set:
            raise mistake(f"at least one section out of {', '.join(type(self).model_fields)}")
        for section in NEVER_NONE:
            if section in self.model_fields_set and getattr(self, section) is None:
                raise mistake(f"{section} as they are to be: no region is without")
        return self

    def applied(self, rules: Rules, permits: tuple[Permit, ...]) -> tuple[Rules, tuple[Permit, ...]]:
        """Rules and permits with the sections of this file in their places."""
        sections = {name: getattr(self, name) for name in self.model_fields_set - {"permits"}}
        kept = {name: getattr(rules, name) for name in Rules.model_fields}
        return Rules.model_validate(kept | sections), permits if self.permits is None else self.permits
