//! The one place of `unsafe`: mappings that linear memories lie in, the control word that two
//! threads share, and compiled code from the cache.
//!
//! # Who may touch a mapping
//!
//! A [`Mapping`] is owned by one process. While an instance runs in it, it is *lent*: the instance
//! holds a [`Lent`], and the owner cannot look. When the instance is gone the owner has it to itself
//! again, and reads or writes its bytes as a slice; the next instance takes over the same pages,
//! and nothing is copied. `Arc::get_mut` is what proves that nothing is lent.
//!
//! The control memory is always lent and never looked at as a slice: [`Control`] has atomic
//! operations on its words only, and so has the transformed code.

#![expect(
    unsafe_code,
    reason = "mmap, shared control words and compiled code have no safe interface"
)]

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::mm::{Advice, MapFlags, MprotectFlags, ProtFlags};
use transform::abi;
use wasmtime::{LinearMemory, MemoryCreator, MemoryType, Module};

/// A linear memory never moves: all that 32-bit addresses can reach is reserved.
pub(crate) const RESERVATION_BYTES: usize = 1 << 32;

/// What follows the reservation and is never accessible, so that compiled code need not check
/// addresses with small static offsets (Wasmtime's default).
pub(crate) const GUARD_BYTES: usize = 32 << 20;

/// What is reserved for a heap of exception objects, when a program has any. Different from
/// [`RESERVATION_BYTES`], which is how [`Creator`] knows one.
pub(crate) const HEAP_RESERVATION_BYTES: usize = 1 << 26;

/// A page of the next larger kind, where the kernel has those.
pub(crate) const LARGE_PAGE_BYTES: usize = 2 << 20;

/// What takes the kernel longer than as many small pages would has been searched for or moved
/// together: memory is scattered.
const LARGE_PAGE_TIME_MAX: Duration = Duration::from_millis(2);

/// Images and accesses are cut at the host's smallest page.
pub(crate) const PAGE_BYTES: usize = 4096;

/// A reserved range of addresses, the front of which is readable and writable.
struct Reservation {
    base: NonNull<u8>,
    reserved: usize,
    capacity: usize,
    /// How much of it is accessible; a multiple of [`PAGE_BYTES`], at most `capacity`.
    accessible: AtomicUsize,
    /// Whom growth is charged to, if anyone.
    budget: Option<Arc<Budget>>,
}

// SAFETY: the range belongs to this value until it is dropped; who may touch its bytes when is
// what `Mapping`, `Lent` and `Control` see to.
unsafe impl Send for Reservation {}
// SAFETY: as above; all fields but the range are immutable or atomic.
unsafe impl Sync for Reservation {}

/// How much linear memory a process may use, over all its memories.
#[derive(Debug)]
pub(crate) struct Budget {
    max: u64,
    used: AtomicU64,
}

/// The range that a linear memory lies in, as its process owns it.
pub(crate) struct Mapping(Arc<Reservation>);

/// The same range, as an instance has it. Not `Clone`: it is lent once.
pub(crate) struct Lent(Arc<Reservation>);

/// The words by which a process is asked to stop, from any thread.
#[derive(Clone)]
pub(crate) struct Control(Arc<Reservation>);

/// Hands prepared memories to Wasmtime, in the order of the module's memories.
pub(crate) struct Creator;

/// How many ranges are reserved in this process. Each is two mappings to the kernel, which allows
/// a process so many and no more.
static RESERVATIONS: AtomicUsize = AtomicUsize::new(0);

/// How many mappings linear memories take in this process.
pub(crate) fn mappings() -> usize {
    2 * RESERVATIONS.load(Ordering::Relaxed)
}

thread_local! {
    /// What the instantiation under way on this thread takes its memories from.
    static PREPARED: RefCell<VecDeque<Lent>> = const { RefCell::new(VecDeque::new()) };
}

impl Budget {
    pub(crate) fn new(max: Option<u64>) -> Arc<Self> {
        Arc::new(Self { max: max.unwrap_or(u64::MAX), used: AtomicU64::new(0) })
    }

