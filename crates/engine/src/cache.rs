//! Code on disk: bundles by their hash, and what was compiled of them.
//!
//! ```text
//! CACHE/key                      32 random bytes, mode 0600
//! CACHE/code/HASH                a bundle; its content is its name
//! CACHE/compiled/NAME            a seal of 32 bytes, then what Wasmtime compiled
//! ```
//!
//! NAME is the hash of (code hash, form, Wasmtime's own hash of its version, target and settings),
//! so that another version or another setting looks elsewhere. Files are written beside their place
//! and renamed into it: a reader finds the whole or nothing. A bundle that does not hash to its name
//! and compiled code whose seal is broken are as good as absent, and written anew. Everything here
//! can be deleted at any time.
//!
//! Two processes may share a cache. The first one makes the key; the other takes the one it finds.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::hash::{Hash, Hasher};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use wasmtime::Module;
use wire::CodeHash;

use crate::bundle;
use crate::raw::{self, CacheKey};

/// Which of a program's two modules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// What runs from the start.
    Run,
    /// What goes on after a stop.
    Resume,
}

/// A cache directory.
pub(crate) struct Cache {
    root: PathBuf,
    key: CacheKey,
}

/// Numbers this process's temporary files.
static TEMPORARY: AtomicU64 = AtomicU64::new(0);

impl Cache {
    /// Opens it, making what is missing.
    pub(crate) fn open(root: &Path) -> io::Result<Self> {
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700);
        for directory in [root, &root.join("code"), &root.join("compiled")] {
            builder.create(directory)?;
        }
        // It may have been there before us, with other rights.
        fs::set_permissions(root, fs::Permissions::from_mode(0o700))?;
        let key = key(root)?;
        Ok(Self { root: root.to_owned(), key })
    }

    /// The bundle with this address.
    pub(crate) fn bundle(&self, hash: CodeHash) -> Option<Vec<u8>> {
        let bytes = fs::read(self.bundle_path(hash)).ok()?;
        (bundle::hash(&bytes) == hash).then_some(bytes)
    }

    /// Whether there is a bundle with this address; its content is looked at when it is used.
    pub(crate) fn has(&self, hash: CodeHash) -> bool {
        self.bundle_path(hash).exists()
    }

    /// The addresses of all bundles.
    pub(crate) fn bundles(&self) -> Vec<CodeHash> {
        let Ok(entries) = fs::read_dir(self.root.join("code")) else { return Vec::new() };
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        names.filter_map(|name| name.parse().ok()).collect()
    }

    pub(crate) fn put_bundle(&self, hash: CodeHash, blob: &[u8]) -> io::Result<()> {
        self.write(&self.bundle_path(hash), &[blob])
    }

    /// The address of the bundle that was made of this original program by this transform.
    pub(crate) fn transformed(&self, name: &[u8; 32]) -> Option<CodeHash> {
        let bytes = fs::read(self.transformed_path(name)).ok()?;
        bytes.try_into().ok().map(CodeHash)
    }

    pub(crate) fn put_transformed(&self, name: &[u8; 32], hash: CodeHash) -> io::Result<()> {
        self.write(&self.transformed_path(name), &[&hash.0])
    }

    /// What was compiled of a form, if it is there, whole, ours, and for this engine.
    pub(crate) fn compiled(
        &self,
        engine: &wasmtime::Engine,
        code: CodeHash,
        form: Form,
    ) -> Option<Module> {
        let name = compiled_name(engine, code, form);
        let bytes = fs::read(self.compiled_path(&name)).ok()?;
        let (seal, compiled) = bytes.split_first_chunk::<32>()?;
        raw::load_compiled(engine, &self.key, &name, seal, compiled)
    }

    pub(crate) fn put_compiled(
        &self,
        engine: &wasmtime::Engine,
        code: CodeHash,
        form: Form,
        module: &Module,
    ) -> io::Result<()> {
        let name = compiled_name(engine, code, form);
        let compiled = module.serialize().map_err(|error| io::Error::other(error.to_string()))?;
        let seal = raw::seal(&self.key, &name, &compiled);
        self.write(&self.compiled_path(&name), &[&seal, &compiled])
    }

    fn bundle_path(&self, hash: CodeHash) -> PathBuf {
        self.root.join("code").join(hash.to_string())
    }

    fn compiled_path(&self, name: &[u8; 32]) -> PathBuf {
        self.root.join("compiled").join(CodeHash(*name).to_string())
    }

    fn transformed_path(&self, name: &[u8; 32]) -> PathBuf {
        self.root.join("code").join(format!("{}.of", CodeHash(*name)))
    }

    fn write(&self, path: &Path, parts: &[&[u8]]) -> io::Result<()> {
        let temporary = temporary(&self.root);
        let written = write_new(&temporary, parts).and_then(|()| fs::rename(&temporary, path));
        if written.is_err() {
            // Nothing is lost if this fails as well: a stray file in a cache.
            let _ = fs::remove_file(&temporary);
        }
        written
    }
}

fn temporary(root: &Path) -> PathBuf {
    let number = TEMPORARY.fetch_add(1, Ordering::Relaxed);
    root.join(format!("new-{}-{number}", std::process::id()))
}

fn write_new(path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    parts.iter().try_for_each(|part| file.write_all(part))
}

