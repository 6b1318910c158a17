//! An MQTT client (3.1.1 and 5.0) that is right about QoS 1 and 2 and keeps its session over any number of connections:
//! what it has sent and not seen acknowledged, and which ids of QoS 2 it holds. Its own wire code, so that it shares no
//! mistake with the server under test.
//!
//! It asserts what the standards promise it: its session is there again, ids are those of this session, the receive
//! maximum that it asked for is kept.

use std::collections::{BTreeSet, VecDeque};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

/// Deliveries that a 5.0 client takes unacknowledged.
const RECEIVE_MAX: u16 = 7;
/// How long nothing may come before the caller has its say again.
const TURN: Duration = Duration::from_millis(2);
/// A server that does not read for so long is gone.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// A publish that is not done.
struct Sent {
    pkid: u16,
    n: u64,
    qos: u8,
    topic: String,
    payload: Vec<u8>,
    /// QoS 2: PUBREC has come.
    recorded: bool,
}

/// What a client knows of its session at the server.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Session {
    /// It has not asked for one.
    Never,
    /// CONNECT is out, but no CONNACK ever came: a server that was killed may have committed it or not.
    Asked,
    /// CONNACK said so.
    Kept,
}

/// What a turn brought.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A publish of this number is the server's now: PUBACK, or the first PUBREC.
    Acked(u64),
    /// A message, once if it came at QoS 2.
    Came { topic: String, payload: Vec<u8>, qos: u8 },
    /// SUBACK: the granted QoS.
    Subscribed(u8),
}

/// See the module.
pub(crate) struct Client {
    server: SocketAddr,
    level: u8,
    id: String,
    stream: Option<TcpStream>,
    read: Vec<u8>,
    out: Vec<u8>,
    /// What it knows of its session at the server.
    session: Session,
    last_pkid: u16,
    sent: VecDeque<Sent>,
    /// QoS 2 ids that came and are not released.
    held: BTreeSet<u16>,
    connections: u64,
}

impl Client {
    /// A client of the protocol level 4 or 5.
    pub(crate) fn new(server: SocketAddr, level: u8, id: &str) -> Self {
        Self {
            server,
            level,
            id: id.to_owned(),
            stream: None,
            read: Vec::new(),
            out: Vec::new(),
            session: Session::Never,
            last_pkid: 0,
            sent: VecDeque::new(),
            held: BTreeSet::new(),
            connections: 0,
        }
    }

    /// Publishes that are not done.
    pub(crate) fn unfinished(&self) -> usize {
        self.sent.len()
    }

    /// Whether it believes that it has a connection.
    pub(crate) fn is_connected(&self) -> bool {
        self.stream.is_some()
    }

    /// Whether it holds no id of QoS 2.
    pub(crate) fn is_clear(&self) -> bool {
        self.held.is_empty()
    }

    /// How often it was let in.
    pub(crate) fn connections(&self) -> u64 {
        self.connections
    }

    /// Whether it has a connection; makes one if it can.
    pub(crate) fn connect(&mut self) -> bool {
        if self.stream.is_some() {
            return true;
        }
        let Ok(stream) = TcpStream::connect(self.server) else { return false };
        stream.set_nodelay(true).expect("an option");
        stream.set_read_timeout(Some(TURN)).expect("an option");
        stream.set_write_timeout(Some(WRITE_TIMEOUT)).expect("an option");
        self.stream = Some(stream);
        self.read.clear();
        self.out = self.hello();
        self.flush();
        if self.session == Session::Never {
            self.session = Session::Asked;
        }
        // CONNACK comes when what a start replays is replayed; a server that is killed first closes the socket.
        while self.stream.is_some() {
            if let Some(packet) = self.receive() {
                assert_eq!(packet.kind, 2, "{}: the first packet is no CONNACK", self.id);
                self.welcome(&packet.body);
                return self.stream.is_some();
            }
        }
        false
    }

