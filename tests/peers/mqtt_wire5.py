"""MQTT 5.0 as the standard's numbered statements have it, byte by byte: usage mqtt_wire5.py SMALLBRAIN WORK.

What 3.1.1 and 5.0 share is in mqtt_wire4.py.
"""

import itertools
import sys
import time

import mqtt_wire as mqtt
from checks import each, run
from mqtt_daemon import Daemon
from mqtt_wire import Wire, data, frame, qos_of, section

CASES = []
NO_LOCAL, AS_PUBLISHED = 4, 8
RECEIVE_MAX = 20  # mqtt.toml
FOR_EVER = (mqtt.SESSION_EXPIRY, 3600)
_count = itertools.count()


def case(function):
    CASES.append(function)
    return function


def fresh():
    """A word that no other case has used."""
    return f"five-{next(_count)}"


def client(port, name="", **how):
    wire = Wire(port)
    wire.connect(name or fresh(), **how)
    return wire


def hearing(port, *filters, **how):
    wire = client(port, **how)
    assert wire.subscribe(*filters) == [options & 3 for _, options in filters]
    return wire


def payloads(wire, count):
    return [wire.take().payload.decode() for _ in range(count)]


# --- who is let in


@case
def terms(port):
    """CONNACK tells the gateway's limits, and none that was not asked for [MQTT-3.2.2-2] (3.2.2.3)"""
    with Wire(port) as wire:
        answer = wire.connect(fresh())
        found = {name: answer.properties.get(name) for name in (mqtt.RECEIVE_MAX, mqtt.PACKET_MAX, mqtt.ALIAS_MAX)}
        assert answer.flags == 0 and found[mqtt.RECEIVE_MAX] == [RECEIVE_MAX]
        assert found[mqtt.PACKET_MAX] == [16 * 1024] and found[mqtt.ALIAS_MAX][0] > 0
        assert not {mqtt.ASSIGNED_ID, mqtt.SERVER_KEEP_ALIVE, mqtt.SESSION_EXPIRY} & set(answer.properties)


@case
def assigned(port):
    """Client ids that the gateway gives are told, each another, and may be used again [MQTT-3.1.3-6] [MQTT-3.1.3-7] [MQTT-3.2.2-16]"""
    with Wire(port) as one, Wire(port) as other:
        answers = [one.connect("", clean=True, properties=[FOR_EVER]), other.connect("", clean=False)]
        names = [answer.properties[mqtt.ASSIGNED_ID][0] for answer in answers]
        assert names[0] != names[1] and answers[1].flags == 0
    with Wire(port) as again:
        assert again.connect(names[0], clean=False).flags == 1


@case
def server_keep_alive(port):
    """A keep-alive that is too long, or none, is answered with the gateway's [MQTT-3.1.2-21] [MQTT-3.2.2-22] (3.2.2.3.14)"""
    for asked, told in [(30, None), (60, None), (61, [60]), (65535, [60]), (0, [60])]:
        with Wire(port) as wire:
            answer = wire.connect(fresh(), keep_alive=asked)
            assert answer.properties.get(mqtt.SERVER_KEEP_ALIVE) == told, asked


@case
def wrong_connects(port):
    """CONNECTs that the standard forbids are refused or closed, and never let in [MQTT-3.1.4-1] [MQTT-4.13.1-1]"""

    def packet(properties, will=None):
        flags = b"\6" if will is not None else b"\2"
        tail = will + data("t") + data("m") if will is not None else b""
        return frame(1, 0, data("MQTT") + b"\5" + flags + b"\0\x3c" + properties + data("x") + tail)

    for what, bytes, code in [
        ("receive maximum 0 (3.1.2.11.3)", packet(section([(mqtt.RECEIVE_MAX, 0)])), 0x82),
        ("maximum packet size 0 (3.1.2.11.4)", packet(section([(mqtt.PACKET_MAX, 0)])), 0x82),
        ("session expiry twice", packet(section([FOR_EVER, FOR_EVER])), 0x82),
        ("request problem information 2", packet(section([(mqtt.PROBLEM_INFO, 2)])), 0x82),
        ("request response information 2", packet(section([(mqtt.RESPONSE_INFO, 2)])), 0x82),
        ("authentication data without a method", packet(section([(mqtt.AUTH_DATA, b"x")])), 0x82),
        ("a property of others", packet(section([(mqtt.ALIAS, 1)])), 0x81),
        ("an unknown property", packet(b"\2\x7f\0"), 0x81),
        ("properties longer than the packet", packet(b"\x7f"), 0x81),
        ("a long length of properties [MQTT-1.5.5-1]", packet(b"\x80\0"), 0x81),
        ("a property that ends early", packet(b"\3\x11\0\0"), 0x81),
        ("will delay twice", packet(b"\0", section([(mqtt.WILL_DELAY, 1)] * 2)), 0x82),
        ("payload format 2 of the will", packet(b"\0", section([(mqtt.FORMAT, 2)])), 0x82),
        ("session expiry of the will", packet(b"\0", section([FOR_EVER])), 0x81),
        ("will topic with a wildcard", frame(1, 0, data("MQTT") + b"\5\6\0\x3c\0" + data("x") + b"\0" + data("t/#") + data("m")), 0x90),
        ("reserved flag [MQTT-3.1.2-3]", frame(1, 0, data("MQTT") + b"\5\3\0\x3c\0" + data("x")), 0x81),
        ("a method that is not offered (4.12)", packet(section([(mqtt.AUTH_METHOD, "method")])), 0x8C),
        ("an unknown level (3.1.2.2)", frame(1, 0, data("MQTT") + b"\6\2\0\x3c\0" + data("x")), 0x84),
    ]:
        with Wire(port) as wire:
            wire.send(bytes)
            answer = wire.read()
            assert answer is None or (answer.kind == mqtt.CONNACK and answer.codes == [code] and answer.flags == 0), (what, answer)
            assert answer is None or wire.read() is None, what


