"""A city brain by grpcio over mutual TLS, from nothing but proto/: usage

    city_mtls.py SMALLBRAIN WORK PLAIN PAGE     starts a gateway of its own in WORK; PLAIN is the target of one without reflection
    city_mtls.py killed TARGET WORK             what the first runs: pulls, acknowledges, pulls on, and dies by SIGKILL

Certificates, and the list of revoked ones, are made by openssl. The program in PAGE (docs/city.md) is run as it stands there,
killed, and run again. Needs the generated code on PYTHONPATH.
"""

import os
import pathlib
import queue
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time

import grpc
import paho.mqtt.client as paho
from google.protobuf import descriptor_pb2
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from grpc_status import rpc_status
from smallbrain.v1 import catalog_pb2, catalog_pb2_grpc, downlink_pb2, downlink_pb2_grpc
from smallbrain.v1 import smallbrain_pb2 as pb
from smallbrain.v1 import smallbrain_pb2_grpc as rpc

from checks import each, run

PATIENCE_S = 30
# The first digest of the trail is due a minute after its first signed position.
DIGEST_S = 120
PLENTY = 1 << 20
BRAIN, LEAVER = "spiffe://city.example/brain", "spiffe://city.example/leaver"
# Each name of a certificate file, and what stands in it.
CERTIFICATES = {
    "gateway": "DNS:localhost,IP:127.0.0.1",
    "brain": f"URI:{BRAIN}",
    "leaver": f"URI:{LEAVER}",
    "both": f"URI:{BRAIN},URI:{LEAVER}",
    "stranger": "URI:spiffe://city.example/stranger",
}
AUTHORITY = """
[ca]
default_ca = city
[city]
database = index.txt
crlnumber = crlnumber
default_md = sha256
default_crl_days = 2
"""
CASES = []


def case(function):
    CASES.append(function)
    return function


