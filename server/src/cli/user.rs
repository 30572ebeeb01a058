//! `whimbrel user`.

use std::{path::PathBuf, process::ExitCode};

use catalog::{grants::Member, principals::User};
use clap::{Args, Subcommand};
use model::{principal::is_reserved, rights::ADMIN};

use super::{Failure, Place, flag, path_flag, remote::password_from_stdin};
use crate::{
    auth::{hash_password, scram_verifier},
    boot::open_catalog,
};

const EXAMPLES: &str = "\
Examples:
  printf %s \"$PASSWORD\" | whimbrel user add ada --password-stdin
  printf %s \"$PASSWORD\" | whimbrel user add bob --password-stdin --admin
  WHIMBREL_PASSWORD=… whimbrel user add ada --catalog postgres://whimbrel@db/whimbrel
  whimbrel user add carl@example.com --no-password     # logs in by a certificate or a token

Once there is a user, nobody is anonymous: every client has to log in. A running server notices at
once. The first user is an admin, who may do everything; what others may do is said with GRANT.";

/// What can be done about users.
#[derive(Debug, Subcommand)]
pub(super) enum UserCommand {
    /// Add a user; the first one is an admin
    Add(AddArgs),
    /// Give a user a new password
    Password(UserArgs),
}

/// Flags of `user add`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct AddArgs {
    #[command(flatten)]
    user: UserArgs,
    /// Make the user an admin, who may do everything
    #[arg(long)]
    admin: bool,
    /// Without a password: the user logs in by a client certificate or a token of the issuer
    #[arg(long, conflicts_with = "password_stdin")]
    no_password: bool,
}

/// Flags of `user password`, and of `user add` too.
#[derive(Debug, Args)]
pub(super) struct UserArgs {
    /// Name of the user
    name: String,
    /// Read the password from standard input instead of the variable WHIMBREL_PASSWORD
    #[arg(long)]
    password_stdin: bool,
    /// Folder of everything that has no other place [default: whimbrel-data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Catalog: sqlite:PATH or postgres://… [default: a file in the data folder]
    #[arg(long, value_name = "URL")]
    catalog: Option<String>,
}

pub(super) async fn run(command: UserCommand, place: &Place) -> Result<ExitCode, Failure> {
    let args = match &command {
        UserCommand::Add(add) => &add.user,
        UserCommand::Password(args) => args,
    };
    let flags = [
        path_flag("data_dir", "--data-dir", args.data_dir.as_ref()),
        flag("catalog.url", "--catalog", args.catalog.as_ref()),
    ];
    let config = place.load(&flags.into_iter().flatten().collect::<Vec<_>>())?;
    if config.catalog.url == "sqlite::memory:" {
        return Err(Failure::usage("a catalog in memory forgets its users when this command ends"));
    }
    let name = args.name.trim();
    let no_password = matches!(&command, UserCommand::Add(AddArgs { no_password: true, .. }));
    // The login of HTTP ends the name at the first colon; names in certificates may have some.
    if name.is_empty() || (name.contains(':') && !no_password) || is_reserved(name) {
        return Err(Failure::usage(format!(
            "'{name}' is no name for a user: not empty, no colon, not one of the server's own"
        )));
    }
    let user = if no_password { User::without_password(name) } else { user(name, args, place)? };
    let catalog = open_catalog(&config.catalog.url).await?;
    match &command {
        UserCommand::Add(AddArgs { admin, .. }) => {
            catalog.add_user(&user).await.map_err(|error| Failure::of(&error))?;
            if *admin {
                let member = Member { role: ADMIN.to_owned(), member: name.to_owned() };
                catalog.add_member(&member).await.map_err(|error| Failure::of(&error))?;
            }
            println!("user {name} added to {}", catalog.describe());
        }
        UserCommand::Password(_) => {
            let scram_verifier = user.scram_verifier.as_deref().unwrap_or_default();
            let hash = user.password_hash.as_deref().unwrap_or_default();
            let known = catalog.set_password_hash(name, hash, scram_verifier).await;
            if !known.map_err(|error| Failure::of(&error))? {
                return Err(Failure::new(format!("there is no user '{name}'")).with_hint(format!(
                    "add it with `whimbrel user add {name} --password-stdin`"
                )));
            }
            println!("user {name} has a new password in {}", catalog.describe());
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn user(name: &str, args: &UserArgs, place: &Place) -> Result<User, Failure> {
    let password = password(args, place)?;
    let password_hash = Some(hash_password(&password).map_err(|error| Failure::of(&error))?);
    let scram_verifier = scram_verifier(&password).map_err(|error| Failure::of(&error))?;
    Ok(User { name: name.to_owned(), password_hash, scram_verifier: Some(scram_verifier) })
}

fn password(args: &UserArgs, place: &Place) -> Result<String, Failure> {
    if args.password_stdin {
        return password_from_stdin();
    }
    match place.environment.password() {
        Some(password) if !password.is_empty() => Ok(password.to_owned()),
        _ => Err(Failure::usage("there is no password")
            .with_hint("pipe it in with --password-stdin, or set WHIMBREL_PASSWORD")),
    }
}
