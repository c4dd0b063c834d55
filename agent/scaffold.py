"""What `este-agent init` makes: a settings file that explains every setting there is, and a key.

A test holds the text against `config.settings.agent`: a setting that is missing here, or has another default, fails it.
Nothing that exists is ever overwritten.
"""

from __future__ import annotations

from pathlib import Path
from string import Template
from typing import Final

import yaml

from config import key_files
from config.load import check
from config.settings.agent import AgentSettings
from protocol.crypto import PublicKey
from protocol.errors import OperatorError

SETTINGS_NAME: Final = "agent.yaml"
KEY_NAME: Final = "gateway.key.pem"
PUBLIC_KEY_NAME: Final = "gateway.pub.pem"
AGGREGATOR_KEY_NAME: Final = "aggregator.pub.pem"

_TEMPLATE: Final = Template("""\
# Settings of one gateway. Relative paths are meant from this file's own folder.
# What stands behind "# key: value" is in force as it is written there; remove the "# " to change it.

# The region, and this gateway's name in it, as the regulator enrols them.
region: "$region"
gateway: "$gateway"

# Folder of the outbox: readings and signed records that wait for their receipt. It must survive a restart,
# and two agents must never share one. Never restore it from a backup: the numbers in it would be signed twice.
data: data

# This gateway's private key, readable by its owner alone. Its public half, $public_key_name, goes to the regulator.
key_file: $key_name
# A key in a chip, in place of key_file; este-agent key --make has the chip make it.
# pkcs11:
#   module: /usr/lib/softhsm/libsofthsm2.so
#   token_label: este
#   key_label: gateway
#   pin_file: chip.pin

# The aggregator's public key, or those of all aggregators one after another, as their operators hand them out. Nothing
# that another key signed is believed.
aggregator_key_file: $aggregator_key_name
# How many of them have to say the same before it counts; left out, so many that one is honest while fewer than a third
# lie.
# aggregators_agree: 2

# The MQTT broker (3.1.1). Plain MQTT is for one machine or a closed network only: elsewhere, use tls.
broker:
  host: "$broker_host"
  port: $broker_port
  # Seconds of silence after which the link is probed.
  # keepalive_s: 30
  # With a password: the user name is the gateway's name, the password stands in a file of its own.
  # username: "$gateway"
  # password_file: broker.password
  # tls:
  #   ca_file: ca.pem
  #   certificate_file: gateway.crt.pem
  #   key_file: gateway.key.pem

# How often each meter is read.
# poll_every_ms: 1000

# What leaves the house beside the energy registers, as far as a meter has it. Others: apparent_power_va,
# frequency_mhz, voltage_l2_mv, voltage_l3_mv, current_l1_ma … current_l3_ma, active_power_l1_w … active_power_l3_w,
# power_factor_ppm.
# quantities: [active_power_w, reactive_power_var, voltage_l1_mv]

# When readings are signed together: at so many of one meter, or at this age of the oldest.
# batch:
#   readings_max: 60
#   age_max_ms: 60000

# How long to wait for a receipt before a record is sent again, and how many records may be under way at once.
# resend_after_ms: 10000
# in_flight_max: 32

# How large the outbox may become (1 GiB). At the bound nothing more is read, and the status says so. With thin instead
# of pause, only one reading of each meter is kept in a quarter of an hour from three quarters of the bound on: no
# energy is lost, only how finely it was measured.
# outbox_bytes_max: 1073741824
# at_bound: pause

# How long readings wait, unsigned, while chrony or timesyncd still look for the time after a boot (2 hours).
# clock_wait_max_ms: 7200000

# When the aggregator has been silent for so long (1 hour), every limit of a device is lifted. It must be longer than
# the region's metering interval and its grace time: a statement comes as often as an interval closes.
# statement_age_max_ms: 3600000

# Folders of further meter profiles, beside those that este brings.
# profile_folders: []

# The buses, their meters, and the devices that rights and restrictions act on. To find what is there:
#   este-agent scan --host 192.168.1.50       or  --device /dev/ttyUSB0       or  --network 192.168.1.0/24
# To check one meter:  este-agent read --profile eastron_sdm630 --host 192.168.1.50 --unit 1
buses: []
# buses:
#   - host: 192.168.1.50
#     port: 502
#     timeout_ms: 1000
#     meters:
#       # If a serial number is given, a meter that tells another one is not read.
#       - {id: house, unit: 1, profile: eastron_sdm630, serial: "12345678"}
#       - {id: roof, unit: 2, profile: eastron_sdm120}
#     devices:
#       # No statement can hold the device below power_min_w: heating that must not stop, for example.
#       - {id: heat_pump, unit: 9, profile: este_power_limiter, power_min_w: 1000, power_max_w: 9000}
#       # Contracts of anna set this one, where its profile has a set_point. Direction: takes, feeds_in or both.
#       - {id: battery, unit: 10, profile: este_power_controller, power_min_w: 0, power_max_w: 5000,
#          contracts_of: anna, direction: both}
#   # RS-485: all meters on the line are set to the same baud, parity (none, even, odd) and stop_bits.
#   - serial: {device: /dev/ttyUSB0, baud: 9600, parity: none, stop_bits: 1}
#     # Silence before each request, for meters that are slow to listen again; never less than 3.5 characters.
#     turnaround_ms: 20
#     # On a slow line: energy and power in every cycle, the rest (see `fast` of the profile) once a minute.
#     slow_every_ms: 60000
#     meters:
#       - {id: workshop, unit: 1, profile: eastron_sdm120}
#   # A serial server that passes RTU frames on, instead of speaking Modbus TCP.
#   - host: 192.168.1.51
#     port: 4001
#     framing: rtu
#     meters:
#       - {id: barn, unit: 1, profile: eastron_sdm120}

# Buy a right for a participant behind this gateway whenever the balance allows: at most at price_max tokens,
# and only while balance_min tokens are left afterwards. A fee on top is taken into a block before others.
# standing_orders: []
# standing_orders:
#   - {participant: anna, right: priority_purchase, price_max: 50, fee: 0, balance_min: 100}

# Tell Home Assistant what the meters show, by MQTT discovery; at the house's own broker, if one is named.
# home_assistant:
#   prefix: homeassistant
#   every_ms: 10000
#   broker: {host: 192.168.1.2, port: 1883, username: este, password_file: house.password}

# Figures for Prometheus, at http://127.0.0.1:9477/metrics.
# metrics:
#   port: 9477
#   host: 127.0.0.1
""")