    pub(crate) fn max(&self) -> Option<u64> {
        (self.max != u64::MAX).then_some(self.max)
    }

    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Gives back what was taken for memory that is no mapping.
    pub(crate) fn give(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn take(&self, bytes: u64) -> bool {
        let grown = |used: u64| used.checked_add(bytes).filter(|used| *used <= self.max);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown).is_ok()
    }
}

impl Reservation {
    fn new(
        bytes: usize,
        capacity: usize,
        guard: usize,
        budget: Option<Arc<Budget>>,
    ) -> io::Result<Self> {
        assert!(bytes <= capacity, "the accessible part lies within the capacity");
        let reserved = capacity + guard;
        // SAFETY: a fresh anonymous mapping at an address of the kernel's choice replaces nothing.
        let base = unsafe {
            let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
            rustix::mm::mmap_anonymous(ptr::null_mut(), reserved, ProtFlags::empty(), flags)?
        };
        let base = NonNull::new(base.cast()).expect("mmap does not map address zero");
        RESERVATIONS.fetch_add(1, Ordering::Relaxed);
        let reservation =
            Self { base, reserved, capacity, accessible: AtomicUsize::new(0), budget };
        reservation.grow(bytes)?;
        Ok(reservation)
    }

    fn bytes(&self) -> usize {
        self.accessible.load(Ordering::Acquire)
    }

    /// Makes the first `bytes` accessible; never less than there is. Not called by two threads at
    /// once: a `Mapping` is `&mut` here, and a `Lent` is with the one instance that has it.
    fn grow(&self, bytes: usize) -> io::Result<()> {
        let bytes = bytes.next_multiple_of(PAGE_BYTES);
        let before = self.bytes();
        if bytes <= before {
            return Ok(());
        }
        if bytes > self.capacity {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        let more = (bytes - before) as u64;
        if self.budget.as_ref().is_some_and(|budget| !budget.take(more)) {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        // SAFETY: the range lies within the reservation, which is ours, and only gains rights.
        let granted = unsafe {
            let start = self.base.as_ptr().add(before).cast();
            rustix::mm::mprotect(start, bytes - before, MprotectFlags::READ | MprotectFlags::WRITE)
        };
        if let Err(refused) = granted {
            self.credit(more);
            return Err(refused.into());
        }
        self.accessible.store(bytes, Ordering::Release);
        Ok(())
    }

    /// Takes the rights to what is behind the first `bytes`, which must be zero: it is there again
    /// when this grows. Not called while anything is lent.
    fn shrink(&mut self, bytes: usize) -> io::Result<()> {
        let bytes = bytes.next_multiple_of(PAGE_BYTES);
        let before = self.bytes();
        if bytes >= before {
            return Ok(());
        }
        // SAFETY: the range lies within the reservation, which is ours alone (`&mut`), and only
        // loses rights; no slice of it is alive, since one would borrow `self`.
        unsafe {
            let start = self.base.as_ptr().add(bytes).cast();
            rustix::mm::mprotect(start, before - bytes, MprotectFlags::empty())?;
        }
        self.accessible.store(bytes, Ordering::Release);
        self.credit((before - bytes) as u64);
        Ok(())
    }

    fn credit(&self, bytes: u64) {
        if let Some(budget) = &self.budget {
            budget.used.fetch_sub(bytes, Ordering::Relaxed);
        }
    }

    fn word(&self, offset: usize) -> &AtomicU32 {
        assert!(
            offset.is_multiple_of(4) && offset + 4 <= self.bytes(),
            "a word of the control page"
        );
        // SAFETY: in bounds and aligned (the base is page-aligned), and live as long as `self`.
        // Only `Control` calls this, on a control memory, of which every access is atomic: those
        // of the transformed code are `i32.atomic` instructions, and no slice of it is ever made.
        unsafe { AtomicU32::from_ptr(self.base.as_ptr().add(offset).cast()) }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.credit(self.bytes() as u64);
        // SAFETY: the range was mapped by `new`, is unmapped once, and no reference into it
        // outlives `self`. An instance that runs in it holds the `Arc` that this is in.
        let unmapped = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.reserved) };
        RESERVATIONS.fetch_sub(1, Ordering::Relaxed);
        debug_assert!(unmapped.is_ok(), "munmap of our own mapping");
    }
}

