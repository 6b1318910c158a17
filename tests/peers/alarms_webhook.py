"""Webhooks that believe nothing, and a siren: usage alarms_webhook.py SMALLBRAIN WORK.

Every signature is made again with Python's hmac, as the receiving services do it: the generic JSON form over
"<timestamp>.<body>", DingTalk's over "<timestamp>\n<secret>" in the address. Doors and siren are paho-mqtt.
"""

import base64
import hashlib
import hmac
import http.server
import json
import pathlib
import queue
import subprocess
import sys
import threading
import time
import urllib.parse

import paho.mqtt.client as paho
from checks import each, run
from mqtt_daemon import Daemon, free_port

PATIENCE_S = 20
# What a service tolerates between its clock and ours.
SKEW_MS = 60_000
SECRETS = {"json": b"json-secret-0123456789", "dingtalk": b"SEC0123456789abcdef"}


class Hooks(http.server.ThreadingHTTPServer):
    """All three services; `json` refuses its first message."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.letters = {name: queue.Queue() for name in ("json", "dingtalk", "wecom")}
        self.refuses = {"json"}
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        url = urllib.parse.urlsplit(self.path)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        name = url.path.strip("/")
        self.server.letters[name].put((urllib.parse.parse_qs(url.query), self.headers, body))
        status, answer = 200, b'{"errcode":0,"errmsg":"ok"}'
        if name in self.server.refuses:
            self.server.refuses.discard(name)
            status, answer = 500, b"later"
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


class Gateway(Daemon):
    """With webhooks at `hooks`."""

    def __init__(self, smallbrain, work, hooks):
        self.smallbrain, self.work = str(pathlib.Path(smallbrain).resolve()), pathlib.Path(work).resolve()
        self.work.mkdir(parents=True)
        self.work.joinpath("store").mkdir(mode=0o700)
        self.port, self._process = free_port(), None
        self.config, self.ports = "alarms.toml", (self.port,)
        for name, secret in SECRETS.items():
            file = self.work / f"{name}.secret"
            file.write_bytes(secret + b"\n")
            file.chmod(0o600)
        text = pathlib.Path(__file__).with_name("alarms.toml").read_text()
        words = [("WORK", self.work), ("PLAIN_PORT", self.port), ("HOOK_PORT", hooks.server_address[1])]
        for word, value in words:
            text = text.replace(word, str(value))
        self.work.joinpath("alarms.toml").write_text(text)

    def ask(self, *words):
        command = [self.smallbrain, *words, "--json", "--socket", self.file("store/smallbrain.sock")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def shows(self, incident, holds):
        """What is known of an incident, once it is as it is to be."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            shown = self.ask("alarms", "show", str(incident))[0]
            if holds(shown):
                return shown
            assert time.monotonic() < deadline, shown
            time.sleep(0.05)


def device(gateway, name):
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, name, protocol=paho.MQTTv5)
    client.connect("127.0.0.1", gateway.port)
    client.loop_start()
    return client


def publish(client, name, **payload):
    client.publish(f"compound/{name}/up", json.dumps(payload), 1).wait_for_publish(PATIENCE_S)


def is_recent(timestamp):
    return abs(int(timestamp) - time.time() * 1000) < SKEW_MS


def sha256(secret, *parts):
    return hmac.new(secret, b"".join(parts), hashlib.sha256).digest()


def siren_answers(gateway, hooks, siren):
    """a siren is switched on by an alarm, and says so"""
    heard, subscribed = queue.Queue(), threading.Event()
    siren.on_message = lambda _c, _u, message: heard.put(message.payload)
    siren.on_subscribe = lambda *_: subscribed.set()
    siren.subscribe("compound/siren-1/down", 1)
    assert subscribed.wait(PATIENCE_S)
    door = device(gateway, "door-1")
    publish(door, "door-1", open=True)
    assert heard.get(timeout=PATIENCE_S) == b"ON"
    sent = gateway.shows(1, lambda shown: "has it" in shown["runs"][0]["detail"])
    assert sent["runs"][0]["stage"] == "sent", sent["runs"]
    publish(siren, "siren-1", siren=True)
    gateway.shows(1, lambda shown: shown["runs"][0]["stage"] == "done")
    assert heard.empty()


def dingtalk(gateway, hooks, siren):
    """DingTalk: the signature in the address is the one its service computes"""
    query, headers, body = hooks.letters["dingtalk"].get(timeout=PATIENCE_S)
    assert query["access_token"] == ["to ken"] and len(query) == 3, query
    [timestamp], [sign] = query["timestamp"], query["sign"]
    secret = SECRETS["dingtalk"]
    expected = base64.b64encode(sha256(secret, timestamp.encode(), b"\n", secret)).decode()
    assert is_recent(timestamp) and hmac.compare_digest(sign, expected), (timestamp, sign, expected)
    told = json.loads(body)
    assert told["msgtype"] == "text" and "Door open 门未关" in told["text"]["content"], told
    assert secret not in body and "signature" not in str(headers).lower()


def wecom(gateway, hooks, siren):
    """WeCom: its key stays in the address, and nothing is signed"""
    query, headers, body = hooks.letters["wecom"].get(timeout=PATIENCE_S)
    assert query == {"key": ["k-1"]}, query
    assert "B3/lobby" in json.loads(body)["text"]["content"], body
    assert "application/json" in headers["Content-Type"]


def json_form(gateway, hooks, siren):
    """JSON: signed over timestamp and body; after a 500 it comes again with its key and a new signature"""
    secret, letters = SECRETS["json"], []
    for _ in range(2):
        query, headers, body = hooks.letters["json"].get(timeout=PATIENCE_S)
        timestamp = headers["X-Smallbrain-Timestamp"]
        expected = "sha256=" + sha256(secret, timestamp.encode(), b".", body).hex()
        assert query == {"of": ["me"]} and is_recent(timestamp), (query, timestamp)
        assert hmac.compare_digest(headers["X-Smallbrain-Signature"], expected), headers
        letters.append((headers, body))
    (first, told), (second, told_again) = letters
    assert told == told_again and first["Idempotency-Key"] == second["Idempotency-Key"], letters
    assert first["X-Smallbrain-Timestamp"] != second["X-Smallbrain-Timestamp"]
    body = json.loads(told)
    assert (body["gateway"], body["recipient"]) == ("gw-alarms", "json"), body
    [notice] = body["notices"]
    assert notice["text"] == "Door open 门未关 · B3/lobby", notice
    assert set(notice) == {"id", "incident", "alarm", "place", "text"}, notice


def proofs(gateway, hooks, siren):
    """the ledger has the digest of each answer as its proof, and every notice once"""
    def all_delivered(shown):
        return [notice["fate"] for notice in shown["notices"]] == ["delivered"] * 3

    shown = gateway.shows(1, all_delivered)
    digest = hashlib.sha256(b'{"errcode":0,"errmsg":"ok"}').hexdigest()
    for notice in shown["notices"]:
        kind, short = notice["proof"].split(":")
        assert kind == "200 sha256" and digest.startswith(short) and len(short) >= 16, notice
        assert notice["tries"] == (2 if notice["recipient"] == "json" else 1), notice
    assert all(letters.empty() for letters in hooks.letters.values())


def main():
    hooks = Hooks()
    with Gateway(sys.argv[1], sys.argv[2], hooks) as gateway:
        siren = device(gateway, "siren-1")
        each("alarms", [siren_answers, dingtalk, wecom, json_form, proofs], gateway, hooks, siren)


run("alarms", main)
