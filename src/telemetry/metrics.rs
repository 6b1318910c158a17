//! Metrics as Prometheus text: one prefix, base units, counters end in `_total`, labels of bounded variety.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Prefix of every name.
const PREFIX: &str = "smallbrain_";

/// One page of metrics being written; lines of one name stand together.
#[derive(Debug, Default)]
pub struct Page {
    lines: BTreeMap<String, Vec<(String, u64)>>,
}

impl Page {
    /// Adds a value under a name with its labels, `mqtt_publishes_total{qos="1"}`; a name that ends in `_total` is a
    /// counter, any other a gauge.
    pub fn put(&mut self, name: &str, value: u64) {
        let (name, labels) = name.split_at(name.find('{').unwrap_or(name.len()));
        self.lines.entry(format!("{PREFIX}{name}")).or_default().push((labels.to_owned(), value));
    }

    /// The page in text format 0.0.4.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::new();
        for (name, values) in &self.lines {
            let kind = if name.ends_with("_total") { "counter" } else { "gauge" };
            let _ = writeln!(text, "# TYPE {name} {kind}");
            for (labels, value) in values {
                let _ = writeln!(text, "{name}{labels} {value}");
            }
        }
        text
    }
}

/// Fills a page when somebody asks for it.
pub type Source = Arc<dyn Fn(&mut Page) + Send + Sync>;

/// Serves `GET /metrics` until `stop`.
///
/// # Errors
/// What the listener reports.
pub async fn serve(listener: TcpListener, source: Source, stop: CancellationToken) -> std::io::Result<()> {
    let page = move || {
        let source = source.clone();
        async move {
            let mut page = Page::default();
            source(&mut page);
            ([("content-type", "text/plain; version=0.0.4")], page.render())
        }
    };
    let routes = axum::Router::new().route("/metrics", axum::routing::get(page));
    axum::serve(listener, routes).with_graceful_shutdown(async move { stop.cancelled().await }).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_one_name_stand_together() {
        let mut page = Page::default();
        page.put("b", 1);
        page.put("a_total{reason=\"x\"}", 2);
        page.put("a_total{reason=\"z\",port=\"1\"}", 3);
        assert_eq!(
            page.render(),
            "# TYPE smallbrain_a_total counter\nsmallbrain_a_total{reason=\"x\"} 2\n\
             smallbrain_a_total{reason=\"z\",port=\"1\"} 3\n# TYPE smallbrain_b gauge\nsmallbrain_b 1\n"
        );
    }
}
