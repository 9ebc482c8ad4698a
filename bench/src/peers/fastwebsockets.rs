//! fastwebsockets behind hyper's upgrade: one thread, a reader and a writer per peer.
//!
//! After the upgrade the plain `TcpStream` is taken back out of hyper, which spares an indirection per read and
//! write. The library writes every frame at once; it offers no way to hold several back.

use std::convert::Infallible;
use std::io;

use bytes::Bytes;
use fastwebsockets::upgrade::{UpgradeFut, upgrade};
use fastwebsockets::{FragmentCollector, FragmentCollectorRead, Frame, OpCode, Payload, Role, WebSocket};
use fastwebsockets::{WebSocketError, WebSocketWrite};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

use super::{Channel, Subscriber};

/// Serves on 127.0.0.1 until killed.
///
/// # Errors
/// What the system refused.
pub fn serve(port: u16) -> io::Result<()> {
    super::run("fastwebsockets", port, accept)
}

async fn accept(listener: TcpListener) -> io::Result<()> {
    let channel = Channel::default();
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let channel = channel.clone();
        tokio::task::spawn_local(async move {
            let service = service_fn(|request| answer(request, channel.clone()));
            let served = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            // How a connection ends is of no interest here: the driver notices what is missing.
            drop(served.with_upgrades().await);
        });
    }
}

async fn answer(
    mut request: Request<Incoming>,
    channel: Channel,
) -> Result<Response<Empty<Bytes>>, WebSocketError> {
    let echo = request.uri().path() == "/echo";
    let (response, upgraded) = upgrade(&mut request)?;
    tokio::task::spawn_local(async move {
        let socket = plain(upgraded).await?;
        if echo { echoing(socket).await } else { broadcasting(socket, &channel).await }
    });
    Ok(response)
}

/// The socket alone, without the layers that brought it here.
async fn plain(upgraded: UpgradeFut) -> Result<WebSocket<TcpStream>, WebSocketError> {
    let upgraded = upgraded.await?.into_inner().into_inner();
    let parts = upgraded.downcast::<TokioIo<TcpStream>>().map_err(|_| WebSocketError::ConnectionClosed)?;
    // The driver sends nothing before it has the answer.
    if !parts.read_buf.is_empty() {
        return Err(WebSocketError::ConnectionClosed);
    }
    let mut socket = WebSocket::after_handshake(parts.io.into_inner(), Role::Server);
    socket.set_writev(true);
    Ok(socket)
}

async fn echoing(socket: WebSocket<TcpStream>) -> Result<(), WebSocketError> {
    let mut socket = FragmentCollector::new(socket);
    loop {
        let frame = socket.read_frame().await?;
        match frame.opcode {
            OpCode::Text | OpCode::Binary => socket.write_frame(frame).await?,
            OpCode::Close => return Ok(()),
            OpCode::Continuation | OpCode::Ping | OpCode::Pong => {}
        }
    }
}

async fn broadcasting(socket: WebSocket<TcpStream>, channel: &Channel) -> Result<(), WebSocketError> {
    let (read, write) = socket.split(TcpStream::into_split);
    let subscriber = channel.join();
    let outcome = tokio::select! {
        read = reading(FragmentCollectorRead::new(read), channel) => read,
        written = writing(write, &subscriber) => written,
    };
    channel.leave(&subscriber);
    outcome
}

async fn reading(
    mut socket: FragmentCollectorRead<OwnedReadHalf>,
    channel: &Channel,
) -> Result<(), WebSocketError> {
    // Pongs would have to go through the writer; the driver does not ping.
    let mut mute = |_: Frame<'_>| std::future::ready(Ok::<(), Infallible>(()));
    loop {
        let frame = socket.read_frame(&mut mute).await?;
        match frame.opcode {
            OpCode::Text | OpCode::Binary => channel.publish(&Bytes::copy_from_slice(&frame.payload)),
            OpCode::Close => return Ok(()),
            OpCode::Continuation | OpCode::Ping | OpCode::Pong => {}
        }
    }
}

async fn writing(
    mut socket: WebSocketWrite<OwnedWriteHalf>,
    subscriber: &Subscriber,
) -> Result<(), WebSocketError> {
    loop {
        subscriber.wake.notified().await;
        while let Some(payload) = subscriber.next() {
            socket.write_frame(Frame::binary(Payload::Borrowed(&payload))).await?;
        }
    }
}
