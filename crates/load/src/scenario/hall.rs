//! A stadium while it sells: how fast seating plan, availability and best-available holds are answered.

use std::rc::Rc;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::Value;
use tokio::time::sleep_until;

use crate::client::{Client, Ended};
use crate::http::Request;
use crate::report::{Report, say};
use crate::scenario::flows::{SaleOptions, Sold, sell};
use crate::scenario::{Common, results};
use crate::stats::Step;
use crate::verdict::judge_answers;
use crate::wire::OpenApi;

/// Options of `hall`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    sale: SaleOptions,
    /// Looks at each of plan and availability per second
    #[arg(long, default_value_t = 10.0)]
    probes_per_s: f64,
    /// The media type of the denser availability; default: what the server's OpenAPI document offers
    #[arg(long)]
    dense_accept: Option<String>,
}

/// Seats of the stadium unless `--seats` says otherwise.
const SEATS: u64 = 50_000;

/// Runs the scenario; whether all promises held.
///
/// # Errors
/// The run could not be set up or judged.
pub(crate) async fn run(options: Options) -> Result<bool, String> {
    let (common, sale) = (&options.common, &options.sale);
    let prepared = common.prepare(sale.connections.into()).await?;
    let mut plan = sale.plan();
    plan.seats = sale.seats.unwrap_or(SEATS);
    let stages = prepared.build(&plan).await?;
    let dense = match &options.dense_accept {
        Some(accept) => Some(accept.clone()),
        None => find_dense(&prepared.client).await,
    };
    say(format_args!(
        "a hall of {} seats; denser availability: {}",
        stages[0].seats_total,
        dense.as_deref().unwrap_or("none")
    ));
    let prober = Rc::new(Prober {
        client: Client::new(
            prepared.target.clone(),
            16,
            common.patience(),
            Instant::now(),
        ),
        base: format!("/api/v1/performances/{}", stages[0].performance_id),
        dense: dense.as_ref().map(|accept| format!("accept: {accept}\r\n")),
    });
    let probing = tokio::task::spawn_local(
        Rc::clone(&prober).run(options.probes_per_s, Duration::from_secs(sale.seconds)),
    );
    let sold = sell(common, sale, prepared, stages).await?;
    let bytes = probing
        .await
        .map_err(|error| error.to_string())?
        .map_err(|ended| format!("a look failed: {ended}"))?;
    let Sold {
        mut stats,
        mut findings,
        told,
        accounts,
        figures,
        verdict,
    } = sold;
    let (audit_stats, audit_findings) = verdict.judge(common, &told, accounts).await;
    stats.merge(audit_stats);
    findings.merge(audit_findings);
    let (probe_stats, probe_findings) = results_of(prober);
    stats.merge(probe_stats);
    findings.merge(probe_findings);
    findings.merge(judge_answers(&stats, sale.through_restarts));
    let mut report = Report::new("hall", stats, findings);
    for (name, value) in figures {
        report.figure(name, value);
    }
    report.figure("seats", plan.seats);
    report.figure("dense_accept", dense);
    for (name, value) in bytes {
        report.figure(name, value);
    }
    report
        .finish(common.json.as_deref())
        .map_err(|error| error.to_string())
}

fn results_of(prober: Rc<Prober>) -> (crate::stats::Stats, crate::verdict::Findings) {
    results(Rc::new(
        Rc::into_inner(prober).expect("probing has ended").client,
    ))
}

/// Looks at the hall from outside while it sells.
#[derive(Debug)]
struct Prober {
    client: Client,
    base: String,
    dense: Option<String>,
}

impl Prober {
    /// Looks at everything at fixed times; the sizes of the last answers, bytes.
    async fn run(
        self: Rc<Self>,
        per_s: f64,
        length: Duration,
    ) -> Result<Vec<(&'static str, Value)>, Ended> {
        let started = Instant::now();
        let plan_path = format!("{}/seating-plan", self.base);
        let availability_path = format!("{}/availability", self.base);
        let (mut plan_bytes, mut plain_bytes, mut dense_bytes) = (0, 0, None);
        let mut unchanged = None;
        let mut look = 0_u32;
        loop {
            let due = started + Duration::from_secs_f64(f64::from(look) / per_s);
            if due.saturating_duration_since(started) > length {
                break;
            }
            sleep_until(due.into()).await;
            let answer = self
                .client
                .call(Step::Plan, due, None, &Request::get(&plan_path, &[]))
                .await?;
            plan_bytes = answer.body().len();
            if unchanged.is_none() {
                unchanged = answer
                    .head()
                    .etag
                    .as_ref()
                    .map(|etag| format!("if-none-match: {etag}\r\n"));
            }
            drop(answer);
            if let Some(header) = &unchanged {
                let request = Request {
                    method: "GET",
                    path: &plan_path,
                    headers: &[header],
                    body: None,
                };
                drop(
                    self.client
                        .call(Step::PlanUnchanged, Instant::now(), None, &request)
                        .await?,
                );
            }
            let accept = ["accept: application/json\r\n"];
            let request = Request::get(&availability_path, &accept);
            plain_bytes = self
                .client
                .call(Step::Availability, Instant::now(), None, &request)
                .await?
                .body()
                .len();
            if let Some(header) = &self.dense {
                let headers = [header.as_str()];
                let request = Request::get(&availability_path, &headers);
                let answer = self
                    .client
                    .call(Step::AvailabilityDense, Instant::now(), None, &request)
                    .await?;
                dense_bytes = Some(answer.body().len());
            }
            look += 1;
        }
        Ok(vec![
            ("plan_bytes", plan_bytes.into()),
            ("availability_bytes", plain_bytes.into()),
            ("availability_dense_bytes", dense_bytes.into()),
        ])
    }
}

/// The second form of the availability in the server's OpenAPI document, if it names one.
async fn find_dense(client: &Client) -> Option<String> {
    let api: OpenApi = client
        .ask(
            Step::Setup,
            None,
            &Request::get("/api/v1/openapi.json", &[]),
        )
        .await
        .ok()?;
    dense_of(&api)
}

fn dense_of(api: &OpenApi) -> Option<String> {
    let (_, operations) = api
        .paths
        .iter()
        .find(|(path, _)| path.ends_with("/availability"))?;
    let content = operations
        .get("get")?
        .pointer("/responses/200/content")?
        .as_object()?;
    content
        .keys()
        .find(|media_type| *media_type != "application/json")
        .cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_denser_form_is_found_in_the_document() {
        let document = r#"{"paths": {"/api/v1/performances/{performance_id}/availability": {"get": {"responses": {"200":
            {"content": {"application/json": {}, "application/vnd.boxoffice.seats": {}}}}}}}}"#;
        let api: OpenApi = serde_json::from_str(document).unwrap();
        assert_eq!(
            dense_of(&api).as_deref(),
            Some("application/vnd.boxoffice.seats")
        );
        assert_eq!(
            dense_of(&serde_json::from_str(r#"{"paths": {}}"#).unwrap()),
            None
        );
    }
}