def settings_text(*, region: str, gateway: str, broker_host: str, broker_port: int) -> str:
    """The commented settings of a new gateway."""
    return _TEMPLATE.substitute(
        region=region,
        gateway=gateway,
        broker_host=broker_host,
        broker_port=broker_port,
        key_name=KEY_NAME,
        public_key_name=PUBLIC_KEY_NAME,
        aggregator_key_name=AGGREGATOR_KEY_NAME,
    )


def make(directory: Path, *, region: str, gateway: str, broker_host: str, broker_port: int) -> PublicKey:
    """Write settings and key of a new gateway to `directory`.

    Returns:
        The key's public half.

    Raises:
        SettingsError: a name or an address is none.
        OperatorError: something is there already, or the folder cannot be written.
    """
    text = settings_text(region=region, gateway=gateway, broker_host=broker_host, broker_port=broker_port)
    settings_file = directory / SETTINGS_NAME
    check(yaml.safe_load(text), AgentSettings, settings_file)
    for name in (SETTINGS_NAME, KEY_NAME, PUBLIC_KEY_NAME):
        if (directory / name).exists():
            raise OperatorError(directory / name, "", "no file yet, since nothing is ever overwritten", "one")
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise OperatorError(directory, "", "a folder that can be made", error.strerror or str(error)) from error
    key = key_files.create(directory / KEY_NAME).public_key
    key_files.write_new(directory / PUBLIC_KEY_NAME, key.to_pem().encode())
    key_files.write_new(settings_file, text.encode())
    return key


def next_steps(directory: Path, program: str) -> tuple[str, ...]:
    """What a person does next, with `program` as it is called."""
    return (
        f"Ask to be admitted: {program} enrol --settings {directory / SETTINGS_NAME}",
        f"The regulator's slip brings the aggregator's key: {program} enrol --settings {directory / SETTINGS_NAME}"
        " --admission SLIP",
        f"Enter the meters in {directory / SETTINGS_NAME}; {program} read shows whether one is wired right.",
        f"Start with: {program} run --settings {directory / SETTINGS_NAME}",
    )
