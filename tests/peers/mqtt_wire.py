"""A client that says exactly what it is told, byte by byte: MQTT 3.1.1 (level 4) and 5.0 (level 5).

It answers nothing by itself. Whatever it waits for comes within PATIENCE_S or is an error.
"""

import collections
import socket
import struct

PATIENCE_S = 10

CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBSCRIBE = range(1, 9)
SUBACK, UNSUBSCRIBE, UNSUBACK, PINGREQ, PINGRESP, DISCONNECT, AUTH = range(9, 16)

# 5.0, table 2-4.
FORMAT, EXPIRY, CONTENT_TYPE, RESPONSE_TOPIC, CORRELATION, SUBSCRIPTION_ID = 1, 2, 3, 8, 9, 11
SESSION_EXPIRY, ASSIGNED_ID, SERVER_KEEP_ALIVE, AUTH_METHOD, AUTH_DATA = 17, 18, 19, 21, 22
PROBLEM_INFO, WILL_DELAY, RESPONSE_INFO, REASON, RECEIVE_MAX = 23, 24, 25, 31, 33
ALIAS_MAX, ALIAS, USER, PACKET_MAX = 34, 35, 38, 39
KINDS = {
    1: "B", 2: "L", 3: "T", 8: "T", 9: "D", 11: "V", 17: "L", 18: "T", 19: "H", 21: "T", 22: "D", 23: "B", 24: "L",
    25: "B", 26: "T", 28: "T", 31: "T", 33: "H", 34: "H", 35: "H", 36: "B", 37: "B", 38: "P", 39: "L", 40: "B",
    41: "B", 42: "B",
}

Packet = collections.namedtuple("Packet", "kind flags pkid codes properties topic payload body")


def number(value):
    """A variable byte integer (5.0, 1.5.5)."""
    out = bytearray()
    while value > 0x7F:
        out.append(0x80 | value & 0x7F)
        value >>= 7
    return bytes(out) + bytes([value])


def data(value):
    value = value.encode() if isinstance(value, str) else value
    return struct.pack(">H", len(value)) + value


def section(properties):
    """Properties with their length; of pairs (identifier, value)."""
    out = b""
    for identifier, value in properties:
        kind = KINDS[identifier]
        out += bytes([identifier])
        if kind in "BHL":
            out += struct.pack(">" + {"B": "B", "H": "H", "L": "I"}[kind], value)
        elif kind == "V":
            out += number(value)
        elif kind == "P":
            out += data(value[0]) + data(value[1])
        else:
            out += data(value)
    return number(len(out)) + out


def frame(kind, flags, body):
    return bytes([kind << 4 | flags]) + number(len(body)) + body


class Reader:
    def __init__(self, body):
        self.rest = body

    def take(self, count):
        assert len(self.rest) >= count, f"a packet that ends within a field: {self.rest!r}"
        taken, self.rest = self.rest[:count], self.rest[count:]
        return taken

    def short(self):
        return struct.unpack(">H", self.take(2))[0]

    def data(self):
        return self.take(self.short())

    def number(self):
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    def properties(self):
        section, found = Reader(self.take(self.number())), collections.defaultdict(list)
        while section.rest:
            identifier = section.take(1)[0]
            kind = KINDS[identifier]
            if kind in "BHL":
                size = {"B": 1, "H": 2, "L": 4}[kind]
                value = int.from_bytes(section.take(size), "big")
            elif kind == "V":
                value = section.number()
            elif kind == "P":
                value = (section.data().decode(), section.data().decode())
            else:
                value = section.data() if kind == "D" else section.data().decode()
            found[identifier].append(value)
        return found


