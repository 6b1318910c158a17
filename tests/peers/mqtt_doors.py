"""Who may come in, and what for: passwords, client certificates, rights. Usage mqtt_doors.py SMALLBRAIN WORK."""

import itertools
import queue
import ssl
import subprocess
import sys

import mqtt_wire as mqtt
import paho.mqtt.client as paho
from checks import each, run
from mqtt_daemon import Daemon
from mqtt_wire import Wire

PATIENCE_S = 15
CASES = []
BOTH = [paho.MQTTv311, paho.MQTTv5]
_count = itertools.count()


def case(function):
    CASES.append(function)
    return function


def fresh():
    return f"door-client-{next(_count)}"


def knock(daemon, protocol, login=None, tls=None):
    """The gateway's answer to paho: a name of a reason, or the kind of error that TLS ended with."""
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, fresh(), protocol=protocol, reconnect_on_failure=False)
    answers = queue.Queue()
    client.on_connect = lambda _c, _u, _f, reason, _p: answers.put(str(reason))
    client.on_disconnect = lambda _c, _u, _f, reason, _p: answers.put("closed")
    client.on_connect_fail = lambda _c, _u: answers.put("closed")
    if login:
        client.username_pw_set(*login)
    if tls:
        client.tls_set_context(tls)
    try:
        client.connect("127.0.0.1", daemon.tls_port if tls else daemon.port)
    except (ssl.SSLError, ConnectionError) as error:
        return type(error).__name__
    client.loop_start()
    answer = answers.get(timeout=PATIENCE_S)
    client.disconnect()
    client.loop_stop()
    return answer


def context(daemon, certificate=None, authority="gateway-ca", version=None):
    made = ssl.create_default_context(cafile=daemon.file(f"{authority}.pem"))
    if certificate:
        made.load_cert_chain(daemon.file(f"{certificate}.pem"), daemon.file(f"{certificate}.key"))
    if version:
        made.minimum_version = made.maximum_version = version
    return made


@case
def passwords(daemon):
    """The right password lets in; a wrong one, an unknown user and an empty password are told: 4 or 0x86"""
    for protocol in BOTH:
        refused = "Bad user name or password"
        for login, expected in [
            (("door-1", daemon.password), "Success"),
            (("door-1", "wrong"), refused),
            (("door-1", ""), refused),
            (("nobody", daemon.password), refused),
            (("lock-1", ""), refused),
            (None, "Success"),
        ]:
            assert (found := knock(daemon, protocol, login)) == expected, (login, found)


@case
def codes(daemon):
    """The codes of refused CONNECTs byte by byte: wrong password, a will that is not its own (3.2.2.2; 3.1.1 3.2.2.3)"""
    will = ("compound/door-2/up", "x", 1, False)
    for level, login, will, code in [
        (4, ("door-1", "wrong"), None, 4), (5, ("door-1", "wrong"), None, 0x86),
        (4, ("door-1", daemon.password), will, 5), (5, ("door-1", daemon.password), will, 0x87),
    ]:
        with Wire(daemon.port, level) as wire:
            wire.send(wire.connect_packet(fresh(), login=login, will=will))
            answer = wire.read()
            assert (answer.flags, answer.codes) == (0, [code]), (level, answer)
            assert wire.read() is None, "and the line is closed [MQTT-3.1.4-5]"


@case
def publishes(daemon):
    """A publish to the topic of another: 0x87 and the line stays (5.0), the line is closed (3.1.1) [MQTT-3.3.5-2]"""
    with Wire(daemon.port) as ear, Wire(daemon.port) as five, Wire(daemon.port, 4) as four:
        ear.connect(fresh()), ear.subscribe(("#", 2))
        for wire in (five, four):
            wire.connect(fresh(), login=("door-1", daemon.password))
        for topic in ["compound/door-2/up", "compound/door-1/down", "free"]:
            assert [five.publish(topic, "x", qos) for qos in (1, 2)] == [0x87, 0x87], topic
            five.publish(topic, "x", 0)
        assert five.publish("compound/door-1/up", '{"n":1}', 1) == 0
        five.publish("compound/door-1/up", '{"n":1}', 2)
        four.publish("compound/door-1/up", '{"n":1}', 1)
        four.send(four.publish_packet("compound/door-2/up", '{"n":1}', 1, 2))
        four.closed()
        ear.quiet()


