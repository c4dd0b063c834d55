"""What a user's own script does, as a peer to measure the agent beside: pymodbus, one request after another."""

from __future__ import annotations

from pymodbus.client import AsyncModbusTcpClient

from agent.bus.metering import MeterPlan
from agent.bus.planner import ReadRequest
from config.meter_profile import Table


async def ask(client: AsyncModbusTcpClient, meter: MeterPlan, request: ReadRequest) -> None:
    """Ask a meter one of the agent's questions, and throw the answer away.

    Raises:
        ModbusException: it does not answer.
    """
    read = client.read_holding_registers if request.table is Table.HOLDING else client.read_input_registers
    await read(request.address, count=request.words, device_id=meter.unit)
