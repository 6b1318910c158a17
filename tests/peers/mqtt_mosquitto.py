"""mosquitto's clients, 3.1.1 and 5.0: usage mqtt_mosquitto.py SMALLBRAIN WORK. TLS is in mqtt_doors.py."""

import itertools
import subprocess
import sys

from checks import each, run
from mqtt_daemon import Daemon

PATIENCE_S = 15
BOTH = ["311", "5"]
# Whoever is waited for says so at once.
BY_LINE = ["stdbuf", "-oL"]
CASES = []
_count = itertools.count()


def case(function):
    CASES.append(function)
    return function


def fresh():
    """A word that no other case has used."""
    return f"mosquitto-{next(_count)}"


class Clients:
    def __init__(self, daemon):
        self.at = ["-h", "127.0.0.1", "-p", str(daemon.port)]

    def ends(self, program, version, *words):
        """What it printed; it has to end well."""
        done = subprocess.run([program, *self.at, "-V", version, *words], capture_output=True, text=True, timeout=PATIENCE_S)
        assert (done.returncode, done.stderr) == (0, ""), done
        return done.stdout.splitlines()

    def publish(self, version, *words):
        return self.ends("mosquitto_pub", version, *words)

    def kept(self, version):
        """Of a session that is kept."""
        name = fresh()
        return name, ["-i", name, "-c", *(["-x", "3600"] if version == "5" else [])]

    def rest(self, version, *words):
        """Subscribes with a session that is kept, and sleeps. What wakes it up."""
        _, kept = self.kept(version)
        self.ends("mosquitto_sub", version, *kept, *words, "-E")
        return ["mosquitto_sub", version, *kept, *words, "-W", "10"]


@case
def both_ways(clients):
    """QoS 0 to 2 from publisher to subscriber, both of both versions"""
    for told, heard in itertools.product(BOTH, BOTH):
        topic = fresh()
        waiting = clients.rest(heard, "-t", topic + "/#", "-q", "2")
        for qos in "12":
            clients.publish(told, "-t", f"{topic}/{qos}", "-q", qos, "-m", f"message {qos}")
        found = clients.ends(*waiting, "-C", "2", "-F", "%t %q %r %p")
        assert found == [f"{topic}/{qos} {qos} 0 message {qos}" for qos in "12"], found


@case
def retain(clients):
    """Retained messages: heard with the flag, only those, taken back"""
    for version in BOTH:
        topic = fresh()
        for qos in "012":
            clients.publish(version, "-t", f"{topic}/{qos}", "-q", qos, "-m", qos, "-r")
        found = clients.ends("mosquitto_sub", version, "-t", topic + "/+", "-q", "2", "--retained-only", "-C", "3", "-W", "10", "-F", "%q %r %p")
        assert sorted(found) == ["0 1 0", "1 1 1", "2 1 2"], found
        for qos in "012":
            clients.publish(version, "-t", f"{topic}/{qos}", "-q", "1", "-n", "-r")
        clients.publish(version, "-t", topic + "/last", "-q", "1", "-m", "last", "-r")
        found = clients.ends("mosquitto_sub", version, "-t", topic + "/+", "-q", "1", "-C", "1", "-W", "10")
        assert found == ["last"], found
        clients.publish(version, "-t", topic + "/last", "-q", "1", "-n", "-r")


@case
def lines(clients):
    """Two hundred lines at QoS 2 in one connection, in order"""
    for version in BOTH:
        topic = fresh()
        waiting = clients.rest(version, "-t", topic, "-q", "2")
        expected = [f"line {n}" for n in range(200)]
        done = subprocess.run(["mosquitto_pub", *clients.at, "-V", version, "-t", topic, "-q", "2", "-l"],
                              input="\n".join(expected) + "\n", capture_output=True, text=True, timeout=PATIENCE_S)
        assert done.returncode == 0, done
        assert clients.ends(*waiting, "-C", "200") == expected


@case
def properties(clients):
    """Properties of 5.0: user properties, content type, correlation data, response topic, format, expiry"""
    topic = fresh()
    waiting = clients.rest("5", "-t", topic, "-q", "1")
    sent = {"content-type": "text/plain", "correlation-data": "4711", "response-topic": "reply", "payload-format-indicator": "1"}
    words = [word for name, value in sent.items() for word in ("-D", "publish", name, value)]
    words += ["-D", "publish", "user-property", "k", "v 1", "-D", "publish", "user-property", "k", "v 2"]
    clients.publish("5", "-t", topic, "-q", "1", "-m", "x", *words, "-D", "publish", "message-expiry-interval", "60")
    found = clients.ends(*waiting, "-C", "1", "-F", "%C|%D|%R|%F|%P|%E|%p")
    assert found[0].rsplit("|", 2)[0] == "text/plain|4711|reply|1|k:v 1 k:v 2", found
    assert 55 < int(found[0].split("|")[5]) <= 60, found


@case
def options(clients):
    """Subscription options and identifiers of 5.0, topic alias, receive maximum, maximum packet size"""
    topic = fresh()
    waiting = clients.rest("5", "-t", topic, "-q", "1", "--retain-as-published",
                           "-D", "subscribe", "subscription-identifier", "42",
                           "-D", "connect", "receive-maximum", "1", "-D", "connect", "maximum-packet-size", "100")
    clients.publish("5", "-t", topic, "-q", "1", "-m", "x" * 100)
    for n in range(3):
        clients.publish("5", "-t", topic, "-q", "2", "-m", f"{n}", "-r", "-D", "publish", "topic-alias", "3")
    found = clients.ends(*waiting, "-C", "3", "-F", "%S %r %p")
    assert found == ["42 1 0", "42 1 1", "42 1 2"], found
    clients.publish("5", "-t", topic, "-q", "1", "-n", "-r")


@case
def will(clients):
    """A will of mosquitto_sub is published when it is killed"""
    for version in BOTH:
        topic, name = fresh(), fresh()
        waiting = clients.rest(version, "-t", topic, "-q", "1")
        command = [*BY_LINE, "mosquitto_sub", *clients.at, "-V", version, "-i", name, "-t", "nothing/" + topic, "-q", "1", "-d",
                   "--will-topic", topic, "--will-payload", "gone", "--will-qos", "1"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as lost:
            assert any("received SUBACK" in line or "Subscribed" in line for line in lost.stdout)
            lost.kill()
        assert clients.ends(*waiting, "-C", "1") == ["gone"]


@case
def request(clients):
    """mosquitto_rr: a request with its response topic, answered"""
    topic, reply = fresh(), fresh()
    command = [*BY_LINE, "mosquitto_rr", *clients.at, "-V", "5", "-t", topic, "-e", reply, "-q", "1", "-m", "open?", "-W", "10", "-d"]
    ear = [*BY_LINE, "mosquitto_sub", *clients.at, "-V", "5", "-t", topic, "-q", "1", "-C", "1", "-W", "10", "-F", "%R %p", "-d"]
    with subprocess.Popen(ear, stdout=subprocess.PIPE, text=True) as heard:
        assert any("Subscribed" in line for line in heard.stdout)
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as asks:
            said = [line for line in heard.stdout if line.startswith(reply)]
            assert said == [f"{reply} open?\n"], said
            clients.publish("5", "-t", reply, "-q", "1", "-m", "yes")
            assert "yes\n" in asks.stdout.readlines()


def main():
    with Daemon(sys.argv[1], sys.argv[2]) as daemon:
        chosen = [one for one in CASES if one.__name__ in sys.argv[3:] or not sys.argv[3:]]
        each("mqtt mosquitto", chosen, Clients(daemon))


run("mqtt mosquitto", main)
