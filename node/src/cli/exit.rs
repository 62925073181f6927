//! What the command's exit code means, and the one error type that carries it.
//!
//! | code | meaning |
//! |---|---|
//! | 0 | done; what was promised held |
//! | 1 | failed: a promise broke, rows were refused, or a node stopped by itself |
//! | 2 | usage, configuration, data directory, address or input: correct it, then try again |
//! | 3 | no answer: a node cannot be reached, has no leader, or ran out of time; try again |
//! | 4 | a write's outcome is unknown: look before you repeat it |
//!
//! `engram help` prints the same table; a test compares them.

use engram_client::{ClientError, Error, Kind, ObserveError};
use std::fmt;
use std::process::ExitCode;

/// The table above, for `--help`.
pub const HELP: &str = "Exit codes:
  0  done; what was promised held
  1  failed: a promise broke, rows were refused, or a node stopped by itself
  2  usage, configuration, data directory, address or input: correct it, then try again
  3  no answer: a node cannot be reached, has no leader, or ran out of time; try again
  4  a write's outcome is unknown: look before you repeat it";

/// An exit code other than 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Code {
    /// A promise broke, rows were refused, or a node stopped by itself.
    Failed = 1,
    /// Usage, configuration or input.
    Input = 2,
    /// No answer in time.
    NoAnswer = 3,
    /// A write may or may not have happened.
    Unknown = 4,
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        Self::from(code as u8)
    }
}

/// Why a command did not succeed: what, where and what to do.
#[derive(Debug)]
pub struct Failure {
    /// Becomes the exit code.
    pub code: Code,
    /// For the person.
    pub message: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Failure {
    /// A failure with a code.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// Wrong usage, configuration or input.
    pub fn input(message: impl Into<String>) -> Self {
        Self::new(Code::Input, message)
    }

    /// Something that should have worked did not.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Code::Failed, message)
    }

    /// The same with words in front.
    pub fn context(self, words: impl fmt::Display) -> Self {
        Self { message: format!("{words}: {}", self.message), ..self }
    }
}

impl From<Error> for Failure {
    /// An error of a read, or of a write that surely had no effect.
    fn from(error: Error) -> Self {
        let code = match error.kind() {
            Kind::Invalid | Kind::NotFound | Kind::Exists | Kind::BelowFloor | Kind::Unsupported => Code::Input,
            Kind::NotLeader | Kind::Overloaded | Kind::InDoubt | Kind::Behind | Kind::Unspecified => Code::NoAnswer,
            Kind::SessionLost | Kind::Superseded | Kind::Poisoned | Kind::Quarantined => Code::Failed,
        };
        let remedy = match code {
            Code::NoAnswer => "; is the node up, and in --endpoints? `engram cluster status` shows the members",
            _ => "",
        };
        Self::new(code, format!("{error}{remedy}"))
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Refused(error) => error.into(),
            ClientError::Unknown(_) => Self::new(Code::Unknown, error.to_string()),
        }
    }
}

impl From<ObserveError> for Failure {
    fn from(error: ObserveError) -> Self {
        match error {
            ObserveError::Refused(error) => Self::input(error.to_string()),
            ObserveError::Stopped(stopped) => {
                let code = match (&stopped.unknown, stopped.error.kind()) {
                    (Some(_), _) => Code::Unknown,
                    (None, Kind::InDoubt | Kind::NotLeader | Kind::Overloaded) => Code::NoAnswer,
                    (None, _) => Code::Failed,
                };
                Self::new(code, stopped.to_string())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_and_the_codes_agree() {
        for code in [Code::Failed, Code::Input, Code::NoAnswer, Code::Unknown] {
            assert!(HELP.contains(&format!("\n  {}  ", code as u8)), "{code:?}");
        }
    }

    #[test]
    fn doubt_has_its_own_code() {
        let code = |error: ClientError| Failure::from(error).code;
        assert_eq!(code(ClientError::Unknown(Error::in_doubt("x"))), Code::Unknown);
        assert_eq!(code(ClientError::Refused(Error::invalid("x"))), Code::Input);
        assert_eq!(Failure::from(Error::in_doubt("no answer")).code, Code::NoAnswer);
    }
}
