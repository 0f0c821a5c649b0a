//! The system calls that a task may not make, as the program that the kernel asks about each call.
//!
//! It is a list of what is refused, not of what is allowed: tasks are whatever people run. A refused call fails with
//! EPERM, as if the user had not the right. This is no crate's work because those that there are kill what comes from
//! another instruction set, and do not see calls of the x32 one, by which anything could be asked for.

use std::sync::OnceLock;

use libc::{c_long, sock_filter};

/// How the kernel names the instruction set that a call is made from.
const ARCHITECTURE: Option<u32> = if cfg!(target_arch = "x86_64") {
    Some(0xc000_003e)
} else if cfg!(target_arch = "aarch64") {
    Some(0xc000_00b7)
} else {
    None
};

/// Calls from here on are those of x32, on the processors that have it.
const X32: Option<u32> = if cfg!(target_arch = "x86_64") { Some(0x4000_0000) } else { None };

/// Not in every list of the system's calls; the same numbers on every processor.
const SYS_OPEN_TREE_ATTR: c_long = 467;
const SYS_FILE_SETATTR: c_long = 469;
#[cfg(target_arch = "x86_64")]
const SYS_KEXEC_FILE_LOAD: c_long = 320;
#[cfg(not(target_arch = "x86_64"))]
const SYS_KEXEC_FILE_LOAD: c_long = 294;

/// A call: what it is called by here, and its number.
type Call = (&'static str, c_long);

macro_rules! calls {
    ($($call:path),* $(,)?) => { &[$((stringify!($call), $call)),*] };
}

/// What cannot be done, and the calls that are refused so that it cannot. `docs/sandbox.md` has the same table.
const REFUSED: &[(&str, &[Call])] = &[
    (
        "reach into other processes",
        calls![
            libc::SYS_ptrace,
            libc::SYS_process_vm_readv,
            libc::SYS_process_vm_writev,
            libc::SYS_process_madvise,
            libc::SYS_pidfd_getfd,
            libc::SYS_kcmp,
            libc::SYS_userfaultfd,
        ],
    ),
    (
        "see the file system otherwise, or hold up who uses it",
        calls![
            libc::SYS_mount,
            libc::SYS_umount2,
            libc::SYS_pivot_root,
            libc::SYS_chroot,
            libc::SYS_move_mount,
            libc::SYS_open_tree,
            SYS_OPEN_TREE_ATTR,
            libc::SYS_fsopen,
            libc::SYS_fsconfig,
            libc::SYS_fsmount,
            libc::SYS_fspick,
            libc::SYS_mount_setattr,
            libc::SYS_open_by_handle_at,
            libc::SYS_fanotify_init,
        ],
    ),
    // Landlock does not see them. They need no right to write, and can keep a file from ever being written again.
    ("set flags of files", calls![SYS_FILE_SETATTR]),
    // In which a user has all rights.
    ("make or enter namespaces", calls![libc::SYS_unshare, libc::SYS_setns]),
    (
        "change or watch the kernel",
        calls![
            libc::SYS_kexec_load,
            SYS_KEXEC_FILE_LOAD,
            libc::SYS_init_module,
            libc::SYS_finit_module,
            libc::SYS_delete_module,
            libc::SYS_bpf,
            libc::SYS_perf_event_open,
        ],
    ),
    ("use keys that the kernel keeps", calls![libc::SYS_add_key, libc::SYS_request_key, libc::SYS_keyctl]),
    (
        "ask for what no filter sees",
        calls![libc::SYS_io_uring_setup, libc::SYS_io_uring_enter, libc::SYS_io_uring_register],
    ),
    (
        "change the machine as a whole",
        calls![
            libc::SYS_reboot,
            libc::SYS_swapon,
            libc::SYS_swapoff,
            libc::SYS_acct,
            libc::SYS_quotactl,
            libc::SYS_quotactl_fd,
            libc::SYS_syslog,
            libc::SYS_vhangup,
            libc::SYS_sethostname,
            libc::SYS_setdomainname,
            libc::SYS_settimeofday,
            libc::SYS_clock_settime,
            libc::SYS_clock_adjtime,
            libc::SYS_adjtimex,
        ],
    ),
    #[cfg(target_arch = "x86_64")]
    ("speak to devices by their ports (x86-64)", calls![libc::SYS_iopl, libc::SYS_ioperm]),
];

/// Requests of `ioctl` that are refused: by the first two one types into a terminal, by the others one sets flags of files.
const REFUSED_REQUESTS: [(&str, u32); 5] = [
    ("TIOCSTI", 0x5412),
    ("TIOCLINUX", 0x541c),
    ("FS_IOC_SETFLAGS", 0x4008_6602),
    ("FS_IOC_FSSETXATTR", 0x401c_5820),
    ("FS_IOC_ENABLE_VERITY", 0x4080_6685),
];

/// New namespaces for a new process.
const NAMESPACES: u32 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET)
    .cast_unsigned();

