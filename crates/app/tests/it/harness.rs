//! Starts the real binary, knows who is calling, and waits without guessing.
//!
//! A server lives in a folder of its own and dies with its handle, or with this process, however that ends.

use std::fs::File;
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::http::{Answer, Call, Stream};

/// A password that no rule finds weak.
pub(crate) const PASSWORD: &str = "violet-Harbour-1987-lantern";

/// A server that is not ready by then fails its test.
const READY_MAX: Duration = Duration::from_secs(30);

/// What this machine may add to a promised time.
pub(crate) fn slack() -> Duration {
    let asked = std::env::var("BOXOFFICE_TEST_SLACK_MS")
        .ok()
        .and_then(|text| text.parse().ok());
    Duration::from_millis(asked.unwrap_or(1_000))
}

/// A promised time, with the slack of the machine.
pub(crate) fn within_s(seconds: u64) -> Duration {
    Duration::from_secs(seconds) + slack()
}

/// Asks again and again until there is an answer; panics with `what` when time runs out.
#[track_caller]
pub(crate) fn until<T>(what: &str, within: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + within;
    loop {
        if let Some(found) = ask() {
            return found;
        }
        assert!(Instant::now() < end, "not within {within:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Checks a rule again and again for as long as it must hold.
#[track_caller]
pub(crate) fn holds_for(duration: Duration, mut check: impl FnMut()) {
    let end = Instant::now() + duration;
    while Instant::now() < end {
        check();
        std::thread::sleep(Duration::from_millis(25));
    }
}

/// Lets time itself pass, where the rule is about time (never to wait for somebody).
pub(crate) fn let_pass(duration: Duration) {
    std::thread::sleep(duration);
}

/// A UUIDv7 as clients make them.
pub(crate) fn new_id() -> String {
    uuid::Uuid::now_v7().to_string()
}

/// An RFC 3339 time so many seconds from now (or before, if negative).
pub(crate) fn from_now_s(seconds: f64) -> String {
    (Timestamp::now() + SignedDuration::from_secs_f64(seconds)).to_string()
}

/// Reads an RFC 3339 time; all of ours are in UTC.
#[track_caller]
pub(crate) fn time(value: &Value) -> Timestamp {
    let text = value.as_str().unwrap_or_else(|| panic!("no time: {value}"));
    assert!(
        text.ends_with('Z') || text.ends_with("+00:00"),
        "not in UTC: {text}"
    );
    text.parse()
        .unwrap_or_else(|error| panic!("not RFC 3339 ({error}): {text}"))
}

/// Seconds from `a` to `b`, negative when `b` is earlier.
pub(crate) fn seconds_between(a: Timestamp, b: Timestamp) -> f64 {
    b.duration_since(a).as_secs_f64()
}

/// Runs the same thing in many threads at once and hands back what each found, in order.
pub(crate) fn in_parallel<T: Send>(count: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let barrier = std::sync::Barrier::new(count);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..count)
            .map(|index| {
                let (barrier, work) = (&barrier, &work);
                scope.spawn(move || {
                    barrier.wait();
                    work(index)
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("a parallel call failed"))
            .collect()
    })
}

/// Where a server is and who may steer it.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) address: Arc<str>,
    operator: Arc<(String, String)>,
    operator_login: Arc<Mutex<Option<(Instant, Who)>>>,
}

impl Api {
    pub(crate) fn new(address: &str, email: &str, password: &str) -> Self {
        Self {
            address: address.into(),
            operator: Arc::new((email.to_owned(), password.to_owned())),
            operator_login: Arc::default(),
        }
    }

    /// Sends a call to this server; a broken connection fails the test.
    #[track_caller]
    pub(crate) fn send(&self, call: &Call) -> Answer {
        match call.send(&self.address) {
            Ok(answer) => answer,
            Err(error) => panic!(
                "no answer from {} ({error}): {}",
                self.address,
                call.head(&self.address)
            ),
        }
    }

    /// A call without a login, below `/api/v1`.
    pub(crate) fn call(&self, method: &str, path: &str) -> Call {
        Call::new(method, &format!("/api/v1{path}"))
    }

    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Answer {
        self.send(&self.call("GET", path))
    }

    #[track_caller]
    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(&self.call("POST", path).json(body))
    }

    /// Logs in; the session is a new one each time.
    #[track_caller]
    pub(crate) fn login(&self, email: &str, password: &str) -> Who {
        let body = json!({"email": email, "password": password});
        let session = self.post("/sessions", &body).expect(201);
        Who {
            api: self.clone(),
            account_id: String::new(),
            email: email.to_owned(),
            access_token: session["access_token"]
                .as_str()
                .expect("an access token")
                .to_owned(),
            refresh_token: session["refresh_token"]
                .as_str()
                .expect("a refresh token")
                .to_owned(),
        }
    }

    /// A new fan, signed up and logged in.
    #[track_caller]
    pub(crate) fn fan(&self) -> Who {
        let email = new_email();
        let body = json!({"email": email, "password": PASSWORD, "name": "Fan"});
        let account = self.post("/accounts", &body).expect(201);
        let mut fan = self.login(&email, PASSWORD);
        fan.account_id = account["account_id"]
            .as_str()
            .expect("an account id")
            .to_owned();
        fan
    }

    /// So many new fans.
    #[track_caller]
    pub(crate) fn fans(&self, count: usize) -> Vec<Who> {
        (0..count).map(|_| self.fan()).collect()
    }

    /// The operator; one login is used for some minutes.
    #[track_caller]
    pub(crate) fn operator(&self) -> Who {
        let mut login = self
            .operator_login
            .lock()
            .expect("no holder of this lock panics while it changes it");
        match &*login {
            Some((since, who)) if since.elapsed() < Duration::from_secs(240) => who.clone(),
            _ => {
                let who = self.login(&self.operator.0, &self.operator.1);
                *login = Some((Instant::now(), who.clone()));
                who
            }
        }
    }
}

/// An address that nobody else uses.
pub(crate) fn new_email() -> String {
    format!("fan-{}@example.com", uuid::Uuid::now_v7().simple())
}

/// Somebody who is logged in: a fan or the operator.
#[derive(Clone)]
pub(crate) struct Who {
    pub(crate) api: Api,
    /// Empty for the operator.
    pub(crate) account_id: String,
    pub(crate) email: String,
    pub(crate) access_token: String,
    pub(crate) refresh_token: String,
}

impl Who {
    /// A call with the login, below `/api/v1`.
    pub(crate) fn call(&self, method: &str, path: &str) -> Call {
        self.api.call(method, path).bearer(&self.access_token)
    }

    #[track_caller]
    pub(crate) fn send(&self, call: &Call) -> Answer {
        self.api.send(call)
    }

    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Answer {
        self.send(&self.call("GET", path))
    }

    #[track_caller]
    pub(crate) fn delete(&self, path: &str) -> Answer {
        self.send(&self.call("DELETE", path))
    }

    #[track_caller]
    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(&self.call("POST", path).json(body))
    }

    #[track_caller]
    pub(crate) fn put(&self, path: &str, body: &Value) -> Answer {
        self.send(&self.call("PUT", path).json(body))
    }

    #[track_caller]
    pub(crate) fn patch(&self, path: &str, body: &Value) -> Answer {
        self.send(&self.call("PATCH", path).json(body))
    }

    /// An open stream; it must have been accepted.
    #[track_caller]
    pub(crate) fn stream(&self, path: &str) -> Stream {
        self.stream_after(path, None)
    }

    /// A stream that goes on after the event with this id.
    #[track_caller]
    pub(crate) fn stream_after(&self, path: &str, last_event_id: Option<&str>) -> Stream {
        let mut call = self.call("GET", path);
        if let Some(id) = last_event_id {
            call = call.header("Last-Event-ID", id);
        }
        let stream = call.stream(&self.api.address).expect("the stream's head");
        assert_eq!(
            stream.status, 200,
            "the stream {path} was refused: {:?}",
            stream.headers
        );
        let kind = stream.header("content-type").unwrap_or_default();
        assert!(
            kind.starts_with("text/event-stream"),
            "content type {kind:?}"
        );
        stream
    }
}

