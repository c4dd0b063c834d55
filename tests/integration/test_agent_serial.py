"""Pains row 5: serial ports, spoken with libmodbus on pseudo-terminals, with devices good and bad."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from agent.bus.frames import with_crc
from agent.bus.modbus_port import BusError, ModbusBus, StillOwingError
from agent.bus.planner import ReadRequest
from config.meter_profile import Table
from config.settings.bus import Bus, Framing, Parity, SerialPort
from protocol.errors import DeviceError
from tests.integration.serial_world import Answers, Part, a_cable, a_libmodbus_slave, a_serial_bus, a_wire, right
from tests.integration.test_agent_modbus import a_device

INPUT = ReadRequest(Table.INPUT, 0, 4)
ELSEWHERE = ReadRequest(Table.INPUT, 40, 4)
"""As long as `INPUT`: on a serial line nothing tells their answers apart."""
SERIAL = ReadRequest(Table.HOLDING, 0xFC00, 2)
TIMEOUT_MS = 5_000
SHORT_MS = 100


def once(*parts: Part) -> Answers:
    """Say `parts` to the first request, and the right answer to all others."""
    asked: list[bytes] = []

    def answers(request: bytes) -> Iterable[Part]:
        asked.append(request)
        return parts if len(asked) == 1 else (right(request),)

    return answers


def well(request: bytes) -> Iterable[Part]:
    return (right(request),)


@pytest.mark.mbpoll
class TestThirdParty:
    """libmodbus at the other end."""

    @pytest.mark.parametrize("baud", [1200, 9600, 115_200])
    async def test_words_are_read_and_written_with_libmodbus(self, baud: int) -> None:
        with a_cable() as cable:
            ours, theirs = cable.paths
            async with a_libmodbus_slave(theirs, baud=baud, unit=7), a_serial_bus(ours, baud=baud) as bus:
                assert await bus.read(7, ReadRequest(Table.INPUT, 10, 80), TIMEOUT_MS) == list(range(1010, 1090))
                assert await bus.read(7, ReadRequest(Table.HOLDING, 3, 2), TIMEOUT_MS) == [2003, 2004]
                await bus.write(7, 3, [0x1234, 0xFFFF], TIMEOUT_MS)
                assert await bus.read(7, ReadRequest(Table.HOLDING, 3, 2), TIMEOUT_MS) == [0x1234, 0xFFFF]

    async def test_libmodbus_says_no_and_goes_on(self) -> None:
        with a_cable() as cable:
            ours, theirs = cable.paths
            async with a_libmodbus_slave(theirs, baud=9600, unit=7), a_serial_bus(ours, baud=9600) as bus:
                with pytest.raises(DeviceError, match="Modbus exception 2: it has no such address") as caught:
                    await bus.read(7, ReadRequest(Table.INPUT, 99, 2), TIMEOUT_MS)
                assert not caught.value.retry
                assert await bus.read(7, INPUT, TIMEOUT_MS) == [1000, 1001, 1002, 1003]

    async def test_a_unit_that_is_not_libmodbus_stays_silent(self) -> None:
        with a_cable() as cable:
            ours, theirs = cable.paths
            async with a_libmodbus_slave(theirs, baud=9600, unit=7), a_serial_bus(ours, baud=9600) as bus:
                with pytest.raises(DeviceError, match="no whole answer in time"):
                    await bus.read(8, INPUT, SHORT_MS)


class TestLine:
    """What a serial line asks of whoever talks on it."""

    async def test_requests_keep_the_silence_of_three_and_a_half_characters(self) -> None:
        async with a_wire(well) as wire, a_serial_bus(wire.path, baud=1200) as bus:
            for _ in range(3):
                await bus.read(1, INPUT, TIMEOUT_MS)
        gaps = [later - sooner for sooner, later in zip(wire.asked_s, wire.asked_s[1:], strict=False)]
        assert min(gaps) >= 3.5 * 10 / 1200

    async def test_a_meter_that_is_slow_to_listen_again_gets_its_turnaround(self) -> None:
        async with a_wire(well) as wire, a_serial_bus(wire.path, turnaround_ms=30) as bus:
            for _ in range(3):
                await bus.read(1, INPUT, TIMEOUT_MS)
        gaps = [later - sooner for sooner, later in zip(wire.asked_s, wire.asked_s[1:], strict=False)]
        assert min(gaps) >= 0.03

    async def test_one_request_is_under_way_however_many_ask(self) -> None:
        def slowly(request: bytes) -> Iterable[Part]:
            nonlocal open_requests, most
            open_requests += 1
            most = max(most, open_requests)
            yield 0.01
            open_requests -= 1
            yield right(request, first=request[0])

        open_requests = most = 0
        async with a_wire(slowly) as wire, a_serial_bus(wire.path) as bus:
            answers = await asyncio.gather(*(bus.read(unit, INPUT, TIMEOUT_MS) for unit in range(1, 9)))
        assert [answer[0] for answer in answers] == list(range(1, 9))
        assert most == 1

    async def test_an_adapter_that_hears_itself_is_no_trouble(self) -> None:
        async with a_wire(lambda request: (request, 0.01, right(request))) as wire, a_serial_bus(wire.path) as bus:
            assert await bus.read(1, INPUT, TIMEOUT_MS) == [1, 2, 3, 4]
            await bus.write(1, 0, [5, 6], TIMEOUT_MS)

    async def test_zeros_of_a_floating_line_before_the_answer_are_no_trouble(self) -> None:
        async with a_wire(lambda request: (b"\0\0", right(request))) as wire, a_serial_bus(wire.path) as bus:
            assert await bus.read(1, INPUT, TIMEOUT_MS) == [1, 2, 3, 4]

    async def test_an_answer_in_pieces_is_put_together(self) -> None:
        def in_pieces(request: bytes) -> Iterable[Part]:
            for byte in right(request):
                yield bytes((byte,))
                yield 0.001

        async with a_wire(in_pieces) as wire, a_serial_bus(wire.path) as bus:
            assert await bus.read(1, INPUT, TIMEOUT_MS) == [1, 2, 3, 4]

    async def test_what_was_left_over_is_flushed_before_a_request(self) -> None:
        async with a_wire(well) as wire, a_serial_bus(wire.path) as bus:
            await bus.connect()
            wire.say(right(with_crc(bytes((1, 4, 0, 0, 0, 4))), first=77))
            assert await bus.read(1, INPUT, TIMEOUT_MS) == [1, 2, 3, 4]
            assert bus.bytes_flushed == 13


GARBLED: dict[str, Callable[[bytes], bytes]] = {
    "silence": lambda request: b"",
    "half an answer": lambda request: right(request)[:7],
    "a wrong checksum": lambda request: right(request)[:-1] + b"\x55",
    "a bit that fell over": lambda request: right(request)[:4] + b"\x99" + right(request)[5:],
    "another unit": lambda request: right(b"\x09" + request[1:]),
    "another function": lambda request: right(request[:1] + b"\x03" + request[2:]),
    "too few words": lambda request: right(request[:5] + b"\x03"),
    "too many words": lambda request: right(request[:5] + b"\x05"),
    "noise": lambda request: bytes(range(0x40, 0x60)),
    "an answer with noise behind it": lambda request: right(request) + bytes(20),
    "an exception with a wrong checksum": lambda request: bytes((request[0], 0x84, 2, 0, 0)),
}


class TestNonsense:
    """Whatever is not the answer is a failed read, and the meter next to it does not notice."""

    @pytest.mark.parametrize("garble", GARBLED.values(), ids=GARBLED.keys())
    async def test_it_fails_and_the_next_meter_is_read(self, garble: Callable[[bytes], bytes]) -> None:
        def answers(request: bytes) -> Iterable[Part]:
            return (garble(request) if request[0] == 1 else right(request),)

        async with a_wire(answers) as wire, a_serial_bus(wire.path) as bus:
            for _ in range(3):
                with pytest.raises(DeviceError) as caught:
                    await bus.read(1, INPUT, SHORT_MS)
                assert caught.value.retry
                assert await bus.read(2, INPUT, TIMEOUT_MS) == [1, 2, 3, 4]
            assert bus.connections == 1

    async def test_an_exception_is_told_with_its_meaning(self) -> None:
        no = with_crc(bytes((1, 0x84, 3)))
        async with a_wire(once(no)) as wire, a_serial_bus(wire.path) as bus:
            with pytest.raises(DeviceError, match="Modbus exception 3: it does not allow this many words"):
                await bus.read(1, INPUT, TIMEOUT_MS)
            assert await bus.read(1, INPUT, TIMEOUT_MS) == [1, 2, 3, 4]

    async def test_somebody_who_never_stops_talking_is_told_of_and_the_bus_is_back_when_he_does(self) -> None:
        calm = asyncio.Event()

        def babble() -> Iterator[Part]:
            while not calm.is_set():
                yield b"\x40" * 16
                yield 0.001

        async with a_wire(lambda _: babble()) as wire, a_serial_bus(wire.path, timeout_ms=100) as bus:
            with pytest.raises(DeviceError, match="fits no answer to the question: 40 40"):
                await bus.read(1, INPUT, 100)
            with pytest.raises(BusError, match="somebody talks all the time without being asked"):
                await bus.read(2, INPUT, 100)
            assert len(wire.requests) == 1, "nothing is sent while somebody talks"
            calm.set()
            wire.answers = well
            await asyncio.sleep(0.05)
            assert await bus.read(2, INPUT, TIMEOUT_MS) == [1, 2, 3, 4]
            assert bus.bytes_flushed > 100


class TestLateAnswers:
    """A late answer passes neither for a fresh one nor for another meter's: that would be a forged reading."""

    async def test_a_late_answer_before_another_meters_is_dropped(self) -> None:
        def answers(request: bytes) -> Iterable[Part]:
            if request[0] == 1:
                yield 0.08
                yield right(request, first=100)
            else:
                yield 0.08
                yield right(request, first=200)

        async with a_wire(answers) as wire, a_serial_bus(wire.path) as bus:
            with pytest.raises(DeviceError, match="no whole answer in time"):
                await bus.read(1, INPUT, 50)
            assert await bus.read(2, INPUT, TIMEOUT_MS) == [200, 201, 202, 203]

    async def test_a_meter_is_not_asked_what_its_late_answer_could_pass_for(self) -> None:
        async with a_wire(once(0.1, b"")) as wire, a_serial_bus(wire.path, timeout_ms=1000) as bus:
            with pytest.raises(DeviceError, match="no whole answer in time"):
                await bus.read(1, INPUT, 20)
            with pytest.raises(StillOwingError):
                await bus.read(1, ELSEWHERE, 20)
            assert len(wire.requests) == 1

    async def test_its_late_answer_is_dropped_before_one_that_looks_different(self) -> None:
        def answers(request: bytes) -> Iterable[Part]:
            if request[1] == 4 and not late:
                late.append(request)
                return ()
            return (*(right(other, first=900) for other in late[:1]), right(request))

        late: list[bytes] = []
        async with a_wire(answers) as wire, a_serial_bus(wire.path) as bus:
            with pytest.raises(DeviceError):
                await bus.read(1, INPUT, 20)
            assert await bus.read(1, SERIAL, TIMEOUT_MS) == [1, 2]

    async def test_whoever_answers_something_else_owes_nothing_any_more(self) -> None:
        async with a_wire(once()) as wire, a_serial_bus(wire.path) as bus:
            with pytest.raises(DeviceError):
                await bus.read(1, INPUT, 20)
            await bus.read(1, SERIAL, TIMEOUT_MS)
            assert await bus.read(1, ELSEWHERE, TIMEOUT_MS) == [1, 2, 3, 4]

    async def test_a_late_answer_that_came_in_between_is_known_and_flushed(self) -> None:
        late = right(with_crc(bytes((1, 4, 0, 0, 0, 4))), first=66)
        async with a_wire(once(0.05, late)) as wire, a_serial_bus(wire.path) as bus:
            with pytest.raises(DeviceError):
                await bus.read(1, INPUT, 20)
            await asyncio.sleep(0.1)
            assert await bus.read(1, ELSEWHERE, TIMEOUT_MS) == [1, 2, 3, 4]
            assert bus.bytes_flushed == len(late)

    async def test_after_three_timeouts_nothing_is_expected_any_more(self) -> None:
        async with a_wire(once()) as wire, a_serial_bus(wire.path, timeout_ms=30) as bus:
            with pytest.raises(DeviceError):
                await bus.read(1, INPUT, 30)
            await asyncio.sleep(0.1)
            assert await bus.read(1, INPUT, TIMEOUT_MS) == [1, 2, 3, 4]

    async def test_a_late_no_is_not_the_last_word_and_leaves_the_answer_owed(self) -> None:
        no = with_crc(bytes((1, 0x84, 2)))
        async with a_wire(lambda _: ()) as wire, a_serial_bus(wire.path) as bus:
            with pytest.raises(DeviceError):
                await bus.read(1, INPUT, 20)
            wire.answers = lambda _: (no,)
            with pytest.raises(DeviceError, match="Modbus exception 2") as caught:
                await bus.read(1, ReadRequest(Table.INPUT, 0, 2), TIMEOUT_MS)
            assert caught.value.retry
            with pytest.raises(StillOwingError):
                await bus.read(1, ReadRequest(Table.INPUT, 40, 2), TIMEOUT_MS)


