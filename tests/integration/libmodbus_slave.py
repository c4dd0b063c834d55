"""A slave of libmodbus's, which is what most of the world's C programs speak Modbus with: a second opinion.

``python libmodbus_slave.py DEVICE BAUD UNIT``: input words 0 … 99 hold 1000 + address, holding words 2000 + address.
The library comes with Debian's mbpoll.
"""

from __future__ import annotations

import ctypes
import sys

LIBRARY = "libmodbus.so.5"
WORDS = 100
ADU_MAX = 256


class Mapping(ctypes.Structure):
    """modbus_mapping_t of modbus.h, 3.1."""

    _fields_ = [
        *((name, ctypes.c_int) for name in ("nb_bits", "start_bits", "nb_input_bits", "start_input_bits")),
        *((name, ctypes.c_int) for name in ("nb_input", "start_input", "nb_holding", "start_holding")),
        *((name, ctypes.POINTER(ctypes.c_uint8)) for name in ("bits", "input_bits")),
        *((name, ctypes.POINTER(ctypes.c_uint16)) for name in ("input", "holding")),
    ]


def main(device: str, baud: int, unit: int) -> None:
    """Answer until killed."""
    lib = ctypes.CDLL(LIBRARY)
    lib.modbus_new_rtu.restype = ctypes.c_void_p
    lib.modbus_new_rtu.argtypes = [ctypes.c_char_p, ctypes.c_int, ctypes.c_char, ctypes.c_int, ctypes.c_int]
    lib.modbus_mapping_new.restype = ctypes.POINTER(Mapping)
    lib.modbus_reply.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.POINTER(Mapping)]
    context = ctypes.c_void_p(lib.modbus_new_rtu(device.encode(), baud, b"N", 8, 1))
    mapping = lib.modbus_mapping_new(0, 0, WORDS, WORDS)
    for address in range(WORDS):
        mapping.contents.input[address] = 1000 + address
        mapping.contents.holding[address] = 2000 + address
    assert lib.modbus_set_slave(context, unit) == 0
    assert lib.modbus_connect(context) == 0
    print("ready", flush=True)
    query = ctypes.create_string_buffer(ADU_MAX)
    while True:
        size = lib.modbus_receive(context, query)
        if size > 0:
            lib.modbus_reply(context, query, size, mapping)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
