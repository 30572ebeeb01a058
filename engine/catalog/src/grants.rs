//! Roles, and what users and roles may do.

use std::collections::BTreeMap;

use async_trait::async_trait;
use model::{
    limits::RoleLimits,
    rights::{Grant, Rights},
    time::Timestamp,
};

use crate::error::CatalogError;

/// A user or role that is a member of a role.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Member {
    /// The role.
    pub role: String,
    /// Who is in it.
    pub member: String,
}

/// A grant with its history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GivenGrant {
    /// The grant.
    pub grant: Grant,
    /// Who gave it first.
    pub by: String,
    /// When it was given first.
    pub at: Timestamp,
}

/// Users, roles and grants.
///
/// There is a last admin always: once there are users, one of them is a member of
/// [`model::rights::ADMIN`], directly or through roles; what would end that is
/// [`CatalogError::LastAdmin`].
#[async_trait]
pub trait Grants: Send + Sync {
    /// Names of all users, sorted.
    async fn users(&self) -> Result<Vec<String>, CatalogError>;

    /// Names of all roles, sorted.
    async fn roles(&self) -> Result<Vec<String>, CatalogError>;

    /// Every membership, sorted.
    async fn members(&self) -> Result<Vec<Member>, CatalogError>;

    /// Adds a role. [`CatalogError::PrincipalExists`] when a user or role has the name.
    async fn create_role(&self, name: &str) -> Result<(), CatalogError>;

    /// Replaces the limits of a role. [`CatalogError::RoleNotFound`] when there is none.
    async fn set_limits(&self, role: &str, limits: &RoleLimits) -> Result<(), CatalogError>;

    /// The limits of every role that has some, by role.
    async fn limits(&self) -> Result<BTreeMap<String, RoleLimits>, CatalogError>;

    /// Removes a user or role with its memberships and grants. `false` when there is none.
    ///
    /// [`CatalogError::StillOwns`] when it owns objects, [`CatalogError::BuiltInRole`] for `admin` and
    /// `public`.
    async fn drop_principal(&self, name: &str) -> Result<bool, CatalogError>;

    /// Makes somebody a member of a role; being one already is fine.
    ///
    /// [`CatalogError::PrincipalNotFound`] for a role or member that is not there,
    /// [`CatalogError::RoleCycle`] when the role is itself a member of `member`.
    async fn add_member(&self, member: &Member) -> Result<(), CatalogError>;

    /// Ends a membership. `false` when there was none.
    async fn remove_member(&self, member: &Member) -> Result<bool, CatalogError>;

    /// Stores grants, all or none; one that is there already stays as it is.
    /// [`CatalogError::PrincipalNotFound`] for a grantee who is not there.
    async fn grant(&self, grants: &[Grant], by: &str, now: Timestamp) -> Result<(), CatalogError>;

    /// Removes grants, and tells how many there were. A privilege without a column takes those on
    /// single columns along.
    async fn revoke(&self, grants: &[Grant]) -> Result<u64, CatalogError>;

    /// Every grant, sorted.
    async fn grants(&self) -> Result<Vec<GivenGrant>, CatalogError>;

    /// What a user or role may do now: its roles, directly or through roles, and the grants and
    /// limits of all of them. `None` when there is neither a user nor a role of that name.
    async fn rights(&self, name: &str) -> Result<Option<Rights>, CatalogError>;
}