@pytest.mark.parametrize("seed", range(4))
async def test_whatever_is_late_lost_or_garbled_no_answer_is_taken_for_another(seed: int) -> None:
    """Every answer carries the number of its request: what comes through must carry the number of the last one.

    Each unit answers one request after another, as real ones do, and never later than the bus reckons with.
    """
    dice = random.Random(seed)
    number = 0
    loop = asyncio.get_running_loop()
    free_s = dict.fromkeys((1, 2, 3), 0.0)

    def answers(request: bytes) -> Iterable[Part]:
        nonlocal number
        number += 1
        told = right(request, first=number)
        kind = dice.choice(["well", "well", "late", "late", "very late", "lost", "garbled", "half", "no", "late no"])
        late_s = {"late": 0.022, "late no": 0.022, "very late": 0.05}.get(kind, 0.001)
        if kind.endswith("no"):
            told = with_crc(bytes((request[0], request[1] | 0x80, 2)))
        said = {"lost": b"", "garbled": told[:-1] + b"\0", "half": told[:6]}.get(kind, told)
        wait_s = max(0.0, free_s[request[0]] - loop.time()) + late_s
        if wait_s > 0.055:
            return ()
        free_s[request[0]] = loop.time() + wait_s
        return wait_s, said

    taken = 0
    async with a_wire(answers) as wire, a_serial_bus(wire.path, timeout_ms=20) as bus:
        for _ in range(150):
            unit, request = dice.choice([1, 2, 3]), dice.choice([INPUT, ELSEWHERE, SERIAL])
            try:
                words = await bus.read(unit, request, 20)
            except DeviceError:
                continue
            assert words == list(range(number, number + request.words))
            taken += 1
    assert taken > 20


