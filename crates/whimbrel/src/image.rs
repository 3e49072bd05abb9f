//! What an image says of itself, in the command's terms.

use api::{Dir, Error, ErrorCode, ImageReport, ImageSection, StackFrame};
use wire::image::{Head, ImageError, Kind, Section, Summary, VERSION};

/// Reads an image as far as that can be done without its code.
pub(crate) fn report(bytes: &[u8]) -> Result<ImageReport, Error> {
    let mut reader = Summary::reader();
    reader.push(bytes).map_err(|error| refused(&error))?;
    let summary = reader.finish().map_err(|error| refused(&error))?;
    let Some(head) = &summary.head else {
        return Err(Error::new(ErrorCode::CorruptImage, "the image has no head"));
    };
    Ok(ImageReport {
        version: VERSION.into(),
        pid: head.pid,
        epoch: head.epoch.0,
        node: head.node.clone(),
        frozen_at_ms: head.frozen_at / 1_000_000,
        code: head.code,
        memory_bytes_max: head.memory_max,
        memory_bytes: head.memories.iter().fold(0, |sum, bytes| sum.saturating_add(*bytes)),
        dirs: dirs(head),
        bytes: bytes.len() as u64,
        sections: summary.sections.iter().map(|part| section(part, summary.page_bytes)).collect(),
        stack: summary
            .stack
            .iter()
            .map(|frame| StackFrame { function: frame.function, name: frame.name.clone() })
            .collect(),
    })
}

fn dirs(head: &Head) -> Vec<Dir> {
    let dirs = head.dirs.iter().map(|dir| Dir {
        host: dir.host.clone(),
        guest: dir.guest.clone(),
        read_only: dir.read_only,
    });
    dirs.collect()
}

fn section(section: &Section, page_bytes: u64) -> ImageSection {
    ImageSection {
        name: section.kind.to_string(),
        records: section.records,
        bytes: section.bytes,
        expanded_bytes: (section.kind == Kind::Memory).then_some(page_bytes),
    }
}

fn refused(error: &ImageError) -> Error {
    let code = match error {
        ImageError::Version(_) => ErrorCode::ImageVersion,
        _ => ErrorCode::CorruptImage,
    };
    Error::new(code, error.to_string())
}
