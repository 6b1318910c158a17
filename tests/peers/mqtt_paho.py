"""paho-mqtt, 3.1.1 and 5.0: usage mqtt_paho.py SMALLBRAIN WORK.

Every feature twice where both versions have it: connect, QoS 0 to 2 both ways, retain, will, resumption, the properties.
"""

import itertools
import queue
import sys
import threading

import paho.mqtt.client as paho
from checks import each, run
from mqtt_daemon import Daemon
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

PATIENCE_S = 15
CASES = []
BOTH = [paho.MQTTv311, paho.MQTTv5]
_count = itertools.count()


def case(function):
    CASES.append(function)
    return function


def fresh():
    """A word that no other case has used."""
    return f"paho-{next(_count)}"


def properties(packet, **values):
    made = Properties(packet)
    for name, value in values.items():
        setattr(made, name, value)
    return made


class Peer:
    """A client whose callbacks can be waited for."""

    def __init__(self, daemon, protocol, name="", kept=False, will=None, expiry=3600, **asked):
        self.five = protocol == paho.MQTTv5
        how = {} if self.five else {"clean_session": not kept}
        self.client = paho.Client(paho.CallbackAPIVersion.VERSION2, name or fresh(), protocol=protocol, **how)
        self.messages, self.acknowledged = queue.Queue(), queue.Queue()
        self.connected, self.disconnected = queue.Queue(), queue.Queue()
        self.client.on_connect = lambda _c, _u, flags, reason, told: self.connected.put((flags, reason, told))
        self.client.on_disconnect = lambda _c, _u, _f, reason, _p: self.disconnected.put(reason)
        self.client.on_message = lambda _c, _u, message: self.messages.put(message)
        for name in ("on_publish", "on_subscribe", "on_unsubscribe"):
            setattr(self.client, name, lambda _c, _u, mid, reasons, _p: self.acknowledged.put((mid, reasons)))
        if will:
            self.client.will_set(*will)
        how = {}
        if self.five:
            if kept:
                asked["SessionExpiryInterval"] = expiry
            how = {"clean_start": not kept, "properties": properties(PacketTypes.CONNECT, **asked)}
        self.client.connect("127.0.0.1", daemon.port, **how)
        self.client.loop_start()
        self.flags, reason, self.told = self.connected.get(timeout=PATIENCE_S)
        assert not reason.is_failure, reason

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.client.disconnect()
        self.client.loop_stop()

    def _answered(self, mid):
        while True:
            found, reasons = self.acknowledged.get(timeout=PATIENCE_S)
            if found == mid:
                return reasons

    def subscribe(self, *words, **how):
        result, mid = self.client.subscribe(*words, **how)
        assert result == paho.MQTT_ERR_SUCCESS, result
        return [reason.value for reason in self._answered(mid)]

    def unsubscribe(self, *words):
        _, mid = self.client.unsubscribe(*words)
        reasons = self._answered(mid)
        return [reason.value for reason in reasons] if self.five else []

    def publish(self, *words, **how):
        reason = self._answered(self.client.publish(*words, **how).mid)
        return reason.value

    def take(self):
        return self.messages.get(timeout=PATIENCE_S)

    def cut(self):
        """The line is gone, without a word."""
        self.client.loop_stop()
        self.client.socket().close()


@case
def both_ways(daemon):
    """QoS 0, 1 and 2 both ways, each at the lower of the two, 3.1.1 and 5.0 to both"""
    for mouth_speaks, ear_speaks in itertools.product(BOTH, BOTH):
        with Peer(daemon, mouth_speaks) as mouth, Peer(daemon, ear_speaks) as ear:
            for published, subscribed in itertools.product(range(3), range(3)):
                topic = fresh()
                assert ear.subscribe(topic, subscribed) == [subscribed]
                assert mouth.publish(topic, f"门 {published}", published) == 0
                message = ear.take()
                assert (message.topic, message.payload.decode()) == (topic, f"门 {published}")
                assert (message.qos, message.retain, message.dup) == (min(published, subscribed), False, False)


@case
def readings(daemon):
    """Readings of a device are acknowledged at QoS 0, 1 and 2"""
    for protocol in BOTH:
        with Peer(daemon, protocol) as device:
            for qos in range(3):
                assert device.publish("compound/door-1/up", '{"n":1}', qos) == 0


