//! The agent's log: text, and on a host with a journal also the audit log with its fields.

use std::os::fd::AsFd;

use jit_policy::{audit::Detail, hex};
use serde_json::Value;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::{
    EnvFilter, Layer as _,
    filter::filter_fn,
    fmt::{
        self, FmtContext,
        format::{FormatEvent, FormatFields, Writer},
    },
    layer::SubscriberExt as _,
    registry::LookupSpan,
    util::SubscriberInitExt as _,
};

/// The log target of the rows of the audit log.
pub const TARGET: &str = "audit";
/// The variable that the service manager sets if standard error goes to the journal: device and inode of the stream,
/// separated by a colon.
const JOURNAL_STREAM: &str = "JOURNAL_STREAM";
/// The prefix of the names of fields in the journal. An underscore separates the prefix from the name.
const PREFIX: &str = "JIT";

/// Sends the agent's log to standard error as text. If standard error leads to the journal, the rows and heads of the
/// audit log go to the journal with their fields instead, and each line of text has its priority. RUST_LOG says what to
/// log. The rows of the audit log always go to the journal, and appear as text only if RUST_LOG names `audit`.
pub fn init() {
    let journal = leads_to_journal(std::env::var(JOURNAL_STREAM).ok().as_deref(), std::io::stderr())
        .then(tracing_journald::layer)
        .and_then(Result::ok);
    let rows = if journal.is_some() { "info" } else { "off" };
    let filter = match std::env::var(EnvFilter::DEFAULT_ENV) {
        Ok(asked) if asked.contains(TARGET) && journal.is_none() => EnvFilter::try_new(asked).ok(),
        Ok(asked) => EnvFilter::try_new(format!("{asked},{TARGET}={rows}")).ok(),
        Err(_) => None,
    };
    let filter = filter.unwrap_or_else(|| EnvFilter::new(format!("info,{TARGET}={rows}")));
    let registry = tracing_subscriber::registry().with(filter);
    match journal {
        Some(journal) => {
            let journal = journal.with_field_prefix(Some(PREFIX.to_owned())).with_filter(filter_fn(is_of_audit));
            // The other lines go to the journal as text, because a reader of single lines would not see their fields.
            let text = fmt::layer().with_writer(std::io::stderr).event_format(WithPriority).with_ansi(false);
            let text = text.with_filter(filter_fn(|of| !is_of_audit(of)));
            registry.with(journal).with(text).init();
        }
        None => registry.with(fmt::layer().with_writer(std::io::stderr)).init(),
    }
}

/// Whether a log event is a row or a head of the audit log.
fn is_of_audit(of: &Metadata<'_>) -> bool {
    [TARGET, module_path!()].contains(&of.target())
}

/// A format of lines for the journal: the priority as in sd-daemon(3), the message and the fields.
struct WithPriority;

impl<S, N> FormatEvent<S, N> for WithPriority
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut to: Writer<'_>, event: &Event<'_>) -> std::fmt::Result {
        let priority = match *event.metadata().level() {
            Level::ERROR => 3,
            Level::WARN => 4,
            Level::INFO => 6,
            _ => 7,
        };
        write!(to, "<{priority}>")?;
        context.format_fields(to.by_ref(), event)?;
        writeln!(to)
    }
}

/// Whether `file` is the stream to the journal that the service manager names in the variable. A program may have
/// inherited the variable but have another standard error.
fn leads_to_journal(variable: Option<&str>, file: impl AsFd) -> bool {
    rustix::fs::fstat(file).is_ok_and(|stat| variable == Some(&format!("{}:{}", stat.st_dev, stat.st_ino)))
}

/// Whether rows of the audit log are logged at all.
pub fn is_wanted() -> bool {
    tracing::enabled!(target: TARGET, Level::INFO)
}

/// Logs a row of the audit log with fields that can be searched for in the journal.
pub fn announce(seq: i64, event: &str, detail: &Value, hash: &[u8; 32]) {
    let detail = Detail(detail);
    let login_uid = detail.of_by("login_uid").and_then(Value::as_i64);
    tracing::info!(
        target: TARGET,
        event,
        seq,
        request = detail.number("request"),
        grant = detail.number("grant"),
        requestor = detail.text("requestor"),
        uid = detail.number("uid"),
        by = detail.by_name(),
        login_uid,
        number = detail.number("number"),
        protocol = detail.text("protocol"),
        source = detail.text("source"),
        reason = detail.text("reason"),
        justification = detail.text("justification"),
        hash = hex::encode(hash),
        "audit row {seq}: {event}",
    );
}

