//! The system calls that `std` lacks: a packet socket, and descriptors in a message.
#![expect(unsafe_code, reason = "libc calls that neither std nor tokio wraps")]

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::ptr;

/// The most descriptors that are handed over with one packet.
const MOST_DESCRIPTORS: usize = 4;

/// Room for the control message that carries them, aligned as the kernel reads it.
#[repr(C, align(8))]
struct ControlRoom([u8; 64]);

/// Makes a connected pair of packet sockets, closed in programs that are started later.
///
/// Packets keep the border of each message, and the end of one side is seen by the other.
pub(super) fn packet_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut pair: [RawFd; 2] = [-1; 2];
    let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC;
    // SAFETY: `pair` has room for the two descriptors that the call writes.
    let made = unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, pair.as_mut_ptr()) };
    if made != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call has just made both descriptors and nobody else owns them.
    Ok(unsafe { (OwnedFd::from_raw_fd(pair[0]), OwnedFd::from_raw_fd(pair[1])) })
}

/// Sends one packet, with copies of the descriptors, four at most; never waits.
pub(super) fn send_packet(
    socket: BorrowedFd<'_>,
    packet: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let mut numbers = [0; MOST_DESCRIPTORS];
    let count = descriptors.len();
    for (number, descriptor) in numbers[..count].iter_mut().zip(descriptors) {
        *number = descriptor.as_raw_fd();
    }
    let length = (count * size_of::<RawFd>()) as u32;
    let mut room = ControlRoom([0; 64]);
    let mut piece = libc::iovec { iov_base: packet.as_ptr().cast_mut().cast(), iov_len: packet.len() };
    // SAFETY: all fields of `msghdr` may be zero.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = ptr::from_mut(&mut piece);
    message.msg_iovlen = 1;
    if count > 0 {
        message.msg_control = ptr::from_mut(&mut room).cast();
        // SAFETY: `CMSG_SPACE` and `CMSG_LEN` only compute; the room is larger than the space of four
        // descriptors, so the first header and its data lie inside it.
        unsafe {
            message.msg_controllen = libc::CMSG_SPACE(length) as _;
            let header = libc::CMSG_FIRSTHDR(&raw const message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = libc::CMSG_LEN(length) as _;
            let data = libc::CMSG_DATA(header);
            ptr::copy_nonoverlapping(numbers.as_ptr().cast::<u8>(), data, length as usize);
        }
    }
    let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
    // SAFETY: `message` points to `piece`, `packet` and `room`, which all outlive the call.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, flags) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