impl Mapping {
    /// Zeroes, of which the first `bytes` (rounded up to pages) are accessible.
    pub(crate) fn new(bytes: usize, budget: Option<Arc<Budget>>) -> io::Result<Self> {
        Reservation::new(bytes, RESERVATION_BYTES, GUARD_BYTES, budget).map(|r| Self(Arc::new(r)))
    }

    /// Charges what there is, and what it grows by, to a budget. Says whether that has room.
    pub(crate) fn charge(&mut self, budget: Arc<Budget>) -> bool {
        let reservation = Arc::get_mut(&mut self.0).expect("it is lent to nobody");
        assert!(reservation.budget.is_none(), "it is charged once");
        if !budget.take(reservation.bytes() as u64) {
            return false;
        }
        reservation.budget = Some(budget);
        true
    }

    /// Ends the charge, and leaves the budget as it is: what was in this memory is kept elsewhere.
    pub(crate) fn detach(&mut self) {
        Arc::get_mut(&mut self.0).expect("it is lent to nobody").budget = None;
    }

    /// The reverse of [`Mapping::detach`]: the budget has what there is in it already.
    pub(crate) fn attach(&mut self, budget: Arc<Budget>) {
        let reservation = Arc::get_mut(&mut self.0).expect("it is lent to nobody");
        assert!(reservation.budget.is_none(), "it is charged once");
        reservation.budget = Some(budget);
    }

    /// Makes less of it accessible. What is behind these bytes must be zero.
    pub(crate) fn shrink(&mut self, bytes: usize) -> io::Result<()> {
        Arc::get_mut(&mut self.0).expect("it is lent to nobody").shrink(bytes)
    }

    /// How many bytes there are; right while an instance runs in it, too.
    pub(crate) fn size(&self) -> usize {
        self.0.bytes()
    }

    /// Makes more of it accessible.
    pub(crate) fn grow(&mut self, bytes: usize) -> io::Result<()> {
        assert!(Arc::get_mut(&mut self.0).is_some(), "nobody else grows it");
        self.0.grow(bytes)
    }

    /// Hands it to the instance that is about to be made.
    pub(crate) fn lend(&mut self) -> Lent {
        assert!(Arc::get_mut(&mut self.0).is_some(), "it is lent once");
        Lent(Arc::clone(&self.0))
    }

    /// Its bytes; none while it is lent.
    pub(crate) fn bytes(&mut self) -> Option<&mut [u8]> {
        let reservation = Arc::get_mut(&mut self.0)?;
        // SAFETY: accessible bytes are initialised (the kernel zeroes them), they are ours alone
        // (`get_mut`: no instance has them lent, and none can get them while `self` is borrowed).
        Some(unsafe {
            std::slice::from_raw_parts_mut(reservation.base.as_ptr(), reservation.bytes())
        })
    }

    /// Lets the kernel make a range ready to be written, all at once: cheaper than a fault for
    /// each page.
    pub(crate) fn populate(&mut self, start: usize, length: usize) {
        self.advise(start, length, Advice::LinuxPopulateWrite);
    }

    /// The first place at or behind `start` where a large page can begin.
    pub(crate) fn next_large_page(&self, start: usize) -> usize {
        let base = self.0.base.as_ptr().addr();
        (base + start).next_multiple_of(LARGE_PAGE_BYTES) - base
    }

