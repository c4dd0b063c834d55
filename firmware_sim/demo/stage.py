"""Everything on disk that the demo's programs need: keys, settings, the grid file and the region's ledger.

Made with the same commands and files that an operator would use; after the demo they are still there to look at.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml

from config.key_files import create, write_new
from config.model import Model
from config.rules import TimeRule
from config.settings.agent import AgentSettings, Batching, StandingOrder
from config.settings.broker import Broker
from config.settings.fleet import FleetSettings
from firmware_sim.demo.children import output_of, program
from firmware_sim.demo.story import Plot
from firmware_sim.free_port import free_ports
from firmware_sim.lane import VILLA
from firmware_sim.scenario import REGION, Scenario, compose
from protocol.errors import OperatorError
from protocol.messages import RightKind

TIME: Final = TimeRule(interval_ms=4_000, grace_ms=2_500, period_ms=24_000, day_ms=24_000)
"""An hour goes by in a second. A day is a settlement period, and has six intervals."""

HURRY: Final = (("age_max_ms", 1000, 250), ("block_pause_ms", 1000, 250), ("empty_every_ms", 5000, 1000))
"""Settings of a node that a month of 24 seconds changes, with what they are and become."""

POLL_EVERY_MS: Final = 500
BATCH_AGE_MS: Final = 1_500
RESEND_AFTER_MS: Final = 3_000
HEAT_HOUSES: Final = 2
SPEED: Final = 3_600
"""Sun, wind and habits: an hour in a second."""
BEGIN_H: Final = 6
"""Hour at which the meters begin to live: the first evening comes when all gateways read them, and a period of the
region, which was founded some seconds before, ends at night."""

ORDER_PRICE_MAX: Final = 60
ORDER_BALANCE_MIN: Final = 20


@dataclass(frozen=True, slots=True)
class Stage:
    """Where everything is."""

    folder: Path
    scenario: Scenario
    fleet: FleetSettings
    broker: Broker
    validators: int = 0
    """Nodes that agree on blocks; 0 for one that orders them by itself."""
    profile_folders: tuple[Path, ...] = ()
    """Further meter profiles: those of SunSpec devices."""
    time: TimeRule = TIME

    @property
    def plot(self) -> Plot:
        """What the operator looks at, and who has a part in it."""
        thin, behind, before = self.scenario.thin_part()
        return Plot(
            branch=thin,
            called={connection.site.participant: connection.site.meter for connection in behind},
            liar=before.site.meter,
            liar_name=before.site.participant,
            interval_ms=self.time.interval_ms,
            day_ms=self.time.day_ms,
        )

    @property
    def pictures(self) -> tuple[tuple[str, tuple[str, ...], str], ...]:
        """What can be drawn of the story: what it shows, how to plot it, and a name for the file."""
        return (
            ("a house's heat, and what the tank held", ("plot", "origin", self.houses[0]), "heat.svg"),
            ("how long the cable was loaded how much", ("plot", "branch", self.plot.branch), "cable.svg"),
        )

    @property
    def houses(self) -> tuple[str, ...]:
        """Participants with heat."""
        return tuple(one.site.participant for one in self.scenario.connections if one.site.heat is not None)

    @property
    def regulator_key(self) -> Path:
        """The regulator's key, which a region in earnest would not leave there."""
        return self.region / "regulator.key"

    @property
    def logs(self) -> Path:
        """Folder of what the programs say."""
        return self.folder / "logs"

    @property
    def region(self) -> Path:
        """Folder of what the region was founded with."""
        return self.folder / "aggregator"

    @property
    def nodes(self) -> tuple[Path, ...]:
        """Folder of each node."""
        if not self.validators:
            return (self.region,)
        return tuple(sorted(path.parent for path in self.region.glob("*/aggregator.yaml")))

    @property
    def aggregator_settings(self) -> Path:
        """Settings file of the first node."""
        return self.nodes[0] / "aggregator.yaml"

    @property
    def ledgers(self) -> tuple[Path, ...]:
        """Folder of each node's ledger."""
        return tuple(node / "data" for node in self.nodes)

    @property
    def ledger(self) -> Path:
        """Folder of the first node's ledger."""
        return self.ledgers[0]

    @property
    def aggregators_file(self) -> Path:
        """The nodes' public keys."""
        return self.region / ("aggregators.pem" if self.validators else "aggregator.pub.pem")

    def trusts(self) -> tuple[str | Path, str | Path]:
        """What `este-aggregator verify` is given to trust."""
        return ("--quorum", self.region / "quorum.yaml") if self.validators else ("--key", self.aggregators_file)

    def agent_settings(self, gateway: str) -> Path:
        """Settings file of a gateway."""
        return self.folder / gateway / "agent.yaml"

    def has_begun(self, gateway: str) -> bool:
        """Whether a gateway has come so far that it could read meters: it keeps what it reads there."""
        return (self.folder / gateway / "data" / "outbox.sqlite").exists()

    @property
    def grid_file(self) -> Path:
        """What the region consists of."""
        return self.folder / "grid.yaml"

    @property
    def fleet_settings(self) -> Path:
        """Settings file of the simulated meters."""
        return self.folder / "fleet.yaml"


