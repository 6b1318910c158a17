"""MQTT 3.1.1 as the standard's numbered statements have it, byte by byte: usage mqtt_wire4.py SMALLBRAIN WORK."""

import itertools
import sys
import time

import mqtt_wire as mqtt
from checks import each, run
from mqtt_daemon import Daemon
from mqtt_wire import Wire, data, frame, qos_of

CASES = []
_count = itertools.count()


def case(function):
    CASES.append(function)
    return function


def fresh():
    """A word that no other case has used."""
    return f"four-{next(_count)}"


def client(port, name="", **how):
    wire = Wire(port, 4)
    wire.connect(name or fresh(), **how)
    return wire


def hearing(port, *filters, **how):
    wire = client(port, **how)
    assert wire.subscribe(*filters) == [options for _, options in filters]
    return wire


def heard(wire, count):
    return [(message.topic, message.payload.decode()) for message in (wire.take() for _ in range(count))]


# --- who is let in


@case
def accepted(port):
    """CONNACK without a session: return code 0, session present 0 [MQTT-3.2.2-1] [MQTT-3.2.0-1]"""
    with Wire(port, 4) as wire:
        wire.send(wire.connect_packet(fresh()))
        assert wire.read().body == b"\0\0"


@case
def in_pieces(port):
    """A CONNECT that comes byte by byte, and two packets in one segment (2.2.3)"""
    with Wire(port, 4) as wire:
        for byte in wire.connect_packet(fresh()):
            wire.send(bytes([byte]))
        assert wire.expect(mqtt.CONNACK).codes == [0]
        wire.send(frame(mqtt.PINGREQ, 0, b""), frame(mqtt.PINGREQ, 0, b""))
        wire.expect(mqtt.PINGRESP), wire.expect(mqtt.PINGRESP)


@case
def not_waiting(port):
    """Packets sent behind CONNECT without waiting for CONNACK are taken (3.1.4, note)"""
    with Wire(port, 4) as wire:
        topic = fresh()
        wire.send(wire.connect_packet(fresh()), wire.subscribe_packet([(topic, 1)]), wire.publish_packet(topic, "x", 1, 9))
        assert wire.next().kind == mqtt.CONNACK, "the first packet of a server [MQTT-3.2.0-1]"
        wire.expect(mqtt.SUBACK), wire.expect(mqtt.PUBACK, 9)
        assert heard(wire, 1) == [(topic, "x")]


@case
def wrong_connects(port):
    """CONNECTs that the standard forbids close the line [MQTT-3.1.0-1] [MQTT-3.1.2-1] [MQTT-3.1.2-3] [MQTT-3.1.4-1]"""
    head = data("MQTT") + b"\4"
    for what, packet in {
        "first packet is PINGREQ [MQTT-3.1.0-1]": frame(mqtt.PINGREQ, 0, b""),
        "first packet is PUBLISH": frame(mqtt.PUBLISH, 0, data("a")),
        "protocol name [MQTT-3.1.2-1]": frame(1, 0, data("MQTX") + b"\4\2\0\x3c" + data("x")),
        "reserved flag [MQTT-3.1.2-3]": frame(1, 0, head + b"\3\0\x3c" + data("x")),
        "QoS without will [MQTT-3.1.2-13]": frame(1, 0, head + b"\x0a\0\x3c" + data("x")),
        "retain without will [MQTT-3.1.2-15]": frame(1, 0, head + b"\x22\0\x3c" + data("x")),
        "will QoS 3 [MQTT-3.1.2-14]": frame(1, 0, head + b"\x1e\0\x3c" + data("x") + data("t") + data("m")),
        "password without user [MQTT-3.1.2-22]": frame(1, 0, head + b"\x42\0\x3c" + data("x") + data("p")),
        "client id not UTF-8 [MQTT-3.1.3-4]": frame(1, 0, head + b"\2\0\x3c" + data(b"\xff")),
        "client id with U+0000 [MQTT-1.5.3-2]": frame(1, 0, head + b"\2\0\x3c" + data(b"a\0")),
        "a surrogate [MQTT-1.5.3-1]": frame(1, 0, head + b"\2\0\x3c" + data(b"\xed\xa0\x80")),
        "no client id": frame(1, 0, head + b"\2\0\x3c"),
        "bytes behind": frame(1, 0, head + b"\2\0\x3c" + data("x") + b"y"),
        "flags of the frame [MQTT-2.2.2-2]": frame(1, 1, head + b"\2\0\x3c" + data("x")),
        "a length of five bytes": b"\x10\xff\xff\xff\xff\x7f",
    }.items():
        with Wire(port, 4) as wire:
            wire.send(packet)
            assert wire.read() is None, what