    /// CONNACK: the session is taken up, and what is not done is sent again in its order.
    fn welcome(&mut self, body: &[u8]) {
        assert_eq!(body[1], 0, "{}: CONNECT is refused", self.id);
        let present = body[0] == 1;
        match self.session {
            Session::Never => assert!(!present, "{}: a session that nobody asked for", self.id),
            Session::Asked => {}
            Session::Kept => assert!(present, "{}: the session is gone", self.id),
        }
        self.session = Session::Kept;
        self.connections += 1;
        let again: Vec<Vec<u8>> = self.sent.iter().map(|sent| self.packet(sent, true)).collect();
        self.out.extend(again.concat());
        self.flush();
    }

    /// Goes away, with a DISCONNECT or without a word.
    pub(crate) fn leave(&mut self, politely: bool) {
        if politely {
            self.out.extend([0xE0, 0]);
            self.flush();
        }
        if let Some(stream) = self.stream.take() {
            // Gone already is as good.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Publishes number `n`; to be called with a connection.
    pub(crate) fn publish(&mut self, n: u64, qos: u8, topic: &str, payload: Vec<u8>) {
        loop {
            self.last_pkid = self.last_pkid % u16::MAX + 1;
            if self.sent.iter().all(|sent| sent.pkid != self.last_pkid) {
                break;
            }
        }
        let sent = Sent { pkid: self.last_pkid, n, qos, topic: topic.to_owned(), payload, recorded: false };
        self.out.extend(self.packet(&sent, false));
        self.sent.push_back(sent);
        self.flush();
    }

    /// Subscribes at QoS 2.
    pub(crate) fn subscribe(&mut self, filter: &str) {
        let mut body = vec![0xFF, 0xFF];
        if self.level == 5 {
            body.push(0);
        }
        text(&mut body, filter);
        body.push(2);
        frame(&mut self.out, 0x82, &body);
        self.flush();
    }

    /// What comes within a few milliseconds; nothing when the connection is lost.
    pub(crate) fn turn(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(packet) = self.receive() {
            events.extend(self.take(&packet));
            if self.complete(&self.read).is_none() {
                break;
            }
        }
        self.flush();
        events
    }

    fn take(&mut self, packet: &Packet) -> Option<Event> {
        let body = packet.body.as_slice();
        let id = |body: &[u8]| u16::from_be_bytes([body[0], body[1]]);
        let reason = body.get(2).copied().unwrap_or(0);
        match packet.kind {
            3 => self.message(packet.flags, body),
            4 => {
                let at = self.place(id(body), 1);
                assert_eq!(reason, 0, "{}: PUBACK", self.id);
                let sent = self.sent.remove(at).expect("found");
                Some(Event::Acked(sent.n))
            }
            5 => {
                let at = self.place(id(body), 2);
                assert_eq!(reason, 0, "{}: PUBREC", self.id);
                let first = !std::mem::replace(&mut self.sent[at].recorded, true);
                self.out.extend(self.packet(&self.sent[at], false));
                first.then_some(Event::Acked(self.sent[at].n))
            }
            6 => {
                let was_held = self.held.remove(&id(body));
                let known: &[u8] = if was_held || self.level == 4 { &[] } else { &[0x92] };
                frame(&mut self.out, 0x70, &[&body[..2], known].concat());
                None
            }
            7 => {
                let at = self.place(id(body), 2);
                let sent = self.sent.remove(at).expect("found");
                assert!(sent.recorded, "{}: PUBCOMP before PUBREC", self.id);
                None
            }
            9 => Some(Event::Subscribed(*body.last().expect("a code"))),
            14 => {
                self.leave(false);
                None
            }
            other => panic!("{}: packet type {other}", self.id),
        }
    }

    /// Where a publish is that the server speaks of.
    fn place(&self, pkid: u16, qos: u8) -> usize {
        let at = self.sent.iter().position(|sent| sent.pkid == pkid && sent.qos == qos);
        at.unwrap_or_else(|| panic!("{}: an answer to id {pkid} at QoS {qos}, which is not in use", self.id))
    }

    /// A delivery; none when it is held already.
    fn message(&mut self, flags: u8, body: &[u8]) -> Option<Event> {
        let qos = flags >> 1 & 3;
        let length = usize::from(u16::from_be_bytes([body[0], body[1]]));
        let topic = String::from_utf8(body[2..2 + length].to_vec()).expect("UTF-8");
        let mut rest = &body[2 + length..];
        let pkid = if qos == 0 { 0 } else { u16::from_be_bytes([rest[0], rest[1]]) };
        rest = &rest[if qos == 0 { 0 } else { 2 }..];
        if self.level == 5 {
            let (properties, after) = variable(rest).expect("properties");
            assert!(!rest[after..after + properties].contains(&0x23), "no alias was asked for");
            rest = &rest[after + properties..];
        }
        let is_new = qos < 2 || self.held.insert(pkid);
        if self.level == 5 {
            assert!(self.held.len() <= usize::from(RECEIVE_MAX), "{}: receive maximum", self.id);
        }
        let [high, low] = pkid.to_be_bytes();
        match qos {
            0 => {}
            1 => frame(&mut self.out, 0x40, &[high, low]),
            _ => frame(&mut self.out, 0x50, &[high, low]),
        }
        is_new.then(|| Event::Came { topic, payload: rest.to_vec(), qos })
    }

    /// The next packet, if one comes soon.
    fn receive(&mut self) -> Option<Packet> {
        let mut room = [0; 8192];
        loop {
            if let Some((length, after)) = self.complete(&self.read) {
                let packet: Vec<u8> = self.read.drain(..after + length).collect();
                let (kind, flags) = (packet[0] >> 4, packet[0] & 0x0F);
                return Some(Packet { kind, flags, body: packet[after..].to_vec() });
            }
            match self.stream.as_mut()?.read(&mut room) {
                Ok(0) => {
                    self.stream = None;
                    return None;
                }
                Ok(count) => self.read.extend_from_slice(&room[..count]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return None;
                }
                Err(_) => {
                    self.stream = None;
                    return None;
                }
            }
        }
    }

    /// Body length and head length of a packet that is all there.
    fn complete(&self, bytes: &[u8]) -> Option<(usize, usize)> {
        let (length, after) = variable(bytes.get(1..)?)?;
        (bytes.len() >= 1 + after + length).then_some((length, 1 + after))
    }

    fn flush(&mut self) {
        let out = std::mem::take(&mut self.out);
        if let Some(stream) = &mut self.stream
            && stream.write_all(&out).is_err()
        {
            self.stream = None;
        }
    }

    fn hello(&self) -> Vec<u8> {
        let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', self.level, 0, 0, 0];
        if self.level == 5 {
            let [high, low] = RECEIVE_MAX.to_be_bytes();
            // Session expiry of an hour, receive maximum.
            body.extend([8, 0x11, 0, 0, 0x0E, 0x10, 0x21, high, low]);
        }
        text(&mut body, &self.id);
        let mut packet = Vec::new();
        frame(&mut packet, 0x10, &body);
        packet
    }

    /// PUBLISH or, once it is recorded, PUBREL.
    fn packet(&self, sent: &Sent, again: bool) -> Vec<u8> {
        let mut packet = Vec::new();
        if sent.recorded {
            frame(&mut packet, 0x62, &sent.pkid.to_be_bytes());
            return packet;
        }
        let mut body = Vec::new();
        text(&mut body, &sent.topic);
        body.extend(sent.pkid.to_be_bytes());
        if self.level == 5 {
            body.push(0);
        }
        body.extend(&sent.payload);
        frame(&mut packet, 0x30 | u8::from(again) << 3 | sent.qos << 1, &body);
        packet
    }
}

struct Packet {
    kind: u8,
    flags: u8,
    body: Vec<u8>,
}

/// A variable byte integer and how many bytes it has, if it is all there.
fn variable(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut value = 0;
    for (at, byte) in bytes.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7F) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((value, at + 1));
        }
    }
    None
}

fn frame(out: &mut Vec<u8>, first: u8, body: &[u8]) {
    out.push(first);
    let mut length = body.len();
    while length > 127 {
        out.push((length % 128) as u8 | 0x80);
        length /= 128;
    }
    out.push(length as u8);
    out.extend_from_slice(body);
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u16).to_be_bytes());
    out.extend(text.as_bytes());
}
