//! Calls preview 0 and preview 1 side by side, where they differ: a file's status, a subscription,
//! and where a seek counts from. And reads a directory name by name while it changes.

#[link(wasm_import_module = "wasi_unstable")]
unsafe extern "C" {
    #[link_name = "fd_seek"]
    fn seek_0(fd: u32, offset: i64, whence: u32, at: *mut u64) -> u32;
    #[link_name = "path_filestat_get"]
    fn stat_0(dir: u32, follow: u32, path: *const u8, len: usize, at: *mut u64) -> u32;
    #[link_name = "poll_oneoff"]
    fn poll_0(subscriptions: *const u64, events: *mut u64, count: u32, at: *mut u32) -> u32;
}

#[link(wasm_import_module = "wasi_snapshot_preview1")]
unsafe extern "C" {
    #[link_name = "fd_seek"]
    fn seek_1(fd: u32, offset: i64, whence: u32, at: *mut u64) -> u32;
    #[link_name = "path_filestat_get"]
    fn stat_1(dir: u32, follow: u32, path: *const u8, len: usize, at: *mut u64) -> u32;
    #[link_name = "poll_oneoff"]
    fn poll_1(subscriptions: *const u64, events: *mut u64, count: u32, at: *mut u32) -> u32;
    fn clock_time_get(clock: u32, precision: u64, at: *mut u64) -> u32;
    fn fd_readdir(fd: u32, at: *mut u8, len: usize, cookie: u64, used: *mut u32) -> u32;
}

use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

/// The first directory that was granted.
const DATA: u32 = 3;

fn main() {
    std::fs::write("/data/five", "12345").unwrap();
    let file = std::fs::File::open("/data/five").unwrap();
    let fd = file.as_raw_fd() as u32;
    let mut at = 0;
    let seek = |done: u32, at: u64| println!("seek {done} {at}");
    unsafe {
        // Whence is set, current, end in preview 1, and current, end, set in preview 0.
        seek(seek_1(fd, 4, 0, &mut at), at);
        seek(seek_1(fd, -1, 1, &mut at), at);
        seek(seek_1(fd, 2, 2, &mut at), at);
        seek(seek_0(fd, 4, 2, &mut at), at);
        seek(seek_0(fd, -1, 0, &mut at), at);
        seek(seek_0(fd, 2, 1, &mut at), at);
        seek(seek_1(fd, -9, 1, &mut at), at);
        seek(seek_1(fd, 0, 3, &mut at), at);
        seek(seek_1(1, 0, 1, &mut at), at);
    }
    stat();
    sleep();
    list();
}

fn stat() {
    let (mut zero, mut one) = ([u64::MAX; 8], [u64::MAX; 8]);
    let done = unsafe {
        (
            stat_0(DATA, 0, "five".as_ptr(), 4, zero.as_mut_ptr()),
            stat_1(DATA, 0, "five".as_ptr(), 4, one.as_mut_ptr()),
        )
    };
    println!("stat {done:?} type {} {}", zero[2] as u8, one[2] as u8);
    println!("links {} {}, size {} {}", zero[2] >> 32, one[3], zero[3], one[4]);
    println!("{} {}", zero[4..7] == one[5..8], zero[7] == u64::MAX);
}

/// A clock after 30 ms, relative, with user data 77.
fn sleep() {
    let nanos = 30_000_000;
    let (mut events, mut count) = ([0; 4], 0);
    let began = Instant::now();
    let zero = [77, 0, 0, 1, nanos, 1, 0];
    let done = unsafe { poll_0(zero.as_ptr(), events.as_mut_ptr(), 1, &mut count) };
    let slept = began.elapsed() >= Duration::from_millis(30);
    println!("poll {done} {count} {events:?} {slept}");
    let began = Instant::now();
    // The clock, and standard error, which is always ready: no sleep.
    let one = [77, 0, 1, nanos << 10, 1, 0, 78, 2, 2, 0, 0, 0];
    let done = unsafe { poll_1(one.as_ptr(), events.as_mut_ptr(), 2, &mut count) };
    let slept = began.elapsed() >= Duration::from_millis(30);
    println!("poll {done} {count} {events:?} {slept}");
    until(&mut events, &mut count);
}

/// A moment on each clock, 30 ms from now, by the flag for absolute deadlines; and one long past.
fn until(events: &mut [u64; 4], count: &mut u32) {
    for clock in [0_u32, 1] {
        for nanos in [30_000_000, 0] {
            let mut now = 0;
            let began = Instant::now();
            unsafe { clock_time_get(clock, 1, &mut now) };
            let subscription = [77, 0, clock.into(), now + nanos, 1, 1];
            let done = unsafe { poll_1(subscription.as_ptr(), events.as_mut_ptr(), 1, count) };
            let slept = began.elapsed() >= Duration::from_millis(30);
            println!("until {done} {count} {events:?} {slept}");
        }
    }
}

/// One name at a time, by cookie, while names come and go.
fn list() {
    std::fs::create_dir("/data/dir").unwrap();
    for name in ["a", "b", "c", "d"] {
        std::fs::write(format!("/data/dir/{name}"), "").unwrap();
    }
    let data = std::fs::File::open("/data/dir").unwrap();
    let (mut cookie, mut names) = (0, vec![]);
    loop {
        // Room for one entry with a name of one or two letters.
        let (mut entry, mut used) = ([0; 26], 0);
        let fd = data.as_raw_fd() as u32;
        let done = unsafe { fd_readdir(fd, entry.as_mut_ptr(), 26, cookie, &mut used) };
        assert_eq!(done, 0);
        if used == 0 {
            break;
        }
        let length = entry[16] as usize;
        names.push(String::from_utf8_lossy(&entry[24..24 + length]).into_owned());
        cookie = u64::from_le_bytes(entry[..8].try_into().unwrap());
        std::fs::write(format!("/data/dir/0{cookie}"), "").unwrap();
        let _ = std::fs::remove_file("/data/dir/c");
    }
    println!("{names:?}");
}
