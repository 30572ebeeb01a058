//! Who has how many of the sessions that there may be at once.
//!
//! A place is taken after the login: who has not said who it is waits at the door
//! ([`crate::net::Door`]), which has places of its own and gives nobody one for long. So no user, and
//! nobody who is none, keeps all others out.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::Arc,
};

use parking_lot::Mutex;

use super::error::PgError;

/// Whose session it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Who {
    User(String),
    /// Where it comes from, on a server that has no users.
    From(Option<IpAddr>),
}

/// Sessions at once: of all, of each, and of the members of a role.
#[derive(Debug)]
pub(super) struct Places {
    max: usize,
    each_max: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by: HashMap<Who, usize>,
    by_role: HashMap<String, u64>,
}

/// A place of one session, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    who: Who,
    roles: Vec<String>,
}

impl Places {
    pub(super) fn new(max: usize, each_max: usize) -> Self {
        Self { max, each_max, taken: Mutex::default() }
    }

    /// A place, when there is one for `who`; `roles` are those that let their members have only so many.
    pub(super) fn take(
        self: &Arc<Self>,
        who: Who,
        roles: &BTreeMap<String, u64>,
    ) -> Result<Place, PgError> {
        let mut taken = self.taken.lock();
        if taken.all >= self.max {
            let error = PgError::new("53300", "there are too many connections");
            return Err(error.with_hint("close some, or raise server.pg_connections_max"));
        }
        if taken.by.get(&who).is_some_and(|own| *own >= self.each_max) {
            let whose = match who {
                Who::User(_) => "you have",
                Who::From(_) => "your address has",
            };
            let text = format!("{whose} {} connections already", self.each_max);
            let hint = "close some, or raise server.pg_connections_per_user_max";
            return Err(PgError::new("53300", text).with_hint(hint));
        }
        let full = |(role, max): &(&String, &u64)| {
            taken.by_role.get(*role).is_some_and(|members| members >= *max)
        };
        if let Some((role, max)) = roles.iter().find(full) {
            let text = format!(
                "members of the role '{role}' have {max} sessions already: it allows no more"
            );
            let hint =
                format!("close some; an admin can say ALTER ROLE {role} SET LIMITS (sessions = …)");
            return Err(PgError::new("53300", text).with_hint(hint));
        }
        taken.all += 1;
        *taken.by.entry(who.clone()).or_default() += 1;
        for role in roles.keys() {
            *taken.by_role.entry(role.clone()).or_default() += 1;
        }
        drop(taken);
        Ok(Place { places: Arc::clone(self), who, roles: roles.keys().cloned().collect() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock();
        taken.all -= 1;
        if let Some(own) = taken.by.get_mut(&self.who) {
            *own -= 1;
            if *own == 0 {
                taken.by.remove(&self.who);
            }
        }
        for role in &self.roles {
            if let Some(members) = taken.by_role.get_mut(role) {
                *members -= 1;
                if *members == 0 {
                    taken.by_role.remove(role);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> Who {
        Who::User(name.to_owned())
    }

    fn taken(places: &Arc<Places>, who: Who, roles: &[(&str, u64)]) -> Result<Place, PgError> {
        let roles = roles.iter().map(|(role, max)| ((*role).to_owned(), *max)).collect();
        places.take(who, &roles)
    }

    #[test]
    fn nobody_takes_the_places_of_all_others() {
        let places = Arc::new(Places::new(3, 2));
        let ann = [taken(&places, user("ann"), &[]), taken(&places, user("ann"), &[])];
        assert!(ann.iter().all(Result::is_ok));
        let refused = taken(&places, user("ann"), &[]).unwrap_err();
        assert_eq!(refused.text(), "you have 2 connections already");
        let bob = taken(&places, user("bob"), &[]).unwrap();
        let refused = taken(&places, user("cid"), &[]).unwrap_err();
        assert_eq!(refused.text(), "there are too many connections");
        drop((ann, bob));
        let elsewhere = Who::From("10.0.0.1".parse().ok());
        let one = taken(&places, elsewhere.clone(), &[]).unwrap();
        let _two = taken(&places, elsewhere.clone(), &[]).unwrap();
        assert!(taken(&places, elsewhere.clone(), &[]).is_err());
        drop(one);
        assert!(taken(&places, elsewhere, &[]).is_ok());
    }

    #[test]
    fn members_of_a_role_share_its_places() {
        let places = Arc::new(Places::new(9, 9));
        let role = [("etl", 2), ("public", 3)];
        let ann = taken(&places, user("ann"), &role).unwrap();
        let _bob = taken(&places, user("bob"), &role).unwrap();
        let refused = taken(&places, user("cid"), &role).unwrap_err();
        assert!(refused.text().contains("'etl' have 2 sessions"), "{}", refused.text());
        let _dan = taken(&places, user("dan"), &[("public", 3)]).unwrap();
        assert!(taken(&places, user("eve"), &[("public", 3)]).is_err());
        drop(ann);
        assert!(taken(&places, user("cid"), &role).is_ok());
        assert_eq!(places.taken.lock().by_role.len(), 2);
    }
}
