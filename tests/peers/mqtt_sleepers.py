"""What outlives the daemon: sessions, what waits for a sleeping device, what is retained. Usage mqtt_sleepers.py SMALLBRAIN WORK.

Every case ends the daemon once, by SIGTERM or by SIGKILL, after the gateway has acknowledged what the case is about.
"""

import itertools
import sys
import threading
import time

import mqtt_wire as mqtt
import paho.mqtt.client as paho
from checks import each, run
from mqtt_daemon import PATIENCE_S, Daemon
from mqtt_wire import Wire, qos_of
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

CASES = []
FOR_EVER = (mqtt.SESSION_EXPIRY, 3600)
_count = itertools.count()


def case(function):
    CASES.append(function)
    return function


def fresh():
    """A word that no other case has used."""
    return f"sleeper-{next(_count)}"


def client(daemon, name="", level=5, kept=False, clean=True):
    wire = Wire(daemon.port, level)
    properties = [FOR_EVER] if kept and level == 5 else []
    answer = wire.connect(name or fresh(), clean=clean and not (kept and level == 4), properties=properties)
    wire.present = answer.flags
    return wire


def sleeper(daemon, name, *filters, level=5):
    """A client that subscribes and goes to sleep."""
    with client(daemon, name, level, kept=True) as wire:
        assert wire.subscribe(*filters) == [qos for _, qos in filters]
        wire.disconnect()


def back(daemon, name, level=5):
    return client(daemon, name, level, kept=True, clean=False)


def anew(daemon, end):
    end()
    daemon.start()


@case
def commands(daemon):
    """Commands to sleeping devices survive SIGTERM and SIGKILL, in order, 3.1.1 and 5.0"""
    for level, end in itertools.product([4, 5], [daemon.stop, daemon.kill]):
        name, topic = fresh(), fresh()
        sleeper(daemon, name, (topic, 2), level=level)
        with client(daemon) as commander:
            for n in range(20):
                commander.publish(topic, str(n), 1 + n % 2)
        anew(daemon, end)
        with back(daemon, name, level) as device:
            assert device.present == 1
            messages = [device.take() for _ in range(20)]
            assert [one.payload.decode() for one in messages] == [str(n) for n in range(20)]
            assert [qos_of(one) for one in messages] == [1, 2] * 10
            device.quiet()
            with client(daemon) as commander:
                commander.publish(topic, "awake", 1)
            assert device.take().payload == b"awake"
            # Its answer comes when all that was acknowledged before is on disk.
            assert device.subscribe((topic, 2)) == [2]
            device.disconnect()
        anew(daemon, end)
        with back(daemon, name, level) as device:
            assert device.present == 1
            device.quiet()


@case
def expired(daemon):
    """A command whose expiry is over does not come any more, one that has some left tells how much"""
    name, topic = fresh(), fresh()
    sleeper(daemon, name, (topic, 1))
    with client(daemon) as commander:
        commander.publish(topic, "too late", 1, properties=[(mqtt.EXPIRY, 1)])
        commander.publish(topic, "in time", 1, properties=[(mqtt.EXPIRY, 60), (mqtt.USER, ("k", "v"))])
    daemon.kill()
    time.sleep(1.1)
    daemon.start()
    with back(daemon, name) as device:
        message = device.take()
        assert message.payload == b"in time" and 50 < message.properties[mqtt.EXPIRY][0] <= 59
        assert message.properties[mqtt.USER] == [("k", "v")]
        device.quiet()


@case
def retained(daemon):
    """Retained messages survive SIGKILL with their properties, and so does that they were taken back"""
    topic = fresh()
    with client(daemon) as mouth:
        mouth.publish(topic + "/a", "stays", 1, retain=True, properties=[(mqtt.CONTENT_TYPE, "text")])
        mouth.publish(topic + "/b", "goes", 2, retain=True)
        mouth.publish(topic + "/b", "", 1, retain=True)
    anew(daemon, daemon.kill)
    with client(daemon) as ear:
        ear.subscribe((topic + "/#", 2))
        message = ear.take()
        assert (message.payload, message.flags) == (b"stays", 3)
        assert message.properties[mqtt.CONTENT_TYPE] == ["text"]
        ear.quiet()


@case
def subscriptions(daemon):
    """What was subscribed and unsubscribed survives SIGKILL: options, identifiers, groups"""
    name, topic = fresh(), fresh()
    with client(daemon, name, kept=True) as device:
        device.subscribe((topic + "/a", 1 | 4 | 8), properties=[(mqtt.SUBSCRIPTION_ID, 77)])
        device.subscribe((topic + "/b", 1), (f"$share/g/{topic}/c", 1), (topic + "/d", 0))
        assert device.unsubscribe(topic + "/b") == [0]
        device.cut()
    anew(daemon, daemon.kill)
    with back(daemon, name) as device, client(daemon) as mouth:
        assert device.present == 1
        device.publish(topic + "/a", "own", 1)
        for one in "abcd":
            mouth.publish(f"{topic}/{one}", one, 1, retain=one == "a")
        found = [device.take() for _ in range(3)]
        assert sorted((one.payload, qos_of(one), one.flags & 1) for one in found) == [(b"a", 1, 1), (b"c", 1, 0), (b"d", 0, 0)]
        assert [one.properties.get(mqtt.SUBSCRIPTION_ID) for one in found if one.payload == b"a"] == [[77]]
        device.quiet()
        mouth.publish(topic + "/a", "", 1, retain=True)


