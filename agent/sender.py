"""What the clerk asks of the link to the broker: to send what is handed to it. Knows no broker."""

from __future__ import annotations

from typing import Protocol

from protocol.topics import Kind


class Sender(Protocol):
    """What the clerk asks of the link to the broker."""

    def publish_record(self, sequence: int) -> None:
        """Send a record; its bytes are fetched when its turn comes."""

    def publish_status(self, message: bytes) -> None:
        """Leave a status at the broker."""

    def publish_letter(self, kind: Kind, data: bytes) -> None:
        """Send a letter to another gateway, or a question about one."""