@case
def other_levels(port):
    """An unknown protocol level is answered with return code 1, then the line ends [MQTT-3.1.2-2]"""
    for name, level in [("MQTT", 3), ("MQIsdp", 3), ("MQTT", 0x84)]:
        with Wire(port, 4) as wire:
            wire.send(frame(1, 0, data(name) + bytes([level]) + b"\2\0\x3c" + data("x")))
            if level < 5:
                assert wire.read().body == b"\0\1", (name, level)
            else:
                wire.level = 5
                assert wire.read().codes == [0x84]
            assert wire.read() is None


@case
def nameless(port):
    """An empty client id: taken with a clean session, else return code 2 [MQTT-3.1.3-7] [MQTT-3.1.3-8] [MQTT-3.1.3-9]"""
    with Wire(port, 4) as one, Wire(port, 4) as other, Wire(port, 4) as refused:
        one.connect(""), other.connect("")
        one.quiet(), other.quiet()
        refused.send(refused.connect_packet("", clean=False))
        assert refused.read().body == b"\0\2" and refused.read() is None


@case
def long_names(port):
    """Client ids of 23 letters, and others [MQTT-3.1.3-5]"""
    for name in ["0123456789abcdefghijABC", "with/+#$ signs", "小区-门-1", "x" * 200]:
        client(port, name).cut()


@case
def connect_twice(port):
    """A second CONNECT closes the line [MQTT-3.1.0-2]"""
    with client(port) as wire:
        wire.send(wire.connect_packet(fresh()))
        assert wire.closed() is None


@case
def taken_over(port):
    """A second connection of a client closes the first [MQTT-3.1.4-2]"""
    name = fresh()
    with client(port, name) as first, client(port, name) as second:
        first.closed()
        second.quiet()


# --- frames


