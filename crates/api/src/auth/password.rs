//! Passwords: which are good enough, and their hashes (argon2id).
//!
//! Keeps true: as many hashes are worked on at once as there are workers, on threads that give way to all others; no more
//! than [`WAITING_MAX`] wait; an unknown account takes as long as a wrong password. No password is kept, logged or printed.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;

use argon2::password_hash::Error;
use argon2::password_hash::phc::{Output, ParamsString, PasswordHash, Salt};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use boxoffice_adapters::Failure;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::config::AuthConfig;

/// Hashes that may wait for a worker; more are refused.
const WAITING_MAX: usize = 256;
/// When to come back if so many wait, seconds: they are done by then.
const RETRY_AFTER_S: u32 = 5;
/// How far the workers' priority is below that of the others.
const NICE: i32 = 10;
/// Characters of a password.
const LENGTH: std::ops::RangeInclusive<usize> = 8..=256;

/// The most common passwords of that length, in lower case: those that are tried first.
const COMMON: &[&str] = &[
    "password",
    "password1",
    "password12",
    "password123",
    "password1234",
    "password!",
    "passw0rd",
    "p@ssw0rd",
    "p@ssword",
    "12345678",
    "123456789",
    "1234567890",
    "0123456789",
    "0987654321",
    "987654321",
    "87654321",
    "12341234",
    "11223344",
    "1122334455",
    "123123123",
    "12121212",
    "123454321",
    "abcd1234",
    "abc12345",
    "a1234567",
    "a12345678",
    "a123456789",
    "1234abcd",
    "12345abc",
    "12345678a",
    "123456789a",
    "abcdefgh",
    "abcdefg1",
    "qwertyui",
    "qwertyuiop",
    "qwerty12",
    "qwerty123",
    "qwerty1234",
    "qwer1234",
    "qwerasdf",
    "asdf1234",
    "asdfasdf",
    "asdfghjk",
    "asdfghjkl",
    "zxcvbnm1",
    "zxcv1234",
    "1q2w3e4r",
    "1q2w3e4r5t",
    "q1w2e3r4",
    "1qaz2wsx",
    "qazwsxedc",
    "iloveyou",
    "iloveyou1",
    "ilovekpop",
    "sunshine",
    "princess",
    "football",
    "baseball",
    "superman",
    "starwars",
    "computer",
    "trustno1",
    "whatever",
    "letmein1",
    "welcome1",
    "welcome123",
    "admin123",
    "admin1234",
    "administrator",
    "changeme",
    "dubsmash",
    "samsung1",
    "korea123",
    "tlsqkdtlf",
    "dkssudgktpdy",
    "boxoffice",
    "tickets1",
    "ticket123",
];

/// What is wrong with a password for this account and how to mend it; none when it will do.
#[must_use]
pub fn fault(password: &str, email: &str, name: &str) -> Option<&'static str> {
    let length = password.chars().count();
    let lower = password.to_lowercase();
    let is = |other: &str| !other.is_empty() && lower == other.to_lowercase();
    let mut characters = lower.chars();
    let first = characters.next();
    if length < *LENGTH.start() {
        Some("password: too short; take at least 8 characters")
    } else if length > *LENGTH.end() {
        Some("password: too long; take at most 256 characters")
    } else if is(email) || is(email.split('@').next().unwrap_or_default()) || is(name) {
        Some("password: it is your name or address; take something that others do not know")
    } else if characters.all(|character| Some(character) == first)
        || COMMON.contains(&lower.as_str())
    {
        Some(
            "password: one of those that are tried first; take another, such as three words that do not belong together",
        )
    } else {
        None
    }
}

/// What a worker hashes with. The memory is kept: 19 MiB taken and given back for each hash would cost page faults, and
/// the allocator keeps several times as much in the end.
struct Hasher {
    params: Params,
    memory: Vec<Block>,
}

