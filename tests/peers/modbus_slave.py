"""Modbus RTU slaves by pymodbus: usage modbus_slave.py TTY. What they hold is in expected.txt; unit 1 also counts, in input
register 1, the requests that read it, and has no holding registers above 15. Unit 2 is a transmitter of humidity and
temperature as modbus-climate of the library has it. Ends with SIGTERM.

No slave does as the server of version 3.16.1 does with units that it has not: it tells its identification for any, and
refuses all else with exception 4 (also with ignore_missing_devices).
"""

import asyncio
import sys

from pymodbus import FramerType, ModbusDeviceIdentification
from pymodbus.server import ModbusSerialServer
from pymodbus.simulator import DataType, SimData, SimDevice

READ_INPUT_REGISTERS = 4


async def count(function, start, address, quantity, registers, values):
    """Moves the counter on with each read."""
    if function == READ_INPUT_REGISTERS and address <= 1 < address + quantity:
        registers[1 - start] = (registers[1 - start] + 1) % 65_536


def device(unit, holding, coils=False, discrete=False, inputs=0, action=None):
    """The four tables of a unit."""
    bits = [[SimData(0, values=values, datatype=DataType.BITS)] for values in (coils, discrete)]
    inputs = SimData(0, values=inputs, datatype=DataType.REGISTERS)
    return SimDevice(unit, simdata=(*bits, holding, [inputs]), action=action)


UNIT_1 = [
    SimData(0, values=65_244, datatype=DataType.UINT16),
    SimData(1, values=-1234, datatype=DataType.INT16),
    SimData(2, values=[0x5678, 0x1234], datatype=DataType.REGISTERS),  # 0x12345678, low word first
    SimData(4, values=230.7, datatype=DataType.FLOAT32),
    SimData(6, values=0x4711, datatype=DataType.REGISTERS),  # binary coded decimal
    SimData(7, values=-70_000, datatype=DataType.INT32),
    SimData(9, values=0b101, datatype=DataType.UINT16),
    SimData(10, values=0.1, datatype=DataType.FLOAT64),
    SimData(14, values=[0x1234, 0x5678], datatype=DataType.REGISTERS),  # binary coded decimal
]
UNIT_2 = [SimData(0, values=[487, -45 & 0xFFFF], datatype=DataType.REGISTERS)]


async def main():
    devices = [
        device(1, UNIT_1, [True, False, True], [False, True, False], [-123 & 0xFFFF, 0], count),
        device(2, UNIT_2),
    ]
    server = ModbusSerialServer(
        devices,
        framer=FramerType.RTU,
        port=sys.argv[1],
        baudrate=9600,
        parity="N",
        identity=ModbusDeviceIdentification({0: "Peer", 1: "PM-1", 2: "1.0"}),
    )
    print("ready", flush=True)
    await server.serve_forever()


asyncio.run(main())
