"""Bounds that Modbus itself sets, wherever units are named."""

from __future__ import annotations

from typing import Final

UNIT_MAX: Final = 255
"""A unit identifier is a byte (Modbus Messaging on TCP/IP 1.0b, §4.2)."""

RTU_UNIT_MAX: Final = 247
"""On a serial line the rest is reserved, and 0 is everybody (Modbus over Serial Line 1.02, §2.2)."""