impl Hasher {
    fn hash(&mut self, password: &str) -> Result<String, Error> {
        let mut salt = [0; 16];
        getrandom::fill(&mut salt).map_err(|_| Error::Crypto)?;
        let params = self.params.clone();
        let hash = PasswordHash {
            algorithm: Algorithm::Argon2id.ident(),
            version: Some(Version::V0x13.into()),
            params: ParamsString::try_from(&params)?,
            salt: Some(Salt::new(&salt)?),
            hash: Some(self.output(params, password, &salt)?),
        };
        Ok(hash.to_string())
    }

    /// With the parameters that the hash was made with.
    fn verify(&mut self, password: &str, hash: &str) -> Result<bool, Error> {
        let kept = PasswordHash::new(hash)?;
        if kept.algorithm != Algorithm::Argon2id.ident()
            || kept.version != Some(Version::V0x13.into())
        {
            return Err(Error::Algorithm);
        }
        let (Some(salt), Some(expected)) = (&kept.salt, &kept.hash) else {
            return Err(Error::PasswordInvalid);
        };
        // Outputs compare in constant time.
        Ok(self.output(Params::try_from(&kept)?, password, salt)? == *expected)
    }

    fn output(&mut self, params: Params, password: &str, salt: &[u8]) -> Result<Output, Error> {
        let (length, blocks) = (
            params.output_len().unwrap_or(Params::DEFAULT_OUTPUT_LEN),
            params.block_count(),
        );
        if self.memory.len() < blocks {
            self.memory = vec![Block::default(); blocks];
        }
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let mut bytes = [0; Output::MAX_LENGTH];
        let bytes = bytes.get_mut(..length).ok_or(Error::OutputSize)?;
        argon2.hash_password_into_with_memory(
            password.as_bytes(),
            salt,
            bytes,
            &mut self.memory[..blocks],
        )?;
        Output::new(bytes).map_err(Error::from)
    }
}

type Task = Box<dyn FnOnce(&mut Hasher) + Send>;

/// The threads that hash. They end when this is dropped.
#[derive(Debug)]
pub(super) struct Pool {
    queue: SyncSender<Task>,
}

impl Pool {
    pub(super) fn new(config: &AuthConfig) -> Result<Self, Failure> {
        let params = Params::new(config.password_memory_kib, config.password_passes, 1, None);
        let params = params.map_err(|why| {
            Failure::Broken(format!(
                "auth.password_memory_kib or auth.password_passes: {why}"
            ))
        })?;
        let (queue, tasks) = sync_channel(WAITING_MAX);
        let tasks = Arc::new(Mutex::new(tasks));
        for number in 0..config.password_workers.max(1) {
            let (mut hasher, tasks) = (
                Hasher {
                    params: params.clone(),
                    memory: Vec::new(),
                },
                Arc::clone(&tasks),
            );
            let thread = thread::Builder::new()
                .name(format!("password-{number}"))
                .spawn(move || work(&mut hasher, &tasks));
            thread.map_err(|why| {
                Failure::Broken(format!("failed to start a thread for passwords: {why}"))
            })?;
        }
        Ok(Self { queue })
    }

    pub(super) async fn hash(&self, password: String) -> Result<String, Failure> {
        let hash = self.ask(move |hasher| hasher.hash(&password)).await?;
        hash.map_err(|why| Failure::Broken(format!("failed to hash a password: {why}")))
    }

    pub(super) async fn verify(
        &self,
        password: String,
        hash: Option<String>,
    ) -> Result<bool, Failure> {
        let verify = move |hasher: &mut Hasher| match hash {
            Some(hash) => hasher.verify(&password, &hash),
            // Nothing to compare with: the work is done for the time it takes.
            None => hasher.hash(&password).map(|_| false),
        };
        self.ask(verify)
            .await?
            .map_err(|why| Failure::Broken(format!("failed to check a password: {why}")))
    }

