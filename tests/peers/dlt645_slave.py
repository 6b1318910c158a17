"""An electricity meter of DL/T 645-2007 by the PyPI package dlt645: usage dlt645_slave.py TTY. Its address is 201000000012,
what it holds is in expected.txt, and its clock stands. Ends with SIGTERM.

Where version 3.2.0 is not as the standard has it, and what becomes of it here:

- A text given as address goes to the wire first digit first (clause 5.2.1: low byte first): here it is given as bytes.
- It answers for every address, with error 01 and the address that was asked (5.2.1: only the meter of that name answers),
  and reads at AA…AA and at 99…99 with that address instead of its own. So it has its line for itself, and what it says to
  a wildcard is nobody's answer; only its address is read that way (function 13), and comes from it.
- Shortened addresses (some bytes AA) are nobody's to it.
- An identifier of a group that it does not have is error 01, "other"; appendix C has 02, "no such data". Within a group it
  answers 02. Both are told and counted; only the second makes a point misconfigured.
- It has no blocks (FF in an identifier), no daily freezes (group 05) and no follow-up frames (function 12).
- Frames up to 255 bytes of data are taken, where 5.2.4 allows 200; it does not wait 20 ms before it answers (5.3.3).
- It takes the time of a broadcast year first (7.6: second first), and speeds as numbers instead of bits (7.8); the gateway
  is not asked to tell either.
- It checks no parity, and pseudo-terminals have none: the C library refuses to set one there, so "N" stands below.
"""

import signal
import sys
from datetime import datetime, timedelta, timezone

from dlt645 import Demand, MeterServerService

ADDRESS = bytes.fromhex("201000000012")
VALUES = {
    0x0000_0000: -4.35,
    0x0001_0000: 123_456.78,
    0x0001_0200: 8.2,
    0x0001_0001: 100.01,
    0x0002_0000: 0.01,
    0x0003_0000: -799_999.99,
    0x0201_0100: 230.1,
    0x0201_0200: 229.8,
    0x0201_0300: 231.0,
    0x0202_0100: -1.234,
    0x0202_0200: 799.999,
    0x0203_0000: -12.3456,
    0x0204_0000: 0.29,
    0x0205_0000: 79.9999,
    0x0206_0000: 0.957,
    0x0280_0002: 49.98,
    0x0280_0007: -12.5,
}


def main():
    meter = MeterServerService.new_rtu_server(sys.argv[1], 8, 1, 2400, "N", 1.0)
    meter.set_address(ADDRESS[::-1])
    for identifier, value in VALUES.items():
        stored = meter.set_00(identifier, value) if identifier >> 24 == 0 else meter.set_02(identifier, value)
        assert stored, f"{identifier:08x} does not take {value}"
    assert meter.set_01(0x0101_0000, Demand(3.1415, datetime(2026, 7, 15, 8, 30)))
    # Far more than five minutes behind at UTC+8: the gateway is to notice.
    clock = datetime.now(timezone(timedelta(hours=8))) - timedelta(hours=1)
    assert meter.set_04(0x0400_0101, clock.strftime("%y%m%d0%w")) and meter.set_04(0x0400_0102, clock.strftime("%H%M%S"))
    assert meter.set_04(0x0400_0503, "0010")  # b4: the relay is open
    if not meter.start():
        sys.exit(f"{sys.argv[1]} does not open")
    print("ready", flush=True)
    signal.pause()


signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
main()
