"""A Modbus RTU slave by pymodbus: usage modbus_slave.py TTY. Unit 1; input register 0 holds -123 (tenths of a degree),
input register 1 counts the requests that read it. Ends with SIGTERM."""

import asyncio
import sys

from pymodbus import FramerType
from pymodbus.server import ModbusSerialServer
from pymodbus.simulator import DataType, SimData, SimDevice

READ_INPUT_REGISTERS = 4


async def count(function, start, address, quantity, registers, values):
    """Moves the counter on with each read."""
    if function == READ_INPUT_REGISTERS and address <= 1 < address + quantity:
        registers[1 - start] = (registers[1 - start] + 1) % 65_536


async def main():
    unused = SimData(0, values=False, datatype=DataType.BITS)
    inputs = SimData(0, values=[-123 & 0xFFFF, 0], datatype=DataType.REGISTERS)
    holding = SimData(0, values=0, datatype=DataType.REGISTERS)
    device = SimDevice(1, simdata=([unused], [unused], [holding], [inputs]), action=count)
    server = ModbusSerialServer(device, framer=FramerType.RTU, port=sys.argv[1], baudrate=9600, parity="N")
    print("ready", flush=True)
    await server.serve_forever()


asyncio.run(main())