@case
def many(daemon):
    """500 messages of each QoS from one client to another, in order, with both windows full"""
    for protocol in BOTH:
        topic = fresh()
        with Peer(daemon, protocol) as mouth, Peer(daemon, protocol) as ear:
            ear.subscribe(topic, 2)
            for qos in (1, 2):
                for start in range(0, 500, 100):
                    last = [mouth.client.publish(topic, str(n), qos) for n in range(start, start + 100)][-1]
                    last.wait_for_publish(PATIENCE_S)
                    assert [int(ear.take().payload) for _ in range(100)] == list(range(start, start + 100))


@case
def retain(daemon):
    """Retained messages: for who comes later, replaced, taken back"""
    for protocol in BOTH:
        topic = fresh()
        with Peer(daemon, protocol) as mouth:
            mouth.publish(topic, "old", 1, True), mouth.publish(topic, "new", 2, True)
            with Peer(daemon, protocol) as ear:
                ear.subscribe(topic, 1)
                message = ear.take()
                assert (message.payload, message.retain, message.qos) == (b"new", True, 1)
                mouth.publish(topic, b"", 1, True)
                assert (ear.take().retain, ear.messages.empty()) == (False, True)
            with Peer(daemon, protocol) as ear:
                ear.subscribe(topic, 1)
                mouth.publish(topic, "first", 1)
                assert ear.take().payload == b"first"


@case
def will(daemon):
    """A will, and one with a delay of a second that comes after what is said meanwhile"""
    for protocol in BOTH:
        topic = fresh()
        with Peer(daemon, protocol) as ear:
            ear.subscribe(topic, 1)
            Peer(daemon, protocol, will=(topic, "gone", 1)).cut()
            assert ear.take().payload == b"gone"
            with Peer(daemon, protocol, will=(topic, "said goodbye", 1)):
                pass
            if protocol == paho.MQTTv5:
                late = properties(PacketTypes.WILLMESSAGE, WillDelayInterval=1, UserProperty=("k", "v"))
                Peer(daemon, protocol, kept=True, will=(topic, "late", 1, False, late)).cut()
            ear.publish(topic, "meanwhile", 1)
            assert ear.take().payload == b"meanwhile"
            if protocol == paho.MQTTv5:
                message = ear.take()
                assert message.payload == b"late" and message.properties.UserProperty == [("k", "v")]


@case
def resumption(daemon):
    """A session goes on where it was: present, what waited comes, no subscribing anew"""
    for protocol in BOTH:
        name, topic = fresh(), fresh()
        with Peer(daemon, protocol, name, kept=True) as ear:
            assert not ear.flags.session_present
            ear.subscribe(topic, 2)
        with Peer(daemon, protocol) as mouth:
            for qos in (1, 2):
                mouth.publish(topic, f"waited {qos}", qos)
        with Peer(daemon, protocol, name, kept=True) as ear:
            assert ear.flags.session_present
            assert [ear.take().payload for _ in range(2)] == [b"waited 1", b"waited 2"]


@case
def comes_back_by_itself(daemon):
    """A client that the daemon lost by SIGKILL reconnects by itself and hears again what it had subscribed to"""
    for protocol in BOTH:
        topic = fresh()
        with Peer(daemon, protocol, kept=True) as ear:
            ear.client.reconnect_delay_set(1, 1)
            ear.subscribe(topic, 1)
            daemon.kill()
            ear.disconnected.get(timeout=PATIENCE_S)
            daemon.start()
            flags, _, _ = ear.connected.get(timeout=PATIENCE_S)
            assert flags.session_present
            with Peer(daemon, protocol) as mouth:
                mouth.publish(topic, "again", 1)
            assert ear.take().payload == b"again"


@case
def taken_over(daemon):
    """The second client of a name takes over; a 5.0 client is told so: 0x8E"""
    name = fresh()
    first = Peer(daemon, paho.MQTTv5, name)
    with Peer(daemon, paho.MQTTv5, name):
        assert first.disconnected.get(timeout=PATIENCE_S).value == 0x8E
        first.client.loop_stop()