/// Takes the cache's key, or makes one. Linking the whole file into place decides between two
/// who make one at once.
fn key(root: &Path) -> io::Result<CacheKey> {
    let path = root.join("key");
    if let Some(key) = read_key(&path)? {
        return Ok(key);
    }
    let mut key = CacheKey::default();
    getrandom::fill(&mut key).map_err(|error| io::Error::other(error.to_string()))?;
    let temporary = temporary(root);
    write_new(&temporary, &[&key])?;
    let linked = fs::hard_link(&temporary, &path);
    fs::remove_file(&temporary)?;
    match linked {
        Ok(()) => Ok(key),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => read_key(&path)?
            .ok_or_else(|| io::Error::other("the cache's key is being replaced by others")),
        Err(error) => Err(error),
    }
}

/// The key that is there. One that others could read or that has another length is removed, and
/// with it all that it has sealed is void.
fn read_key(path: &Path) -> io::Result<Option<CacheKey>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let private = file.metadata()?.permissions().mode() & 0o077 == 0;
    let mut bytes = vec![];
    file.read_to_end(&mut bytes)?;
    match CacheKey::try_from(bytes) {
        Ok(key) if private => Ok(Some(key)),
        _ => fs::remove_file(path).map(|()| None),
    }
}

/// What compiled code is called.
fn compiled_name(engine: &wasmtime::Engine, code: CodeHash, form: Form) -> [u8; 32] {
    let mut hasher = NameHasher(blake3::Hasher::new());
    engine.precompile_compatibility_hash().hash(&mut hasher);
    hasher.0.update(&code.0).update(&[form as u8]);
    *hasher.0.finalize().as_bytes()
}

/// Lets BLAKE3 take what Wasmtime hashes.
struct NameHasher(blake3::Hasher);

impl Hasher for NameHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        unreachable!("the name is all 32 bytes")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODE: CodeHash = CodeHash([3; 32]);

    fn module(engine: &wasmtime::Engine) -> Module {
        let wasm = wat::parse_str("(module (func (export \"f\")))").expect("a module");
        Module::new(engine, wasm).expect("it compiles")
    }

    fn entry(cache: &Cache) -> PathBuf {
        let mut entries = fs::read_dir(cache.root.join("compiled")).expect("a directory");
        entries.next().expect("an entry").expect("readable").path()
    }

    #[test]
    fn compiled_code_comes_back_for_its_code_and_form_alone() {
        let directory = tempfile::tempdir().expect("a directory");
        let cache = Cache::open(directory.path()).expect("a cache");
        let engine = wasmtime::Engine::default();
        cache.put_compiled(&engine, CODE, Form::Run, &module(&engine)).expect("written");
        assert!(cache.compiled(&engine, CODE, Form::Run).is_some());
        assert!(cache.compiled(&engine, CODE, Form::Resume).is_none());
        assert!(cache.compiled(&engine, CodeHash([4; 32]), Form::Run).is_none());
        let mut other = wasmtime::Config::new();
        other.cranelift_nan_canonicalization(true);
        let other = wasmtime::Engine::new(&other).expect("an engine");
        assert!(cache.compiled(&other, CODE, Form::Run).is_none());
        let again = Cache::open(directory.path()).expect("a cache");
        assert!(again.compiled(&engine, CODE, Form::Run).is_some());
    }

    #[test]
    fn broken_and_foreign_compiled_code_is_ignored() {
        let directory = tempfile::tempdir().expect("a directory");
        let cache = Cache::open(directory.path()).expect("a cache");
        let engine = wasmtime::Engine::default();
        cache.put_compiled(&engine, CODE, Form::Run, &module(&engine)).expect("written");
        let path = entry(&cache);
        let whole = fs::read(&path).expect("readable");
        for length in (0..whole.len()).step_by(whole.len() / 50) {
            fs::write(&path, &whole[..length]).expect("writable");
            assert!(cache.compiled(&engine, CODE, Form::Run).is_none(), "{length} bytes");
        }
        for at in (0..whole.len()).step_by(whole.len() / 50) {
            let mut flipped = whole.clone();
            flipped[at] ^= 1 << (at % 8);
            fs::write(&path, flipped).expect("writable");
            assert!(cache.compiled(&engine, CODE, Form::Run).is_none(), "flipped at {at}");
        }
        fs::write(&path, &whole).expect("writable");
        assert!(cache.compiled(&engine, CODE, Form::Run).is_some());

        // From another machine: same name, other key.
        let elsewhere = tempfile::tempdir().expect("a directory");
        let other = Cache::open(elsewhere.path()).expect("a cache");
        other.put_compiled(&engine, CODE, Form::Run, &module(&engine)).expect("written");
        fs::copy(entry(&other), &path).expect("copied");
        assert!(cache.compiled(&engine, CODE, Form::Run).is_none());
    }

    #[test]
    fn a_bundle_that_does_not_hash_to_its_name_is_absent() {
        let directory = tempfile::tempdir().expect("a directory");
        let cache = Cache::open(directory.path()).expect("a cache");
        let hash = bundle::hash(b"bundle");
        cache.put_bundle(hash, b"bundle").expect("written");
        assert_eq!(cache.bundle(hash).as_deref(), Some(&b"bundle"[..]));
        fs::write(cache.bundle_path(hash), b"bungle").expect("writable");
        assert_eq!(cache.bundle(hash), None);
    }

    #[test]
    fn a_key_that_others_can_read_is_replaced() {
        let directory = tempfile::tempdir().expect("a directory");
        let first = Cache::open(directory.path()).expect("a cache").key;
        assert_eq!(Cache::open(directory.path()).expect("a cache").key, first);
        let path = directory.path().join("key");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("ours");
        assert_ne!(Cache::open(directory.path()).expect("a cache").key, first);
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
    }
}
