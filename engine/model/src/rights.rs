//! Who may do what.
//!
//! Rights are *granted* to users and roles, on everything (the catalog), on a schema with all that
//! is or will be in it, or on one object; they add up, and nothing takes one away but REVOKE. Whoever
//! owns an object, and every member of [`ADMIN`], needs no grant.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
};

use crate::{id::ObjectId, limits::RoleLimits, object::Object, principal::is_reserved};

/// The role whose members may do everything. It is always there.
pub const ADMIN: &str = "admin";
/// The role that everybody is a member of. It is always there.
pub const PUBLIC: &str = "public";

/// One thing that can be allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Privilege {
    /// Read rows: of all columns, or of some.
    Select,
    /// Add rows.
    Insert,
    /// Change rows.
    Update,
    /// Remove rows.
    Delete,
    /// Have a materialized view computed, and stop and repeat that.
    Refresh,
    /// Make tables and views in a schema; on the catalog: schemas too.
    Create,
    /// Read any file below the roots, also those of tables: file functions, external tables.
    ReadFiles,
    /// Write files below the roots: COPY, tables at a place of one's own.
    WriteFiles,
}

impl Privilege {
    /// Every privilege, in the order in which they are shown.
    pub const ALL: [Self; 8] = [
        Self::Select,
        Self::Insert,
        Self::Update,
        Self::Delete,
        Self::Refresh,
        Self::Create,
        Self::ReadFiles,
        Self::WriteFiles,
    ];

    /// The words of SQL.
    #[must_use]
    pub fn as_sql(self) -> &'static str {
        match self {
            Self::Select => "SELECT",
            Self::Insert => "INSERT",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Refresh => "REFRESH",
            Self::Create => "CREATE",
            Self::ReadFiles => "READ FILES",
            Self::WriteFiles => "WRITE FILES",
        }
    }

    /// Whether it can be granted on such a thing: files belong to no schema, and nothing is created
    /// in a table.
    #[must_use]
    pub fn fits(self, on: &Securable) -> bool {
        match self {
            Self::ReadFiles | Self::WriteFiles => matches!(on, Securable::Catalog),
            Self::Create => !matches!(on, Securable::Object(_)),
            Self::Select | Self::Insert | Self::Update | Self::Delete | Self::Refresh => true,
        }
    }
}

impl fmt::Display for Privilege {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_sql())
    }
}

/// A text that is no [`Privilege`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a privilege")]
pub struct ParsePrivilegeError(String);

impl FromStr for Privilege {
    type Err = ParsePrivilegeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|privilege| privilege.as_sql() == text);
        found.ok_or_else(|| ParsePrivilegeError(text.to_owned()))
    }
}

/// What a privilege is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Securable {
    /// Everything that the catalog knows, now and later.
    Catalog,
    /// A schema, with all that is in it now and later.
    Schema(String),
    /// One table, view or materialized view; an object that is created anew under its name is
    /// another one.
    Object(ObjectId),
}

/// One permission of one grantee.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Grant {
    /// The user or role that has it.
    pub grantee: String,
    /// What is allowed.
    pub privilege: Privilege,
    /// On what.
    pub on: Securable,
    /// Only this column of the object; [`Privilege::Select`] only.
    pub column: Option<String>,
}

/// Which columns of an object somebody may read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Columns {
    /// All of them, also those to come.
    All,
    /// These.
    Some(BTreeSet<String>),
}

/// What one principal may do, as it was at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rights {
    name: String,
    roles: BTreeSet<String>,
    grants: Vec<Grant>,
    limits: BTreeMap<String, RoleLimits>,
    everything: bool,
}

impl Rights {
    /// Those of somebody whom nothing is refused.
    #[must_use]
    pub fn everything(name: impl Into<String>) -> Self {
        let (roles, grants) = (BTreeSet::new(), Vec::new());
        let limits = BTreeMap::new();
        Self { name: name.into(), roles, grants, limits, everything: true }
    }