/// Returns the filter; none for a processor that it was not made for.
pub(super) fn program() -> Option<&'static [sock_filter]> {
    static PROGRAM: OnceLock<Option<Vec<sock_filter>>> = OnceLock::new();
    PROGRAM.get_or_init(|| ARCHITECTURE.map(assemble)).as_deref()
}

/// Offsets in what the kernel shows of a call: its number, its instruction set, and the lower halves of its first two
/// arguments (both processors store these first).
const NUMBER: u32 = 0;
const SET: u32 = 4;
const ARGUMENTS: [u32; 2] = [16, 24];

const EQUAL: u32 = libc::BPF_JEQ;
const AT_LEAST: u32 = libc::BPF_JGE;
const ANY_BIT: u32 = libc::BPF_JSET;

fn assemble(architecture: u32) -> Vec<sock_filter> {
    let refused = answer(libc::SECCOMP_RET_ERRNO | libc::EPERM.cast_unsigned());
    let absent = answer(libc::SECCOMP_RET_ERRNO | libc::ENOSYS.cast_unsigned());
    let allowed = answer(libc::SECCOMP_RET_ALLOW);
    let mut program = vec![load(SET), skip_if(EQUAL, architecture, 1), refused, load(NUMBER)];
    if let Some(first) = X32 {
        program.extend([skip_unless(AT_LEAST, first, 1), refused]);
    }
    // Its flags lie where no filter sees them. Libraries take the older call where this one is absent.
    program.extend([skip_unless(EQUAL, number(libc::SYS_clone3), 1), absent]);
    for (_, call) in REFUSED.iter().flat_map(|(_, calls)| *calls) {
        program.extend([skip_unless(EQUAL, number(*call), 1), refused]);
    }
    program.extend([
        skip_unless(EQUAL, number(libc::SYS_clone), 4),
        load(ARGUMENTS[0]),
        skip_unless(ANY_BIT, NAMESPACES, 1),
        refused,
        allowed,
        // One's own limits are those of the process 0.
        skip_unless(EQUAL, number(libc::SYS_prlimit64), 4),
        load(ARGUMENTS[0]),
        skip_unless(EQUAL, 0, 1),
        allowed,
        refused,
        skip_unless(EQUAL, number(libc::SYS_ioctl), 1 + 2 * REFUSED_REQUESTS.len() as u8),
        load(ARGUMENTS[1]),
    ]);
    for (_, request) in REFUSED_REQUESTS {
        program.extend([skip_unless(EQUAL, request, 1), refused]);
    }
    program.push(allowed);
    program
}

fn number(call: c_long) -> u32 {
    u32::try_from(call).expect("calls have small numbers")
}

fn load(offset: u32) -> sock_filter {
    instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset, 0, 0)
}

fn answer(answer: u32) -> sock_filter {
    instruction(libc::BPF_RET | libc::BPF_K, answer, 0, 0)
}

fn skip_if(test: u32, value: u32, count: u8) -> sock_filter {
    instruction(libc::BPF_JMP | test | libc::BPF_K, value, count, 0)
}

fn skip_unless(test: u32, value: u32, count: u8) -> sock_filter {
    instruction(libc::BPF_JMP | test | libc::BPF_K, value, 0, count)
}

fn instruction(code: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code: u16::try_from(code).expect("codes are small"), jt, jf, k }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(what: &str, names: impl Iterator<Item = String>) -> String {
        let names: Vec<String> = names.map(|name| format!("`{name}`")).collect();
        format!("| {what} | {} |\n", names.join(", "))
    }

    #[test]
    fn the_page_of_the_sandbox_names_what_is_refused() {
        let name = |(call, _): &Call| {
            call.split_once("SYS_").expect("numbers of calls are called so").1.to_lowercase()
        };
        let calls: String = REFUSED.iter().map(|(what, calls)| row(what, calls.iter().map(name))).collect();
        let requests = row(
            "by `ioctl`: type into terminals, set flags of files",
            REFUSED_REQUESTS.iter().map(|(name, _)| (*name).to_owned()),
        );
        let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/sandbox.md"))
            .expect("the page is there");
        let table = format!("|---|---|\n{calls}{requests}\n");
        let is_whole = page.contains(&table) || !cfg!(target_arch = "x86_64");
        assert!(is_whole, "docs/sandbox.md is to have the table\n{table}");
    }
}