def until(look, seconds=PATIENCE_S):
    """What `look` finds, once it finds something."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds} s, last seen: {found!r}")
        time.sleep(0.05)
    return found


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def channel(target, work, name):
    """A channel that shows the certificate NAME."""
    files = [pathlib.Path(work, file).read_bytes() for file in ("city-ca.pem", f"{name}.key", f"{name}.pem")]
    return grpc.secure_channel(target, grpc.ssl_channel_credentials(*files))


class Refusal:
    """How a call was refused: its code, and what its ErrorInfo says."""

    def __init__(self, error):
        self.code, info = error.code(), error_details_pb2.ErrorInfo()
        status = rpc_status.from_call(error)
        self.explained = any([detail.Unpack(info) for detail in status.details] if status else [])
        self.reason, self.domain = info.reason, info.domain

    def __repr__(self):
        return f"{self.code} {self.domain} {self.reason}"


def refused(call, request):
    try:
        answer = call(request, timeout=PATIENCE_S)
    except grpc.RpcError as error:
        return Refusal(error)
    raise AssertionError(f"it was answered: {answer}")


def is_refused(call, request, code, reason):
    """Holds a refusal against its code and reason."""
    found = refused(call, request)
    wanted = (getattr(grpc.StatusCode, code), "smallbrain", reason)
    assert (found.code, found.domain, found.reason) == wanted, found


class Stream:
    """One StreamingPull call of one lane."""

    def __init__(self, stub, messages, resume=(), lane=pb.LANE_BULK):
        self.requests = queue.SimpleQueue()
        credit = pb.Credit(lane=lane, messages=messages, bytes=PLENTY)
        self.send(open=pb.PullOpen(client_instance="mtls", resume=resume, initial_credit=[credit]))
        self.call = stub.StreamingPull(iter(self.requests.get, None), timeout=2 * PATIENCE_S)

    def send(self, **frame):
        self.requests.put(pb.StreamingPullRequest(**frame))

    def until(self, kind):
        for response in self.call:
            if response.WhichOneof("frame") == kind:
                return getattr(response, kind)
        raise EOFError(f"the stream ended before a {kind}")

    def records(self, count):
        """The next records, and the position of the last."""
        records = []
        while len(records) < count:
            batch = self.until("batch")
            records += batch.records
        return records, pb.Cursor(stream_epoch=batch.stream_epoch, lane=batch.lane, seq=batch.through_seq)

    def cut(self):
        self.call.cancel()
        self.requests.put(None)


class Gateway:
    """The gateway with its authority, and a device that is connected to it."""

    def __init__(self, smallbrain, work, plain, page):
        self.smallbrain, self.work = pathlib.Path(smallbrain).resolve(), pathlib.Path(work).resolve()
        self.plain, self.page = plain, page
        self.work.mkdir()
        self.work.joinpath("store").mkdir(mode=0o700)
        self.mqtt, tls = free_port(), free_port()
        self.target, self.config = f"127.0.0.1:{tls}", self.work / "gateway.toml"
        text = pathlib.Path(__file__).with_name("city_mtls.toml").read_text()
        for word, value in [("WORK", self.work), ("MQTT_PORT", self.mqtt), ("TLS_PORT", tls)]:
            text = text.replace(word, str(value))
        self.config.write_text(text)
        self._certificates()
        self.revoke()

    def _certificates(self):
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        self._openssl("req", "-x509", *key, "-days", "2", "-subj", "/CN=city", "-addext",
                      "keyUsage=critical,keyCertSign,cRLSign", "-keyout", "city-ca.key", "-out", "city-ca.pem")
        for name, alternative in CERTIFICATES.items():
            self.work.joinpath("names").write_text(f"subjectAltName={alternative}\n")
            self._openssl("req", *key, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
            self._openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "city-ca.pem", "-CAkey", "city-ca.key",
                          "-CAcreateserial", "-days", "2", "-extfile", "names", "-out", f"{name}.pem")
        self.work.joinpath("gateway.key").chmod(0o600)
        self.work.joinpath("authority").write_text(AUTHORITY)
        self.work.joinpath("index.txt").write_text("")
        self.work.joinpath("crlnumber").write_text("01\n")

    def _openssl(self, *words):
        done = subprocess.run(["openssl", *words], cwd=self.work, capture_output=True, text=True, timeout=PATIENCE_S)
        if done.returncode != 0:
            raise RuntimeError(f"openssl {' '.join(words)}: {done.stderr}")

    def revoke(self, *names):
        """Renews the list of what is revoked, in one step."""
        signer = ["ca", "-config", "authority", "-cert", "city-ca.pem", "-keyfile", "city-ca.key"]
        for name in names:
            self._openssl(*signer, "-revoke", f"{name}.pem")
        self._openssl(*signer, "-gencrl", "-out", "city.crl.new")
        self.work.joinpath("city.crl.new").rename(self.work / "city.crl")

    def __enter__(self):
        with open(self.work / "log", "ab") as log:
            command = [self.smallbrain, "run", "--config", self.config]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        until(lambda: self._process.poll() is not None or "ready" in self.log())
        self._heard = queue.SimpleQueue()
        self._device = paho.Client(paho.CallbackAPIVersion.VERSION2, "smoke-1")
        self._device.on_message = lambda _c, _u, message: self._heard.put((message.topic, message.payload))
        self._device.connect("127.0.0.1", self.mqtt)
        self._device.loop_start()
        subscribed = queue.SimpleQueue()
        self._device.on_subscribe = lambda *_: subscribed.put(True)
        self._device.subscribe("compound/smoke-1/down/#", 1)
        subscribed.get(timeout=PATIENCE_S)
        return self

    def __exit__(self, *_):
        self._device.loop_stop()
        self._process.terminate()
        self._process.wait(PATIENCE_S)

    def log(self):
        return self.work.joinpath("log").read_text()

    def says(self, device, text):
        """What a device says; comes back when the gateway has it on disk."""
        self._device.publish(f"compound/{device}/up", text, 1).wait_for_publish(PATIENCE_S)

    def heard(self):
        """What the next order tells the device."""
        return self._heard.get(timeout=PATIENCE_S)

    def measures(self, *temperatures):
        """Readings, each sealed as a record of its own."""
        for temperature in temperatures:
            self.says("thermometer-1", f'{{"temperature":{temperature}}}')

    def of(self, name="brain"):
        return channel(self.target, self.work, name)

    def fetched(self, lane, count, seconds=PATIENCE_S):
        """The first records of a lane, once there are so many."""
        with self.of() as line:
            stub, first = rpc.RecordServiceStub(line), pb.FetchRequest(after=pb.Cursor(lane=lane))
            records = until(lambda: len(found := stub.Fetch(first).batch.records) >= count and found, seconds)
            return [(record, pb.RecordBody.FromString(record.body)) for record in records]


def killed(target, work):
    """Acknowledges two records, prints that position, takes more, and dies."""
    with channel(target, work, "brain") as line:
        stream = Stream(rpc.RecordServiceStub(line), messages=2, resume=[pb.Cursor(lane=pb.LANE_BULK)])
        _, upto = stream.records(2)
        stream.send(ack=pb.CumulativeAck(upto=upto))
        print(stream.until("ack_confirmation").upto.seq, flush=True)
        stream.send(credit=pb.Credit(lane=pb.LANE_BULK, messages=2, bytes=PLENTY))
        stream.records(2)
        os.kill(os.getpid(), signal.SIGKILL)


@case
def goes_on(gateway):
    """a city that is killed goes on where its acknowledgement was."""
    gateway.measures(20, 21, 22, 23, 24, 25)
    gateway.fetched(pb.LANE_BULK, 6)
    victim = [sys.executable, __file__, "killed", gateway.target, gateway.work]
    done = subprocess.run(victim, capture_output=True, text=True, timeout=2 * PATIENCE_S)
    assert done.returncode == -signal.SIGKILL, done.stderr
    with gateway.of() as line:
        stream = Stream(rpc.RecordServiceStub(line), messages=4)
        records, _ = stream.records(4)
        stream.cut()
    seqs = [record.seq for record in records]
    assert int(done.stdout) == 2 and seqs == [3, 4, 5, 6], (done.stdout, seqs)


@case
def signed(gateway):
    """what is delivered is a row of the trail, and its signed position comes along."""
    with gateway.of() as line:
        stub, first = rpc.RecordServiceStub(line), pb.FetchRequest(after=pb.Cursor(lane=pb.LANE_BULK), max_records=1)
        # After 256 rows at the latest.
        found = (stub.Fetch(first).audit for _ in range(300))
        assert any(audit.size and len(audit.signature) == 64 for audit in found)


def program(page):
    """The program of the page: the block behind its marker."""
    text = pathlib.Path(page).read_text()
    (found,) = re.findall(r"<!-- city_pull\.py -->\n+```python\n(.*?)```", text, re.DOTALL)
    return found


@case
def the_page(gateway):
    """the program of docs/city.md takes every record once, killed in between."""
    path, database = gateway.work / "city_pull.py", gateway.work / "records.db"
    path.write_text(program(gateway.page))
    files = [gateway.work / file for file in ("city-ca.pem", "brain.pem", "brain.key")]
    command = [sys.executable, path, gateway.target, *files, database]

    def stored():
        if not database.exists():
            return []
        with sqlite3.connect(database) as db:
            return db.execute("SELECT id FROM record WHERE schema = 'readings/1' ORDER BY id").fetchall()

    for values in ([30, 31, 32], [33, 34, 35]):
        before = len(gateway.fetched(pb.LANE_BULK, 1))
        with open(gateway.work / "program.log", "ab") as log:
            running = subprocess.Popen(command, stdout=log, stderr=log)
        gateway.measures(*values)
        wanted = sorted((record.record_id,) for record, _ in gateway.fetched(pb.LANE_BULK, before + 3))
        try:
            # Two records were acknowledged before it began.
            until(lambda: stored() == [(i,) for (i,) in wanted if int(i.rsplit("-", 1)[1]) > 2])
        except TimeoutError as error:
            raise AssertionError(f"{stored()} of {wanted}: {gateway.work.joinpath('program.log').read_text()}") from error
        finally:
            running.kill()
            running.wait()


@case
def feedback(gateway):
    """feedback on an alarm is taken, and known when it comes again."""
    gateway.says("smoke-1", '{"alarm":true}')
    ((alarm, body),) = gateway.fetched(pb.LANE_ALARM, 1)[:1]
    assert body.event.event_code == "smoke" and alarm.share_item == "S-1", body
    said = downlink_pb2.PushFeedbackRequest(request_id="f-1", in_reply_to=alarm.record_id, kind="confirmed")
    with gateway.of() as line:
        stub = downlink_pb2_grpc.DownlinkServiceStub(line)
        first, second = stub.PushFeedback(said), stub.PushFeedback(said)
        assert not first.duplicate and second.duplicate and first.feedback_id == second.feedback_id, (first, second)
        said.request_id, said.in_reply_to = "f-2", alarm.record_id[:-1] + "777"
        is_refused(stub.PushFeedback, said, "NOT_FOUND", "RECORD_UNKNOWN")


@case
def catalogue(gateway):
    """the catalogue has its lines and the command, and a schema is read."""
    with gateway.of() as line:
        stub = catalog_pb2_grpc.CatalogServiceStub(line)
        items = stub.ListCatalog(catalog_pb2.ListCatalogRequest()).items
        found = {(item.list, item.id): item for item in items}
        shares = {key for kind, key in found if kind == "share"}
        assert shares == {"S-1", "S-2", "S-3", "S-4"}, shares
        assert ("command", "siren") in found, found.keys()
        schema = stub.GetSchema(catalog_pb2.GetSchemaRequest(schema="readings/1"))
        files = descriptor_pb2.FileDescriptorSet.FromString(schema.file_descriptor_set).file
        messages = [message.name for file in files for message in file.message_type]
        assert "RecordBody" in messages and "readings" in schema.json_schema, messages
        unknown = catalog_pb2.GetSchemaRequest(schema="nothing/1")
        is_refused(stub.GetSchema, unknown, "NOT_FOUND", "SCHEMA_UNKNOWN")


@case
def order(gateway):
    """an order is validated, carried out once, and its end comes in lane result."""
    order = downlink_pb2.SubmitCommandRequest(request_id="o-1", command="siren", arguments={"tone": "low"})
    order.not_after.FromSeconds(int(time.time()) + 600)
    with gateway.of() as line:
        stub = downlink_pb2_grpc.DownlinkServiceStub(line)
        order.validate_only = True
        valid = stub.SubmitCommand(order)
        assert (valid.status, valid.command_id) == ("valid", ""), valid
        order.validate_only = False
        first, second = stub.SubmitCommand(order), stub.SubmitCommand(order)
        assert first.command_id == second.command_id and second.duplicate, (first, second)
        assert gateway.heard() == ("compound/smoke-1/down/siren", b"low")
        ((record, body),) = gateway.fetched(pb.LANE_RESULT, 1)
        told = (body.result.command_id, body.result.request_id, body.result.status, record.share_item)
        assert told == (first.command_id, "o-1", "done", "S-3"), told
        now = stub.GetCommand(downlink_pb2.GetCommandRequest(command_id=first.command_id))
        assert now.status == "done", now
        order.request_id, order.arguments["tone"] = "o-1", "high"
        is_refused(stub.SubmitCommand, order, "INVALID_ARGUMENT", "REQUEST_REUSED")
        order.request_id, order.arguments["tone"] = "o-2", "loud"
        is_refused(stub.SubmitCommand, order, "INVALID_ARGUMENT", "MALFORMED")
        order.command = "nothing"
        is_refused(stub.SubmitCommand, order, "NOT_FOUND", "COMMAND_UNKNOWN")


@case
def identity(gateway):
    """who has two names is not authenticated, who has no line is not permitted."""
    for name, code, reason in [("both", "UNAUTHENTICATED", "IDENTITY"), ("stranger", "PERMISSION_DENIED", "NOT_LISTED")]:
        with gateway.of(name) as line:
            first = pb.FetchRequest(after=pb.Cursor(lane=pb.LANE_BULK))
            is_refused(rpc.RecordServiceStub(line).Fetch, first, code, reason)
            catalog = catalog_pb2_grpc.CatalogServiceStub(line)
            is_refused(catalog.ListCatalog, catalog_pb2.ListCatalogRequest(), code, reason)
    with grpc.secure_channel(gateway.target, grpc.ssl_channel_credentials(gateway.work.joinpath("city-ca.pem").read_bytes())) as line:
        found = refused(rpc.RecordServiceStub(line).Fetch, pb.FetchRequest())
        assert found.code == grpc.StatusCode.UNAVAILABLE, found


@case
def health(gateway):
    """the standard health service says that records can be had."""
    with gateway.of() as line:
        for service in ("", "smallbrain.v1.RecordService"):
            asked = health_pb2.HealthCheckRequest(service=service)
            status = health_pb2_grpc.HealthStub(line).Check(asked, timeout=PATIENCE_S).status
            assert status == health_pb2.HealthCheckResponse.SERVING, (service, status)


def services(line):
    """What reflection lists. grpcio's own client speaks v1alpha, whose messages are those of v1."""
    call = line.stream_stream(
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    asked = reflection_pb2.ServerReflectionRequest(list_services="*")
    (answer,) = call(iter([asked]), timeout=PATIENCE_S)
    return {service.name for service in answer.list_services_response.service}


@case
def reflection(gateway):
    """reflection lists the services where it is switched on, and nowhere else."""
    with gateway.of() as line:
        names = {f"smallbrain.v1.{name}Service" for name in ("Record", "Catalog", "Query", "Downlink", "Status", "Approval")}
        found = services(line)
        assert names <= found, found
    with grpc.insecure_channel(gateway.plain) as line:
        try:
            found = services(line)
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.UNIMPLEMENTED, error
        else:
            raise AssertionError(f"it lists {found}")


@case
def revoked(gateway):
    """a certificate that is revoked is cut off and turned away; the others are not."""
    with gateway.of("leaver") as line, gateway.of() as other:
        theirs = Stream(rpc.RecordServiceStub(line), messages=1, resume=[pb.Cursor(lane=pb.LANE_BULK)])
        theirs.records(1)
        ours = Stream(rpc.RecordServiceStub(other), messages=1, resume=[pb.Cursor(lane=pb.LANE_BULK)])
        ours.records(1)
        gateway.revoke("leaver")
        # A configuration that comes into force has the files looked at.
        with open(gateway.config, "a") as config:
            config.write("# the list of revoked certificates is new\n")
        try:
            theirs.until("batch")
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.UNAVAILABLE, error
        ours.send(credit=pb.Credit(lane=pb.LANE_BULK, messages=1, bytes=PLENTY))
        ours.records(1)
        ours.cut()
    with gateway.of("leaver") as line:
        found = refused(rpc.RecordServiceStub(line).Fetch, pb.FetchRequest(after=pb.Cursor(lane=pb.LANE_BULK)))
        assert found.code == grpc.StatusCode.UNAVAILABLE and not found.explained, found


@case
def digest(gateway):
    """a digest of the trail comes in lane audit, and counts what was done."""
    ((record, body), *_) = gateway.fetched(pb.LANE_AUDIT, 1, DIGEST_S)
    checkpoint = body.audit.checkpoint
    assert (record.schema, record.share_item) == ("audit/1", "S-4"), record
    assert checkpoint.size and len(checkpoint.signature) == 64 and sum(body.audit.counts.values()), body


def main():
    if sys.argv[1] == "killed":
        return killed(*sys.argv[2:])
    gateway = Gateway(*sys.argv[1:])
    with gateway:
        each("city mtls", CASES, gateway)


run("city mtls", main)