@case
def wrong_packets(port):
    """Packets that the standard forbids close the line [MQTT-2.2.2-2] [MQTT-4.8.0-1] and others"""
    pkid = b"\0\7"
    for what, packet in {
        "type 0": b"\0\0",
        "type 15": b"\xf0\0",
        "PINGREQ with flags [MQTT-2.2.2-2]": b"\xc1\0",
        "PINGREQ with a body": b"\xc0\1x",
        "SUBSCRIBE with flags 0 [MQTT-3.8.1-1]": frame(8, 0, pkid + data("a") + b"\0"),
        "UNSUBSCRIBE with flags 0 [MQTT-3.10.1-1]": frame(10, 0, pkid + data("a")),
        "PUBREL with flags 0 [MQTT-3.6.1-1]": frame(6, 0, pkid),
        "DISCONNECT with flags [MQTT-3.14.1-1]": frame(14, 1, b""),
        "SUBSCRIBE without a filter [MQTT-3.8.3-3]": frame(8, 2, pkid),
        "UNSUBSCRIBE without a filter [MQTT-3.10.3-2]": frame(10, 2, pkid),
        "SUBSCRIBE with QoS 3 [MQTT-3.8.3-4]": frame(8, 2, pkid + data("a") + b"\3"),
        "SUBSCRIBE with reserved bits [MQTT-3.8.3-4]": frame(8, 2, pkid + data("a") + b"\x14"),
        "SUBSCRIBE with packet id 0 [MQTT-2.3.1-1]": frame(8, 2, b"\0\0" + data("a") + b"\0"),
        "SUBSCRIBE that ends early": frame(8, 2, pkid + data("a")),
        "PUBLISH with packet id 0 [MQTT-2.3.1-1]": frame(3, 2, data("a") + b"\0\0"),
        "PUBLISH with QoS 3 [MQTT-3.3.1-4]": frame(3, 6, data("a") + pkid),
        "PUBLISH DUP with QoS 0 [MQTT-3.3.1-2]": frame(3, 8, data("a")),
        "PUBLISH to a wildcard [MQTT-3.3.2-2]": frame(3, 0, data("a/+")),
        "PUBLISH to # [MQTT-3.3.2-2]": frame(3, 0, data("#")),
        "PUBLISH to nothing [MQTT-4.7.3-1]": frame(3, 0, data("")),
        "PUBLISH to U+0000 [MQTT-4.7.3-2]": frame(3, 0, data("a\0")),
        "PUBLISH to what is not UTF-8 [MQTT-3.3.2-1]": frame(3, 0, data(b"\xc3")),
        "PUBACK without packet id": frame(4, 0, b""),
        "a server's packet": frame(13, 0, b""),
        "SUBACK from a client": frame(9, 0, pkid + b"\0"),
        "a length of five bytes": b"\x30\x80\x80\x80\x80\1",
    }.items():
        with client(port) as wire:
            wire.send(packet)
            assert wire.closed() is None, what


@case
def too_long(port):
    """A packet longer than the gateway takes closes its line, one as long as it takes passes"""
    topic, room = fresh(), 16 * 1024 - 5
    with hearing(port, (topic, 0)) as ear, client(port) as wire:
        for length in [room - len(topic), room - len(topic) + 1]:
            wire.send(wire.publish_packet(topic, b"x" * length))
        assert len(ear.take().payload) == room - len(topic)
        wire.closed()
        ear.quiet()


@case
def pings(port):
    """PINGREQ is answered with PINGRESP [MQTT-3.12.4-1]"""
    with client(port) as wire:
        wire.send(b"\xc0\0")
        assert wire.read().kind == mqtt.PINGRESP


# --- publishing and hearing


@case
def lower_qos(port):
    """A delivery has the lower of the two QoS, and its flags [MQTT-3.8.4-6] [MQTT-3.3.1-1] [MQTT-3.3.1-3] [MQTT-3.3.1-9]"""
    for published, subscribed in itertools.product(range(3), range(3)):
        topic = fresh()
        with hearing(port, (topic, subscribed)) as ear, client(port) as mouth:
            mouth.publish(topic, "x", published)
            message = ear.take()
            assert qos_of(message) == min(published, subscribed), (published, subscribed, message)
            assert message.flags & 9 == 0, "neither DUP nor retain"
            ear.quiet()


@case
def dup_is_not_handed_on(port):
    """DUP of a publish is not that of its deliveries [MQTT-3.3.1-3]"""
    topic = fresh()
    with hearing(port, (topic, 2)) as ear, client(port) as mouth:
        mouth.publish(topic, "x", 1, dup=True)
        mouth.publish(topic, "y", 2, dup=True)
        assert [ear.take().flags for _ in range(2)] == [2, 4]


@case
def codes_in_order(port):
    """SUBACK has its packet id and a code for each filter, in order [MQTT-3.8.4-2] [MQTT-3.8.4-5] [MQTT-3.9.3-2]"""
    with client(port) as wire:
        assert wire.subscribe(("a", 2), ("b/#", 0), ("+/c", 1), pkid=65535) == [2, 0, 1]


@case
def bad_filters(port):
    """Filters that are none are refused with 0x80 or the line is closed [MQTT-4.7.1-2] [MQTT-4.7.1-3] [MQTT-4.7.3-1]"""
    for filter in ["", "a/#/b", "a#", "#a", "a/b+", "+a", "a\0"]:
        with client(port) as wire:
            wire.send(wire.subscribe_packet([(filter, 0)]))
            answer = wire.read()
            assert answer is None or answer.codes == [0x80], filter