def see_that_free(folder: Path) -> None:
    """See that nothing is in a folder, or that there is none yet.

    Raises:
        OperatorError: something is, or it cannot be looked into.
    """
    try:
        is_used = folder.exists() and any(folder.iterdir())
    except OSError as error:
        raise OperatorError(folder, "", "a folder to write to", error.strerror or str(error)) from error
    if is_used:
        raise OperatorError(folder, "", "an empty folder, or none yet, for --data", "one that holds something")


async def build(folder: Path, *, meters: int, seed: int, broker: Broker, validators: int = 0) -> Stage:
    """Write everything.

    Raises:
        EsteError: the folder is in use, or a command failed.
    """
    fleet = FleetSettings(
        meters=meters,
        heat=HEAT_HOUSES,
        heat_works=True,
        thin_feeder=True,
        seed=seed,
        first_port=free_ports(meters // 6 + 6),
        speed=SPEED,
        begin_h=BEGIN_H,
        run_folder=folder / "fleet",
    )
    stage = prepare(folder, fleet, broker, validators)
    await found(stage)
    return stage


def prepare(
    folder: Path,
    fleet: FleetSettings,
    broker: Broker,
    validators: int = 0,
    *,
    profile_folders: tuple[Path, ...] = (),
    time: TimeRule = TIME,
) -> Stage:
    """Write everything but the ledger: the fleet can run then. `time` says how time is cut.

    Raises:
        OperatorError: the folder is in use, or cannot be written.
    """
    stage = Stage(folder, compose(fleet), fleet, broker, validators, profile_folders, time)
    see_that_free(folder)
    try:
        stage.logs.mkdir(parents=True)
    except OSError as error:
        raise OperatorError(folder, "", "a folder to write to", error.strerror or str(error)) from error
    _write_model(stage.grid_file, stage.scenario.grid(time))
    _write_model(stage.fleet_settings, stage.fleet)
    for gateway in stage.scenario.gateways:
        _make_gateway(stage, gateway)
    return stage


def _make_gateway(stage: Stage, gateway: str) -> None:
    home = stage.folder / gateway
    home.mkdir()
    key = create(home / "gateway.key")
    write_new(home / "gateway.pub.pem", key.public_key.to_pem().encode())
    settings = AgentSettings(
        region=REGION,
        gateway=gateway,
        data=Path("data"),
        key_file=Path("gateway.key"),
        aggregator_key_file=Path("..") / stage.aggregators_file.relative_to(stage.folder),
        broker=stage.broker,
        poll_every_ms=POLL_EVERY_MS,
        batch=Batching(age_max_ms=BATCH_AGE_MS),
        resend_after_ms=RESEND_AFTER_MS,
        clock_wait_max_ms=0,  # a demo does not wait for the time, and says that it is not synchronized
        statement_age_max_ms=60_000,
        profile_folders=stage.profile_folders,
        buses=stage.scenario.buses(gateway, stage.fleet),
        standing_orders=_standing_orders(stage.scenario, gateway),
    )
    _write_model(stage.agent_settings(gateway), settings)


def _standing_orders(scenario: Scenario, gateway: str) -> tuple[StandingOrder, ...]:
    """Households buy priority for the evening, plants for feeding in, as soon as they can afford it.

    In a region that trades the villa alone does: the story looks at what the right does for it.
    """
    orders = []
    for connection in scenario.connections:
        site = connection.site
        if connection.place.gateway != gateway or site.device is None:
            continue
        if scenario.has_market and site.participant != VILLA:
            continue
        right = RightKind.PRIORITY_GENERATION if site.export_max_w > site.import_max_w else RightKind.PRIORITY_PURCHASE
        orders.append(
            StandingOrder(
                participant=site.participant,
                right=right.name.lower(),
                price_max=ORDER_PRICE_MAX,
                balance_min=ORDER_BALANCE_MIN,
            )
        )
    return tuple(orders)


async def found(stage: Stage) -> None:
    """Found the region of what was prepared.

    Raises:
        EsteError: a profile is missing, or the command failed.
    """
    keys = [f"--gateway={gateway}={stage.folder / gateway / 'gateway.pub.pem'}" for gateway in stage.scenario.gateways]
    broker = [f"--broker-host={stage.broker.host}", f"--broker-port={stage.broker.port}"]
    engine = [f"--profile-folder={folder}" for folder in stage.profile_folders]
    if stage.validators:
        first_port = free_ports(2 * stage.validators)
        engine += ["--engine=cometbft", f"--validators={stage.validators}", f"--first-port={first_port}"]
    command = [program("este-aggregator"), "init", str(stage.region), f"--grid={stage.grid_file}"]
    await output_of([*command, *keys, *broker, *engine])
    for node in stage.nodes:
        file = node / "aggregator.yaml"
        text = file.read_text()
        for setting, slow, quick in HURRY:
            text = text.replace(f"{setting}: {slow} ", f"{setting}: {quick} ")
        file.write_text(text)


def _write_model(path: Path, model: Model) -> None:
    """Write a settings file that `config.load` reads back as the same model."""
    text = yaml.safe_dump(model.model_dump(mode="json", exclude_none=True), sort_keys=False, allow_unicode=True)
    write_new(path, text.encode())
