"""Prints the Nats-Msg-Id of every message of lanes in a JetStream stream, one a line: city_ids.py PORT STREAM."""

import base64
import json
import socket
import sys


class Bus:
    """As much of the NATS protocol as a request takes."""

    def __init__(self, port):
        self.file = socket.create_connection(("127.0.0.1", port), 10).makefile("rwb")
        self.file.readline()
        self.send(b'CONNECT {"verbose":false,"pedantic":false}\r\nSUB inbox.* 1\r\n')

    def send(self, data):
        self.file.write(data)
        self.file.flush()

    def ask(self, subject, body):
        payload = json.dumps(body).encode()
        self.send(b"PUB %s inbox.1 %d\r\n%s\r\n" % (subject.encode(), len(payload), payload))
        while True:
            line = self.file.readline().split()
            if line[:1] == [b"PING"]:
                self.send(b"PONG\r\n")
            elif line[:1] == [b"MSG"]:
                answer = self.file.read(int(line[-1]) + 2)
                return json.loads(answer)


def main():
    bus, stream = Bus(int(sys.argv[1])), sys.argv[2]
    state = bus.ask("$JS.API.STREAM.INFO." + stream, {})["state"]
    for seq in range(state["first_seq"], state["last_seq"] + 1):
        found = bus.ask("$JS.API.STREAM.MSG.GET." + stream, {"seq": seq}).get("message", {})
        for line in base64.b64decode(found.get("hdrs", "")).decode().split("\r\n"):
            name, _, value = line.partition(":")
            if name == "Nats-Msg-Id":
                print(value.strip())


main()