@case
def refusals_are_told(port):
    """A 5.0 client is told why it is not let in, where the standard has words for it (3.2.2.2)"""
    for packet, code in [
        (frame(1, 0, data("MQTT") + b"\6\2\0\x3c\0" + data("x")), 0x84),
        (frame(1, 0, data("MQTT") + b"\5\2\0\x3c" + section([(mqtt.AUTH_METHOD, "m")]) + data("x")), 0x8C),
    ]:
        with Wire(port) as wire:
            wire.send(packet)
            assert wire.read().codes == [code]
            assert wire.read() is None


@case
def taken_over(port):
    """A second connection of a client: the first is told 0x8E [MQTT-3.1.4-3]"""
    name = fresh()
    with client(port, name) as first, client(port, name) as second:
        assert first.closed() == 0x8E
        second.quiet()


@case
def wrong_packets(port):
    """Packets that the standard forbids: DISCONNECT with their reason, then the line ends [MQTT-4.13.1-1] [MQTT-4.13.2-1]"""
    pkid = b"\0\7"

    def publish(properties, topic="a"):
        return frame(3, 0, data(topic) + section(properties))

    for what, packet, codes in [
        ("a second CONNECT [MQTT-3.1.0-2]", Wire.connect_packet(client(port), "x"), {0x82}),
        ("PINGREQ with flags [MQTT-2.1.3-1]", b"\xc1\0", {0x81}),
        ("SUBSCRIBE with flags 0 [MQTT-3.8.1-1]", frame(8, 0, pkid + b"\0" + data("a") + b"\0"), {0x81}),
        ("SUBSCRIBE without a filter [MQTT-3.8.3-2]", frame(8, 2, pkid + b"\0"), {0x81, 0x82}),
        ("UNSUBSCRIBE without a filter [MQTT-3.10.3-2]", frame(10, 2, pkid + b"\0"), {0x81, 0x82}),
        ("SUBSCRIBE with QoS 3 (3.8.3.1)", frame(8, 2, pkid + b"\0" + data("a") + b"\3"), {0x81, 0x82}),
        ("SUBSCRIBE with reserved bits [MQTT-3.8.3-5]", frame(8, 2, pkid + b"\0" + data("a") + b"\x40"), {0x81}),
        ("retain handling 3 (3.8.3.1)", frame(8, 2, pkid + b"\0" + data("a") + b"\x30"), {0x81, 0x82}),
        ("no-local and shared [MQTT-3.8.3-4]", frame(8, 2, pkid + b"\0" + data("$share/g/a") + b"\4"), {0x82}),
        ("subscription identifier 0 (3.8.2.1.2)", frame(8, 2, pkid + b"\2\x0b\0" + data("a") + b"\0"), {0x82}),
        ("two subscription identifiers", frame(8, 2, pkid + b"\4\x0b\1\x0b\2" + data("a") + b"\0"), {0x82}),
        ("SUBSCRIBE with packet id 0 [MQTT-2.2.1-3]", frame(8, 2, b"\0\0\0" + data("a") + b"\0"), {0x81, 0x82}),
        ("PUBLISH with QoS 3 [MQTT-3.3.1-4]", frame(3, 6, data("a") + pkid + b"\0"), {0x81}),
        ("PUBLISH DUP with QoS 0 [MQTT-3.3.1-2]", frame(3, 8, data("a") + b"\0"), {0x81, 0x82}),
        ("PUBLISH with packet id 0", frame(3, 2, data("a") + b"\0\0\0"), {0x81, 0x82}),
        ("PUBLISH to a wildcard [MQTT-3.3.2-2]", publish([], "a/+"), {0x81, 0x82, 0x90}),
        ("PUBLISH to nothing (3.3.2.1)", publish([], ""), {0x81, 0x82, 0x90}),
        ("PUBLISH to what is not UTF-8", frame(3, 0, data(b"\xff") + b"\0"), {0x81}),
        ("payload format 2", publish([(mqtt.FORMAT, 2)]), {0x81, 0x82}),
        ("payload format twice", publish([(mqtt.FORMAT, 1)] * 2), {0x82}),
        ("message expiry twice", publish([(mqtt.EXPIRY, 1)] * 2), {0x82}),
        ("content type twice", publish([(mqtt.CONTENT_TYPE, "a")] * 2), {0x82}),
        ("response topic with a wildcard [MQTT-3.3.2-14]", publish([(mqtt.RESPONSE_TOPIC, "a/#")]), {0x81, 0x82}),
        ("subscription identifier of a client [MQTT-3.3.4-6]", publish([(mqtt.SUBSCRIPTION_ID, 1)]), {0x82}),
        ("a property of others", publish([(mqtt.RECEIVE_MAX, 1)]), {0x81, 0x82}),
        ("alias 0 [MQTT-3.3.2-8]", publish([(mqtt.ALIAS, 0)]), {0x94}),
        ("alias beyond the maximum [MQTT-3.3.2-9]", publish([(mqtt.ALIAS, 65535)]), {0x94}),
        ("an alias that stands for nothing (3.3.2.1)", publish([(mqtt.ALIAS, 1)], ""), {0x82, 0x94}),
        ("AUTH without a method [MQTT-4.12.0-7]", frame(15, 0, b""), {0x82}),
        ("SUBACK of a client", frame(9, 0, pkid + b"\0\0"), {0x82}),
        ("a wrong reason of PUBACK", frame(4, 0, pkid + b"\x92\0"), {0x81, 0x82}),
        ("PUBREL with flags 0 [MQTT-3.6.1-1]", frame(6, 0, pkid), {0x81}),
        ("a length longer than it has to be [MQTT-1.5.5-1]", b"\xc0\x80\0", {0x81}),
        ("type 0", b"\0\0", {0x81}),
        ("expiry at the end of a session that has none [MQTT-3.14.2-2] (3.14.2.2.2)", frame(14, 0, b"\0" + section([FOR_EVER])), {0x82}),
        ("a wrong reason of DISCONNECT", frame(14, 0, b"\x8e"), {0x81, 0x82}),
    ]:
        with client(port) as wire:
            wire.send(packet)
            reason = wire.closed()
            assert reason in codes, f"{what}: {reason}"