class Wire:
    def __init__(self, port, level=5):
        self.level = level
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.bytes, self.waiting = b"", []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.cut()

    def cut(self):
        """The line is gone, without a word."""
        self.socket.close()

    def send(self, *packets):
        self.socket.sendall(b"".join(packets))

    # --- what a client says

    def _with(self, properties):
        return section(properties) if self.level == 5 else b""

    def connect_packet(self, client="", clean=True, keep_alive=60, properties=(), will=None, login=None):
        flags, tail = 2 if clean else 0, b""
        if will:
            topic, payload, qos, retain, *more = will
            flags |= 4 | qos << 3 | retain << 5
            tail += self._with(more[0] if more else ()) + data(topic) + data(payload)
        if login:
            flags |= 0xC0
            tail += data(login[0]) + data(login[1])
        head = data("MQTT") + bytes([self.level, flags]) + struct.pack(">H", keep_alive)
        return frame(CONNECT, 0, head + self._with(properties) + data(client) + tail)

    def connect(self, client="", **how):
        """Connects and has to be let in. Returns the CONNACK; `.flags` is session present."""
        self.send(self.connect_packet(client, **how))
        answer = self.expect(CONNACK)
        assert answer.codes == [0], f"refused: {answer}"
        return answer

    def publish_packet(self, topic, payload=b"", qos=0, pkid=0, retain=False, dup=False, properties=()):
        payload = payload.encode() if isinstance(payload, str) else payload
        body = data(topic) + (struct.pack(">H", pkid) if qos else b"") + self._with(properties) + payload
        return frame(PUBLISH, dup << 3 | qos << 1 | retain, body)

    def publish(self, topic, payload=b"", qos=0, pkid=1, **how):
        """Publishes to the end of its handshake. Returns the first answer's reason."""
        self.send(self.publish_packet(topic, payload, qos, pkid, **how))
        if qos == 0:
            return None
        answer = self.expect(PUBACK if qos == 1 else PUBREC, pkid)
        if qos == 2 and answer.codes[0] < 0x80:
            self.answer(PUBREL, pkid)
            assert self.expect(PUBCOMP, pkid).codes == [0]
        return answer.codes[0]

    def answer(self, kind, pkid, reason=None):
        tail = b"" if reason is None else bytes([reason])
        self.send(frame(kind, 2 if kind == PUBREL else 0, struct.pack(">H", pkid) + tail))

    def subscribe_packet(self, filters, pkid=1, properties=()):
        body = b"".join(data(filter) + bytes([options]) for filter, options in filters)
        return frame(SUBSCRIBE, 2, struct.pack(">H", pkid) + self._with(properties) + body)

    def subscribe(self, *filters, pkid=1, properties=()):
        """Of pairs (filter, options). Returns the codes."""
        self.send(self.subscribe_packet(filters, pkid, properties))
        return self.expect(SUBACK, pkid).codes

    def unsubscribe(self, *filters, pkid=1):
        body = b"".join(map(data, filters))
        self.send(frame(UNSUBSCRIBE, 2, struct.pack(">H", pkid) + self._with(()) + body))
        return self.expect(UNSUBACK, pkid).codes

    def disconnect(self, reason=None, properties=()):
        body = b"" if reason is None else bytes([reason]) + section(properties)
        self.send(frame(DISCONNECT, 0, body))
        self.closed()

    # --- what it hears

    def read(self):
        """The next packet; none at the end of the line."""
        while True:
            packet = self._cut_frame()
            if packet:
                return packet
            try:
                more = self.socket.recv(65536)
            except ConnectionResetError:
                more = b""
            except TimeoutError:
                raise AssertionError("nothing came in time") from None
            if not more:
                assert not self.bytes, f"ends within a packet: {self.bytes!r}"
                return None
            self.bytes += more

    def _cut_frame(self):
        length = shift = 0
        for at in range(1, min(5, len(self.bytes))):
            length |= (self.bytes[at] & 0x7F) << shift
            shift += 7
            if self.bytes[at] < 0x80:
                end = at + 1 + length
                if len(self.bytes) < end:
                    return None
                body, first = self.bytes[at + 1:end], self.bytes[0]
                self.bytes = self.bytes[end:]
                return self._decode(first, body)
        return None

    def _decode(self, first, body):
        kind, flags, five = first >> 4, first & 15, self.level == 5
        reader, pkid, codes, properties, topic, payload = Reader(body), 0, [0], {}, None, None
        if kind == CONNACK:
            flags, codes = reader.take(1)[0], [reader.take(1)[0]]
            properties = reader.properties() if five else {}
        elif kind == PUBLISH:
            topic = reader.data().decode()
            pkid = reader.short() if flags & 6 else 0
            properties = reader.properties() if five else {}
            payload, reader.rest = reader.rest, b""
        elif kind in (PUBACK, PUBREC, PUBREL, PUBCOMP, DISCONNECT):
            pkid = 0 if kind == DISCONNECT else reader.short()
            codes = list(reader.take(1)) if reader.rest and five else [0]
            properties = reader.properties() if reader.rest and five else {}
        elif kind in (SUBACK, UNSUBACK):
            pkid = reader.short()
            properties = reader.properties() if five else {}
            codes, reader.rest = list(reader.rest), b""
        else:
            assert kind == PINGRESP, f"a server does not send {first:#x} {body!r}"
        assert not reader.rest, f"bytes behind the last field of {first:#x} {body!r}"
        return Packet(kind, flags, pkid, codes, properties, topic, payload, body)

    def next(self):
        """The next packet, which has to come."""
        packet = self.waiting.pop(0) if self.waiting else self.read()
        assert packet, "the line has ended"
        return packet

    def expect(self, kind, pkid=None):
        """The next packet of a kind; what comes before it waits."""
        for at, packet in enumerate(self.waiting):
            if packet.kind == kind and pkid in (None, packet.pkid):
                return self.waiting.pop(at)
        while True:
            packet = self.read()
            assert packet, f"the line has ended before a packet of type {kind}; waiting: {self.waiting}"
            if packet.kind == kind and pkid in (None, packet.pkid):
                return packet
            assert packet.kind != DISCONNECT, f"DISCONNECT {packet.codes} for a packet of type {kind}"
            self.waiting.append(packet)

    def take(self):
        """The next PUBLISH, acknowledged to the end of its handshake."""
        message = self.expect(PUBLISH)
        if message.flags & 6 == 2:
            self.answer(PUBACK, message.pkid)
        elif message.flags & 6 == 4:
            self.answer(PUBREC, message.pkid)
            self.expect(PUBREL, message.pkid)
            self.answer(PUBCOMP, message.pkid)
        return message

    def quiet(self):
        """Nothing is waiting, and nothing comes: twice, because an answer may overtake what was on its way."""
        for _ in range(2):
            self.send(frame(PINGREQ, 0, b""))
            self.expect(PINGRESP)
        assert not self.waiting, f"not expected: {self.waiting}"

    def closed(self):
        """The line ends; the reason of a DISCONNECT, if there was one."""
        reason = None
        while packet := self.waiting.pop(0) if self.waiting else self.read():
            if packet.kind == DISCONNECT:
                reason = packet.codes[0]
        return reason


def qos_of(message):
    return message.flags >> 1 & 3