    /// The same for a whole large page, which the kernel makes at once if it has one to give: for
    /// the whole of it little more than for each small page by itself. False if it should not be
    /// asked for more: there is none, or it took long to find.
    pub(crate) fn populate_large(&mut self, start: usize) -> bool {
        let begun = Instant::now();
        self.advise(start, LARGE_PAGE_BYTES, Advice::LinuxHugepage)
            && self.advise(start, LARGE_PAGE_BYTES, Advice::LinuxPopulateWrite)
            && begun.elapsed() < LARGE_PAGE_TIME_MAX
    }

    /// A kernel that cannot do such a thing has the pages made when they are written.
    fn advise(&mut self, start: usize, length: usize, advice: Advice) -> bool {
        if start.checked_add(length).is_none_or(|end| end > self.0.bytes()) {
            return false;
        }
        // SAFETY: the range lies within the accessible part of our own mapping, and none of these
        // changes a byte of it.
        unsafe {
            let start = self.0.base.as_ptr().add(start).cast();
            rustix::mm::madvise(start, length, advice).is_ok()
        }
    }
}

impl Control {
    /// A control memory with all words zero.
    pub(crate) fn new(bytes: usize) -> io::Result<Self> {
        Reservation::new(bytes, RESERVATION_BYTES, GUARD_BYTES, None).map(|r| Self(Arc::new(r)))
    }

    /// Whether nobody else has it: no instance, and none of those that may ask it to stop.
    pub(crate) fn is_alone(&mut self) -> bool {
        Arc::get_mut(&mut self.0).is_some()
    }

    /// Hands it to the instance that is about to be made.
    pub(crate) fn lend(&self) -> Lent {
        Lent(Arc::clone(&self.0))
    }

    /// All of them as they are at the start.
    pub(crate) fn reset(&self) {
        for word in [abi::LOOP, abi::ENTRY, abi::LEAVE] {
            self.clear(word.offset, u32::MAX);
        }
    }

    /// Sets bits of the word at a byte offset.
    pub(crate) fn set(&self, offset: usize, bits: u32) {
        self.0.word(offset).fetch_or(bits, Ordering::SeqCst);
    }

    /// Clears bits of the word at a byte offset.
    pub(crate) fn clear(&self, offset: usize, bits: u32) {
        self.0.word(offset).fetch_and(!bits, Ordering::SeqCst);
    }
}

// SAFETY: the bytes from `as_ptr` on are reserved for `byte_capacity` and a guard, accessible for
// `byte_size`, stay where they are, and are touched by nobody but the instance while it lives.
unsafe impl LinearMemory for Lent {
    fn byte_size(&self) -> usize {
        self.0.bytes()
    }

    fn byte_capacity(&self) -> usize {
        self.0.capacity
    }

    fn grow_to(&mut self, bytes: usize) -> wasmtime::Result<()> {
        Ok(self.0.grow(bytes)?)
    }

    fn as_ptr(&self) -> *mut u8 {
        self.0.base.as_ptr()
    }
}

// SAFETY: what it returns fulfils `LinearMemory`, is at least `minimum` bytes long and as reserved
// as Wasmtime asks. A memory that is handed on is not zero-filled, as the trait wants it to be
// for the sake of what a program may expect: here the program is the one that left it so.
unsafe impl MemoryCreator for Creator {
    fn new_memory(
        &self,
        _ty: MemoryType,
        minimum: usize,
        _maximum: Option<usize>,
        reserved: Option<usize>,
        guard: usize,
    ) -> Result<Box<dyn LinearMemory>, String> {
        if reserved == Some(HEAP_RESERVATION_BYTES) {
            let heap = Reservation::new(minimum, HEAP_RESERVATION_BYTES, guard, None);
            let heap = heap.map_err(|error| error.to_string())?;
            return Ok(Box::new(Lent(Arc::new(heap))));
        }
        let lent = PREPARED.with_borrow_mut(VecDeque::pop_front);
        let lent = lent.ok_or("a memory was asked for that was not prepared")?;
        let fits = reserved.is_none_or(|reserved| reserved <= lent.0.capacity)
            && lent.0.capacity + guard <= lent.0.reserved
            && minimum <= lent.0.bytes();
        if !fits {
            return Err("a memory was prepared smaller than it was asked for".into());
        }
        Ok(Box::new(lent))
    }
}

