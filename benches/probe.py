"""Ten alarms a second: each line of MQTT 3.1.1 is the first smoke of a device, probe-1, probe-2 …, until it is ended.

    probe.py PORT COUNT
"""

import json
import socket
import struct
import sys
import time


def text(of):
    data = of.encode()
    return struct.pack(">H", len(data)) + data


def packet(kind, body):
    assert len(body) < 128
    return bytes([kind, len(body)]) + body


port, count = int(sys.argv[1]), int(sys.argv[2])
with socket.create_connection(("127.0.0.1", port)) as line:
    line.sendall(packet(0x10, text("MQTT") + b"\x04\x02\x00\x3c" + text("probe")))
    assert line.recv(4) == b"\x20\x02\x00\x00"
    for n in range(1, count + 1):
        payload = json.dumps({"smoke": True}).encode()
        line.sendall(packet(0x32, text(f"compound/probe-{n}/alarm") + struct.pack(">H", n) + payload))
        assert line.recv(4)[0] == 0x40
        time.sleep(0.1)