@case
def filters_cover(port):
    """Wildcards, levels and letters of filters [MQTT-4.7.1-2] [MQTT-4.7.1-3] [MQTT-4.7.2-1] [MQTT-4.7.3-4]"""
    root = fresh()
    topics = ["", "/", "/a", "/a/b", "/a/b/c", "/A", "/a b", "/门/1", "//", "/$x"]
    for filter, expected in {
        "": [""], "/#": topics, "/+": ["/", "/a", "/A", "/a b", "/$x"], "/+/+": ["/a/b", "/门/1", "//"],
        "/a": ["/a"], "/a/#": ["/a", "/a/b", "/a/b/c"], "/+/b": ["/a/b"], "/a/+/c": ["/a/b/c"], "//": ["//"],
        "/门/+": ["/门/1"], "/a/b/+": ["/a/b/c"], "/a b": ["/a b"], "//+": ["//"], "/+/b/#": ["/a/b", "/a/b/c"],
    }.items():
        with hearing(port, (root + filter, 0)) as ear, client(port) as mouth:
            for topic in topics:
                mouth.publish(root + topic, "x", 1)
            found = [topic for topic, _ in heard(ear, len(expected))]
            assert found == [root + topic for topic in expected], (filter, found)
            ear.quiet()


@case
def dollar(port):
    """Filters that begin with a wildcard do not cover topics that begin with $ [MQTT-4.7.2-1]"""
    topic = f"${fresh()}/x"
    root = topic.split("/")[0]
    with hearing(port, ("#", 0), ("+/x", 0)) as all, hearing(port, (root + "/#", 0)) as ear, client(port) as mouth:
        mouth.publish(topic, "x", 0)
        assert heard(ear, 1) == [(topic, "x")]
        assert not [packet for packet in all.waiting if packet.topic == topic]
        all.quiet()


@case
def bom(port):
    """U+FEFF in a topic is not dropped [MQTT-1.5.3-3]"""
    topic = "\ufeff" + fresh()
    with hearing(port, (topic, 0), (topic[1:], 0)) as ear, client(port) as mouth:
        mouth.publish(topic, "x")
        assert heard(ear, 1) == [(topic, "x")]
        ear.quiet()


@case
def overlapping(port):
    """Overlapping subscriptions: the highest QoS of them, once or once each [MQTT-3.3.5-1]"""
    topic = fresh()
    with hearing(port, (topic + "/#", 2), (topic + "/+", 1)) as ear, client(port) as mouth:
        mouth.publish(topic + "/x", "x", 2)
        first = ear.take()
        assert qos_of(first) == 2 or qos_of(ear.take()) == 2
        ear.quiet()


@case
def subscribed_again(port):
    """A subscription made again replaces the one before, and tells what is retained again [MQTT-3.8.4-3]"""
    topic = fresh()
    with client(port) as wire:
        wire.publish(topic, "kept", 1, retain=True)
        for qos in [0, 1]:
            assert wire.subscribe((topic, qos)) == [qos]
            message = wire.take()
            assert message.flags & 1 and qos_of(message) == qos
        wire.publish(topic, "x", 1)
        assert qos_of(wire.take()) == 1
        wire.quiet()
        wire.publish(topic, "", retain=True)


@case
def unsubscribed(port):
    """UNSUBSCRIBE: nothing more comes, and unknown filters are acknowledged [MQTT-3.10.4-1] [MQTT-3.10.4-4] [MQTT-3.10.4-5]"""
    topic = fresh()
    with hearing(port, (topic + "/a", 0), (topic + "/#", 1)) as ear, client(port) as mouth:
        ear.unsubscribe("never/" + topic, pkid=7)
        ear.unsubscribe(topic + "/#", "never", pkid=8)
        mouth.publish(topic + "/b", "x", 1), mouth.publish(topic + "/a", "y", 1)
        assert heard(ear, 1) == [(topic + "/a", "y")]
        ear.quiet()