/// The server that most tests share: the deployment under test, or one that is started on first use.
pub(crate) fn shared() -> Api {
    static SHARED: OnceLock<(Api, Option<Server>)> = OnceLock::new();
    SHARED
        .get_or_init(|| match deployment() {
            Some(api) => (api, None),
            None => {
                let server = Server::start();
                (server.api.clone(), Some(server))
            }
        })
        .0
        .clone()
}

/// The deployment under test, when the environment names one.
fn deployment() -> Option<Api> {
    let url = std::env::var("BOXOFFICE_TEST_URL").ok()?;
    let operator =
        std::env::var("BOXOFFICE_TEST_OPERATOR").expect("BOXOFFICE_TEST_OPERATOR=email:password");
    let (email, password) = operator
        .split_once(':')
        .expect("BOXOFFICE_TEST_OPERATOR=email:password");
    let address = url
        .strip_prefix("http://")
        .expect("BOXOFFICE_TEST_URL=http://host:port");
    Some(Api::new(address.trim_end_matches('/'), email, password))
}

/// True, and said, when a test cannot run since the server under test is not ours to start, stop or configure.
pub(crate) fn skipped(why: &str) -> bool {
    let skip = deployment().is_some();
    if skip {
        eprintln!("skipped: BOXOFFICE_TEST_URL is set, and this test needs {why}");
    }
    skip
}

