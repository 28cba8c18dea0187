//! Errors of lower layers as parts of a refusal.

use std::{fmt, sync::Arc};

/// An error of a lower layer, which several refusals may share. Two errors are equal if their texts are equal. The text has all
/// causes in it.
#[derive(Debug)]
pub struct Shared<E>(Arc<E>);

impl<E> Clone for Shared<E> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<E> From<E> for Shared<E> {
    fn from(error: E) -> Self {
        Self(Arc::new(error))
    }
}

impl<E: fmt::Display> fmt::Display for Shared<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The alternate form of `anyhow` has all causes. Other errors have only this form.
        write!(f, "{:#}", self.0)
    }
}

impl<E: fmt::Display> PartialEq for Shared<E> {
    fn eq(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}

impl<E: fmt::Display> Eq for Shared<E> {}
