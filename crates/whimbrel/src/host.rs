//! What the command borrows from the node's half of this binary.

use api::{Error, ErrorCode, ImageReport};
use cli::{Demo, Ephemeral, Host, NodeStart, OwnNode, Ready, Transformed};

use crate::{demo, image};

/// This binary, as the command sees it.
pub(crate) struct Binary;

impl Host for Binary {
    fn serve(&self, start: NodeStart, _ready: &mut dyn FnMut(&Ready)) -> Result<(), Error> {
        let _ = start;
        Err(unfinished("the daemon"))
    }

    fn ephemeral(&self, _own: &OwnNode) -> Result<Box<dyn Ephemeral>, Error> {
        Err(unfinished("a node in this process"))
    }

    fn transform(&self, wasm: &[u8]) -> Result<Transformed, Error> {
        let options = transform::Options::default();
        let done = transform::transform(wasm, &options).map_err(|error| refused(&error))?;
        Ok(Transformed {
            run: done.run,
            resume: done.resume,
            sites: done.sites.encode(),
            report: done.report.to_string(),
        })
    }

    fn image(&self, bytes: &[u8]) -> Result<ImageReport, Error> {
        image::report(bytes)
    }

    fn demo(&self, demo: &Demo) -> Result<u8, Error> {
        demo::run(demo)
    }
}

fn refused(error: &transform::Error) -> Error {
    let code = match error {
        transform::Error::Unsupported { .. } => ErrorCode::UnsupportedFeature,
        _ => ErrorCode::InvalidProgram,
    };
    Error::new(code, error.to_string())
}

fn unfinished(what: &str) -> Error {
    Error::new(ErrorCode::Unimplemented, format!("{what} is not there in this version"))
}