@case
def retained(port):
    """Retained messages: the last one, flagged, at the lower QoS, until an empty one [MQTT-3.3.1-5] [MQTT-3.3.1-8] [MQTT-3.3.1-10]"""
    topic = fresh()
    with client(port) as mouth:
        for qos in range(3):
            mouth.publish(f"{topic}/{qos}", "old", qos, retain=True)
            mouth.publish(f"{topic}/{qos}", f"kept {qos}", qos, retain=True)
        with hearing(port, (topic + "/+", 1)) as ear:
            found = {(one.topic[-1], one.payload, one.flags) for one in (ear.take() for _ in range(3))}
            assert found == {("0", b"kept 0", 1), ("1", b"kept 1", 3), ("2", b"kept 2", 3)}, found
            mouth.publish(topic + "/0", "", 1, retain=True)
            one = ear.take()
            assert (one.payload, one.flags & 1) == (b"", 0), "an empty one is delivered, not as a retained one"
            ear.quiet()
        mouth.publish(topic + "/1", "not kept", 1)
        with hearing(port, (topic + "/#", 2)) as ear:
            assert sorted(heard(ear, 2)) == [(topic + "/1", "kept 1"), (topic + "/2", "kept 2")]
            ear.quiet()
        for qos in range(3):
            mouth.publish(f"{topic}/{qos}", "", retain=True)


@case
def retained_many(port):
    """A hundred retained messages reach one subscription at QoS 0, and one at QoS 1"""
    topic = fresh()
    with client(port) as mouth:
        for n in range(100):
            mouth.publish(f"{topic}/{n}", str(n), 1, retain=True)
        for qos in range(2):
            with hearing(port, (topic + "/+", qos)) as ear:
                assert {int(payload) for _, payload in heard(ear, 100)} == set(range(100))
                ear.quiet()
        for n in range(100):
            mouth.publish(f"{topic}/{n}", "", 1, retain=True)


@case
def in_order(port):
    """Messages and acknowledgements keep their order [MQTT-4.6.0-2] [MQTT-4.6.0-3] [MQTT-4.6.0-5] [MQTT-4.6.0-6]"""
    topic = fresh()
    with hearing(port, (topic, 2)) as ear, client(port) as mouth:
        for qos, ack in [(1, mqtt.PUBACK), (2, mqtt.PUBREC)]:
            mouth.send(*(mouth.publish_packet(topic, str(n), qos, n) for n in range(1, 19)))
            assert [mouth.expect(ack).pkid for _ in range(18)] == list(range(1, 19))
            if qos == 2:
                for n in range(1, 19):
                    mouth.answer(mqtt.PUBREL, n)
                assert [mouth.expect(mqtt.PUBCOMP).pkid for _ in range(18)] == list(range(1, 19))
            assert [payload for _, payload in heard(ear, 18)] == [str(n) for n in range(1, 19)]


@case
def exactly_once(port):
    """A QoS 2 publish that comes twice is delivered once, and PUBREL of nothing is answered [MQTT-4.3.3-2]"""
    topic = fresh()
    with hearing(port, (topic, 0)) as ear, client(port) as mouth:
        for dup in [False, True, True]:
            mouth.send(mouth.publish_packet(topic, "once", 2, 5, dup=dup))
            mouth.expect(mqtt.PUBREC, 5)
        mouth.answer(mqtt.PUBREL, 5), mouth.expect(mqtt.PUBCOMP, 5)
        mouth.answer(mqtt.PUBREL, 5), mouth.expect(mqtt.PUBCOMP, 5)
        assert heard(ear, 1) == [(topic, "once")]
        mouth.publish(topic, "again", 2, 5)
        assert heard(ear, 1) == [(topic, "again")]
        ear.quiet()


