"""Real Modbus TCP: a server of pymodbus's that behaves, and a socket that does not."""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from agent.bus.metering import MeterPlan, plan_for
from agent.bus.modbus_port import SILENCES_MAX, BusError, ModbusBus
from agent.bus.planner import ReadRequest
from agent.bus.polling import BusPoller
from agent.events import Read
from agent.library.single_read import read_once
from agent.outbox.batching import Boot, Journaled, lay_out
from config.load import load_profiles
from config.meter_profile import Table
from config.self_check import FixedWord
from config.settings.bus import Bus, MeterAddress
from config.tasks import end
from firmware_sim.free_port import free_ports
from protocol.batch import Batch, Clock, ClockState, MeterBlock
from protocol.errors import DeviceError
from protocol.messages import MessageType
from protocol.readings import Readings
from protocol.units import ENERGY_REGISTERS, BootMs, Quantity
from tests.integration.test_fleet import serve
from tests.unit.agent.builders import words_at
from tests.unit.agent.test_polling import FakeDesk
from tests.village import PROFILE as METER_PROFILE
from tests.village import START_MS, Village

HOST = "127.0.0.1"
INPUT = ReadRequest(Table.INPUT, 0, 4)
HOLDING = ReadRequest(Table.HOLDING, 100, 2)
TIMEOUT_MS = 5_000
"""Long enough for any machine: a test that waits it out has failed."""
SHORT_MS = 150
"""For answers that never come."""


@asynccontextmanager
async def a_bus(port: int, timeout_ms: int = TIMEOUT_MS) -> AsyncIterator[ModbusBus]:
    bus = ModbusBus(Bus(host=HOST, port=port, timeout_ms=timeout_ms))
    try:
        yield bus
    finally:
        bus.close()


@pytest.fixture
async def served() -> AsyncIterator[int]:
    """The port of a server with unit 9: input words 0 to 3, holding words 100 and 101."""
    device = SimDevice(
        id=9,
        simdata=(
            [SimData(0, values=[False], datatype=DataType.BITS)],
            [SimData(0, values=[False], datatype=DataType.BITS)],
            [SimData(100, values=[7, 8], datatype=DataType.REGISTERS)],
            [SimData(0, values=[1, 2, 3, 4], datatype=DataType.REGISTERS)],
        ),
    )
    port = free_ports()
    server = ModbusTcpServer([device], address=(HOST, port))
    await server.serve_forever(background=True)
    yield port
    await server.shutdown()


class TestServer:
    """A server that behaves."""

    async def test_words_are_read_from_both_tables(self, served: int) -> None:
        async with a_bus(served) as bus:
            assert await bus.read(9, INPUT, TIMEOUT_MS) == [1, 2, 3, 4]
            assert await bus.read(9, HOLDING, TIMEOUT_MS) == [7, 8]

    async def test_what_is_written_can_be_read_back(self, served: int) -> None:
        async with a_bus(served) as bus:
            await bus.write(9, 100, [0x1234, 0xFFFF], TIMEOUT_MS)
            assert await bus.read(9, HOLDING, TIMEOUT_MS) == [0x1234, 0xFFFF]

    async def test_all_goes_over_one_connection(self, served: int) -> None:
        async with a_bus(served) as bus:
            for _ in range(5):
                await bus.read(9, INPUT, TIMEOUT_MS)
            assert bus.connections == 1

    async def test_an_address_that_is_not_there_is_an_answer_that_stays(self, served: int) -> None:
        async with a_bus(served) as bus:
            with pytest.raises(DeviceError, match="Modbus exception 2: it has no such address") as caught:
                await bus.read(9, ReadRequest(Table.INPUT, 500, 2), TIMEOUT_MS)
            assert not caught.value.retry
            await bus.read(9, INPUT, TIMEOUT_MS)
            assert bus.connections == 1

    async def test_a_unit_that_is_not_there_may_come_back(self, served: int) -> None:
        async with a_bus(served) as bus:
            with pytest.raises(DeviceError, match="Modbus exception") as caught:
                await bus.read(10, INPUT, TIMEOUT_MS)
            assert caught.value.retry


Answer = Callable[[bytes], bytes]
"""What a device that does not behave sends back for a request."""


@asynccontextmanager
async def a_device(answer: Answer, *, hang_up: bool = False) -> AsyncIterator[int]:
    """The port of a server that answers every request by `answer`, and may end the connection after it."""
    async with a_device_per_connection(lambda: answer, hang_up=hang_up) as port:
        yield port