/// Logs the head of the audit log. An audit log that ends before a logged head has been cut.
pub fn announce_head(seq: i64, hash: &[u8; 32]) {
    let hash = hex::encode(hash);
    tracing::info!(event = "head", seq, hash, "head of the audit log: {seq}:{hash}");
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeMap,
        fmt::Debug,
        os::linux::fs::MetadataExt as _,
        sync::{Arc, Mutex},
    };

    use serde_json::json;
    use tracing::{field::Field, field::Visit};
    use tracing_subscriber::{Layer, layer::Context};

    use super::*;

    type Fields = BTreeMap<String, String>;

    /// A layer that keeps target, level and fields of each event.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<Fields>>>);

    struct Visitor(Fields);

    impl Visit for Visitor {
        fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
            self.0.insert(field.name().to_owned(), format!("{value:?}"));
        }
    }

    impl<S: Subscriber> Layer<S> for Kept {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            let mut visitor = Visitor(Fields::new());
            event.record(&mut visitor);
            let metadata = event.metadata();
            visitor.0.insert("as".to_owned(), format!("{} {}", metadata.target(), metadata.level()));
            self.0.lock().unwrap().push(visitor.0);
        }
    }

    fn kept(work: impl FnOnce()) -> Fields {
        let kept = Kept::default();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(kept.clone()), work);
        let mut events = kept.0.lock().unwrap();
        assert_eq!(events.len(), 1);
        events.remove(0)
    }

    fn fields<const N: usize>(pairs: [(&str, &str); N]) -> Fields {
        pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    #[test]
    fn a_line_for_the_journal_has_its_priority_and_what_is_wrong() {
        let written = Arc::<Mutex<Vec<u8>>>::default();
        let writer = Arc::clone(&written);
        let layer =
            fmt::layer().event_format(WithPriority).with_ansi(false).with_writer(move || Shared(writer.clone()));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            tracing::error!(fault = "config.toml: line 7", "starting all the same");
        });
        let written = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        assert_eq!(written, "<3>starting all the same fault=\"config.toml: line 7\"\n");
    }

    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_row_has_every_field_that_is_known_and_no_other() {
        let hash = "ab".repeat(32);
        let detail = json!({
            "request": 9, "grant": 17, "requestor": "ann", "uid": 1000, "number": 22, "protocol": "tcp",
            "source": "192.0.2.10/32", "reason": "done", "justification": "a\nb",
            "by": { "uid": 0, "name": "root", "login_uid": 1001, "login_name": "bob" },
        });
        let expected = fields([
            ("as", "audit INFO"),
            ("message", "audit row 3: revoked"),
            ("event", "\"revoked\""),
            ("seq", "3"),
            ("request", "9"),
            ("grant", "17"),
            ("requestor", "\"ann\""),
            ("uid", "1000"),
            ("by", "\"root\""),
            ("login_uid", "1001"),
            ("number", "22"),
            ("protocol", "\"tcp\""),
            ("source", "\"192.0.2.10/32\""),
            ("reason", "\"done\""),
            ("justification", "\"a\\nb\""),
            ("hash", &format!("{hash:?}")),
        ]);
        assert_eq!(kept(|| announce(3, "revoked", &detail, &[0xab; 32])), expected);
        let expected = fields([
            ("as", "audit INFO"),
            ("message", "audit row 4: stopped"),
            ("event", "\"stopped\""),
            ("seq", "4"),
            ("hash", &format!("{hash:?}")),
        ]);
        assert_eq!(kept(|| announce(4, "stopped", &json!({ "by": null, "uid": "x" }), &[0xab; 32])), expected);
    }

    #[test]
    fn a_head_is_noted_as_verification_takes_it() {
        let hash = "01".repeat(32);
        let noted = kept(|| announce_head(7, &[1; 32]));
        assert_eq!(noted["message"], format!("head of the audit log: 7:{hash}"));
        assert_eq!((noted["seq"].as_str(), noted["as"].as_str()), ("7", "jit_agent::journal INFO"));
    }

    #[test]
    fn only_the_very_stream_that_is_named_leads_to_the_journal() {
        let file = tempfile::tempfile().unwrap();
        let stat = file.metadata().unwrap();
        let name = format!("{}:{}", stat.st_dev(), stat.st_ino());
        assert!(leads_to_journal(Some(&name), &file));
        let other = format!("{}:{}", stat.st_dev(), stat.st_ino() + 1);
        for variable in [None, Some(""), Some(other.as_str()), Some("x")] {
            assert!(!leads_to_journal(variable, &file), "{variable:?}");
        }
    }
}
