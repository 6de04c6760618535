//! The verdict alone, from a ledger of an earlier run: nothing that a client was told is lost.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;

use crate::accounts;
use crate::audit;
use crate::client::Client;
use crate::http::Target;
use crate::ledger;
use crate::report::Report;
use crate::scenario::{Common, results};
use crate::verdict::{Check, Findings, judge_answers};

/// Options of `check`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) common: Common,
    /// What the clients were told, as `flows --ledger` wrote it
    #[arg(long)]
    pub(crate) ledger: PathBuf,
}

/// Runs the check; whether all promises held.
///
/// # Errors
/// The ledger or the accounts cannot be read.
pub(crate) async fn run(options: Options) -> Result<bool, String> {
    let common = &options.common;
    let target = Target::parse(&common.url)?;
    let path = common
        .accounts_file
        .as_deref()
        .ok_or("check needs the run's --accounts-file")?;
    let (header, told) = ledger::load(&options.ledger)
        .map_err(|error| format!("failed to read {}: {error}", options.ledger.display()))?;
    let used = accounts::of_emails(path, &common.url, &header.emails)?;
    let operator = common.operator()?;
    let client = std::rc::Rc::new(Client::new(target, 64, common.patience(), Instant::now()));
    let mut findings = Findings::default();
    match audit::audit(&client, &operator, &header, &told, used).await {
        Ok((judged, used)) => {
            findings = judged;
            common.keep(&used);
        }
        Err(ended) => findings.add(Check::Audit, || ended.to_string()),
    }
    let (mut stats, seen) = results(client);
    findings.merge(seen);
    findings.merge(judge_answers(&stats, true));
    stats.flows_done = told
        .iter()
        .filter(|flow| flow.booking == ledger::BookingTold::Confirmed)
        .count() as u64;
    Report::new("check", stats, findings)
        .finish(common.json.as_deref())
        .map_err(|error| error.to_string())
}