@case
def ids_in_use(port):
    """Deliveries that wait have different packet ids [MQTT-2.3.1-2] [MQTT-2.3.1-4]"""
    topic = fresh()
    with hearing(port, (topic, 2)) as ear, client(port) as mouth:
        for n in range(20):
            mouth.publish(topic, str(n), 1 + n % 2, n + 1)
        ids = [ear.expect(mqtt.PUBLISH).pkid for _ in range(20)]
        assert len(set(ids)) == 20 and 0 not in ids


@case
def out_of_order(port):
    """Acknowledgements in another order, twice and of nothing do no harm"""
    topic = fresh()
    with hearing(port, (topic, 1)) as ear, client(port) as mouth:
        for n in range(10):
            mouth.publish(topic, str(n), 1)
        messages = [ear.expect(mqtt.PUBLISH) for _ in range(10)]
        for message in reversed(messages):
            ear.answer(mqtt.PUBACK, message.pkid), ear.answer(mqtt.PUBACK, message.pkid)
        ear.answer(mqtt.PUBACK, 4711), ear.answer(mqtt.PUBCOMP, 4711)
        ear.quiet()
        mouth.publish(topic, "more", 1)
        assert heard(ear, 1) == [(topic, "more")]


@case
def own(port):
    """A client hears what it publishes itself (3.3.5)"""
    topic = fresh()
    with hearing(port, (topic, 1)) as wire:
        wire.publish(topic, "me", 1, 3)
        assert heard(wire, 1) == [(topic, "me")]


# --- sessions


@case
def session_kept(port):
    """A session that is kept: present, its subscriptions, its queue in order [MQTT-3.1.2-4] [MQTT-3.2.2-2] [MQTT-3.1.2-5]"""
    name, topic = fresh(), fresh()
    with Wire(port, 4) as ear, client(port) as mouth:
        assert ear.connect(name, clean=False).flags == 0
        assert ear.subscribe((topic, 2)) == [2]
        ear.disconnect()
        for n in range(30):
            mouth.publish(topic, str(n), 1 + n % 2)
        with Wire(port, 4) as again:
            assert again.connect(name, clean=False).flags == 1
            assert [payload for _, payload in heard(again, 30)] == [str(n) for n in range(30)]
            again.quiet()
            again.disconnect()
        with Wire(port, 4) as clean:
            assert clean.connect(name).flags == 0, "[MQTT-3.1.2-6]"
            mouth.publish(topic, "x", 1)
            clean.quiet()
        with Wire(port, 4) as after:
            assert after.connect(name, clean=False).flags == 0, "a clean session leaves none behind"


@case
def sent_again(port):
    """What was not acknowledged comes again: DUP, the same ids, in order; PUBREL too [MQTT-4.4.0-1] [MQTT-3.3.1-1] [MQTT-4.6.0-1]"""
    name, topic = fresh(), fresh()
    with client(port) as mouth:
        ear = client(port, name, clean=False)
        ear.subscribe((topic, 2))
        for n in range(6):
            mouth.publish(topic, str(n), 1 + n % 2)
        first = [ear.expect(mqtt.PUBLISH) for _ in range(6)]
        ear.answer(mqtt.PUBREC, first[1].pkid)
        ear.expect(mqtt.PUBREL, first[1].pkid)
        ear.answer(mqtt.PUBREC, first[5].pkid)
        ear.expect(mqtt.PUBREL, first[5].pkid)
        ear.answer(mqtt.PUBCOMP, first[5].pkid), ear.answer(mqtt.PUBACK, first[0].pkid)
        ear.quiet()
        ear.cut()
        with Wire(port, 4) as again:
            assert again.connect(name, clean=False).flags == 1
            assert again.expect(mqtt.PUBREL).pkid == first[1].pkid
            second = [again.expect(mqtt.PUBLISH) for _ in range(3)]
            assert [(one.pkid, one.payload) for one in second] == [(one.pkid, one.payload) for one in first[2:5]]
            assert all(one.flags & 8 for one in second), "DUP"
            again.answer(mqtt.PUBCOMP, first[1].pkid)
            again.quiet()