    /// Those of `name`, who is a member of `roles` (directly or through roles), with the grants of
    /// all of them.
    #[must_use]
    pub fn new(name: impl Into<String>, roles: BTreeSet<String>, grants: Vec<Grant>) -> Self {
        let name = name.into();
        let everything = roles.contains(ADMIN) || name == ADMIN;
        Self { name, roles, grants, limits: BTreeMap::new(), everything }
    }

    /// With the limits of those of the roles that have some.
    #[must_use]
    pub fn with_limits(mut self, limits: BTreeMap<String, RoleLimits>) -> Self {
        self.limits = limits;
        self
    }

    /// The limits of the roles, by role. An admin has none: somebody has to be able to help.
    pub fn limits(&self) -> impl Iterator<Item = (&str, &RoleLimits)> {
        let limits = (!self.everything).then_some(&self.limits);
        limits.into_iter().flatten().map(|(role, limits)| (role.as_str(), limits))
    }

    /// These, and those of a role that is the principal's for now.
    #[must_use]
    pub fn with(mut self, role: Self) -> Self {
        self.everything |= role.everything;
        self.roles.insert(role.name);
        self.roles.extend(role.roles);
        self.grants.extend(role.grants);
        self.limits.extend(role.limits);
        self
    }

    /// Whose rights these are.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The roles that the principal is a member of, directly or through roles, sorted.
    pub fn roles(&self) -> impl Iterator<Item = &str> {
        self.roles.iter().map(String::as_str)
    }

    /// Whether nothing is refused.
    #[must_use]
    pub fn is_admin(&self) -> bool {
        self.everything
    }

    /// Whether this is the principal itself or a role that it is a member of.
    #[must_use]
    pub fn is_member(&self, role: &str) -> bool {
        role == PUBLIC || role == self.name || self.roles.contains(role)
    }

    /// Whether this is the owner, or a member of the role that is, or an admin.
    #[must_use]
    pub fn owns(&self, object: &Object) -> bool {
        self.everything || (!is_reserved(&object.owner) && self.is_member(&object.owner))
    }

    /// Whether a privilege is granted on the catalog itself.
    #[must_use]
    pub fn allows_everywhere(&self, privilege: Privilege) -> bool {
        self.everything || self.granted(privilege, |on| matches!(on, Securable::Catalog))
    }

    /// Whether a privilege is granted on a schema, or on the catalog.
    #[must_use]
    pub fn allows_in(&self, privilege: Privilege, schema: &str) -> bool {
        let in_it = |on: &Securable| matches!(on, Securable::Schema(name) if name == schema);
        self.allows_everywhere(privilege) || self.granted(privilege, in_it)
    }

    /// Whether a privilege on an object is granted in whole: on it, on its schema or on the catalog.
    #[must_use]
    pub fn allows(&self, privilege: Privilege, object: &Object) -> bool {
        self.owns(object)
            || self.allows_in(privilege, object.name.schema())
            || self.granted(privilege, |on| *on == Securable::Object(object.id))
    }

    /// Which columns of an object may be read; `None` when the object may not be read at all.
    #[must_use]
    pub fn columns(&self, object: &Object) -> Option<Columns> {
        if self.allows(Privilege::Select, object) {
            return Some(Columns::All);
        }
        let columns: BTreeSet<String> = self
            .grants
            .iter()
            .filter(|grant| grant.on == Securable::Object(object.id))
            .filter_map(|grant| grant.column.clone())
            .collect();
        (!columns.is_empty()).then_some(Columns::Some(columns))
    }

    /// Whether the object is there at all for this principal: its owner, or anything is granted on
    /// it, its schema or the catalog that concerns objects.
    #[must_use]
    pub fn sees(&self, object: &Object) -> bool {
        let concerns = |privilege: &Privilege| privilege.fits(&Securable::Object(object.id));
        Privilege::ALL.iter().filter(|p| concerns(p)).any(|p| self.allows(*p, object))
            || self.columns(object).is_some()
    }

    fn granted(&self, privilege: Privilege, on: impl Fn(&Securable) -> bool) -> bool {
        self.grants
            .iter()
            .any(|grant| grant.privilege == privilege && grant.column.is_none() && on(&grant.on))
    }
}

#[cfg(test)]
mod tests;
