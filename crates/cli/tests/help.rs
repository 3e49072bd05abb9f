//! Every word's help, as a file each: a change to what the command says of itself is seen in review.
//! `UPDATE_EXPECT=1` rewrites them.

use std::path::Path;

use clap::{Command, CommandFactory};
use expect_test::expect_file;

#[test]
fn help_is_as_reviewed() {
    // No environment in the text, and no terminal's width.
    let mut command =
        cli::Words::command().term_width(100).mut_arg("node", |arg| arg.hide_env_values(true));
    command.build();
    let seen = check(&mut command, "whimbrel");
    assert!(seen >= 24, "{seen} words");
}

/// Compares the help of a command and of all words below it, and counts them.
fn check(command: &mut Command, name: &str) -> usize {
    let help = command.render_long_help().to_string();
    let help: String = help.lines().map(|line| format!("{}\n", line.trim_end())).collect();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/help/{name}.txt"));
    expect_file![path].assert_eq(&help);
    let words = command.get_subcommands_mut().filter(|word| word.get_name() != "help");
    1 + words
        .map(|word| check(word, &format!("{name}-{}", word.get_name().to_owned())))
        .sum::<usize>()
}
