//! How `jitctl` ends: the only module where outcomes become exit codes.

use crate::{
    client::ClientError,
    problem::{Code, Problem},
};

/// The exit code of `jitctl`. The numbers are part of the program's interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// The command is done.
    Done = 0,
    /// The command failed, for a reason that has no code of its own.
    Failed = 1,
    /// The arguments can't be used as they are.
    Usage = 2,
    /// The port policies do not allow the request.
    Refused = 3,
    /// The user may not do what the command asks.
    NotPermitted = 4,
    /// The agent does not answer.
    Unreachable = 5,
    /// The request waits for someone's approval.
    Pending = 6,
    /// The agent runs, and something is broken.
    Degraded = 7,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl From<&Problem> for Exit {
    fn from(problem: &Problem) -> Self {
        match problem.code {
            Code::PolicyViolation | Code::NeedsConfirmation | Code::NoWayBack => Self::Refused,
            Code::NotPermitted | Code::OwnRequest | Code::PeerUnknown => Self::NotPermitted,
            // The agent rejects what the user wrote, as the parser of the arguments would have.
            Code::InvalidValue => Self::Usage,
            Code::MalformedHttp
            | Code::UriTooLong
            | Code::HeadTooLarge
            | Code::NotFound
            | Code::MethodNotAllowed
            | Code::UnexpectedQuery
            | Code::UnsupportedMediaType
            | Code::BodyTooLarge
            | Code::BodyIncomplete
            | Code::MalformedJson
            | Code::InvalidField
            | Code::Conflict
            | Code::KeyReused
            | Code::TooManyRequests
            | Code::PreconditionRequired
            | Code::PreconditionFailed
            | Code::EditedSinceLoaded
            | Code::InvalidConfiguration
            | Code::RestartRequired
            | Code::TrialRuns
            | Code::TableFull
            | Code::Unavailable
            | Code::TooManyConnections
            | Code::Unknown => Self::Failed,
        }
    }
}

impl From<&ClientError> for Exit {
    fn from(error: &ClientError) -> Self {
        match error {
            ClientError::NoSocket(_)
            | ClientError::NobodyListens(_)
            | ClientError::MayNotConnect(_)
            | ClientError::Connect { .. }
            | ClientError::NoUnixSockets(_)
            | ClientError::Stopped(_)
            | ClientError::NoAnswer { .. }
            | ClientError::Broken { .. } => Self::Unreachable,
            ClientError::Runtime(_) | ClientError::TooLarge { .. } | ClientError::NotUnderstood { .. } => Self::Failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_end_with_the_documented_codes() {
        let table = [
            (Code::PolicyViolation, 3),
            (Code::NotPermitted, 4),
            (Code::PeerUnknown, 4),
            (Code::InvalidValue, 2),
            (Code::NotFound, 1),
            (Code::TableFull, 1),
            (Code::Unavailable, 1),
            (Code::Unknown, 1),
        ];
        for (code, number) in table {
            assert_eq!(Exit::from(&Problem::new(code, "")) as u8, number, "{code:?}");
        }
    }

    #[test]
    fn the_numbers_do_not_change() {
        let all = [
            Exit::Done,
            Exit::Failed,
            Exit::Usage,
            Exit::Refused,
            Exit::NotPermitted,
            Exit::Unreachable,
            Exit::Pending,
            Exit::Degraded,
        ];
        assert_eq!(all.map(|exit| exit as u8), [0, 1, 2, 3, 4, 5, 6, 7]);
    }
}