# --- sessions


@case
def session_expiry(port):
    """Sessions: kept for as long as was asked, clean start, expiry at DISCONNECT [MQTT-3.1.2-4] [MQTT-3.1.2-23] [MQTT-3.2.2-3]"""
    name, topic = fresh(), fresh()

    def come(clean, expiry):
        wire = Wire(port)
        properties = [(mqtt.SESSION_EXPIRY, expiry)] if expiry is not None else []
        return wire, wire.connect(name, clean=clean, properties=properties).flags

    with client(port) as mouth:
        wire, present = come(True, 3600)
        assert present == 0
        wire.subscribe((topic, 1))
        wire.disconnect()
        mouth.publish(topic, "waits", 1)
        wire, present = come(False, None)
        assert present == 1 and payloads(wire, 1) == ["waits"]
        wire.disconnect()
        wire, present = come(False, 3600)
        assert present == 0, "a connection without an expiry ended it"
        wire.disconnect(0, [(mqtt.SESSION_EXPIRY, 0)])
        wire, present = come(False, 1)
        assert present == 0, "0 at DISCONNECT ended it"
        wire.cut()
        wire, present = come(False, 1)
        assert present == 1
        wire.disconnect()
        time.sleep(1.3)
        wire, present = come(False, 3600)
        assert present == 0, "after its second it is over"
        wire.cut()
        wire, present = come(True, 0)
        assert present == 0, "clean start"
        wire.cut()


@case
def expiry_capped(port):
    """A session that is to be kept for ever is told for how long it is (3.2.2.3.2)"""
    with Wire(port) as wire:
        told = wire.connect(fresh(), properties=[(mqtt.SESSION_EXPIRY, 0xFFFFFFFF)]).properties[mqtt.SESSION_EXPIRY]
        assert told == [7 * 24 * 3600]


@case
def recorded_once(port):
    """A QoS 2 publish recorded before the line broke is delivered once, its id asks for no second [MQTT-4.3.3-10] [MQTT-4.3.3-12]"""
    name, topic = fresh(), fresh()
    with hearing(port, (topic, 2)) as ear:
        mouth = client(port, name, properties=[FOR_EVER])
        mouth.send(mouth.publish_packet(topic, "once", 2, 7))
        assert mouth.expect(mqtt.PUBREC, 7).codes == [0]
        mouth.cut()
        with client(port, name, clean=False, properties=[FOR_EVER]) as again:
            again.send(again.publish_packet(topic, "once", 2, 7, dup=True))
            assert again.expect(mqtt.PUBREC, 7).codes[0] < 0x80
            again.answer(mqtt.PUBREL, 7)
            assert again.expect(mqtt.PUBCOMP, 7).codes == [0]
            again.answer(mqtt.PUBREL, 7)
            assert again.expect(mqtt.PUBCOMP, 7).codes == [0x92]
        assert payloads(ear, 1) == ["once"]
        ear.quiet()


