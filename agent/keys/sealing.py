"""The key that opens letters to this gateway: in a file of its own, beside the one that signs.

It signs nothing and stands in no chip: whoever steals it reads offers, and can make none.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from config import key_files
from config.settings.agent import AgentSettings
from protocol.sealed import SealingKey

SUFFIX: Final = ".sealing"
FILE_NAME: Final = "sealing.key.pem"
"""In the data folder, where the signing key is in a chip."""


def file_of(settings: AgentSettings) -> Path:
    """Where the sealing key is, or would be."""
    if settings.key_file is None:
        return settings.data / FILE_NAME
    return settings.key_file.with_name(settings.key_file.name + SUFFIX)


def open_box(settings: AgentSettings) -> SealingKey | None:
    """The sealing key; None if there is none yet.

    Raises:
        OperatorError: there is one, and it may not be used.
    """
    path = file_of(settings)
    return SealingKey(key_files.load(path)) if path.exists() else None


def make_box(settings: AgentSettings) -> SealingKey:
    """The sealing key; made, if there is none yet.

    Raises:
        OperatorError: it cannot be written, or there is one that may not be used.
    """
    return open_box(settings) or SealingKey(key_files.create(file_of(settings)))
