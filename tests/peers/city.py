"""A city brain by grpcio, from nothing but proto/: usage

    city.py begin TARGET STATE                          two streams; dies by SIGKILL in the second
    city.py resume TARGET STATE DEVICE:FIRST:LAST…      a third stream, where the dead one was

Pulls the bulk lane (the first stream is cut after an ack, the second has records that are taken but not acked when the
process is killed), and holds every batch against the contract: dense positions, record ids, the hash chain, credit. Every
reading `n` of FIRST to LAST of each DEVICE must come once. At the end it is a witness of the audit trail. Needs the
generated code on PYTHONPATH.
"""

import hashlib
import os
import pickle
import queue
import signal
import struct
import sys
import time
from collections import Counter

import grpc
from smallbrain.v1 import smallbrain_pb2 as pb
from smallbrain.v1 import smallbrain_pb2_grpc as rpc

from checks import check, run

PATIENCE_S = 30
BULK = pb.LANE_BULK
PLENTY = 1 << 20


class Line:
    """What has been taken, and what is wrong with it."""

    def __init__(self):
        self.epoch, self.through, self.head_hash = b"", 0, bytes(32)
        self.records, self.wrong, self.readings = [], [], Counter()

    def cursor(self, seq=None):
        return pb.Cursor(stream_epoch=self.epoch, lane=BULK, seq=self.through if seq is None else seq)

    def ack(self):
        return pb.CumulativeAck(upto=self.cursor(), head_hash=self.head_hash)

    def take(self, batch):
        """Holds a batch against the contract, and keeps it."""
        self.expect(batch.lane == BULK, f"lane {batch.lane}")
        self.epoch = self.epoch or batch.stream_epoch
        self.expect(batch.stream_epoch == self.epoch, "another epoch")
        self.expect(batch.first_seq == self.through + 1, f"from {batch.first_seq} after {self.through}")
        self.expect(batch.head_seq >= batch.through_seq, f"head {batch.head_seq} below {batch.through_seq}")
        self.expect(not batch.gaps and batch.withheld == 0, "a loss, or something withheld")
        for record in batch.records:
            self.through += 1
            self.expect(record.seq == self.through, f"record {record.seq} instead of {self.through}")
            self.expect(record.record_id == f"{self.epoch.hex()}-bulk-{record.seq}", record.record_id)
            self.expect(record.prev_hash in (b"", self.head_hash), f"prev_hash of {record.seq}")
            self.head_hash = record_hash(self.head_hash, record)
            self.expect(record.record_hash == self.head_hash, f"record_hash of {record.seq}")
            self.expect(record.schema == "readings/1" and record.share_item == "S-1", record.schema)
            self.records.append(record.record_id)
            self.readings.update(sequences(pb.RecordBody.FromString(record.body).readings))
        self.expect(batch.through_seq == self.through, f"through {batch.through_seq} with {self.through}")

    def expect(self, holds, what):
        if not holds:
            self.wrong.append(what)


def record_hash(previous, record):
    """As the contract has it: SHA-256(0x01 || prev_hash || LP(record_id) || LP(body))."""
    parts = [record.record_id.encode(), record.body]
    text = b"".join(struct.pack(">I", len(part)) + part for part in parts)
    return hashlib.sha256(b"\x01" + previous + text).digest()


def sequences(readings):
    """(device, n) of each row of metric n."""
    for index, mantissa, scale in zip(readings.series_index, readings.mantissa, readings.scale, strict=True):
        series = readings.series[index]
        if series.metric == "n" and scale == 0:
            yield series.device, mantissa


class Stream:
    """One StreamingPull call."""

    def __init__(self, stub, messages, resume=()):
        self.requests = queue.SimpleQueue()
        credit = pb.Credit(lane=BULK, messages=messages, bytes=PLENTY)
        self.send(open=pb.PullOpen(client_instance="peer", resume=resume, initial_credit=[credit]))
        self.call = stub.StreamingPull(iter(self.requests.get, None), timeout=2 * PATIENCE_S)

    def send(self, **frame):
        self.requests.put(pb.StreamingPullRequest(**frame))

    def until(self, kind):
        """The next frame of this kind, and the batches before it."""
        batches = []
        for response in self.call:
            found = response.WhichOneof("frame")
            if found == kind:
                return getattr(response, kind), batches
            if found == "batch":
                batches.append(response.batch)
        raise EOFError(f"the stream ended before a {kind}")

    def cut(self):
        self.call.cancel()
        self.requests.put(None)


def take_records(stream, line, count):
    """Takes batches until `count` records have come on this stream; returns how many did."""
    taken = 0
    while taken < count:
        batch, _ = stream.until("batch")
        line.take(batch)
        taken += len(batch.records)
    return taken


def first_stream(stub, line):
    stream = Stream(stub, messages=3, resume=[pb.Cursor(lane=BULK, seq=0)])
    taken = take_records(stream, line, 3)
    stream.send(ack=line.ack())
    confirmation, more = stream.until("ack_confirmation")
    check("city: no record beyond the credit", taken == 3 and not any(b.records for b in more), f"{taken} and {more}")
    stored = (confirmation.upto.seq, confirmation.hash_matched)
    check("city: an ack is confirmed, with the same hash", stored == (line.through, True), stored)
    stream.cut()