@case
def sent_again_only_on_a_new_line(port):
    """What is not acknowledged comes again on a new connection, and only there [MQTT-4.4.0-1]"""
    name, topic = fresh(), fresh()
    with client(port) as mouth:
        with hearing(port, (topic, 1), name=name, properties=[FOR_EVER]) as ear:
            mouth.publish(topic, "x", 1)
            first = ear.expect(mqtt.PUBLISH)
            ear.quiet()
        with client(port, name, clean=False, properties=[FOR_EVER]) as again:
            second = again.take()
            assert (second.pkid, second.payload, second.flags & 8) == (first.pkid, b"x", 8)
            again.quiet()


@case
def refused_deliveries(port):
    """PUBACK and PUBREC with a reason of 0x80 and above end a delivery; PUBREC of nothing gets 0x92 [MQTT-4.4.0-2] (4.3.3)"""
    topic = fresh()
    with hearing(port, (topic, 2), properties=[(mqtt.RECEIVE_MAX, 1)]) as ear, client(port) as mouth:
        for qos, kind in [(1, mqtt.PUBACK), (2, mqtt.PUBREC)]:
            mouth.publish(topic, "refused", qos)
            ear.answer(kind, ear.expect(mqtt.PUBLISH).pkid, 0x97)
            mouth.publish(topic, "next", qos)
            assert payloads(ear, 1) == ["next"]
        ear.answer(mqtt.PUBREC, 999)
        assert ear.expect(mqtt.PUBREL, 999).codes == [0x92]
        ear.quiet()


@case
def misplaced_answers(port):
    """An answer that belongs to another QoS, or comes before its step, is a protocol error [MQTT-4.3.2-4] [MQTT-4.3.3-8] (4.13)"""
    for qos, kind in [(1, mqtt.PUBREC), (1, mqtt.PUBCOMP), (2, mqtt.PUBACK), (2, mqtt.PUBCOMP)]:
        topic = fresh()
        with hearing(port, (topic, 2)) as ear, client(port) as mouth:
            mouth.publish(topic, "x", qos)
            ear.answer(kind, ear.expect(mqtt.PUBLISH).pkid)
            assert ear.closed() == 0x82, (qos, kind)


# --- flow control and sizes


@case
def window_of_the_client(port):
    """No more unacknowledged deliveries than the client's receive maximum; QoS 0 passes [MQTT-3.3.4-9] [MQTT-4.9.0-1] [MQTT-4.9.0-2]"""
    topic = fresh()
    with hearing(port, (topic, 2), properties=[(mqtt.RECEIVE_MAX, 2)]) as ear, client(port) as mouth:
        for n in range(4):
            mouth.publish(topic, str(n), 1 + n % 2)
        mouth.publish(topic, "fleeting", 0)
        found = [ear.expect(mqtt.PUBLISH) for _ in range(3)]
        assert [one.payload for one in found] == [b"0", b"1", b"fleeting"]
        ear.quiet()
        ear.answer(mqtt.PUBREC, found[1].pkid)
        ear.expect(mqtt.PUBREL)
        ear.quiet()
        ear.answer(mqtt.PUBCOMP, found[1].pkid)
        assert ear.expect(mqtt.PUBLISH).payload == b"2"
        ear.quiet()
        ear.answer(mqtt.PUBACK, found[0].pkid)
        assert ear.expect(mqtt.PUBLISH).payload == b"3"


@case
def window_of_the_gateway(port):
    """As many QoS 2 publishes unreleased as were granted, one more is 0x93 [MQTT-3.3.4-7] [MQTT-3.3.4-8] (4.9)"""
    topic = fresh()
    with client(port) as wire:
        for n in range(1, RECEIVE_MAX + 1):
            wire.send(wire.publish_packet(topic, str(n), 2, n))
        for n in range(1, RECEIVE_MAX + 1):
            assert wire.expect(mqtt.PUBREC).pkid == n
        wire.answer(mqtt.PUBREL, 1), wire.expect(mqtt.PUBCOMP, 1)
        wire.send(wire.publish_packet(topic, "fits again", 2, 1), wire.publish_packet(topic, "fleeting", 0))
        wire.expect(mqtt.PUBREC, 1)
        wire.send(wire.publish_packet(topic, "too many", 2, 999))
        assert wire.closed() == 0x93


