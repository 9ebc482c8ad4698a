//! Opens a socket towards a target, from the source address it should come from.
//!
//! Why: fifty thousand connections to one port need more than one source address, and only with
//! `IP_BIND_ADDRESS_NO_PORT` does a bound source leave the choice of the port to `connect`, where the kernel may use
//! the same port for different targets.
//!
//! Invariants: the socket is non-blocking, closes on exec, and has Nagle's algorithm off.

use mio::net::TcpStream;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{IpAddr, SocketAddr};

/// Begins to connect; writability says when it is done. `receive_buffer` is what is asked of the kernel, in bytes: set
/// before connecting, so that the window offered is as small from the first.
///
/// # Errors
/// No descriptor, no source port, or the system refuses at once.
pub fn open(
    target: SocketAddr,
    source: Option<IpAddr>,
    receive_buffer: Option<usize>,
) -> io::Result<TcpStream> {
    let kind = Type::STREAM.nonblocking().cloexec();
    let socket = Socket::new(Domain::for_address(target), kind, Some(Protocol::TCP))?;
    socket.set_tcp_nodelay(true)?;
    if let Some(bytes) = receive_buffer {
        socket.set_recv_buffer_size(bytes)?;
    }
    if let Some(source) = source {
        bind_address_no_port(&socket)?;
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
    match socket.connect(&target.into()) {
        Ok(()) => {}
        Err(error) if is_under_way(&error) => {}
        Err(error) => return Err(error),
    }
    Ok(TcpStream::from_std(socket.into()))
}

fn is_under_way(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error())
        || error.kind() == io::ErrorKind::WouldBlock
}

#[cfg(target_os = "linux")]
fn bind_address_no_port(socket: &Socket) -> io::Result<()> {
    nix::sys::socket::setsockopt(socket, nix::sys::socket::sockopt::IpBindAddressNoPort, &true)?;
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn bind_address_no_port(_socket: &Socket) -> io::Result<()> {
    Ok(()) // other systems choose the port at bind: fewer connections per address, nothing wrong
}
