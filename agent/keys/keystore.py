"""Where the gateway's key is: in a file or in a chip, as the settings say, and never one in place of the other.

Opens what the settings name, or says why it cannot be used. The library for chips is loaded only where there is one.
"""

from __future__ import annotations

from importlib.util import find_spec

from config import key_files
from config.settings.agent import AgentSettings
from protocol.crypto import SigningKey
from protocol.errors import OperatorError


def open_key(settings: AgentSettings) -> SigningKey:
    """The gateway's key, ready to sign.

    Raises:
        OperatorError: there is no such key, or it may not be used.
        KeyUnavailable: the chip does not answer.
    """
    if settings.pkcs11 is not None:
        _see_that_chips_are_supported()
        from agent.keys.pkcs11_port import ChipSigner  # noqa: PLC0415  7 MB that a gateway without a chip does not need

        return ChipSigner.open(settings.pkcs11)
    assert settings.key_file is not None, "the settings name one of the two"
    return key_files.load(settings.key_file)


def make_in_chip(settings: AgentSettings) -> None:
    """Have the chip that the settings name make the gateway's key.

    Raises:
        OperatorError: the settings name no chip, or it has such a key already.
        KeyUnavailable: the chip makes no key.
    """
    if settings.pkcs11 is None:
        raise OperatorError("settings", "pkcs11", "a chip; este-agent init makes a key in a file", "none")
    _see_that_chips_are_supported()
    from agent.keys.pkcs11_port import make_key  # noqa: PLC0415  as above

    make_key(settings.pkcs11)


def _see_that_chips_are_supported() -> None:
    if find_spec("pkcs11") is None:
        expected = "an installation that can use chips: make agent HSM=1, or pip install este[hsm]"
        raise OperatorError("settings", "pkcs11", expected, "one without python-pkcs11")