@case
def long_deliveries(port):
    """A delivery longer than the client's maximum packet size is dropped as if delivered [MQTT-3.1.2-24] [MQTT-3.1.2-25]"""
    for qos, aliases in itertools.product(range(3), [0, 5]):
        topic, limit = fresh(), 64
        properties = [(mqtt.PACKET_MAX, limit), (mqtt.RECEIVE_MAX, 1), (mqtt.ALIAS_MAX, aliases)]
        with hearing(port, (topic, 2), properties=properties) as ear, client(port) as mouth:
            head = 2 + 2 + len(topic) + (2 if qos else 0) + 1
            for length in [*range(limit - head + 1, limit - head - 5, -1), limit - head]:
                mouth.publish(topic, b"." * length, qos)
            mouth.publish(topic, "end", qos)
            while (message := ear.take()).payload != b"end":
                assert 2 + len(message.body) <= limit, f"{2 + len(message.body)} bytes at QoS {qos}, {aliases} aliases"
            ear.quiet()


@case
def long_fits(port):
    """A delivery of exactly the client's maximum packet size comes"""
    topic = fresh()
    with hearing(port, (topic, 1), properties=[(mqtt.PACKET_MAX, 64)]) as ear, client(port) as mouth:
        length = 64 - 2 - 2 - len(topic) - 2 - 1
        mouth.publish(topic, b"." * length, 1)
        assert len(ear.take().payload) == length


@case
def small_clients(port):
    """No packet to a client is longer than its maximum, CONNACK included [MQTT-3.1.2-24] (3.2.2.3.6)"""
    with Wire(port) as wire:
        wire.send(wire.connect_packet(fresh(), properties=[(mqtt.PACKET_MAX, 20)]))
        assert 2 + len(wire.expect(mqtt.CONNACK).body) <= 20


@case
def too_long(port):
    """A packet longer than the gateway takes is answered with 0x95 [MQTT-3.2.2-15]"""
    with client(port) as wire:
        wire.send(wire.publish_packet("a", b"." * 16384))
        assert wire.closed() == 0x95


@case
def aliases_in(port):
    """Topic aliases of a client: set, used, set anew, and gone with the connection [MQTT-3.3.2-7] [MQTT-3.3.2-10] [MQTT-3.3.2-12]"""
    one, other, name = fresh(), fresh(), fresh()
    with hearing(port, (one, 0), (other, 0)) as ear:
        with Wire(port) as mouth:
            most = mouth.connect(name, properties=[FOR_EVER]).properties[mqtt.ALIAS_MAX][0]
            for alias in (1, most):
                for topic, payload in [(one, "1"), ("", "2"), (other, "3"), ("", "4")]:
                    mouth.publish(topic, payload, 1, properties=[(mqtt.ALIAS, alias)])
                found = [(message.topic, message.payload.decode()) for message in (ear.take() for _ in range(4))]
                assert found == [(one, "1"), (one, "2"), (other, "3"), (other, "4")]
        with client(port, name, clean=False) as mouth:
            mouth.send(mouth.publish_packet("", "x", properties=[(mqtt.ALIAS, 1)]))
            assert mouth.closed() in (0x82, 0x94)
        ear.quiet()


@case
def aliases_out(port):
    """Topic aliases to a client: no more than it takes, told with the topic first [MQTT-3.1.2-26] [MQTT-3.1.2-27] [MQTT-3.3.2-11]"""
    for most in [0, 1, 3]:
        root = fresh()
        with hearing(port, (root + "/#", 1), properties=[(mqtt.ALIAS_MAX, most)]) as ear, client(port) as mouth:
            known, expected = {}, [f"{root}/{n % 5}" for n in range(15)]
            for topic in expected:
                mouth.publish(topic, topic, 1)
            for topic in expected:
                message = ear.take()
                for alias in message.properties.get(mqtt.ALIAS, []):
                    assert 0 < alias <= most, alias
                    known[alias] = message.topic or known[alias]
                    assert known[alias] == topic
                assert message.topic or message.properties.get(mqtt.ALIAS)
                assert message.payload.decode() == topic
            assert len(known) == most, "it uses what the client offers"


# --- subscriptions


@case
def identifiers(port):
    """Subscription identifiers: each of the subscriptions that a message is for, 1 to 268,435,455 [MQTT-3.3.4-3] [MQTT-3.3.4-4]"""
    topic = fresh()
    with client(port) as ear, client(port) as mouth:
        ear.subscribe((topic + "/#", 0), properties=[(mqtt.SUBSCRIPTION_ID, 268_435_455)])
        ear.subscribe((topic + "/+", 1), properties=[(mqtt.SUBSCRIPTION_ID, 1)])
        ear.subscribe((topic + "/x", 0))
        mouth.publish(topic + "/x", "x", 1)
        found = ear.take().properties[mqtt.SUBSCRIPTION_ID]
        assert sorted(found) == [1, 268_435_455], found
        mouth.publish(topic + "/x/y", "x", 1)
        assert ear.take().properties[mqtt.SUBSCRIPTION_ID] == [268_435_455]
        ear.subscribe((topic + "/#", 0))
        mouth.publish(topic + "/x/y", "x", 1)
        assert mqtt.SUBSCRIPTION_ID not in ear.take().properties, "subscribed again, without one"
        ear.quiet()


