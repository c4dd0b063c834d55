"""What people read meters with where there is no gateway, each as a process to be measured.

``python -m benchmarks.loops PEER``: reads a `Job` as JSON from standard input, asks every meter once a second for as
long as it says, one after another, and prints as JSON how many meters answered and what that cost. Each peer is given
its best case: the connection stays open where it can, nothing is tried twice, a meter that is silent is left at once,
and the answers are thrown away.
"""

from __future__ import annotations

import ctypes
import json
import re
import resource
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

LIBRARY: Final = "libmodbus.so.5"
TIMEOUT_S: Final = 1
CYCLE_S: Final = 1.0
WORDS_MAX: Final = 125
MBPOLL_PAUSE_MIN_MS: Final = 11


@dataclass(frozen=True, slots=True)
class Question:
    """Some words of one unit."""

    unit: int
    table: str
    """``holding`` or ``input``."""
    address: int
    words: int


@dataclass(frozen=True, slots=True)
class Job:
    """Meters behind one Modbus TCP server, and how long to read them."""

    host: str
    port: int
    seconds: float
    blocks: list[list[Question]]
    """Per meter, the fewest requests that give all that is wanted: as the agent plans them."""
    values: list[list[Question]]
    """Per meter, one request for each value: as scripts and command lines have it."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What came of it."""

    readings: float
    """Meters that answered everything, as often as they did."""
    span_s: float
    cpu_s: float
    rss_mb: float | None
    """At its peak; None where there is a process for each request."""
    requests: int
    """In one cycle over all meters."""


Ask = Callable[[Question], bool]


def with_pymodbus(job: Job) -> Cost:
    """pymodbus, one connection, the agent's requests."""
    from pymodbus.client import ModbusTcpClient  # noqa: PLC0415  each peer carries its own library alone
    from pymodbus.exceptions import ModbusException  # noqa: PLC0415

    client = ModbusTcpClient(job.host, port=job.port, timeout=TIMEOUT_S, retries=0)
    client.connect()  # type: ignore[no-untyped-call]

    def ask(question: Question) -> bool:
        read = client.read_holding_registers if question.table == "holding" else client.read_input_registers
        try:
            return not read(question.address, count=question.words, device_id=question.unit).isError()
        except ModbusException:
            return False

    return _in_cycles(job, job.blocks, ask)


def with_libmodbus(job: Job) -> Cost:
    """libmodbus, as C programs use it, one connection, the agent's requests."""
    lib = ctypes.CDLL(LIBRARY)
    lib.modbus_new_tcp.restype = ctypes.c_void_p
    context = ctypes.c_void_p(lib.modbus_new_tcp(job.host.encode(), job.port))
    lib.modbus_set_response_timeout(context, ctypes.c_uint32(TIMEOUT_S), ctypes.c_uint32(0))
    assert lib.modbus_connect(context) == 0, "nobody listens"
    room = (ctypes.c_uint16 * WORDS_MAX)()

    def ask(question: Question) -> bool:
        lib.modbus_set_slave(context, question.unit)
        read = lib.modbus_read_registers if question.table == "holding" else lib.modbus_read_input_registers
        return bool(read(context, question.address, question.words, room) == question.words)

    return _in_cycles(job, job.blocks, ask)


def with_mbpoll_once(job: Job) -> Cost:
    """A script that calls ``mbpoll -1`` for each value."""

    def ask(question: Question) -> bool:
        command = [*_mbpoll(job, question), "-a", str(question.unit), "-1", job.host]
        return not subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode

    return replace(_in_cycles(job, job.values, ask), rss_mb=None)


def with_mbpoll_loop(job: Job) -> Cost:
    """``mbpoll`` polling by itself: a process for each register, over all the meters that have it, in about a second.

    Its poll rate is the pause after each meter.
    """
    units: dict[tuple[str, int, int], list[int]] = defaultdict(list)
    for question in (question for meter in job.values for question in meter):
        units[question.table, question.address, question.words].append(question.unit)
    commands = [
        [
            *_mbpoll(job, Question(0, *register)),
            "-a",
            ",".join(map(str, sorted(those))),
            "-l",
            _pause_ms(those),
            job.host,
        ]
        for register, those in units.items()
    ]
    begin_s = time.monotonic()
    running = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) for command in commands
    ]
    time.sleep(job.seconds)
    rss_mb = sum(_peak_rss_mb(process.pid) for process in running)
    for process in running:
        process.send_signal(signal.SIGINT)
    told = [process.communicate()[0] for process in running]
    span_s = time.monotonic() - begin_s
    answers = sum(int(count) for text in told for count in re.findall(r"(\d+) received", text))
    values = sum(map(len, job.values))
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Cost(answers * len(job.values) / values, span_s, used.ru_utime + used.ru_stime, rss_mb, values)


def _pause_ms(units: list[int]) -> str:
    return str(max(MBPOLL_PAUSE_MIN_MS, round(1000 * CYCLE_S / len(units))))


def _mbpoll(job: Job, question: Question) -> list[str]:
    table = "4:hex" if question.table == "holding" else "3:hex"
    command = ["mbpoll", "-m", "tcp", "-p", str(job.port), "-o", f"{TIMEOUT_S:.2f}", "-0", "-t", table]
    return [*command, "-r", str(question.address), "-c", str(question.words)]


def _in_cycles(job: Job, meters: list[list[Question]], ask: Ask) -> Cost:
    """Ask every meter once a second, or as soon as the last one was asked; only whole cycles count."""
    readings, begin_s, cpu_s = 0, time.monotonic(), _cpu_s()
    next_s = begin_s
    while next_s < begin_s + job.seconds:
        for meter in meters:
            readings += all(ask(question) for question in meter)
        next_s = max(next_s + CYCLE_S, time.monotonic())
        time.sleep(max(0.0, next_s - time.monotonic()))
    span_s, used_s = time.monotonic() - begin_s, _cpu_s() - cpu_s
    return Cost(readings, span_s, used_s, _peak_rss_mb("self"), sum(map(len, meters)))


def _cpu_s() -> float:
    """Of this process and of those that it has seen end."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def _peak_rss_mb(pid: int | str) -> float:
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(fields["VmHWM"].split()[0]) * 1024 / 1e6


PEERS: Final = {
    "libmodbus": with_libmodbus,
    "pymodbus": with_pymodbus,
    "mbpoll, its loop": with_mbpoll_loop,
    "mbpoll -1 a value": with_mbpoll_once,
}


def _read_job(document: dict[str, Any]) -> Job:
    for key in ("blocks", "values"):
        document[key] = [[Question(**question) for question in meter] for meter in document[key]]
    return Job(**document)


if __name__ == "__main__":
    print(json.dumps(asdict(PEERS[sys.argv[1]](_read_job(json.load(sys.stdin))))))
