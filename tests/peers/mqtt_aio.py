"""aiomqtt, 3.1.1 and 5.0, over plain TCP and TLS: usage mqtt_aio.py SMALLBRAIN WORK."""

import asyncio
import ssl
import sys

import aiomqtt
from checks import each, run
from mqtt_daemon import Daemon
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

PATIENCE_S = 20
BOTH = [aiomqtt.ProtocolVersion.V311, aiomqtt.ProtocolVersion.V5]


def within_patience(case):
    def run_it(*arguments):
        asyncio.run(asyncio.wait_for(case(*arguments), PATIENCE_S))

    run_it.__doc__ = case.__doc__
    return run_it


def client(daemon, protocol, name, kept=False, **how):
    if protocol == aiomqtt.ProtocolVersion.V5:
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = 3600 if kept else 0
        how |= {"clean_start": not kept, "properties": properties}
    else:
        how["clean_session"] = not kept
    return aiomqtt.Client("127.0.0.1", how.pop("port", daemon.port), identifier=name, protocol=protocol, **how)


async def take(client, count):
    found = []
    async for message in client.messages:
        found.append((str(message.topic), message.payload.decode(), message.qos, message.retain))
        if len(found) == count:
            return found


@within_patience
async def both_ways(daemon):
    """QoS 0, 1 and 2 both ways, wildcards, retained messages"""
    for protocol in BOTH:
        async with client(daemon, protocol, "aio-mouth") as mouth, client(daemon, protocol, "aio-ear") as ear:
            await mouth.publish("aio/kept", "kept", 1, True)
            await ear.subscribe("aio/#", 2)
            for qos in range(3):
                await mouth.publish(f"aio/门/{qos}", f"message {qos}", qos)
            found = await take(ear, 4)
            assert found == [("aio/kept", "kept", 1, True)] + [
                (f"aio/门/{qos}", f"message {qos}", qos, False) for qos in range(3)], found
            await ear.unsubscribe("aio/#")
            await mouth.publish("aio/kept", b"", 1, True)


@within_patience
async def sleeping(daemon):
    """A sleeping client gets what waited, also when the daemon was killed meanwhile"""
    for protocol in BOTH:
        async with client(daemon, protocol, "aio-sleeper", kept=True) as ear:
            await ear.subscribe("aio/sleeper", 1)
        async with client(daemon, protocol, "aio-mouth") as mouth:
            for n in range(10):
                await mouth.publish("aio/sleeper", str(n), 1 + n % 2)
        daemon.kill()
        daemon.start()
        async with client(daemon, protocol, "aio-sleeper", kept=True) as ear:
            assert [payload for _, payload, _, _ in await take(ear, 10)] == [str(n) for n in range(10)]


@within_patience
async def will(daemon):
    """A will is published when the client is cut off"""
    for protocol in BOTH:
        async with client(daemon, protocol, "aio-ear") as ear:
            await ear.subscribe("aio/will", 1)
            lost = client(daemon, protocol, "aio-lost", will=aiomqtt.Will("aio/will", "gone", 1))
            await lost.__aenter__()
            async with client(daemon, protocol, "aio-lost"):
                assert (await take(ear, 1))[0][1] == "gone"
            try:
                await lost.__aexit__(None, None, None)
            except aiomqtt.MqttError:
                pass  # it was taken over: this is how it was cut off


@within_patience
async def passwords(daemon):
    """The right password lets in, a wrong one is an error with its code"""
    for protocol in BOTH:
        async with client(daemon, protocol, "aio-door", username="door-1", password=daemon.password) as device:
            await device.publish("compound/door-1/up", '{"n":1}', 2)
        try:
            async with client(daemon, protocol, "aio-door", username="door-1", password="wrong"):
                raise AssertionError("a wrong password was let in")
        except aiomqtt.MqttError as error:
            assert "Bad user name or password" in str(error) or "[code:134]" in str(error), error


@within_patience
async def certificates(daemon):
    """TLS with a client certificate: a device hears its command and tells its reading"""
    context = ssl.create_default_context(cafile=daemon.file("gateway-ca.pem"))
    context.load_cert_chain(daemon.file("lock-1.pem"), daemon.file("lock-1.key"))
    for protocol in BOTH:
        how = {"port": daemon.tls_port, "tls_context": context}
        async with client(daemon, protocol, "aio-lock", **how) as lock, client(daemon, protocol, "aio-mouth") as mouth:
            await lock.subscribe("compound/lock-1/down/open", 1)
            await mouth.publish("compound/lock-1/down/open", "open", 1)
            assert (await take(lock, 1))[0][1] == "open"
            await lock.publish("compound/lock-1/up", '{"n":1}', 1)


@within_patience
async def many(daemon):
    """Fifty clients at once, each hears all of one"""
    async def hear(n):
        async with client(daemon, BOTH[n % 2], f"aio-{n}") as ear:
            await ear.subscribe("aio/all", n % 3)
            ready.release()
            return [payload for _, payload, _, _ in await take(ear, 20)]

    ready = asyncio.Semaphore(0)
    ears = [asyncio.create_task(hear(n)) for n in range(50)]
    for _ in ears:
        await ready.acquire()
    async with client(daemon, BOTH[1], "aio-mouth") as mouth:
        for n in range(20):
            await mouth.publish("aio/all", str(n), 1)
    for found in await asyncio.gather(*ears):
        assert found == [str(n) for n in range(20)]


def main():
    with Daemon(sys.argv[1], sys.argv[2]) as daemon:
        each("mqtt aiomqtt", [both_ways, sleeping, will, passwords, certificates, many], daemon)


run("mqtt aiomqtt", main)
