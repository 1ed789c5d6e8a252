//! A client of HTTP/1.1 that costs as little as possible: requests are ready-made bytes, connections are kept, and of
//! an answer only the status and the length are read.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep_until},
};

use crate::measure::Times;

/// Makes the bytes of a request from its number.
pub type MakeRequest = Arc<dyn Fn(u64) -> Vec<u8> + Send + Sync>;

/// Sends so many requests over so many connections, each the next as soon as the last was answered.
pub async fn closed_loop(
    address: SocketAddr,
    connections: usize,
    requests: u64,
    expected: u16,
    make: &MakeRequest,
) -> Result<Duration> {
    let next = Arc::new(AtomicU64::new(0));
    let begun = Instant::now();
    let workers = (0..connections).map(|_| {
        let (next, make) = (Arc::clone(&next), Arc::clone(make));
        tokio::spawn(async move {
            let mut connection = Connection::open(address).await?;
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= requests {
                    return Ok::<_, anyhow::Error>(());
                }
                connection.ask(&make(number), expected).await?;
            }
        })
    });
    for done in try_join_all(workers).await? {
        done?;
    }
    Ok(begun.elapsed())
}

/// Sends requests at a fixed rate, whether earlier ones were answered or not. Times count from when a request should
/// have been sent, so that one slow answer does not hide those behind it.
pub async fn open_loop(
    address: SocketAddr,
    connections: usize,
    a_second: u64,
    lasting: Duration,
    expected: u16,
    make: &MakeRequest,
) -> Result<Times> {
    let requests = (lasting.as_secs_f64() * a_second as f64) as u64;
    let next = Arc::new(AtomicU64::new(0));
    let times = Arc::new(Mutex::new(Times::default()));
    let begun = Instant::now() + Duration::from_millis(100);
    let workers = (0..connections).map(|_| {
        let (next, make, times) = (Arc::clone(&next), Arc::clone(make), Arc::clone(&times));
        tokio::spawn(async move {
            let mut connection = Connection::open(address).await?;
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= requests {
                    return Ok::<_, anyhow::Error>(());
                }
                let due = begun + Duration::from_secs_f64(number as f64 / a_second as f64);
                let request = make(number);
                sleep_until(due).await;
                connection.ask(&request, expected).await?;
                times.lock().unwrap_or_else(PoisonError::into_inner).add(due.elapsed());
            }
        })
    });
    for done in try_join_all(workers).await? {
        done?;
    }
    let times = times.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Ok(times)
}

/// One kept connection.
struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    async fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(4096) })
    }

    async fn ask(&mut self, request: &[u8], expected: u16) -> Result<()> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        loop {
            let read = self.stream.read_buf(&mut self.buffer).await?;
            ensure!(read > 0, "the server closed the connection");
            let text = std::str::from_utf8(&self.buffer).context("an answer is text")?;
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.context("an answer says its length")?.parse()?;
            if body.len() >= length {
                let status = head.split(' ').nth(1).context("an answer has a status")?;
                ensure!(status == expected.to_string(), "expected {expected}: {text}");
                return Ok(());
            }
        }
    }
}