@case
def subscribes(daemon):
    """A subscription to what is another's: 0x87 or 0x80 for that filter alone; wildcards and groups are no way round"""
    for level, refused in [(4, 0x80), (5, 0x87)]:
        with Wire(daemon.port, level) as wire, Wire(daemon.port) as commander:
            wire.connect(fresh(), login=("door-1", daemon.password)), commander.connect(fresh())
            own = "compound/door-1/down/open"
            for filter in ["compound/door-2/down", "compound/+/down/#", "#", "+/#", "$share/g/compound/+/down/#"]:
                assert wire.subscribe((filter, 1), (own, 1)) == [refused, 1], filter
            commander.publish("compound/door-2/down/open", "x", 1)
            commander.publish(own, "x", 1)
            assert wire.take().topic == own
            wire.quiet()


@case
def names_are_a_users(daemon):
    """A client id belongs to its user: nobody takes over or inherits the session of another"""
    name = fresh()
    with Wire(daemon.port) as one, Wire(daemon.port) as other:
        one.connect(name, login=("door-1", daemon.password), properties=[(mqtt.SESSION_EXPIRY, 60)])
        assert other.connect(name, clean=False).flags == 0
        one.quiet(), other.quiet()


@case
def certificates(daemon):
    """TLS 1.2 and 1.3 with a client certificate: its user, without a password; 3.1.1 and 5.0"""
    for protocol, version in itertools.product(BOTH, [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]):
        assert knock(daemon, protocol, tls=context(daemon, "lock-1", version=version)) == "Success"


@case
def wrong_certificates(daemon):
    """A certificate of a stranger's authority ends the handshake; one that is nobody's, or none, is not authorised"""
    for version in [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]:
        stranger = knock(daemon, paho.MQTTv5, tls=context(daemon, "stranger", version=version))
        assert stranger in ("SSLError", "ConnectionResetError", "closed"), stranger
    for certificate in ["nobody", None]:
        assert (found := knock(daemon, paho.MQTTv5, tls=context(daemon, certificate))) == "Not authorized", found
        login = ("door-1", daemon.password)
        assert knock(daemon, paho.MQTTv5, login, context(daemon, certificate)) == "Success"
    found = knock(daemon, paho.MQTTv5, ("door-1", daemon.password), context(daemon, "lock-1"))
    assert found == "Not authorized", "a certificate is its user and no other"


@case
def wrong_gateway(daemon):
    """A client that does not trust the gateway's authority does not come in"""
    assert knock(daemon, paho.MQTTv5, tls=context(daemon, "lock-1", "strangers-ca")) == "SSLCertVerificationError"


@case
def mosquitto_with_certificate(daemon):
    """mosquitto's clients over TLS: publish with the certificate, hear a command, refused without one"""
    tls = ["-h", "localhost", "-p", str(daemon.tls_port), "--cafile", daemon.file("gateway-ca.pem")]
    certified = [*tls, "--cert", daemon.file("lock-1.pem"), "--key", daemon.file("lock-1.key")]

    def ends(*words):
        return subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE_S)

    for version in ["311", "5"]:
        done = ends("mosquitto_pub", *certified, "-V", version, "-q", "2", "-t", "compound/lock-1/up", "-m", '{"n":1}')
        assert (done.returncode, done.stderr) == (0, ""), done
        done = ends("mosquitto_pub", *tls, "-V", version, "-q", "1", "-t", "compound/lock-1/up", "-m", '{"n":1}')
        assert done.returncode != 0 and "ot authori" in done.stderr, done
        stranger = ["--cert", daemon.file("stranger.pem"), "--key", daemon.file("stranger.key")]
        assert ends("mosquitto_pub", *tls, *stranger, "-V", version, "-t", "a", "-m", "x", "-q", "1").returncode != 0
    ear = ["mosquitto_sub", *certified, "-i", fresh(), "-q", "1", "-t", "compound/lock-1/down/#", "-c"]
    assert ends(*ear, "-E").returncode == 0
    with Wire(daemon.port) as commander:
        commander.connect(fresh())
        commander.publish("compound/lock-1/down/open", "open", 1)
    done = ends(*ear, "-C", "1", "-W", "10")
    assert (done.returncode, done.stdout) == (0, "open\n"), done


def main():
    with Daemon(sys.argv[1], sys.argv[2]) as daemon:
        chosen = [one for one in CASES if one.__name__ in sys.argv[3:] or not sys.argv[3:]]
        each("mqtt doors", chosen, daemon)


run("mqtt doors", main)