    /// Runs one piece of work on a worker, in the order of asking. It is left out when nobody waits for it any more.
    async fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Hasher) -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let (reply, answer) = oneshot::channel();
        let task: Task = Box::new(move |hasher| {
            if !reply.is_closed() {
                let _ = reply.send(work(hasher));
            }
        });
        self.queue.try_send(task).map_err(|error| match error {
            TrySendError::Full(_) => Failure::Busy {
                retry_after_s: RETRY_AFTER_S,
            },
            TrySendError::Disconnected(_) => {
                Failure::Broken("the threads for passwords have ended".to_owned())
            }
        })?;
        answer
            .await
            .map_err(|_| Failure::Broken("a password's thread broke off".to_owned()))
    }
}

fn work(hasher: &mut Hasher, tasks: &Mutex<Receiver<Task>>) {
    give_way();
    loop {
        // The lock is let go before the work begins.
        let Ok(task) = tasks.lock().recv() else {
            return;
        };
        task(hasher);
    }
}

/// Lowers this thread's priority; where that cannot be, hashing is still bounded by the number of threads.
#[cfg(target_os = "linux")]
fn give_way() {
    if let Err(error) = rustix::process::nice(NICE) {
        tracing::warn!(%error, "failed to lower the priority of a thread for passwords");
    }
}