@asynccontextmanager
async def a_device_per_connection(connected: Callable[[], Answer], *, hang_up: bool = False) -> AsyncIterator[int]:
    """The same, with an `Answer` of its own for every connection."""
    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answer = connected()
        try:
            while request := await reader.read(260):
                writer.write(answer(request))
                await writer.drain()
                if hang_up:
                    return
        except ConnectionError:
            pass
        finally:
            writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.create_task(serve(reader, writer)))

    server = await asyncio.start_server(accept, HOST, 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()
        await end(*serving)


def right(request: bytes) -> bytes:
    """The answer that was asked for: words 1, 2, 3, …"""
    unit, function, _, count = struct.unpack(">BBHH", request[6:12])
    words = struct.pack(f">{count}H", *range(1, count + 1))
    return request[:4] + struct.pack(">HBBB", 3 + 2 * count, unit, function, 2 * count) + words


def zeros(request: bytes) -> bytes:
    """An answer of nothing but zeros, as many meters give where they have no register."""
    answer = right(request)
    return answer[:9] + bytes(len(answer) - 9)


def changed(at: int, value: int) -> Answer:
    """The right answer with one byte in it changed."""
    return lambda request: right(request)[:at] + bytes((value,)) + right(request)[at + 1 :]


NONSENSE: dict[str, Answer] = {
    "silence": lambda request: b"",
    "half an answer": lambda request: right(request)[:11],
    "less than a header": lambda request: right(request)[:3],
    "another unit": changed(6, 77),
    "another function": changed(7, 3),
    "another transaction": changed(1, 0xEE),
    "another protocol": changed(2, 1),
    "a byte count that does not fit": changed(8, 6),
    "a function that nobody knows": changed(7, 0x63),
    "noise": lambda request: bytes(range(40)),
    "an answer and noise behind it": lambda request: right(request) + b"\xff",
    "too few words": lambda request: right(request[:11] + b"\x02"),
}


class TestNonsense:
    """Whatever is not the answer is a failed read, and cannot become the next answer."""

    @pytest.mark.parametrize("answer", NONSENSE.values(), ids=NONSENSE.keys())
    async def test_it_fails_in_one_sentence(self, answer: Answer) -> None:
        async with a_device(answer) as port, a_bus(port) as bus:
            with pytest.raises(DeviceError) as caught:
                await bus.read(9, INPUT, SHORT_MS)
            assert caught.value.retry
            assert "\n" not in str(caught.value)

    async def test_rubbish_is_told_from_silence(self) -> None:
        async with a_device(NONSENSE["noise"]) as port, a_bus(port) as bus:
            with pytest.raises(DeviceError, match="fits no answer to the question: 00 01 02 03"):
                await bus.read(9, INPUT, SHORT_MS)
        async with a_device(NONSENSE["silence"]) as port, a_bus(port) as bus:
            with pytest.raises(DeviceError, match="no whole answer in time"):
                await bus.read(9, INPUT, SHORT_MS)

    async def test_a_late_answer_never_passes_for_the_next_one(self) -> None:
        def one_behind() -> Answer:
            late = b""

            def answer(request: bytes) -> bytes:
                nonlocal late
                told, late = late, right(request)
                return told

            return answer

        async with a_device_per_connection(one_behind) as port, a_bus(port) as bus:
            for _ in range(4):
                with pytest.raises(DeviceError, match="no whole answer in time"):
                    await bus.read(9, INPUT, SHORT_MS)

    async def test_a_late_answer_is_dropped_and_the_right_one_behind_it_is_taken(self) -> None:
        def first_late() -> Answer:
            asked: list[bytes] = []

            def answer(request: bytes) -> bytes:
                asked.append(request)
                return b"" if len(asked) == 1 else b"".join(map(right, asked[-2:]))

            return answer

        async with a_device_per_connection(first_late) as port, a_bus(port) as bus:
            with pytest.raises(DeviceError):
                await bus.read(9, INPUT, SHORT_MS)
            assert await bus.read(8, HOLDING, TIMEOUT_MS) == [1, 2]
            assert bus.connections == 1

    async def test_one_silent_unit_does_not_cost_the_others_their_connection(self) -> None:
        async with a_device(lambda request: right(request) if request[6] != 8 else b"") as port, a_bus(port) as bus:
            for _ in range(5):
                with pytest.raises(DeviceError):
                    await bus.read(8, INPUT, 20)
                await bus.read(9, INPUT, TIMEOUT_MS)
            assert bus.connections == 1

    async def test_a_connection_on_which_nobody_answers_is_made_anew(self) -> None:
        async with a_device(NONSENSE["silence"]) as port, a_bus(port) as bus:
            for _ in range(SILENCES_MAX + 1):
                with pytest.raises(DeviceError):
                    await bus.read(9, INPUT, 20)
            assert bus.connections == 2

    async def test_a_connection_that_ends_is_made_again_for_the_next_question(self) -> None:
        async with a_device(right, hang_up=True) as port, a_bus(port) as bus:
            answered = 0
            while answered < 3:
                try:
                    assert await bus.read(9, INPUT, SHORT_MS) == [1, 2, 3, 4]
                    answered += 1
                except DeviceError:
                    pass
            assert bus.connections >= 3

    async def test_a_meter_that_fails_leaves_the_others_readable(self) -> None:
        def only_unit_9(request: bytes) -> bytes:
            return right(request) if request[6] == 9 else b"\xff" * 20

        async with a_device(only_unit_9) as port, a_bus(port) as bus:
            with pytest.raises(DeviceError):
                await bus.read(8, INPUT, SHORT_MS)
            assert await bus.read(9, INPUT, TIMEOUT_MS) == [1, 2, 3, 4]


class TestNoBus:
    """A bus that cannot be reached is told apart from a meter that is silent."""

    async def test_a_connection_that_is_refused(self) -> None:
        async with a_bus(free_ports()) as bus:
            with pytest.raises(BusError, match=r"no connection to 127\.0\.0\.1:"):
                await bus.read(9, INPUT, TIMEOUT_MS)

    async def test_a_name_that_nobody_knows(self) -> None:
        bus = ModbusBus(Bus(host="nowhere.invalid"))
        with pytest.raises(BusError, match=r"nowhere\.invalid:502"):
            await bus.connect()
        bus.close()


class TestSingleRead:
    """`este-agent read`: what an installer sees."""

    async def read(self, port: int, profile: str = "eastron_sdm630", timeout_ms: int = TIMEOUT_MS) -> list[str]:
        settings = Bus(host=HOST, port=port, timeout_ms=timeout_ms)
        return await read_once(load_profiles(), profile, settings=settings, unit=9)

    async def test_every_quantity_is_told_with_its_words(self) -> None:
        async with a_device(right) as port:
            head, *lines = await self.read(port)
        assert head == f"Eastron SDM630-Modbus V2, serial number {0x00010002}, 1 request"
        quantities = [line for line in lines if not line.startswith(("REMARK", "Is "))]
        assert len(quantities) == len(load_profiles()["eastron_sdm630"].registers)
        assert any(line.startswith("imported_wh") and line.endswith("Wh   0x0048: 0049 004a") for line in lines)

    async def test_what_cannot_be_right_is_remarked_with_what_to_look_at(self) -> None:
        """Another meter's profile seldom fails: where it reads, this meter has zeros, or something else."""
        async with a_device(zeros) as port:
            _, *lines = await self.read(port, "finder_7m24")
        assert [line for line in lines if line.startswith("REMARK  values: all ")]
        assert [line for line in lines if line.startswith("REMARK  mains: L1 0.00 V")]
        assert lines[-1].startswith("Is finder_7m24 the meter's profile, and 9 its unit?")

    async def test_a_word_that_the_profile_s_meter_always_holds_is_missed(self) -> None:
        model = FixedWord(address=0x0034, value=0x4711, meaning="model number")
        profile = load_profiles()["eastron_sdm630"].model_copy(update={"fixed_words": (model,)})
        async with a_device(right) as port:
            settings = Bus(host=HOST, port=port, timeout_ms=TIMEOUT_MS)
            lines = await read_once({profile.id: profile}, profile.id, settings=settings, unit=9)
        assert any(line.startswith("REMARK  model number at 0x0034 is 0x0035, not 0x4711") for line in lines)

    async def test_a_meter_that_fits_its_profile_gets_no_remark(self) -> None:
        async with serve() as served:
            connection = next(c for c in served.fleet.scenario.connections if c.site.model == "eastron_sdm630")
            place = Bus(host=HOST, port=connection.place.port)
            lines = await read_once(load_profiles(), "eastron_sdm630", settings=place, unit=connection.place.unit)
        assert not [line for line in lines if "REMARK" in line]

    async def test_a_meter_that_does_not_tell_its_number_is_read_all_the_same(self) -> None:
        def no_holding(request: bytes) -> bytes:
            refused = request[:4] + b"\0\x03" + request[6:7] + bytes((request[7] | 0x80, 2))
            return refused if request[7] == 3 else right(request)

        async with a_device(no_holding) as port:
            head, *_ = await self.read(port)
        assert "not told: Modbus exception 2" in head

    async def test_a_meter_that_does_not_answer_is_one_sentence(self) -> None:
        async with a_device(NONSENSE["silence"]) as port:
            with pytest.raises(DeviceError, match=f"unit 9 at 127.0.0.1:{port}: no whole answer in time"):
                await self.read(port, timeout_ms=SHORT_MS)


class Moments:
    """The clocks of a boot that begins with the test, in the village's time. What nobody need wait for is skipped."""

    boot_id = bytes(range(16))

    def __init__(self) -> None:
        self._since_ns = time.monotonic_ns()
        self._skipped_ms = 1

    def now_ms(self) -> BootMs:
        return BootMs(self._skipped_ms + (time.monotonic_ns() - self._since_ns) // 1_000_000)

    def clock(self) -> Clock:
        return Clock(ClockState.SYNCHRONIZED, 1, "test", START_MS)

    def skip_to(self, at_ms: int) -> None:
        self._skipped_ms += max(0, at_ms - self.now_ms())


class TellingMeter:
    """The village's meter as pymodbus serves it. Each value but energy is the time at which it was answered."""

    def __init__(self, clocks: Moments) -> None:
        self._clocks = clocks

    @asynccontextmanager
    async def served(self) -> AsyncIterator[int]:
        """The port that it listens on, as unit 1."""
        bits, none = [SimData(0, values=False, datatype=DataType.BITS)], [SimData(0, datatype=DataType.INVALID)]
        words = [SimData(0, values=[0] * 0x1000, datatype=DataType.REGISTERS)]
        port = free_ports()
        device = SimDevice(1, simdata=(bits, bits, words, none), action=self._answer)
        server = ModbusTcpServer([device], address=(HOST, port))
        await server.serve_forever(background=True)
        yield port
        await server.shutdown()

    async def _answer(
        self, _function: int, first: int, address: int, count: int, words: list[int], _written: object
    ) -> None:
        await asyncio.sleep(0.005)  # so that no two requests are answered in the same millisecond
        told = dict.fromkeys(METER_PROFILE.codecs, int(self._clocks.now_ms()))
        told |= dict.fromkeys(ENERGY_REGISTERS, 1_000_000)
        request = ReadRequest(Table.HOLDING, address, count)
        words[address - first : address - first + count] = words_at(METER_PROFILE, request, told)
        await asyncio.sleep(0.005)


async def on_the_chain(cycles: int, *, slow_every_ms: int) -> tuple[MeterPlan, MeterBlock]:
    """A meter's block as the chain has it, after so many cycles of a second each."""
    clocks, desk = Moments(), FakeDesk()
    address = MeterAddress(id="m-home", unit=1, profile=METER_PROFILE.id)
    meter = plan_for(address, {METER_PROFILE.id: METER_PROFILE}, list(Quantity), is_split=True)
    async with TellingMeter(clocks).served() as port, a_bus(port) as bus:
        poller = BusPoller(
            bus="bus",
            port=bus,
            meters=[meter],
            devices=[],
            desk=desk,
            clocks=clocks,
            every_ms=1000,
            timeout_ms=TIMEOUT_MS,
            slow_every_ms=slow_every_ms,
        )
        for cycle in range(1, cycles + 1):
            await poller.cycle(1000 * cycle)
            clocks.skip_to(1000 * cycle)
    readings = [event.reading for event in desk.events if isinstance(event, Read)]
    layout = lay_out((Journaled(number, reading) for number, reading in enumerate(readings)), 60)
    village = Village()
    village.now_ms = START_MS + clocks.now_ms()
    batch = layout.build(village.link(), Boot(id=clocks.boot_id, clock=clocks.clock()))
    village.close([village.record(village.sign(batch, MessageType.BATCH))])
    ((outcome,),) = (block.outcomes for block in village.blocks[1:])
    assert outcome.refusal is None and len(layout.rows) == cycles
    (block,) = Batch.decode(outcome.record.envelope.payload).meters
    return meter, block


def see_that_each_value_lies_in_its_span(readings: Readings) -> None:
    """A value is the time at which its request was answered: it has to lie in that request's span, and in no other."""
    for place in range(len(readings)):
        spans = readings.spans_ms(place)
        for request, (sent_ms, answered_ms) in enumerate(spans):
            for quantity in readings.brought_by(request):
                column = readings.column(quantity)
                if column is not None:
                    assert sent_ms <= column[place] <= answered_ms, f"{quantity.name} of request {request}"
        assert all(before[1] <= after[0] for before, after in pairwise(spans))


class TestFastAndSlow:
    """From a real server's answers to the chain."""

    async def test_row_9_the_instants_on_the_chain_hold_the_time_at_which_the_meter_answered(self) -> None:
        meter, block = await on_the_chain(10, slow_every_ms=4_000)
        assert len(block.spans_ms(0)) == len(meter.requests) == 2
        assert block.slow is not None
        see_that_each_value_lies_in_its_span(block)
        see_that_each_value_lies_in_its_span(block.slow)

    async def test_what_is_not_fast_is_read_more_rarely_and_nothing_is_left_out(self) -> None:
        meter, block = await on_the_chain(14, slow_every_ms=4_000)
        assert len(block) == 14
        assert block.slow is not None and 2 <= len(block.slow) <= 5, (
            "in every fourth cycle, give or take a slow machine"
        )
        assert set(block.quantities) == set(meter.quantities) - set(ENERGY_REGISTERS)
        assert set(block.quantities) | set(block.slow.quantities) == set(METER_PROFILE.codecs) - set(ENERGY_REGISTERS)
