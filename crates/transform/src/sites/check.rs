//! Frames come from images, and images are hostile: every frame is checked against the site table
//! before the program that it is fed to runs.

use super::{Function, Role, Saved, Signature, Site, SiteKind, Sites, ValueType};
use crate::abi::HEADER_BYTES;
use crate::index::{FuncIdx, SiteIdx};

/// A value of a frame, as bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameValue {
    /// What it is.
    pub role: Role,
    /// Its type.
    pub ty: ValueType,
    /// Its bits, zero-extended. For a function reference: the entry of the table of references.
    pub bits: u128,
}

/// A frame that was found good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameInfo {
    /// Whose frame it is.
    pub function: FuncIdx,
    /// Where the function stopped.
    pub site: SiteIdx,
    /// Why it stopped there.
    pub kind: SiteKind,
    /// Where that is in the original module, in bytes from its start.
    pub code_offset: u32,
    /// Where the frame starts, in bytes.
    pub start: u32,
    /// Its live values.
    pub values: Vec<FrameValue>,
}

/// Why frames are refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// What is left is too short for the frame that should end there.
    #[error("frame that ends at byte {end:#x} is cut short")]
    Truncated {
        /// Where the frame ends.
        end: usize,
    },
    /// There is no frame at all.
    #[error("there is no frame")]
    Empty,
    /// The header names no function of this code, or one that cannot stop.
    #[error("frame that ends at byte {end:#x} names function {function}, which cannot stop")]
    Function {
        /// Where the frame ends.
        end: usize,
        /// The number found.
        function: u32,
    },
    /// The header names no site of its function.
    #[error("frame that ends at byte {end:#x} names site {site}, which its function lacks")]
    Site {
        /// Where the frame ends.
        end: usize,
        /// The number found.
        site: u32,
    },
    /// The outer frame's site cannot have called the inner frame's function.
    #[error(
        "frame that ends at byte {end:#x} is of {function}, which its caller cannot have called"
    )]
    Callee {
        /// Where the inner frame ends.
        end: usize,
        /// The inner frame's function.
        function: FuncIdx,
    },
    /// The innermost frame stands at a call, or another one at a poll.
    #[error("frame that ends at byte {end:#x} stands at a site of the wrong kind")]
    Kind {
        /// Where the frame ends.
        end: usize,
    },
    /// A function reference points outside the table of references.
    #[error("frame that ends at byte {end:#x} holds reference {reference}, of only {references}")]
    Reference {
        /// Where the frame ends.
        end: usize,
        /// The entry found.
        reference: u32,
        /// How many there are.
        references: u32,
    },
}

impl Sites {
    /// Checks frames against the site table: headers, sizes, that each caller's site can have
    /// called the callee whose frame it meets, and that the innermost frame alone stands at a poll.
    ///
    /// `references` is the number of saved function references. Frames are returned outermost
    /// first. Whether the host's next call fits the outermost one is for [`Sites::enters`] to say.
    pub fn check_frames(
        &self,
        frames: &[u8],
        references: u32,
    ) -> Result<Vec<FrameInfo>, FrameError> {
        let mut rest = frames;
        let mut found: Vec<FrameInfo> = Vec::new();
        while !rest.is_empty() {
            let frame = self.last_frame(rest, references)?;
            if let Some(caller) = found.last() {
                self.check_call(caller, &frame, rest.len())?;
            }
            rest = &rest[..frame.start as usize];
            found.push(frame);
        }
        let innermost = found.last().ok_or(FrameError::Empty)?;
        match innermost.kind {
            SiteKind::Entry | SiteKind::Loop | SiteKind::Import(_) => Ok(found),
            SiteKind::Call(_) | SiteKind::CallIndirect(_) => Err(FrameError::Kind {
                end: self.functions[innermost.function].frame_bytes as usize,
            }),
        }
    }

    /// The frame that ends where the bytes end.
    fn last_frame(&self, bytes: &[u8], references: u32) -> Result<FrameInfo, FrameError> {
        let end = bytes.len();
        let header = end.checked_sub(HEADER_BYTES as usize).ok_or(FrameError::Truncated { end })?;
        let word =
            |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        let number = word(header);
        let site = SiteIdx(word(header + 4));
        let function = FuncIdx(number);
        let callee = match self.functions.get(function) {
            Some(callee) if callee.frame_bytes != 0 => callee,
            _ => return Err(FrameError::Function { end, function: number }),
        };
        let Some(found) = callee.sites.get(site) else {
            return Err(FrameError::Site { end, site: site.0 });
        };
        let start =
            end.checked_sub(callee.frame_bytes as usize).ok_or(FrameError::Truncated { end })?;
        let values: Vec<_> = values(found, &bytes[start..header]).collect();
        for value in values.iter().filter(|value| value.ty == ValueType::FuncRef) {
            let reference = u32::try_from(value.bits).expect("a reference has four bytes");
            if reference >= references {
                return Err(FrameError::Reference { end, reference, references });
            }
        }
        let start = u32::try_from(start).map_err(|_| FrameError::Truncated { end })?;
        let (kind, code_offset) = (found.kind, found.code_offset);
        Ok(FrameInfo { function, site, kind, code_offset, start, values })
    }

    fn check_call(
        &self,
        caller: &FrameInfo,
        callee: &FrameInfo,
        end: usize,
    ) -> Result<(), FrameError> {
        let found = &self.functions[callee.function];
        let fits = match caller.kind {
            SiteKind::Entry | SiteKind::Loop | SiteKind::Import(_) => {
                return Err(FrameError::Kind {
                    end: end + self.functions[caller.function].frame_bytes as usize,
                });
            }
            SiteKind::Call(named) => self.enters(named, callee.function),
            SiteKind::CallIndirect(ty) => {
                let called: &Signature = &self.types[ty];
                let actual = &self.types[found.ty];
                called == actual || (self.any_tail_calls() && called.results == actual.results)
            }
        };
        if fits { Ok(()) } else { Err(FrameError::Callee { end, function: callee.function }) }
    }

    /// Whether a call of `entry`, which a host makes, can have left `outermost` as its outermost
    /// frame: the function itself, or one that it tail-called.
    pub fn enters(&self, entry: FuncIdx, outermost: FuncIdx) -> bool {
        let (Some(called), Some(found)) =
            (self.functions.get(entry), self.functions.get(outermost))
        else {
            return false;
        };
        entry == outermost || (called.tail_calls && self.same_results(called, found))
    }

    fn same_results(&self, one: &Function, other: &Function) -> bool {
        self.types[one.ty].results == self.types[other.ty].results
    }

    fn any_tail_calls(&self) -> bool {
        self.functions.iter().any(|function| function.tail_calls)
    }
}

fn values<'a>(site: &'a Site, frame: &'a [u8]) -> impl Iterator<Item = FrameValue> + 'a {
    site.saved.iter().map(|&Saved { role, ty, offset }| {
        let mut bits = [0; 16];
        let bytes = ty.bytes() as usize;
        bits[..bytes].copy_from_slice(&frame[offset as usize..offset as usize + bytes]);
        FrameValue { role, ty, bits: u128::from_le_bytes(bits) }
    })
}