@case
def identifiers_kept(port):
    """Subscription identifiers are part of the session, of what waits, and of retained messages (3.8.4)"""
    name, topic = fresh(), fresh()
    with client(port) as mouth:
        mouth.publish(topic, "kept", 1, retain=True)
        with client(port, name, properties=[FOR_EVER]) as ear:
            ear.subscribe((topic, 1), properties=[(mqtt.SUBSCRIPTION_ID, 42)])
            assert ear.take().properties[mqtt.SUBSCRIPTION_ID] == [42]
            ear.disconnect()
        mouth.publish(topic, "waits", 1)
        with client(port, name, clean=False) as ear:
            mouth.publish(topic, "now", 1)
            assert [ear.take().properties[mqtt.SUBSCRIPTION_ID] for _ in range(2)] == [[42], [42]]
        mouth.publish(topic, "", 1, retain=True)


@case
def no_local(port):
    """No-local: what the client publishes itself does not come back, what others do comes [MQTT-3.8.3-3]"""
    topic = fresh()
    with hearing(port, (topic, 1 | NO_LOCAL)) as wire, client(port) as other:
        wire.publish(topic, "own", 1)
        other.publish(topic, "other's", 1)
        assert payloads(wire, 1) == ["other's"]
        wire.quiet()


@case
def retain_as_published(port):
    """Retain as published: the flag as it was sent, else 0 [MQTT-3.3.1-12] [MQTT-3.3.1-13]"""
    topic = fresh()
    with hearing(port, (topic, AS_PUBLISHED)) as kept, hearing(port, (topic, 0)) as plain, client(port) as mouth:
        for retain in [True, False]:
            mouth.publish(topic, "x", 1, retain=retain)
            assert [kept.take().flags & 1, plain.take().flags & 1] == [int(retain), 0]
        mouth.publish(topic, "", 1, retain=True)


@case
def retain_handling(port):
    """Retain handling: always, only when new, never [MQTT-3.3.1-9] [MQTT-3.3.1-10] [MQTT-3.3.1-11]"""
    topic = fresh()
    with client(port) as mouth:
        mouth.publish(topic, "kept", 1, retain=True)
        for handling, expected in [(0, [1, 1]), (1, [1, 0]), (2, [0, 0])]:
            with client(port) as ear:
                for count in expected:
                    ear.subscribe((topic, handling << 4))
                    assert [ear.take().flags & 1 for _ in range(count)] == [1] * count
                    ear.quiet()
        mouth.publish(topic, "", 1, retain=True)


@case
def suback_codes(port):
    """SUBACK: a code for each filter, in order; a filter that is none has its reason or ends the line [MQTT-3.8.4-6] [MQTT-3.8.4-7]"""
    with client(port) as wire:
        assert wire.subscribe(("a", 0), ("b", 1), ("c", 2), pkid=9) == [0, 1, 2]
    for filter in ["a/#/b", "a+", "", "$share//a", "$share/g/", "$share/g+/a"]:
        with client(port) as wire:
            wire.send(wire.subscribe_packet([("good", 1), (filter, 1)], 9))
            answer = wire.read()
            assert (answer.kind == mqtt.SUBACK and answer.codes in ([1, 0x8F], [0x8F, 0x8F])) or answer.codes[0] in (0x81, 0x82, 0x8F), filter


@case
def unsuback_codes(port):
    """UNSUBACK: a code for each filter, in order [MQTT-3.10.4-4] [MQTT-3.10.4-5] [MQTT-3.11.3-1] [MQTT-3.11.3-2]"""
    with hearing(port, ("a", 0), ("b/#", 0), ("$share/g/a", 0)) as wire:
        assert wire.unsubscribe("b/#", "c", "a", "$share/g/a", "a", "$share/h/a", pkid=65535) == [0, 0x11, 0, 0, 0x11, 0x11]


@case
def shared(port):
    """A shared subscription: one of its members, each now and then, besides their own; none of what is retained [MQTT-4.8.2-4] [MQTT-4.8.2-5]"""
    topic = fresh()
    filter = f"$share/group/{topic}/+"
    with client(port) as mouth:
        mouth.publish(topic + "/kept", "kept", 1, retain=True)
        with hearing(port, (filter, 1)) as one, hearing(port, (filter, 1), (topic + "/own", 0)) as other:
            one.quiet(), other.quiet()
            for n in range(10):
                mouth.publish(topic + "/x", str(n), 1)
            mouth.publish(topic + "/own", "own", 0)
            mouth.send(frame(mqtt.PINGREQ, 0, b"")), mouth.expect(mqtt.PINGRESP)
            for wire in (one, other):
                for _ in range(2):
                    wire.send(frame(mqtt.PINGREQ, 0, b"")), wire.expect(mqtt.PINGRESP)
            found = [[packet.payload.decode() for packet in wire.waiting] for wire in (one, other)]
            numbers = [[payload for payload in wire if payload != "own"] for wire in found]
            assert sorted(numbers[0] + numbers[1], key=int) == [str(n) for n in range(10)], found
            assert all(numbers), "each of them has some"
            assert "own" in found[1] and (found[0] + found[1]).count("own") == 2, found
        mouth.publish(topic + "/kept", "", 1, retain=True)