@case
def request_and_response(daemon):
    """Response topic, correlation data, content type, payload format and user properties there and back"""
    ask, reply = fresh(), fresh()
    with Peer(daemon, paho.MQTTv5) as one, Peer(daemon, paho.MQTTv5) as other:
        other.subscribe(ask, 1), one.subscribe(reply, 2)
        pairs = [("b", "2"), ("a", "1"), ("b", "3")]
        one.publish(ask, "open?", 1, properties=properties(
            PacketTypes.PUBLISH, ResponseTopic=reply, CorrelationData=b"\0\1", ContentType="text/plain",
            PayloadFormatIndicator=1, UserProperty=pairs))
        asked = other.take().properties
        assert (asked.ContentType, asked.PayloadFormatIndicator, asked.UserProperty) == ("text/plain", 1, pairs)
        other.publish(asked.ResponseTopic, "yes", 2, properties=properties(
            PacketTypes.PUBLISH, CorrelationData=asked.CorrelationData))
        answered = one.take()
        assert (answered.payload, answered.properties.CorrelationData) == (b"yes", b"\0\1")


@case
def expiry(daemon):
    """Message expiry: what is left is told"""
    topic = fresh()
    with Peer(daemon, paho.MQTTv5) as peer:
        peer.subscribe(topic, 1)
        peer.publish(topic, "x", 1, properties=properties(PacketTypes.PUBLISH, MessageExpiryInterval=100))
        assert peer.take().properties.MessageExpiryInterval in (99, 100)


@case
def options(daemon):
    """Subscription options: no-local, retain as published, retain handling; subscription identifiers"""
    topic = fresh()
    with Peer(daemon, paho.MQTTv5) as peer, Peer(daemon, paho.MQTTv5) as other:
        other.publish(topic, "kept", 1, True)
        wanted = SubscribeOptions(qos=1, noLocal=True, retainAsPublished=True, retainHandling=2)
        identifier = properties(PacketTypes.SUBSCRIBE, SubscriptionIdentifier=4711)
        assert peer.subscribe(topic, options=wanted, properties=identifier) == [1]
        peer.publish(topic, "own", 1)
        other.publish(topic, "other's", 1, True)
        message = peer.take()
        assert (message.payload, message.retain) == (b"other's", True)
        assert message.properties.SubscriptionIdentifier == [4711]
        assert peer.messages.empty()
        other.publish(topic, b"", 1, True)


@case
def shared(daemon):
    """A shared subscription: each message to one of the group"""
    topic = fresh()
    with Peer(daemon, paho.MQTTv5) as one, Peer(daemon, paho.MQTTv5) as two, Peer(daemon, paho.MQTTv5) as mouth:
        for member in (one, two):
            assert member.subscribe(f"$share/g/{topic}", 1) == [1]
        for n in range(20):
            mouth.publish(topic, str(n), 1)
        found = sorted(int((one if n % 2 else two).take().payload) for n in range(20))
        assert found == list(range(20))
        assert one.messages.empty() and two.messages.empty()


@case
def reasons(daemon):
    """Reason codes: nobody hears 0x10, no such subscription 0x11, a filter for each code"""
    with Peer(daemon, paho.MQTTv5) as peer:
        assert peer.publish(fresh(), "x", 1) == 0x10
        assert peer.subscribe([("a/b", SubscribeOptions(qos=2)), ("c/#", SubscribeOptions(qos=0))]) == [2, 0]
        assert peer.unsubscribe(["a/b", "never"]) == [0, 0x11]


@case
def assigned(daemon):
    """A client without a name is given one, and told"""
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, "", protocol=paho.MQTTv5)
    told, came = [], threading.Event()

    def on_connect(client, userdata, flags, reason, properties):
        told.append(properties.AssignedClientIdentifier)
        came.set()

    client.on_connect = on_connect
    client.connect("127.0.0.1", daemon.port)
    client.loop_start()
    assert came.wait(PATIENCE_S) and told[0]
    client.disconnect()
    client.loop_stop()


def main():
    with Daemon(sys.argv[1], sys.argv[2]) as daemon:
        chosen = [one for one in CASES if one.__name__ in sys.argv[3:] or not sys.argv[3:]]
        each("mqtt paho", chosen, daemon)


run("mqtt paho", main)
