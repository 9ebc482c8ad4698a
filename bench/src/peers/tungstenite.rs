//! tokio-tungstenite, tuned: one thread, a task and a queue per peer, one flush for all that waits.
//!
//! As it comes it takes 128 KiB per connection and flushes every message; both are settings, so they are set.

use std::io;

use bytes::Bytes;
use futures_util::{FutureExt, SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::Channel;

/// Read buffers this small cost nothing on large messages: once a length is known the library reserves it.
const READ_BUFFER_BYTES: usize = 4 * 1024;
/// A burst of a hundred small messages fits, so that it leaves in one write.
const WRITE_BUFFER_BYTES: usize = 16 * 1024;

/// Serves on 127.0.0.1 until killed.
///
/// # Errors
/// What the system refused.
pub fn serve(port: u16) -> io::Result<()> {
    super::run("tungstenite", port, accept)
}

async fn accept(listener: TcpListener) -> io::Result<()> {
    let channel = Channel::default();
    loop {
        let (stream, _) = listener.accept().await?;
        let channel = channel.clone();
        tokio::task::spawn_local(async move {
            // How a connection ends is of no interest here: the driver notices what is missing.
            drop(connection(stream, channel).await);
        });
    }
}

async fn connection(stream: TcpStream, channel: Channel) -> Result<(), Error> {
    stream.set_nodelay(true)?;
    let config =
        WebSocketConfig::default().read_buffer_size(READ_BUFFER_BYTES).write_buffer_size(WRITE_BUFFER_BYTES);
    let mut echo = false;
    // The library fixes the type of this closure's error, and it is large.
    #[expect(clippy::result_large_err)]
    let look = |request: &Request, response: Response| {
        echo = request.uri().path() == "/echo";
        Ok(response)
    };
    let socket = tokio_tungstenite::accept_hdr_async_with_config(stream, look, Some(config)).await?;
    if echo { echoing(socket).await } else { broadcasting(socket, channel).await }
}

/// Flushes only when nothing more can be read at once: several messages in one read leave in one write.
async fn echoing(mut socket: WebSocketStream<TcpStream>) -> Result<(), Error> {
    loop {
        let next = match socket.next().now_or_never() {
            Some(next) => next,
            None => {
                socket.flush().await?;
                socket.next().await
            }
        };
        let Some(message) = next else { return Ok(()) };
        let message = message?;
        if message.is_binary() || message.is_text() {
            socket.feed(message).await?;
        }
    }
}

async fn broadcasting(mut socket: WebSocketStream<TcpStream>, channel: Channel) -> Result<(), Error> {
    let subscriber = channel.join();
    let outcome = loop {
        tokio::select! {
            message = socket.next() => match message {
                Some(Ok(Message::Binary(payload))) => channel.publish(&payload),
                Some(Ok(Message::Text(text))) => channel.publish(&Bytes::from(text)),
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_))) => {}
                Some(Err(error)) => break Err(error),
                None => break Ok(()),
            },
            () = subscriber.wake.notified() => {
                let mut fed = Ok(());
                while let (Ok(()), Some(payload)) = (&fed, subscriber.next()) {
                    fed = socket.feed(Message::Binary(payload)).await;
                }
                if let Err(error) = fed.and(socket.flush().await) {
                    break Err(error);
                }
            }
        }
    };
    channel.leave(&subscriber);
    outcome
}
