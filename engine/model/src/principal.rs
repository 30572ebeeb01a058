//! Who asks.

use std::collections::BTreeSet;

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
    roles: BTreeSet<String>,
}

impl Principal {
    /// The caller of a server that has no users.
    #[must_use]
    pub fn anonymous() -> Self {
        Self::verified(ANONYMOUS)
    }

    /// The server, when it applies a folder of transforms for its operator.
    #[must_use]
    pub fn folder() -> Self {
        Self::verified(FOLDER)
    }

    /// A caller whose identity was checked by the one who calls this, or the owner of an object.
    #[must_use]
    pub fn verified(name: impl Into<String>) -> Self {
        Self { name: name.into(), roles: BTreeSet::new() }
    }

    /// The same caller, of whom somebody outside the catalog (an issuer of tokens) says that these
    /// roles are theirs too, for as long as this principal is used.
    #[must_use]
    pub fn with_roles(self, roles: BTreeSet<String>) -> Self {
        Self { roles, ..self }
    }

    /// Roles that the catalog does not know of this caller; not all of them have to exist.
    #[must_use]
    pub fn roles(&self) -> &BTreeSet<String> {
        &self.roles
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
