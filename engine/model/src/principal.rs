//! Who asks.

/// A caller whose identity was proven, or the anonymous caller of a server without users.
///
/// Only the server's `auth` room makes one from credentials; the engine never sees a token.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Principal {
    name: String,
}

impl Principal {
    /// The caller of a server that has no users.
    #[must_use]
    pub fn anonymous() -> Self {
        Self { name: "anonymous".to_owned() }
    }

    /// A caller whose identity was checked by the one who calls this.
    #[must_use]
    pub fn verified(name: impl Into<String>) -> Self {
        Self { name: name.into() }
    }

    /// The name as it is stored and shown.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}