@case
def half_way_in(daemon):
    """A QoS 2 publish recorded before SIGKILL is delivered once"""
    name, hearer, topic = fresh(), fresh(), fresh()
    sleeper(daemon, hearer, (topic, 2))
    with client(daemon, name, kept=True) as mouth:
        mouth.send(mouth.publish_packet(topic, "once", 2, 9))
        mouth.expect(mqtt.PUBREC, 9)
        anew(daemon, daemon.kill)
    with back(daemon, name) as mouth:
        mouth.send(mouth.publish_packet(topic, "once", 2, 9, dup=True))
        mouth.expect(mqtt.PUBREC, 9)
        mouth.answer(mqtt.PUBREL, 9)
        assert mouth.expect(mqtt.PUBCOMP, 9).codes == [0]
        anew(daemon, daemon.kill)
    with back(daemon, name) as mouth:
        mouth.publish(topic, "the id again", 2, 9)
    with back(daemon, hearer) as ear:
        assert [ear.take().payload for _ in range(2)] == [b"once", b"the id again"]
        ear.quiet()


@case
def half_way_out(daemon):
    """Deliveries that SIGKILL finds half way go on where they were: DUP and PUBREL with the same ids"""
    name, topic = fresh(), fresh()
    with client(daemon, name, kept=True) as device, client(daemon) as mouth:
        device.subscribe((topic, 2))
        for n in range(3):
            mouth.publish(topic, str(n), [1, 2, 2][n])
        first = [device.expect(mqtt.PUBLISH) for _ in range(3)]
        device.answer(mqtt.PUBREC, first[1].pkid)
        device.expect(mqtt.PUBREL, first[1].pkid)
        anew(daemon, daemon.kill)
    with back(daemon, name) as device:
        again = [device.next() for _ in range(3)]
        assert [(one.kind, one.pkid) for one in again] == [
            (mqtt.PUBLISH, first[0].pkid), (mqtt.PUBREL, first[1].pkid), (mqtt.PUBLISH, first[2].pkid)]
        assert again[0].flags & 8 and again[2].flags & 8
        device.answer(mqtt.PUBACK, first[0].pkid), device.answer(mqtt.PUBCOMP, first[1].pkid)
        device.answer(mqtt.PUBREC, first[2].pkid)
        device.expect(mqtt.PUBREL, first[2].pkid)
        device.answer(mqtt.PUBCOMP, first[2].pkid)
        device.quiet()


@case
def ends(daemon):
    """Sessions that are not kept, over or begun anew do not come back after SIGKILL"""
    names = [fresh() for _ in range(3)]
    client(daemon, names[0]).disconnect()
    with Wire(daemon.port) as short:
        short.connect(names[1], properties=[(mqtt.SESSION_EXPIRY, 1)])
        short.disconnect()
    sleeper(daemon, names[2], (fresh(), 1))
    client(daemon, names[2]).disconnect()
    daemon.kill()
    time.sleep(1.1)
    daemon.start()
    for name in names:
        with back(daemon, name) as wire:
            assert wire.present == 0, name


@case
def stopping_is_told(daemon):
    """SIGTERM: clients are told 0x8B, the exit code is 0, and no will is published"""
    topic = fresh()
    with Wire(daemon.port) as wire, Wire(daemon.port) as ear:
        wire.connect(fresh(), will=(topic, "will", 1, False)), ear.connect(fresh())
        ear.subscribe((topic, 1))
        assert daemon.stop() == 0
        assert wire.closed() == 0x8B
        assert not ear.waiting and ear.closed() == 0x8B and not ear.waiting
        daemon.start()


@case
def under_load(daemon):
    """SIGKILL while paho publishes at QoS 1 and 2: nothing it was told is lost, nothing of QoS 2 comes twice"""
    for level, protocol in [(4, paho.MQTTv311), (5, paho.MQTTv5)]:
        name, topic, total = fresh(), fresh(), 150
        sleeper(daemon, name, (topic, 2), level=level)
        told, some, all = set(), threading.Event(), threading.Event()

        def on_publish(client, userdata, mid, reason, properties):
            told.add(mid)
            if len(told) >= total // 3:
                some.set()
            if len(told) == total:
                all.set()

        how = {"clean_session": False} if level == 4 else {}
        mouth = paho.Client(paho.CallbackAPIVersion.VERSION2, fresh(), protocol=protocol, **how)
        mouth.on_publish = on_publish
        mouth.reconnect_delay_set(1, 1)
        mouth.max_inflight_messages_set(10)
        how = {}
        if level == 5:
            how = {"clean_start": False, "properties": Properties(PacketTypes.CONNECT)}
            how["properties"].SessionExpiryInterval = 3600
        mouth.connect("127.0.0.1", daemon.port, **how)
        mouth.loop_start()
        for n in range(total):
            mouth.publish(topic, f"{1 + n % 2} {n}", 1 + n % 2)
        assert some.wait(PATIENCE_S), "a third of them was not acknowledged"
        anew(daemon, daemon.kill)
        assert all.wait(PATIENCE_S), f"{len(told)} of {total} acknowledged"
        mouth.disconnect()
        mouth.loop_stop()
        with back(daemon, name, level) as device:
            found = []
            while len(set(found)) < total:
                found.append(device.take().payload.decode())
            device.quiet()
        twice = {one for one in found if found.count(one) > 1}
        assert not [one for one in twice if one.startswith("2")], twice


def main():
    with Daemon(sys.argv[1], sys.argv[2]) as daemon:
        chosen = [one for one in CASES if one.__name__ in sys.argv[3:] or not sys.argv[3:]]
        each("mqtt sleepers", chosen, daemon)


run("mqtt sleepers", main)
