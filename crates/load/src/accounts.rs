//! The fans: accounts made beforehand and kept in a file, so that the next run on the same server need not pay for
//! their passwords again (argon2 is slow by design).

use std::cell::{Cell, RefCell};
use std::fs;
use std::future::Future;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use crate::client::{Client, Credentials, Ended, Session};
use crate::http::Request;
use crate::report::say;
use crate::stats::Step;

/// A login that lives shorter than this is renewed before the run.
const LIFE_MIN: Duration = Duration::from_secs(240);

#[derive(Debug, Default, Serialize, Deserialize)]
struct File {
    url: String,
    accounts: Vec<Credentials>,
}

/// What the set-up of the crowd may use.
#[derive(Debug)]
pub(crate) struct CrowdPlan<'a> {
    /// The server, as the user named it.
    pub(crate) url: &'a str,
    /// Where accounts are kept.
    pub(crate) file: Option<&'a Path>,
    /// How many are needed.
    pub(crate) count: usize,
    /// Calls at a time.
    pub(crate) concurrency: usize,
}

/// Runs `work` over `items`, at most `concurrency` at a time, on this thread. Stops at the first failure.
///
/// # Errors
/// The first failure.
pub(crate) async fn for_each_limited<T, F>(
    items: Vec<T>,
    concurrency: usize,
    work: impl Fn(T) -> F + 'static,
) -> Result<(), Ended>
where
    T: 'static,
    F: Future<Output = Result<(), Ended>> + 'static,
{
    let items = Rc::new(RefCell::new(items.into_iter()));
    let work = Rc::new(work);
    let workers: Vec<_> = (0..concurrency.max(1))
        .map(|_| {
            let (items, work) = (Rc::clone(&items), Rc::clone(&work));
            tokio::task::spawn_local(async move {
                loop {
                    let Some(item) = items.borrow_mut().next() else {
                        return Ok(());
                    };
                    if let Err(ended) = work(item).await {
                        // The others stop as well: nothing is left for them.
                        items.borrow_mut().by_ref().for_each(drop);
                        return Err(ended);
                    }
                }
            })
        })
        .collect();
    let mut result = Ok(());
    for worker in workers {
        let ended = worker
            .await
            .expect("a worker neither panics nor is cancelled");
        result = result.and(ended);
    }
    result
}

/// Counts what is done and says how long the rest will take, once a second.
#[derive(Debug)]
struct Progress {
    what: &'static str,
    total: usize,
    done: Cell<usize>,
    started: Instant,
    said: Cell<Instant>,
}