class TestSerialServer:
    """RTU frames over TCP."""

    async def test_words_are_read_through_a_serial_server(self) -> None:
        async with a_device(right) as port:
            bus = ModbusBus(Bus(host="127.0.0.1", port=port, framing=Framing.RTU))
            assert await bus.read(1, INPUT, TIMEOUT_MS) == [1, 2, 3, 4]
            await bus.write(1, 0, [5], TIMEOUT_MS)
            assert bus.connections == 1
            bus.close()

    async def test_a_new_connection_does_not_make_an_old_answer_a_fresh_one(self) -> None:
        late: list[bytes] = []

        def answer(request: bytes) -> bytes:
            if not late:
                late.append(right(request, first=900))
                return right(request)[:5]
            return late.pop() + right(request) if late[0] else right(request)

        async with a_device(answer) as port:
            bus = ModbusBus(Bus(host="127.0.0.1", port=port, framing=Framing.RTU))
            with pytest.raises(DeviceError):
                await bus.read(1, INPUT, 30)
            with pytest.raises(StillOwingError):
                await bus.read(1, ELSEWHERE, 30)
            assert await bus.read(2, INPUT, TIMEOUT_MS) == [1, 2, 3, 4]
            assert bus.connections == 2
            bus.close()


class TestNoPort:
    """A port that cannot be had is one sentence with its remedy."""

    async def refusal(self, port: SerialPort) -> str:
        bus = ModbusBus(Bus(serial=port))
        with pytest.raises(BusError) as caught:
            await bus.connect()
        return str(caught.value)

    async def test_an_adapter_that_is_not_plugged_in(self, tmp_path: Path) -> None:
        told = await self.refusal(SerialPort(device=tmp_path / "ttyUSB0", baud=9600))
        assert told.endswith("ttyUSB0: there is no such device: is the adapter plugged in?")

    async def test_a_file_that_is_no_port(self, tmp_path: Path) -> None:
        (tmp_path / "port").touch()
        told = await self.refusal(SerialPort(device=tmp_path / "port", baud=9600))
        assert told.endswith("port: it is no serial port")

    async def test_a_parity_that_the_port_does_not_know(self) -> None:
        async with a_wire(well) as wire:
            told = await self.refusal(SerialPort(device=Path(wire.path), baud=9600, parity=Parity.EVEN))
            assert told.endswith("it does not take this speed, parity or number of stop bits")

    async def test_a_port_that_another_program_has(self) -> None:
        async with a_wire(well) as wire, a_serial_bus(wire.path) as bus:
            await bus.connect()
            told = await self.refusal(SerialPort(device=Path(wire.path), baud=9600))
            assert told.endswith("another program has it")

    async def test_an_adapter_that_is_pulled_out_is_a_bus_without_meters_until_it_is_back(self, tmp_path: Path) -> None:
        link = tmp_path / "adapter"
        async with a_wire(well) as wire:
            link.symlink_to(wire.path)
            bus = ModbusBus(Bus(serial=SerialPort(device=link, baud=9600)))
            assert await bus.read(1, INPUT, TIMEOUT_MS) == [1, 2, 3, 4]
        link.unlink()
        with pytest.raises(DeviceError):
            await bus.read(1, INPUT, SHORT_MS)
        with pytest.raises(BusError, match="no such device"):
            await bus.read(1, INPUT, SHORT_MS)
        async with a_wire(well) as wire:
            link.symlink_to(wire.path)
            assert await bus.read(2, INPUT, TIMEOUT_MS) == [1, 2, 3, 4]
            bus.close()
