//! Who asks.

/// Names under which the server itself acts; no user and no role can have them.
const RESERVED: [&str; 2] = [ANONYMOUS, FOLDER];
const ANONYMOUS: &str = "anonymous";
const FOLDER: &str = "whimbrel";

/// A caller whose identity was proven, the anonymous caller of a server without users, or the server
/// itself.
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
        Self { name: ANONYMOUS.to_owned() }
    }

    /// The server, when it applies a folder of transforms for its operator.
    #[must_use]
    pub fn folder() -> Self {
        Self { name: FOLDER.to_owned() }
    }

    /// A caller whose identity was checked by the one who calls this, or the owner of an object.
    #[must_use]
    pub fn verified(name: impl Into<String>) -> Self {
        Self { name: name.into() }
    }

    /// The name as it is stored and shown.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether no user stands behind the name: then nothing is refused. Nobody can log in as such a
    /// principal, so what it owns stays as useful as it was before there were users.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        is_reserved(&self.name)
    }
}

/// Whether a name is the server's own.
#[must_use]
pub fn is_reserved(name: &str) -> bool {
    RESERVED.contains(&name)
}