def second_stream(stub, line, state):
    acked = line.through
    stream = Stream(stub, messages=4)
    batch, _ = stream.until("batch")
    check("city: without a cursor a stream goes on after the ack", batch.first_seq == acked + 1, batch.first_seq)
    line.take(batch)
    take_records(stream, line, 4 - len(batch.records))
    with open(state, "wb") as file:
        pickle.dump(line, file)
    os.kill(os.getpid(), signal.SIGKILL)


def third_stream(stub, line, expected):
    cursor = line.through
    stream = Stream(stub, messages=8, resume=[line.cursor()])
    batch, _ = stream.until("batch")
    begun = batch.first_seq
    check("city: after its kill it goes on at its cursor", begun == cursor + 1, f"{begun} after {cursor}")
    deadline = time.monotonic() + PATIENCE_S
    while True:
        line.take(batch)
        if expected <= line.readings.keys() or time.monotonic() > deadline:
            break
        stream.send(ack=line.ack())
        stream.send(credit=pb.Credit(lane=BULK, messages=len(batch.records), bytes=PLENTY))
        batch, _ = stream.until("batch")
    stream.send(ack=line.ack())
    while stream.until("ack_confirmation")[0].upto.seq < line.through:
        pass
    stream.send(close=pb.PullClose(reason="done"))
    stream.requests.put(None)
    for _ in stream.call:
        pass
    check("city: a close ends the stream politely", stream.call.code() == grpc.StatusCode.OK, stream.call.code())


def refused(call, request):
    """The status that a call is refused with; None when it is not."""
    try:
        call(request, timeout=PATIENCE_S)
    except grpc.RpcError as error:
        return error.code()
    return None


def unary(stub, line):
    batch = stub.Fetch(pb.FetchRequest(after=line.cursor(2), max_records=2), timeout=PATIENCE_S).batch
    seqs = [record.seq for record in batch.records]
    check("city: fetch gives what was streamed", [r.record_id for r in batch.records] == line.records[2:4], seqs)
    ack = pb.AckRequest(acks=[pb.CumulativeAck(upto=line.cursor(1))])
    stored = stub.Ack(ack, timeout=PATIENCE_S).confirmations[0].upto.seq
    check("city: an old ack confirms the stored one", stored == line.through, f"{stored}, acked {line.through}")
    ahead = pb.AckRequest(acks=[pb.CumulativeAck(upto=line.cursor(1 << 40))])
    code = refused(stub.Ack, ahead)
    check("city: an ack ahead of the head is refused", code == grpc.StatusCode.OUT_OF_RANGE, code)
    other = pb.Cursor(stream_epoch=bytes(16), lane=BULK, seq=1)
    code = refused(stub.Fetch, pb.FetchRequest(after=other))
    check("city: a cursor of another epoch is refused", code == grpc.StatusCode.FAILED_PRECONDITION, code)


def witness(stub, line):
    """Deliveries are rows of the audit trail; after 256 of them at the latest it has a signed position."""
    one = pb.FetchRequest(after=line.cursor(0), max_records=1)
    for _ in range(300):
        audit = stub.Fetch(one, timeout=PATIENCE_S).audit
        if audit.size:
            break
    fields = (audit.size, len(audit.head), len(audit.signature), audit.origin[:11])
    check("city: the newest checkpoint of the audit trail comes along", fields[0] and fields[1:] == (32, 64, "smallbrain/"), fields)
    ours = pb.AckRequest(witness=pb.AuditWitness(size=audit.size, head=audit.head))
    code = refused(stub.Ack, ours)
    check("city: a checkpoint that it keeps is confirmed", code is None, code)
    other = pb.AckRequest(witness=pb.AuditWitness(size=audit.size, head=bytes(32)))
    code = refused(stub.Ack, other)
    check("city: another past is refused", code == grpc.StatusCode.DATA_LOSS, code)


def begin(stub, state):
    line = Line()
    first_stream(stub, line)
    second_stream(stub, line, state)


def resume(stub, state, *published):
    expected = set()
    for argument in published:
        device, first, last = argument.split(":")
        expected.update((device, n) for n in range(int(first), int(last) + 1))
    with open(state, "rb") as file:
        line = pickle.load(file)
    third_stream(stub, line, expected)
    check("city: dense positions, ids and hashes as the contract has them", not line.wrong, line.wrong[:5])
    check("city: no record twice", len(line.records) == len(set(line.records)), len(line.records))
    missing = sorted(expected - line.readings.keys())
    check(f"city: all {len(expected)} published readings came", not missing, f"without {missing[:10]}")
    twice = [key for key, count in line.readings.items() if count > 1]
    check("city: none of them twice", not twice, twice[:10])
    unary(stub, line)
    witness(stub, line)


def main():
    verb, target, *rest = sys.argv[1:]
    # On a socket grpc's own authority is the socket's path, which is none to HTTP/2 (RFC 9113, 8.3.1).
    with grpc.insecure_channel(target, options=[("grpc.default_authority", "localhost")]) as channel:
        {"begin": begin, "resume": resume}[verb](rpc.RecordServiceStub(channel), *rest)


run("city", main)
