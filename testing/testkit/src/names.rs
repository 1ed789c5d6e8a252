//! A name server on loopback that says what a test tells it, as the one of a container engine says which containers run.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
};

/// Names, and the containers that have each.
type Known = Arc<Mutex<BTreeMap<String, Vec<Ipv4Addr>>>>;

/// A running name server; it ends when this is dropped.
#[derive(Debug)]
pub struct NameServer {
    known: Known,
    address: SocketAddr,
    thread: Option<JoinHandle<()>>,
}

impl NameServer {
    /// Starts one that knows no name yet.
    ///
    /// # Panics
    /// If no socket can be had.
    pub fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket on loopback");
        let address = socket.local_addr().expect("a bound socket has an address");
        let known = Known::default();
        let thread = {
            let known = Arc::clone(&known);
            std::thread::spawn(move || answer_all(&socket, &known))
        };
        Self { known, address, thread: Some(thread) }
    }

    /// `127.0.0.1:PORT`
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Who has this name from now on; nobody: there is no such name.
    pub fn set(&self, name: &str, addresses: &[Ipv4Addr]) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(name.to_owned(), addresses.to_owned());
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        // What is no question ends the thread.
        let woken = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.send_to(&[], self.address));
        if let (Ok(_), Some(thread)) = (woken, self.thread.take()) {
            drop(thread.join());
        }
    }
}

fn answer_all(socket: &UdpSocket, known: &Known) {
    let mut buffer = [0; 512];
    while let Ok((length, from)) = socket.recv_from(&mut buffer) {
        let Some((name, end)) = question(&buffer[..length]) else { return };
        let addresses = known.lock().unwrap_or_else(PoisonError::into_inner).get(&name).cloned().unwrap_or_default();
        drop(socket.send_to(&answer(&buffer[..end], &addresses), from));
    }
}

/// The name that is asked for, and where the question ends. RFC 1035, section 4.1.2: labels with their lengths before
/// them, an empty one last, then type and class; the header before it has 12 bytes.
fn question(message: &[u8]) -> Option<(String, usize)> {
    let (mut labels, mut at) = (Vec::new(), 12);
    loop {
        let length = usize::from(*message.get(at)?);
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(message.get(at + 1..at + 1 + length)?).into_owned());
        at += 1 + length;
    }
    Some((labels.join("."), at + 5)).filter(|(_, end)| *end <= message.len())
}

/// The answer to a question, with an address record for each address, good for no time at all; without any, that there
/// is no such name.
fn answer(asked: &[u8], addresses: &[Ipv4Addr]) -> Vec<u8> {
    let mut message = asked.to_vec();
    let refusal = if addresses.is_empty() { 3 } else { 0 };
    // An answer, to which the server adds that it can ask others.
    message[2..4].copy_from_slice(&[0x81, 0x80 | refusal]);
    let count = u8::try_from(addresses.len()).expect("a test has few containers");
    message[4..12].copy_from_slice(&[0, 1, 0, count, 0, 0, 0, 0]);
    for address in addresses {
        // The name of the question, type A, class IN, no time to live, four bytes.
        message.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
        message.extend(address.octets());
    }
    message
}