@case
def shared_groups(port):
    """Two groups on a topic are two; one whose only member has gone holds up nobody (4.8.2)"""
    topic = fresh()
    with hearing(port, (f"$share/one/{topic}", 1)) as one, hearing(port, (f"$share/two/{topic}", 1)) as two, client(port) as mouth:
        mouth.publish(topic, "x", 1)
        assert payloads(one, 1) + payloads(two, 1) == ["x", "x"]
        one.cut()
        mouth.publish(topic, "y", 1)
        assert payloads(two, 1) == ["y"]


@case
def dollar(port):
    """A subscription to # or +/… hears no topic that begins with $ [MQTT-4.7.2-1]"""
    root = "$" + fresh()
    with hearing(port, ("#", 0), ("+/x", 0), ("$share/g/#", 0)) as all, hearing(port, (root + "/+", 0)) as ear, client(port) as mouth:
        mouth.publish(root + "/x", "x")
        assert payloads(ear, 1) == ["x"]
        all.send(frame(mqtt.PINGREQ, 0, b"")), all.expect(mqtt.PINGRESP)
        assert not [packet for packet in all.waiting if packet.topic.startswith(root)]


@case
def nobody_hears(port):
    """A publish that nobody hears is told so: 0x10 (3.4.2.1, 3.5.2.1)"""
    with client(port) as wire:
        assert [wire.publish(fresh(), "x", qos) for qos in (1, 2)] == [0x10, 0x10]


# --- messages


@case
def properties_handed_on(port):
    """Properties of a message are handed on as they came, in order [MQTT-3.3.2-4] [MQTT-3.3.2-15] to [MQTT-3.3.2-20]"""
    topic = fresh()
    sent = [(mqtt.USER, ("b", "2")), (mqtt.FORMAT, 1), (mqtt.RESPONSE_TOPIC, "reply/门"), (mqtt.USER, ("a", "1")),
            (mqtt.CORRELATION, b"\0\xff\1"), (mqtt.CONTENT_TYPE, "text/plain"), (mqtt.USER, ("b", "2")), (mqtt.USER, ("", ""))]
    with client(port) as mouth:
        with hearing(port, (topic, 2)) as ear:
            for qos in range(3):
                mouth.publish(topic, "grüße", qos, retain=True, properties=sent)
                _same(ear.take(), sent)
        with hearing(port, (topic, 2)) as ear:
            _same(ear.take(), sent)
        mouth.publish(topic, "", 1, retain=True)


def _same(message, sent):
    expected = {}
    for name, value in sent:
        expected.setdefault(name, []).append(value)
    assert dict(message.properties) == expected, dict(message.properties)


@case
def across_versions(port):
    """A 3.1.1 client hears what a 5.0 client says, without its properties, and the other way round"""
    topic = fresh()
    with Wire(port, 4) as old, client(port) as new:
        old.connect(fresh())
        assert old.subscribe((topic, 1)) == [1] and new.subscribe((topic, 1)) == [1]
        new.publish(topic, "from 5", 1, properties=[(mqtt.USER, ("a", "1")), (mqtt.EXPIRY, 60)])
        assert payloads(old, 1) == payloads(new, 1) == ["from 5"]
        old.publish(topic, "from 4", 1)
        assert payloads(old, 1) == payloads(new, 1) == ["from 4"]


@case
def message_expiry(port):
    """Message expiry: what is left of it is told, and after it nothing comes, retained or waiting [MQTT-3.3.2-5] [MQTT-3.3.2-6]"""
    name, topic = fresh(), fresh()
    with client(port) as mouth:
        with hearing(port, (topic + "/+", 1), name=name, properties=[FOR_EVER]) as ear:
            mouth.publish(topic + "/now", "x", 1, properties=[(mqtt.EXPIRY, 10)])
            assert ear.take().properties[mqtt.EXPIRY] == [10]
            ear.disconnect()
        for retain in [False, True]:
            for seconds in [1, 5, None]:
                properties = [(mqtt.EXPIRY, seconds)] if seconds else []
                mouth.publish(f"{topic}/{retain}-{seconds}", "x", 1, retain=retain, properties=properties)
        time.sleep(1.3)
        with client(port, name, clean=False) as ear:
            found = [(one.topic.split("/")[1], one.properties.get(mqtt.EXPIRY)) for one in (ear.take() for _ in range(4))]
            assert [topic for topic, _ in found] == ["False-5", "False-None", "True-5", "True-None"]
            assert [expiry in ([3], [4]) for _, expiry in found] == [True, False, True, False], found
            ear.quiet()
        with hearing(port, (topic + "/+", 1)) as ear:
            found = {one.topic.split("/")[1] for one in (ear.take() for _ in range(2))}
            assert found == {"True-5", "True-None"}
            ear.quiet()
        mouth.publish(topic + "/True-5", "", retain=True), mouth.publish(topic + "/True-None", "", 1, retain=True)