@case
def recorded_over_connections(port):
    """A QoS 2 publish recorded before the line broke is not delivered twice [MQTT-4.3.3-2]"""
    name, topic = fresh(), fresh()
    with hearing(port, (topic, 0)) as ear:
        mouth = client(port, name, clean=False)
        mouth.send(mouth.publish_packet(topic, "once", 2, 77))
        mouth.expect(mqtt.PUBREC, 77)
        mouth.cut()
        with client(port, name, clean=False) as again:
            again.send(again.publish_packet(topic, "once", 2, 77, dup=True))
            again.expect(mqtt.PUBREC, 77)
            again.answer(mqtt.PUBREL, 77), again.expect(mqtt.PUBCOMP, 77)
        assert heard(ear, 1) == [(topic, "once")]
        ear.quiet()


# --- wills


@case
def wills(port):
    """A will is published when the line breaks, not after DISCONNECT [MQTT-3.1.2-8] [MQTT-3.1.2-10] [MQTT-3.14.4-3]"""
    topic = fresh()
    with hearing(port, (topic, 2)) as ear:
        client(port, will=(topic, "said goodbye", 1, False)).disconnect()
        for qos in range(3):
            client(port, will=(topic, f"lost {qos}", qos, False)).cut()
            message = ear.take()
            assert (message.payload, qos_of(message), message.flags & 1) == (f"lost {qos}".encode(), qos, 0)
        broken = client(port, will=(topic, "broke the rules", 0, False))
        broken.send(b"\0\0")
        broken.closed()
        assert heard(ear, 1) == [(topic, "broke the rules")]
        name = fresh()
        with client(port, name, will=(topic, "taken over", 0, False)), client(port, name):
            assert heard(ear, 1) == [(topic, "taken over")]
        ear.quiet()


@case
def will_retained(port):
    """A will is retained where it says so, and may be empty [MQTT-3.1.2-16] [MQTT-3.1.2-17]"""
    topic = fresh()
    with hearing(port, (topic, 0)) as witness:
        client(port, will=(topic, "gone", 1, True)).cut()
        assert witness.take().flags & 1 == 0
        with hearing(port, (topic, 0)) as ear:
            message = ear.take()
            assert (message.payload, message.flags) == (b"gone", 1)
        client(port, will=(topic, "", 0, True)).cut()
        assert witness.take().payload == b""
        with hearing(port, (topic, 0)) as ear:
            ear.quiet()


@case
def keep_alive(port):
    """Silence of 1.5 times the keep-alive ends the line and publishes the will [MQTT-3.1.2-24]"""
    topic = fresh()
    with hearing(port, (topic, 0)) as ear, client(port, keep_alive=1, will=(topic, "silent", 0, False)) as wire:
        began = time.monotonic()
        wire.closed()
        waited = time.monotonic() - began
        assert 1.3 < waited < 3, waited
        assert heard(ear, 1) == [(topic, "silent")]


@case
def keep_alive_hears(port):
    """Deliveries do not keep a silent client alive, what it says does"""
    topic = fresh()
    with client(port, keep_alive=1) as silent, hearing(port, (topic, 1), keep_alive=1) as ear, client(port) as mouth:
        silent.subscribe((topic, 0))
        began = time.monotonic()
        while time.monotonic() - began < 2.5:
            mouth.publish(topic, "tick", 1)
            ear.take()
        assert [one.kind for one in iter(silent.read, None)][-1] == mqtt.PUBLISH
        ear.quiet()


def main():
    with Daemon(sys.argv[1], sys.argv[2]) as daemon:
        chosen = [one for one in CASES if one.__name__ in sys.argv[3:] or not sys.argv[3:]]
        each("mqtt 3.1.1", chosen, daemon.port)


run("mqtt 3.1.1", main)