#[cfg(not(target_os = "linux"))]
fn give_way() {}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::sync::mpsc;
    use std::task::{Context, Poll, Waker};
    use std::time::{Duration, Instant};

    use argon2::PasswordVerifier as _;

    use super::super::tests::config;
    use super::*;

    #[test]
    fn weak_passwords_are_named_and_good_ones_taken() {
        for (password, expected) in [
            ("", Some("too short")),
            ("1234567", Some("too short")),
            ("비밀번호일곱자", Some("too short")),
            ("여덟글자비밀번호", None),
            (&"xy".repeat(128), None),
            (&("xy".repeat(128) + "z"), Some("too long")),
            ("kim.minji@example.com", Some("your name")),
            ("Kim.Minji@Example.COM", Some("your name")),
            ("kim.minji", Some("your name")),
            ("KIM MINJI", Some("your name")),
            ("Password1", Some("tried first")),
            ("1q2w3e4r", Some("tried first")),
            ("aaaaaaaaaaaa", Some("tried first")),
            ("correct horse battery", None),
            ("        x", None),
        ] {
            let fault = fault(password, "kim.minji@example.com", "Kim Minji");
            assert_eq!(
                fault.is_some(),
                expected.is_some(),
                "{password:?}: {fault:?}"
            );
            assert!(
                fault
                    .unwrap_or_default()
                    .contains(expected.unwrap_or_default()),
                "{password:?}: {fault:?}"
            );
        }
    }

    #[test]
    fn the_list_of_common_passwords_has_only_what_can_match() {
        for common in COMMON {
            assert!(
                LENGTH.contains(&common.chars().count()) && *common == common.to_lowercase(),
                "{common}"
            );
        }
    }

    #[tokio::test]
    async fn a_password_is_known_again_by_its_hash() {
        let pool = Pool::new(&AuthConfig {
            password_memory_kib: 64,
            password_passes: 2,
            ..config()
        })
        .unwrap();
        let hash = pool.hash("correct horse".to_owned()).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=64,t=2,p=1$"), "{hash}");
        assert_ne!(
            hash,
            pool.hash("correct horse".to_owned()).await.unwrap(),
            "each has its own salt"
        );
        let verify = async |password: &str, hash: Option<&str>| {
            pool.verify(password.to_owned(), hash.map(str::to_owned))
                .await
        };
        assert!(verify("correct horse", Some(&hash)).await.unwrap());
        assert!(!verify("Correct horse", Some(&hash)).await.unwrap());
        assert!(!verify("correct horse", None).await.unwrap());
        assert!(matches!(
            verify("correct horse", Some("not a hash")).await,
            Err(Failure::Broken(_))
        ));
        let (other, config) = (Pool::new(&config()).unwrap(), config());
        assert!(
            other
                .verify("correct horse".to_owned(), Some(hash))
                .await
                .unwrap(),
            "made with other parameters"
        );
        let own = other.hash("correct horse".to_owned()).await.unwrap();
        assert!(
            own.contains(&format!("m={}", config.password_memory_kib))
                && verify("correct horse", Some(&own)).await.unwrap(),
            "{own}"
        );
        // Any other implementation agrees.
        Argon2::default()
            .verify_password(b"correct horse", own.as_str())
            .unwrap();
        assert!(
            Argon2::default()
                .verify_password(b"wrong horse", own.as_str())
                .is_err()
        );
    }

    #[tokio::test]
    async fn an_unknown_account_takes_as_long_as_a_wrong_password() {
        let pool = Pool::new(&AuthConfig {
            password_memory_kib: 4_096,
            ..config()
        })
        .unwrap();
        let hash = pool.hash("correct horse".to_owned()).await.unwrap();
        let fastest = async |hash: Option<String>| {
            let mut fastest = Duration::MAX;
            for _ in 0..5 {
                let begun = Instant::now();
                assert!(
                    !pool
                        .verify("wrong horse".to_owned(), hash.clone())
                        .await
                        .unwrap()
                );
                fastest = fastest.min(begun.elapsed());
            }
            fastest
        };
        let (wrong, unknown) = (fastest(Some(hash)).await, fastest(None).await);
        assert!(
            unknown > wrong / 3 && wrong > unknown / 3,
            "wrong {wrong:?}, unknown {unknown:?}"
        );
    }

    /// Asks, and leaves the answer for later.
    fn begin<T>(asking: impl Future<Output = T>) -> Pin<Box<impl Future<Output = T>>> {
        let mut asking = Box::pin(asking);
        assert!(
            asking
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()))
                .is_pending()
        );
        asking
    }

    #[tokio::test]
    async fn the_pool_is_bounded_in_work_and_waiting() {
        let pool = Pool::new(&AuthConfig {
            password_workers: 2,
            ..config()
        })
        .unwrap();
        let (begun, working) = mpsc::channel();
        let mut gates = Vec::new();
        let mut ask = || {
            let (begun, (gate, closed)) = (begun.clone(), mpsc::channel::<()>());
            gates.push(gate);
            let work = move |_: &mut Hasher| {
                begun.send(()).unwrap();
                closed.recv().is_err()
            };
            begin(pool.ask(work))
        };
        let mut asked = vec![ask(), ask()];
        for _ in 0..2 {
            working.recv_timeout(Duration::from_secs(10)).unwrap();
        }
        asked.extend((0..WAITING_MAX).map(|_| ask()));
        let mut one_more = Box::pin(pool.hash("correct horse".to_owned()));
        let answer = one_more
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()));
        assert!(
            matches!(answer, Poll::Ready(Err(Failure::Busy { .. }))),
            "{answer:?}"
        );
        assert!(working.try_recv().is_err(), "two workers, two at work");
        drop(gates);
        for asked in asked {
            assert!(asked.await.unwrap());
        }
        pool.hash("correct horse".to_owned()).await.unwrap();
    }

    #[tokio::test]
    async fn what_nobody_waits_for_is_left_out() {
        let pool = Pool::new(&config()).unwrap();
        let (gate, closed) = mpsc::channel::<()>();
        let (done, worked) = mpsc::channel();
        let first = begin(pool.ask(move |_| closed.recv().is_err()));
        drop(begin(pool.ask(move |_| done.send(()))));
        drop(gate);
        assert!(first.await.unwrap());
        pool.ask(|_| ()).await.unwrap();
        assert!(worked.try_recv().is_err());
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn the_workers_give_way_and_nobody_else_does() {
        let ours = || rustix::process::getpriority_process(None).unwrap();
        let before = ours();
        let theirs = Pool::new(&config())
            .unwrap()
            .ask(move |_| ours())
            .await
            .unwrap();
        assert_eq!((theirs, ours()), ((before + NICE).min(19), before));
    }
}
