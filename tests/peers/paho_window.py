"""paho-mqtt with 20 publishes in flight: usage paho_window.py PORT DEVICE COUNT.

Publishes {"ts", "n", "temperature"} with n from 1 to COUNT, QoS 1, and holds every callback against the wire: on_publish
may come only after the PUBACK of its packet id, once for each publish, and PUBACKs come in the order of the publishes
(MQTT 3.1.1, 4.6).
"""

import re
import sys
import threading
import time

import paho.mqtt.client as mqtt

from checks import check, run

IN_FLIGHT = 20
PATIENCE_S = 30
PUBACK = re.compile(r"Received PUBACK \(Mid: (\d+)\)")


def main():
    port, device, count = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    pubacks, callbacks, early = [], [], []
    connected, done, answered = threading.Event(), threading.Event(), threading.Event()

    def on_connect(client, userdata, flags, reason_code, properties):
        if not reason_code.is_failure:
            connected.set()

    def on_log(client, userdata, level, text):
        if match := PUBACK.search(text):
            pubacks.append(int(match.group(1)))

    def on_publish(client, userdata, mid, reason_code, properties):
        if mid not in pubacks:
            early.append(mid)
        callbacks.append(mid)
        if len(callbacks) == count:
            done.set()

    def on_subscribe(client, userdata, mid, reason_codes, properties):
        answered.set()

    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=device, protocol=mqtt.MQTTv311)
    client.max_inflight_messages_set(IN_FLIGHT)
    client.on_connect, client.on_log = on_connect, on_log
    client.on_publish, client.on_subscribe = on_publish, on_subscribe
    client.connect("127.0.0.1", port, keepalive=15)
    client.loop_start()
    if not check("paho: connects", connected.wait(PATIENCE_S), "no CONNACK"):
        return
    began_ms = time.time_ns() // 1_000_000
    mids = []
    for n in range(1, count + 1):
        payload = f'{{"ts":{began_ms + n},"n":{n},"temperature":{n % 40}.5}}'
        mids.append(client.publish(f"compound/{device}/up", payload, qos=1).mid)
    all_in_time = done.wait(PATIENCE_S)
    # An answer to something else comes after every PUBACK, also after one too many.
    client.subscribe(f"compound/{device}/down")
    all_in_time &= answered.wait(PATIENCE_S)
    client.disconnect()
    client.loop_stop()

    check(
        f"paho: {count} publishes with {IN_FLIGHT} in flight, an on_publish for each",
        all_in_time and sorted(callbacks) == sorted(mids),
        f"{len(callbacks)} of {count} after {PATIENCE_S} s",
    )
    check("paho: no on_publish before its PUBACK", not early, f"packet ids {early[:10]}")
    check("paho: PUBACKs in the order of the publishes", pubacks == mids, f"{pubacks[:25]} for {mids[:25]}")


run("paho", main)