impl Progress {
    fn new(what: &'static str, total: usize) -> Self {
        Self {
            what,
            total,
            done: Cell::new(0),
            started: Instant::now(),
            said: Cell::new(Instant::now()),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a few thousand accounts")]
    fn step(&self) {
        self.done.set(self.done.get() + 1);
        if self.said.get().elapsed() < Duration::from_secs(1) && self.done.get() < self.total {
            return;
        }
        self.said.set(Instant::now());
        let per_s = self.done.get() as f64 / self.started.elapsed().as_secs_f64().max(0.001);
        let left_s = (self.total - self.done.get()) as f64 / per_s;
        say(format_args!(
            "{}: {} of {}, {per_s:.0}/s, about {left_s:.0} s left",
            self.what,
            self.done.get(),
            self.total
        ));
    }
}

/// Makes or takes up the accounts of a run, all logged in.
///
/// # Errors
/// The server refuses accounts or logins, or cannot be reached.
pub(crate) async fn gather(
    client: &Rc<Client>,
    plan: &CrowdPlan<'_>,
) -> Result<Vec<Credentials>, Ended> {
    let mut known = plan.file.map_or_else(Vec::new, |path| load(path, plan.url));
    if let Some(first) = known.first_mut() {
        let session = Session::new(first.clone());
        match client.renew(&session).await {
            Ok(()) => *first = session.into_credentials(),
            Err(ended @ Ended::Refused { .. }) => {
                say(format_args!(
                    "the kept accounts are not this server's ({ended}); making new ones"
                ));
                known.clear();
            }
            Err(ended) => return Err(ended),
        }
    }
    let spare = known.split_off(known.len().min(plan.count));
    let missing = plan.count - known.len();
    let made = make(client, missing, plan.concurrency).await?;
    let result = log_in(
        client,
        known.into_iter().chain(made).collect(),
        plan.concurrency,
    )
    .await?;
    if let Some(path) = plan.file {
        let all = result.iter().cloned().chain(spare).collect();
        keep(path, plan.url, all);
    }
    Ok(result)
}

async fn make(
    client: &Rc<Client>,
    count: usize,
    concurrency: usize,
) -> Result<Vec<Credentials>, Ended> {
    if count == 0 {
        return Ok(Vec::new());
    }
    let run = Uuid::now_v7().simple().to_string();
    let made: Rc<RefCell<Vec<Credentials>>> = Rc::default();
    let progress = Rc::new(Progress::new("accounts made", count));
    let (shared_client, shared_made) = (Rc::clone(client), Rc::clone(&made));
    let work = move |index: usize| {
        let (client, made, progress) = (
            Rc::clone(&shared_client),
            Rc::clone(&shared_made),
            Rc::clone(&progress),
        );
        let (email, password) = (
            format!("fan-{run}-{index}@example.com"),
            format!("Curtain-{run}"),
        );
        async move {
            let body =
                json!({ "email": email, "password": password, "name": format!("Fan {index}") })
                    .to_string();
            let request = Request::post("/api/v1/accounts", &[], body.as_bytes());
            match client
                .call(Step::Setup, Instant::now(), None, &request)
                .await
            {
                Ok(answer) => drop(answer),
                // The first attempt got through and only its answer was lost: nobody else has this address.
                Err(ended) if ended.is("email-taken") => (),
                Err(ended) => return Err(ended),
            }
            let (access_token, refresh_token) = (String::new(), String::new());
            made.borrow_mut().push(Credentials {
                email,
                password,
                access_token,
                refresh_token,
                expires_unix_s: 0,
            });
            progress.step();
            Ok(())
        }
    };
    for_each_limited((0..count).collect(), concurrency, work).await?;
    Ok(made.take())
}

async fn log_in(
    client: &Rc<Client>,
    accounts: Vec<Credentials>,
    concurrency: usize,
) -> Result<Vec<Credentials>, Ended> {
    let (fresh, stale): (Vec<_>, Vec<_>) = accounts
        .into_iter()
        .map(Session::new)
        .partition(|session| !session.needs_renewal_within(LIFE_MIN));
    let ready: Rc<RefCell<Vec<Credentials>>> = Rc::new(RefCell::new(
        fresh.into_iter().map(Session::into_credentials).collect(),
    ));
    if !stale.is_empty() {
        let progress = Rc::new(Progress::new("logins", stale.len()));
        let (shared_client, shared_ready) = (Rc::clone(client), Rc::clone(&ready));
        let work = move |session: Session| {
            let (client, ready, progress) = (
                Rc::clone(&shared_client),
                Rc::clone(&shared_ready),
                Rc::clone(&progress),
            );
            async move {
                client.renew(&session).await?;
                ready.borrow_mut().push(session.into_credentials());
                progress.step();
                Ok(())
            }
        };
        for_each_limited(stale, concurrency, work).await?;
    }
    Ok(ready.take())
}

fn load(path: &Path, url: &str) -> Vec<Credentials> {
    let Ok(text) = fs::read(path) else {
        return Vec::new();
    };
    match serde_json::from_slice::<File>(&text) {
        Ok(file) if file.url == url => file.accounts,
        Ok(file) => {
            say(format_args!(
                "{} belongs to {}; making new accounts",
                path.display(),
                file.url
            ));
            Vec::new()
        }
        Err(error) => {
            say(format_args!(
                "{} cannot be read ({error}); making new accounts",
                path.display()
            ));
            Vec::new()
        }
    }
}

/// Keeps accounts for the next run; readable by their owner alone. A failure is said, not fatal: the run goes on.
pub(crate) fn keep(path: &Path, url: &str, accounts: Vec<Credentials>) {
    use std::os::unix::fs::OpenOptionsExt;
    let write = || -> std::io::Result<()> {
        let new = path.with_extension("new");
        let out = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)?;
        let mut out = std::io::BufWriter::new(out);
        serde_json::to_writer(
            &mut out,
            &File {
                url: url.to_owned(),
                accounts,
            },
        )?;
        std::io::Write::flush(&mut out)?;
        fs::rename(new, path)
    };
    if let Err(error) = write() {
        say(format_args!(
            "failed to keep the accounts in {}: {error}",
            path.display()
        ));
    }
}

/// Brings the tokens in the file up to date after a run: they are rotated whenever they are used.
pub(crate) fn update(path: &Path, url: &str, used: &[Credentials]) {
    let mut accounts = load(path, url);
    let newer: std::collections::HashMap<&str, &Credentials> = used
        .iter()
        .map(|credentials| (credentials.email.as_str(), credentials))
        .collect();
    for account in &mut accounts {
        if let Some(newer) = newer.get(account.email.as_str()) {
            *account = (*newer).clone();
        }
    }
    keep(path, url, accounts);
}

/// Reads the accounts that a ledger names, in its order.
///
/// # Errors
/// The name of an account that the file does not have.
pub(crate) fn of_emails(
    path: &Path,
    url: &str,
    emails: &[String],
) -> Result<Vec<Credentials>, String> {
    let mut known: std::collections::HashMap<String, Credentials> = load(path, url)
        .into_iter()
        .map(|credentials| (credentials.email.clone(), credentials))
        .collect();
    emails
        .iter()
        .map(|email| {
            known
                .remove(email)
                .ok_or_else(|| format!("{} has no account {email}", path.display()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(email: &str) -> Credentials {
        Credentials {
            email: email.to_owned(),
            password: "p".to_owned(),
            access_token: "a".to_owned(),
            refresh_token: "r".to_owned(),
            expires_unix_s: 7,
        }
    }

    #[test]
    fn kept_accounts_belong_to_one_server() {
        let path = std::env::temp_dir().join(format!("boxoffice-accounts-{}", std::process::id()));
        keep(
            &path,
            "http://a:1",
            vec![credentials("x"), credentials("y")],
        );
        assert_eq!(load(&path, "http://a:1").len(), 2);
        assert!(load(&path, "http://b:1").is_empty());
        let found = of_emails(&path, "http://a:1", &["y".to_owned(), "x".to_owned()]).unwrap();
        assert_eq!((found[0].email.as_str(), found[1].expires_unix_s), ("y", 7));
        assert!(of_emails(&path, "http://a:1", &["z".to_owned()]).is_err());
        std::fs::remove_file(&path).unwrap();
    }
}
