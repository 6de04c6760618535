//! `boxoffice operator add`: one more operator, with a password that is seen by nobody else.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use boxoffice_api::auth::{Auth, password_fault};
use boxoffice_api::config::AuthConfig;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

use crate::config::{Config, is_email};
use crate::setup;

/// Makes an operator's account in the configured store; the server may be running.
///
/// # Errors
/// What is wrong with the address or the password, or why the store cannot take it.
pub(crate) async fn add(config: &Config, email: &str) -> Result<(), String> {
    if !is_email(email) {
        return Err(format!(
            "{email:?} is no e-mail address; write it as name@example.org"
        ));
    }
    let asked = match &config.operator.password {
        Some(password) => Some(password.clone()),
        None => ask(email).map_err(|why| format!("failed to read the password: {why}"))?,
    };
    if let Some(fault) = asked
        .as_deref()
        .and_then(|password| password_fault(password, email, ""))
    {
        return Err(fault.to_owned());
    }
    let password = asked.clone().unwrap_or_else(|| setup::chance(8));
    let store = crate::open_store(config)?;
    // Nothing is signed here: only the hashing of passwords is used.
    let auth = AuthConfig {
        secret: setup::chance(32),
        password_workers: 1,
        ..config.auth.clone()
    };
    let auth = Auth::new(&auth, []).map_err(|failure| failure.to_string())?;
    let made = setup::put_operator(&store, &auth, email, &password).await;
    store.close();
    match made.map_err(|failure| failure.to_string())? {
        true if asked.is_none() => setup::say(&format!(
            "operator  {email}  password  {password}  (shown once)"
        )),
        true => setup::say(&format!("operator  {email}  is made")),
        false => {
            return Err(format!(
                "{email} is an operator already; nothing was changed, the password neither"
            ));
        }
    }
    Ok(())
}

/// A password typed on the terminal, unseen; none when there is no terminal, or nothing was typed.
fn ask(email: &str) -> std::io::Result<Option<String>> {
    let input = std::io::stdin();
    if !input.is_terminal() {
        return Ok(None);
    }
    let mut errors = std::io::stderr();
    write!(errors, "password of {email} (empty: one is made): ")?;
    errors.flush()?;
    let seen = tcgetattr(&input)?;
    let mut unseen = seen.clone();
    unseen.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&input, OptionalActions::Flush, &unseen)?;
    let mut line = String::new();
    let read = input.lock().read_line(&mut line);
    tcsetattr(&input, OptionalActions::Flush, &seen)?;
    writeln!(errors)?;
    read?;
    let line = line.trim_end_matches(['\r', '\n']);
    Ok(Some(line.to_owned()).filter(|line| !line.is_empty()))
}