/// A server of our own, with its data.
pub(crate) struct Server {
    pub(crate) api: Api,
    pub(crate) folder: TempDir,
    port: u16,
    settings: Vec<(String, String)>,
    process: Option<(Child, Watch)>,
}

const OPERATOR: (&str, &str) = ("operator@example.com", "amber-Gallery-2041-anchor");

impl Server {
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts with these settings on top of the suite's own, and waits until it is ready.
    #[track_caller]
    pub(crate) fn start_with(settings: &[(&str, &str)]) -> Self {
        let port = free_port();
        let mut server = Self {
            api: Api::new(&format!("127.0.0.1:{port}"), OPERATOR.0, OPERATOR.1),
            folder: TempDir::with_prefix("boxoffice-it-").expect("a temporary folder"),
            port,
            settings: settings
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
            process: None,
        };
        server.run();
        server
    }

    /// Starts the process on the data that is there and waits until it is ready.
    #[track_caller]
    pub(crate) fn run(&mut self) {
        assert!(self.process.is_none(), "it runs already");
        let log_path = self.log_path();
        let log = File::options()
            .create(true)
            .append(true)
            .open(&log_path)
            .expect("the log file");
        let mut command = self.command();
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log);
        let child = command.spawn().expect("the boxoffice binary starts");
        let watch = Watch::over(child.id());
        self.process = Some((child, watch));
        let ready = Call::new("GET", "/readyz");
        let address = self.api.address.clone();
        let process = &mut self.process;
        until("the server is ready", READY_MAX, || {
            if let Some((child, _)) = process
                && let Ok(Some(status)) = child.try_wait()
            {
                panic!("the server ended with {status}: {}", tail(&log_path));
            }
            ready
                .send(&address)
                .ok()
                .filter(|answer| answer.status == 200)
        });
    }

    /// The binary with this server's folder and settings; add the arguments.
    pub(crate) fn command(&self) -> Command {
        let mut command = boxoffice(self.folder.path());
        command.env("BOXOFFICE_HTTP__LISTEN", format!("127.0.0.1:{}", self.port));
        command
            .env("BOXOFFICE_OPERATOR__EMAIL", OPERATOR.0)
            .env("BOXOFFICE_OPERATOR__PASSWORD", OPERATOR.1);
        for (key, value) in &self.settings {
            command.env(key, value);
        }
        command
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        if let Some((mut child, watch)) = self.process.take() {
            drop(watch);
            child.kill().expect("the process is ours to kill");
            child.wait().expect("the process is ours to wait for");
        }
    }

    /// Asks the process to end in good order and waits for it.
    #[track_caller]
    pub(crate) fn terminate(&mut self, within: Duration) -> ExitStatus {
        let (mut child, watch) = self.process.take().expect("it runs");
        drop(watch);
        let asked = Command::new("sh")
            .arg("-c")
            .arg(format!("kill -TERM {}", child.id()))
            .status();
        assert!(asked.expect("a shell").success(), "the signal was not sent");
        until("the server ends after SIGTERM", within, || {
            child.try_wait().expect("our own child")
        })
    }

    /// Everything the server wrote to its output so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("output.log")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the server's last words: {}", tail(&self.log_path()));
        }
        self.kill();
    }
}

/// The binary, run in a folder with the settings that make tests quick; nothing of the caller's own leaks in.
pub(crate) fn boxoffice(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_boxoffice"));
    for (key, _) in std::env::vars_os() {
        if key.to_string_lossy().starts_with("BOXOFFICE_") {
            command.env_remove(key);
        }
    }
    let store = folder.join("boxoffice.db");
    command
        .current_dir(folder)
        .env("BOXOFFICE_DEMO", "false")
        .env(
            "BOXOFFICE_STORE__URL",
            format!("sqlite://{}", store.display()),
        )
        .env("BOXOFFICE_AUTH__PASSWORD_MEMORY_KIB", "64")
        .env("BOXOFFICE_AUTH__PASSWORD_PASSES", "1")
        .env("BOXOFFICE_LOG__FORMAT", "text");
    command
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").port()
}

fn tail(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<_> = text.lines().rev().take(30).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}

/// Ends a process when this process is gone: a `static` is never dropped, and a test run may be interrupted.
struct Watch {
    shell: Child,
    /// Open as long as we live.
    line: Option<ChildStdin>,
}

impl Watch {
    fn over(process_id: u32) -> Self {
        let script = format!("read word; [ \"$word\" = done ] || kill -9 {process_id}");
        let mut shell = Command::new("sh")
            .arg("-c")
            .arg(script)
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell");
        let line = shell.stdin.take();
        Self { shell, line }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(mut line) = self.line.take() {
            let _shell_is_gone = line.write_all(b"done\n");
        }
        let _shell_is_gone = self.shell.wait();
    }
}