# --- wills


@case
def wills(port):
    """A will: with its properties; not after DISCONNECT 0, after DISCONNECT 4 it is [MQTT-3.1.2-7] [MQTT-3.1.2-10] [MQTT-3.14.4-3]"""
    topic = fresh()
    properties = [(mqtt.USER, ("k", "v")), (mqtt.CONTENT_TYPE, "text"), (mqtt.EXPIRY, 60)]
    with hearing(port, (topic, 2)) as ear:
        client(port, will=(topic, "no", 1, False)).disconnect()
        client(port, will=(topic, "no", 1, False)).disconnect(0)
        client(port, will=(topic, "with will", 1, False)).disconnect(4)
        assert payloads(ear, 1) == ["with will"]
        client(port, will=(topic, "lost", 2, False, properties)).cut()
        message = ear.take()
        assert (message.payload, qos_of(message)) == (b"lost", 2)
        _same(message, properties)
        ear.quiet()


@case
def late_wills(port):
    """A will with a delay: after it, not if the client is back, at once when its session ends [MQTT-3.1.3-9] (3.1.3.2.2)"""
    topic = fresh()
    later = [(mqtt.WILL_DELAY, 1)]
    much_later = [(mqtt.WILL_DELAY, 600)]
    name = fresh()
    with hearing(port, (topic, 1)) as ear:
        began = time.monotonic()
        client(port, properties=[FOR_EVER], will=(topic, "late", 1, False, later)).cut()
        client(port, name, properties=[FOR_EVER], will=(topic, "is back", 1, False, later)).cut()
        with client(port, name, clean=False):
            assert payloads(ear, 1) == ["late"]
            assert 0.9 < time.monotonic() - began < 3
        client(port, will=(topic, "no session", 1, False, much_later)).cut()
        assert payloads(ear, 1) == ["no session"]
        client(port, name, properties=[FOR_EVER], will=(topic, "clean start", 1, False, much_later)).cut()
        with client(port, name):
            assert payloads(ear, 1) == ["clean start"]
        client(port, properties=[(mqtt.SESSION_EXPIRY, 1)], will=(topic, "session over", 1, False, much_later)).cut()
        assert payloads(ear, 1) == ["session over"]
        ear.quiet()


@case
def late_will_of_who_said_goodbye(port):
    """A late will is dropped by DISCONNECT, and kept by DISCONNECT 4"""
    topic = fresh()
    with hearing(port, (topic, 1)) as ear:
        client(port, properties=[FOR_EVER], will=(topic, "no", 1, False, [(mqtt.WILL_DELAY, 1)])).disconnect()
        client(port, properties=[FOR_EVER], will=(topic, "yes", 1, False, [(mqtt.WILL_DELAY, 1)])).disconnect(4)
        assert payloads(ear, 1) == ["yes"]
        ear.quiet()


@case
def taken_over_with_will(port):
    """A will without a delay is published when the client is taken over, one with a delay is not [MQTT-3.1.4-3] (3.1.3.2.2)"""
    topic = fresh()
    with hearing(port, (topic, 1)) as ear:
        for delay, expected in [(0, ["gone"]), (600, [])]:
            name, will = fresh(), (topic, "gone", 1, False, [(mqtt.WILL_DELAY, delay)])
            with client(port, name, properties=[FOR_EVER], will=will), client(port, name, clean=False, properties=[FOR_EVER]):
                assert payloads(ear, len(expected)) == expected
                ear.quiet()


@case
def keep_alive(port):
    """Silence of 1.5 times the keep-alive: 0x8D, and the will [MQTT-3.1.2-22]"""
    topic = fresh()
    with hearing(port, (topic, 0)) as ear, client(port, keep_alive=1, will=(topic, "silent", 0, False)) as wire:
        began = time.monotonic()
        assert wire.closed() == 0x8D
        assert 1.3 < time.monotonic() - began < 3
        assert payloads(ear, 1) == ["silent"]


def main():
    with Daemon(sys.argv[1], sys.argv[2]) as daemon:
        chosen = [one for one in CASES if one.__name__ in sys.argv[3:] or not sys.argv[3:]]
        each("mqtt 5.0", chosen, daemon.port)


run("mqtt 5.0", main)
