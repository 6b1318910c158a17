//! A webhook of somebody: a server on a loopback port, in whatever mood the test wants.
//!
//! Guarantees: what it took is kept, each letter once it has answered that it has it; what it refused is only counted. Its HTTP is
//! its own, so that it shares no mistake with the client under test.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;

/// For a request to be there.
const PATIENCE: Duration = Duration::from_secs(30);

/// What it does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    /// Takes it.
    Takes,
    /// Reads it and never answers.
    Hangs,
    /// 500.
    Fails,
    /// To itself.
    Redirects,
    /// Closes the connection without a word.
    Closes,
}

impl Mood {
    /// All of them.
    pub(crate) const ALL: [Mood; 5] = [Mood::Takes, Mood::Hangs, Mood::Fails, Mood::Redirects, Mood::Closes];
}

/// Something that was taken.
#[derive(Clone, Debug)]
pub(crate) struct Letter {
    /// Its fields, one a line, lower case.
    head: String,
    /// What it says.
    pub(crate) body: Value,
}

impl Letter {
    /// A field of its head.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    /// The notices in it, of the form "json".
    pub(crate) fn notices(&self) -> &[Value] {
        self.body["notices"].as_array().map_or(&[], Vec::as_slice)
    }
}

struct State {
    mood: Mood,
    taken: Vec<Letter>,
    refused: usize,
    hanging: Vec<TcpStream>,
}

/// See the module.
#[derive(Clone)]
pub(crate) struct Hook {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Hook {
    /// One that listens.
    pub(crate) fn new(mood: Mood) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let state = State { mood, taken: Vec::new(), refused: 0, hanging: Vec::new() };
        let hook = Self { address, state: Arc::new(Mutex::new(state)) };
        let server = hook.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let server = server.clone();
                std::thread::spawn(move || server.serve(stream));
            }
        });
        hook
    }

    /// Where it is.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// Changes its mood; what hangs is closed.
    pub(crate) fn turn(&self, mood: Mood) {
        let mut state = self.now();
        state.mood = mood;
        state.hanging.clear();
    }

    /// Everything it took.
    pub(crate) fn taken(&self) -> Vec<Letter> {
        self.now().taken.clone()
    }

    /// The notices that it took, by number, in their order.
    pub(crate) fn notices(&self) -> Vec<u64> {
        let state = self.now();
        let notices = state.taken.iter().flat_map(Letter::notices);
        notices.map(|notice| notice["id"].as_u64().expect("a number")).collect()
    }

    /// How many requests it did not take.
    pub(crate) fn refused(&self) -> usize {
        self.now().refused
    }

    fn now(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, mut stream: TcpStream) {
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        // A client that was killed sends no whole request.
        let Some((head, body)) = request(&mut stream) else { return };
        let mut state = self.now();
        let answer = match state.mood {
            Mood::Takes => "200 OK\r\n".to_owned(),
            Mood::Fails => "500 Internal Server Error\r\n".to_owned(),
            Mood::Redirects => format!("307 Temporary Redirect\r\nLocation: {}\r\n", self.url()),
            Mood::Hangs | Mood::Closes => String::new(),
        };
        match state.mood {
            Mood::Takes => {
                let body = serde_json::from_slice(&body).expect("JSON");
                state.taken.push(Letter { head, body });
            }
            _ => state.refused += 1,
        }
        if state.mood == Mood::Hangs {
            return state.hanging.push(stream);
        }
        drop(state);
        if !answer.is_empty() {
            let answer = format!("HTTP/1.1 {answer}Content-Length: 0\r\nConnection: close\r\n\r\n");
            // Whoever asked may be gone.
            let _ = stream.write_all(answer.as_bytes());
        }
    }
}

/// Head and body of a request; none when it breaks off.
fn request(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let (mut bytes, mut room) = (Vec::new(), [0; 4096]);
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        let count = stream.read(&mut room).ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(&room[..count]);
    };
    let head = String::from_utf8(bytes[..end].to_vec()).expect("UTF-8").to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let length: usize = length.expect("the length of the body");
    let mut body = bytes.split_off(end + 4);
    while body.len() < length {
        let count = stream.read(&mut room).ok().filter(|count| *count > 0)?;
        body.extend_from_slice(&room[..count]);
    }
    Some((head, body))
}
