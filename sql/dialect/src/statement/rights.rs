//! Statements about users, roles and what they may do and use.

use model::{limits::Limit, rights::Privilege, secret::Secret};

use super::{DropKind, NameParts};

/// Until when a token is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// As the server has it for tokens of which nothing is said.
    Default,
    /// So long from now.
    After {
        /// Milliseconds.
        ms: u64,
    },
    /// Until it is dropped.
    Never,
}

/// Statements about who may do what. Names of users and roles are as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RightsStatement {
    /// CREATE ROLE.
    CreateRole {
        /// Its name.
        name: String,
        /// IF NOT EXISTS.
        if_not_exists: bool,
    },
    /// DROP ROLE.
    DropRole {
        /// Its name.
        name: String,
        /// IF EXISTS.
        if_exists: bool,
    },
    /// CREATE USER.
    CreateUser {
        /// Its name.
        name: String,
        /// Without one the user comes in by other proofs only.
        password: Option<Secret>,
        /// IF NOT EXISTS.
        if_not_exists: bool,
    },
    /// ALTER USER … PASSWORD.
    SetPassword {
        /// The user.
        name: String,
        /// The new password.
        password: Secret,
    },
    /// ALTER ROLE … SET LIMITS, or RESET LIMITS.
    Limit {
        /// The role.
        role: String,
        /// The bounds that are set; others stay.
        limits: Vec<(Limit, u64)>,
        /// Whether all bounds go first.
        reset: bool,
    },
    /// CREATE TOKEN.
    CreateToken {
        /// Its name, unique for the user.
        name: String,
        /// Whose it is; the caller's without.
        user: Option<String>,
        /// Until when it is good.
        expiry: Expiry,
    },
    /// DROP TOKEN.
    DropToken {
        /// Its name.
        name: String,
        /// Whose it is; the caller's without.
        user: Option<String>,
        /// IF EXISTS.
        if_exists: bool,
    },
    /// DROP USER.
    DropUser {
        /// Its name.
        name: String,
        /// IF EXISTS.
        if_exists: bool,
    },
    /// GRANT role TO who.
    GrantRoles {
        /// The roles.
        roles: Vec<String>,
        /// Who becomes a member of each.
        to: Vec<String>,
    },
    /// REVOKE role FROM who.
    RevokeRoles {
        /// The roles.
        roles: Vec<String>,
        /// Who is no member any more.
        from: Vec<String>,
    },
    /// GRANT privileges ON what TO who.
    Grant {
        /// What is granted.
        granted: Granted,
        /// To whom.
        to: Vec<String>,
    },
    /// REVOKE privileges ON what FROM who.
    Revoke {
        /// What is taken back.
        granted: Granted,
        /// From whom.
        from: Vec<String>,
    },
    /// ALTER … OWNER TO who.
    Owner {
        /// What changes hands.
        object: OwnedObject,
        /// The new owner.
        owner: String,
    },
    /// A row filter or mask comes or goes.
    Policy {
        /// The table or view.
        target: NameParts,
        /// What changes.
        action: PolicyAction,
    },
}

/// Privileges on something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Granted {
    /// The privileges; none for ALL.
    pub privileges: Vec<PrivilegeOf>,
    /// On what.
    pub on: SecurableName,
}

/// A privilege, perhaps of some columns only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrivilegeOf {
    /// What is allowed.
    pub privilege: Privilege,
    /// The columns; none for all.
    pub columns: Vec<String>,
}

/// What a privilege is about, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecurableName {
    /// Everything.
    Catalog,
    /// A schema, perhaps with the catalog before it.
    Schema(NameParts),
    /// A table, view or materialized view.
    Object(NameParts),
}

/// Something that has an owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedObject {
    /// The kind that was said.
    pub kind: Option<DropKind>,
    /// Its name.
    pub name: NameParts,
}

/// What becomes of a row filter or a mask. Expressions are as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PolicyAction {
    /// SET ROW FILTER (condition).
    SetRowFilter(String),
    /// DROP ROW FILTER.
    DropRowFilter,
    /// ALTER COLUMN c SET MASK (expression).
    SetMask {
        /// The column.
        column: String,
        /// What is shown instead.
        mask: String,
    },
    /// ALTER COLUMN c DROP MASK.
    DropMask {
        /// The column.
        column: String,
    },
}
