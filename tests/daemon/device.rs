//! An MQTT 3.1.1 device in plain bytes, so that it can also send what no client library would.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::gateway::PATIENCE;

/// A connection to the gateway.
pub(crate) struct Device {
    stream: TcpStream,
    packet_id: u16,
}

fn text(text: &str) -> Vec<u8> {
    [&u16::try_from(text.len()).expect("short").to_be_bytes(), text.as_bytes()].concat()
}

/// A packet: first byte, remaining length (MQTT 3.1.1, 2.2.3), the rest.
fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let (mut bytes, mut left) = (vec![first], body.len());
    loop {
        let low = (left & 0x7F) as u8;
        left >>= 7;
        bytes.push(low | if left > 0 { 0x80 } else { 0 });
        if left == 0 {
            break;
        }
    }
    bytes.extend(body);
    bytes
}

/// A QoS 1 publish.
pub(crate) fn publish(packet_id: u16, topic: &str, payload: &[u8]) -> Vec<u8> {
    packet(0x32, &[&text(topic), &packet_id.to_be_bytes()[..], payload].concat())
}

impl Device {
    /// A connection on which nothing has been said.
    pub(crate) fn dial(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the gateway listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Self { stream, packet_id: 0 }
    }

    /// Says CONNECT; gives the return code of the CONNACK (MQTT 3.1.1, table 3.1).
    pub(crate) fn connect(&mut self, id: &str, login: Option<(&str, &str)>) -> u8 {
        let flags = if login.is_some() { 0xC2 } else { 0x02 };
        let mut body = [&text("MQTT"), &[4, flags, 0, 60][..], &text(id)].concat();
        for word in login.iter().flat_map(|(user, password)| [user, password]) {
            body.extend(text(word));
        }
        self.send(&packet(0x10, &body));
        self.read::<4>()[3]
    }

    /// Says CONNECT for a session that is kept; gives the first byte of the CONNACK's rest: 1 when there was one.
    pub(crate) fn resume(&mut self, id: &str) -> u8 {
        self.send(&packet(0x10, &[&text("MQTT"), &[4, 0, 0, 60][..], &text(id)].concat()));
        let [_, _, present, code] = self.read();
        assert_eq!(code, 0, "{id} is let in");
        present
    }

    /// Subscribes, and waits until that is granted.
    pub(crate) fn subscribe(&mut self, filter: &str, qos: u8) {
        self.packet_id += 1;
        let id = self.packet_id.to_be_bytes();
        self.send(&packet(0x82, &[&id, text(filter).as_slice(), &[qos]].concat()));
        assert_eq!(self.read(), [0x90, 3, id[0], id[1], qos], "SUBACK of {filter}");
    }

    /// The next delivery at QoS 1, acknowledged: its topic and payload.
    pub(crate) fn delivery(&mut self) -> (String, Vec<u8>) {
        let [first, length] = self.read();
        assert_eq!(first & 0xF6, 0x32, "a delivery at QoS 1, short");
        let mut body = vec![0; usize::from(length)];
        self.stream.read_exact(&mut body).expect("the gateway delivers");
        let name = usize::from(u16::from_be_bytes([body[0], body[1]]));
        let (topic, rest) = body[2..].split_at(name);
        self.send(&[0x40, 2, rest[0], rest[1]]);
        (String::from_utf8(topic.to_vec()).expect("UTF-8"), rest[2..].to_vec())
    }

    /// A device that is let in.
    pub(crate) fn of(address: SocketAddr, id: &str) -> Self {
        let mut device = Self::dial(address);
        assert_eq!(device.connect(id, None), 0, "{id} is let in");
        device
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the gateway reads");
    }

    fn read<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.stream.read_exact(&mut bytes).expect("the gateway answers");
        bytes
    }

    /// Publishes with QoS 1 and waits for the PUBACK.
    pub(crate) fn publish(&mut self, topic: &str, payload: impl AsRef<[u8]>) {
        self.packet_id += 1;
        self.send(&publish(self.packet_id, topic, payload.as_ref()));
        let [high, low] = self.packet_id.to_be_bytes();
        assert_eq!(self.read(), [0x40, 2, high, low], "PUBACK of {topic}");
    }

    /// Says PINGREQ and waits for the PINGRESP.
    pub(crate) fn ping(&mut self) {
        self.send(&[0xC0, 0]);
        assert_eq!(self.read(), [0xD0, 0], "PINGRESP");
    }

    /// Waits until the gateway has closed, whatever it says before.
    pub(crate) fn sees_the_end(mut self) {
        let mut rest = Vec::new();
        // A reset is a close too; a timeout is none.
        if let Err(error) = self.stream.read_to_end(&mut rest) {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "closed");
        }
    }
}