/// Runs `instantiate` with these memories, in the order of the module's own.
pub(crate) fn with_memories<R>(memories: Vec<Lent>, instantiate: impl FnOnce() -> R) -> R {
    PREPARED.set(memories.into());
    let instance = instantiate();
    // What was not taken is given back; with an error there may be some.
    PREPARED.take();
    instance
}

/// What vouches for compiled code in the cache. Random, and known to the cache's owner alone.
pub(crate) type CacheKey = [u8; 32];

/// The seal of a cache entry: a keyed hash of what it is for and what it holds.
pub(crate) fn seal(key: &CacheKey, name: &[u8], compiled: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_keyed(key);
    hasher.update(&(name.len() as u64).to_le_bytes()).update(name).update(compiled);
    *hasher.finalize().as_bytes()
}

/// Loads compiled code from the cache; none if its seal is not the one that belongs to it, or
/// if Wasmtime finds that it is not for this version of it and these settings.
pub(crate) fn load_compiled(
    engine: &wasmtime::Engine,
    key: &CacheKey,
    name: &[u8],
    expected: &[u8; 32],
    compiled: &[u8],
) -> Option<Module> {
    // Compared in constant time, by `blake3::Hash`.
    if blake3::Hash::from(seal(key, name, compiled)) != blake3::Hash::from(*expected) {
        return None;
    }
    // SAFETY: Wasmtime runs unchecked what it is given here, so it must be what `serialize`
    // returned, byte for byte. The seal says so: it was made by whoever knows the key, over
    // exactly these bytes. The key is random, readable by the owner of the cache alone (mode
    // 0600 in a directory of mode 0700), and used by this crate to seal what `serialize`
    // returned and nothing else; so an entry that is truncated, changed, from another machine or
    // for another module fails above. An attacker who can read the key is the owner, who can
    // run code without our help. Nobody can change the bytes after the check: they are in our
    // own memory, not in a mapped file.
    unsafe { Module::deserialize(engine, compiled) }.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_seen_by_the_owner_only_while_nothing_is_lent() {
        let mut mapping = Mapping::new(3 * PAGE_BYTES, None).expect("there is room");
        mapping.bytes().expect("not lent")[5] = 7;
        let mut lent = mapping.lend();
        assert!(mapping.bytes().is_none());
        lent.grow_to(9 * PAGE_BYTES).expect("there is room");
        assert_eq!(mapping.size(), 9 * PAGE_BYTES);
        drop(lent);
        let bytes = mapping.bytes().expect("given back");
        assert_eq!((bytes.len(), bytes[5], bytes[9 * PAGE_BYTES - 1]), (9 * PAGE_BYTES, 7, 0));
    }

    #[test]
    fn growth_is_charged_and_given_back() {
        let budget = Budget::new(Some(4 * PAGE_BYTES as u64));
        let mut mapping =
            Mapping::new(3 * PAGE_BYTES, Some(budget.clone())).expect("within the budget");
        assert_eq!(
            mapping.grow(5 * PAGE_BYTES).map_err(|e| e.kind()),
            Err(io::ErrorKind::QuotaExceeded)
        );
        mapping.grow(4 * PAGE_BYTES).expect("within the budget");
        assert!(Mapping::new(PAGE_BYTES, Some(budget.clone())).is_err());
        drop(mapping);
        assert_eq!(budget.used(), 0);
        let mut late = Mapping::new(2 * PAGE_BYTES, None).expect("there is room");
        assert!(late.charge(budget.clone()));
        assert!(!Mapping::new(3 * PAGE_BYTES, None).expect("there is room").charge(budget.clone()));
        assert!(late.grow(5 * PAGE_BYTES).is_err());
        drop(late);
        assert_eq!(budget.used(), 0);
    }
}
