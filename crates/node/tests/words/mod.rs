//! Tokens and ids, as people and peers type them: the body of the test and of the fuzz target.

use std::fmt::Display;
use std::str::FromStr;

use node::trust::Token;
use wire::{CodeHash, GroupId, Pid};

/// Text is refused, or it is a value, which is then printed and read again as the same. Which of
/// them it is.
pub(crate) fn check(text: &str) -> Result<Option<&'static str>, String> {
    Ok(again::<Token>(text)?.then_some("token"))
        .and_then(|found| Ok(found.or(again::<Pid>(text)?.then_some("process"))))
        .and_then(|found| Ok(found.or(again::<GroupId>(text)?.then_some("group"))))
        .and_then(|found| Ok(found.or(again::<CodeHash>(text)?.then_some("code"))))
}

fn again<T: FromStr + Display + PartialEq>(text: &str) -> Result<bool, String> {
    let Ok(value) = text.parse::<T>() else { return Ok(false) };
    let printed = value.to_string();
    match printed.parse::<T>() {
        Ok(read) if read == value => Ok(true),
        _ => Err(format!("{text:?} is printed as {printed:?}, which is not read as the same")),
    }
}
