//! The log, on standard error: text for people, or the Elastic Common Schema for machines.
//!
//! Keeps true: one line is one thing that happened, panics too; no personal data is added here, and nobody hands any in.

use std::fmt;
use std::io::IsTerminal as _;

use serde_json::{Map, Number, Value, json};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::config::{LogConfig, LogFormat};

/// The version of the schema that lines are written in.
const ECS_VERSION: &str = "8.17.0";

/// Starts the log of this process.
///
/// # Errors
/// The level cannot be read, or there is a log already.
pub(crate) fn start(config: &LogConfig) -> Result<(), String> {
    let level = EnvFilter::try_new(&config.level).map_err(|why| format!("log.level: {why}"))?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(level)
        // A line that cannot be written (the log's disk is full) is lost: complaining about it on the same standard error
        // would panic, and the panic's own line once more, which ends the process.
        .log_internal_errors(false)
        .with_writer(std::io::stderr);
    let started = match config.format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Ecs => lines.event_format(Ecs).try_init(),
    };
    started.map_err(|why| format!("failed to start the log: {why}"))?;
    // A panic is a line like any other: a machine that reads the log must not meet a text of many.
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current()
            .name()
            .unwrap_or("unnamed")
            .to_owned();
        let location = panic
            .location()
            .map_or_else(String::new, ToString::to_string);
        let words = panic.payload_as_str().unwrap_or("without words");
        tracing::error!(thread, location, "panicked: {words}");
    }));
    Ok(())
}

/// Writes an event as one JSON object in the Elastic Common Schema.
struct Ecs;

impl<S, N> FormatEvent<S, N> for Ecs
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        let mut fields = Fields(Map::new());
        event.record(&mut fields);
        let Fields(mut line) = fields;
        // What came through the `log` crate names its own.
        let logger = line
            .remove("log.logger")
            .unwrap_or_else(|| json!(event.metadata().target()));
        line.insert("@timestamp".to_owned(), json!(time));
        line.insert(
            "log.level".to_owned(),
            json!(event.metadata().level().as_str().to_ascii_lowercase()),
        );
        line.insert("log.logger".to_owned(), logger);
        line.insert("ecs.version".to_owned(), json!(ECS_VERSION));
        line.insert("service.name".to_owned(), json!("boxoffice"));
        line.insert(
            "service.version".to_owned(),
            json!(env!("CARGO_PKG_VERSION")),
        );
        line.insert("process.pid".to_owned(), json!(std::process::id()));
        writeln!(writer, "{}", Value::Object(line))
    }
}

/// The fields of an event by the names that the schema gives them; those that it does not know are below `boxoffice`.
struct Fields(Map<String, Value>);

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        let (name, value) = match (field.name(), value) {
            ("message", value) => ("message".to_owned(), value),
            ("request_id", value) => ("http.request.id".to_owned(), value),
            ("method", value) => ("http.request.method".to_owned(), value),
            ("status", value) => ("http.response.status_code".to_owned(), value),
            ("log.target", value) => ("log.logger".to_owned(), value),
            // Where in the source: the logger says enough, and paths of the builder are nobody's business.
            ("log.file" | "log.line" | "log.module_path", _) => return,
            ("error", value) => ("error.message".to_owned(), value),
            ("thread", value) => ("process.thread.name".to_owned(), value),
            // The schema counts durations in nanoseconds.
            ("took_ms", value) => (
                "event.duration".to_owned(),
                value
                    .as_f64()
                    .map_or(Value::Null, |ms| json!((ms * 1e6) as u64)),
            ),
            (other, value) => (format!("boxoffice.{other}"), value),
        };
        self.0.insert(name, value);
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, json!(format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, json!(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, json!(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, json!(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, json!(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(
            field,
            Number::from_f64(value).map_or(Value::Null, Value::Number),
        );
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Keeps what is written.
    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_is_one_object_of_the_schema() {
        let paper = Paper::default();
        let writer = paper.clone();
        let subscriber = tracing_subscriber::fmt()
            .event_format(Ecs)
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(
                request_id = "abc",
                method = "GET",
                route = "/x/{id}",
                status = 503_u16,
                took_ms = 1.5,
                "answered\n503 \"quoted\""
            );
            tracing::error!(error = %"disk", pause_ms = 10, "failed");
        });
        let text = String::from_utf8(paper.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 2, "{text}");
        let first = &lines[0];
        assert_eq!(first["message"], "answered\n503 \"quoted\"");
        assert_eq!(
            (
                &first["log.level"],
                &first["http.request.id"],
                &first["http.request.method"]
            ),
            (&json!("info"), &json!("abc"), &json!("GET"))
        );
        assert_eq!(
            (
                &first["http.response.status_code"],
                &first["event.duration"]
            ),
            (&json!(503), &json!(1_500_000))
        );
        assert_eq!(
            (
                &first["boxoffice.route"],
                &first["ecs.version"],
                &first["service.name"]
            ),
            (&json!("/x/{id}"), &json!(ECS_VERSION), &json!("boxoffice"))
        );
        let time = first["@timestamp"].as_str().unwrap();
        assert!(
            time.parse::<jiff::Timestamp>().is_ok() && time.ends_with('Z'),
            "{time}"
        );
        assert_eq!(
            (
                &lines[1]["log.level"],
                &lines[1]["error.message"],
                &lines[1]["boxoffice.pause_ms"]
            ),
            (&json!("error"), &json!("disk"), &json!(10))
        );
    }
}
