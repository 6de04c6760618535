//! Steering a sale: a performance as operators see it, changes of its rules, and the operator's word.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Path, State};
use axum::http::request::Parts;
use boxoffice_adapters::performance::{Performance, Rules};
use boxoffice_core::PerformanceId;
use boxoffice_core::admission::AdmissionPolicy;
use boxoffice_core::hold::HoldPolicy;
use boxoffice_core::sale::{Sale, SaleCommand, Switch};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{NoBody, to_the_end};
use crate::app::App;
use crate::auth::Operator;
use crate::catalogue::PerformanceBody;
use crate::extract::{Id, Json};
use crate::problem::Problem;
use crate::wire::{Time, given, given_object, given_object_or_null};

/// Longest of all times to live, seconds.
const SECONDS_MAX: u32 = 86_400;
const ACTIVE_MAX: u32 = 1_000_000;
const PER_S_MAX: f64 = 100_000.0;
const SEATS_MAX: u32 = 100;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(get_operated_performance, change_performance))
        .routes(routes!(say))
}

/// How fans are let in.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AdmissionRules {
    /// Calls a second; may be a fraction, 0 calls nobody.
    #[schema(minimum = 0, maximum = 100_000)]
    per_s: f64,
    /// Most fans called or inside at once; 0 calls nobody.
    #[schema(minimum = 0, maximum = 1_000_000)]
    active_max: u32,
    /// How long a pass is good, seconds.
    #[schema(minimum = 1, maximum = 86_400)]
    pass_ttl_s: u32,
    /// How long a called fan's slot is kept, seconds.
    #[schema(minimum = 1, maximum = 86_400)]
    claim_within_s: u32,
}

impl From<AdmissionRules> for AdmissionPolicy {
    fn from(
        AdmissionRules {
            per_s,
            active_max,
            pass_ttl_s,
            claim_within_s,
        }: AdmissionRules,
    ) -> Self {
        Self {
            per_s,
            active_max,
            pass_ttl_s,
            claim_within_s,
        }
    }
}

impl From<AdmissionPolicy> for AdmissionRules {
    fn from(
        AdmissionPolicy {
            per_s,
            active_max,
            pass_ttl_s,
            claim_within_s,
        }: AdmissionPolicy,
    ) -> Self {
        Self {
            per_s,
            active_max,
            pass_ttl_s,
            claim_within_s,
        }
    }
}

/// Whether rules are within their bounds.
///
/// # Errors
/// The problem that names the field.
pub(super) fn check_rules(rules: &Rules) -> Result<(), Problem> {
    let whole = |field: &str, value: u32, min: u32, max: u32| {
        let wrong = || {
            Problem::bad_request(format!(
                "{field}: {value} is out of range; give a whole number from {min} to {max}."
            ))
        };
        (min..=max).contains(&value).then_some(()).ok_or_else(wrong)
    };
    let Rules {
        sale,
        admission,
        hold,
    } = rules;
    whole("hold.ttl_s", hold.ttl_s, 1, SECONDS_MAX)?;
    whole("hold.seats_max", hold.seats_max, 1, SEATS_MAX)?;
    if let Some(AdmissionPolicy {
        per_s,
        active_max,
        pass_ttl_s,
        claim_within_s,
    }) = *admission
    {
        if !(0.0..=PER_S_MAX).contains(&per_s) {
            return Err(Problem::bad_request(format!(
                "admission.per_s: {per_s} is out of range; give a number from 0 to {PER_S_MAX}."
            )));
        }
        whole("admission.active_max", active_max, 0, ACTIVE_MAX)?;
        whole("admission.pass_ttl_s", pass_ttl_s, 1, SECONDS_MAX)?;
        whole("admission.claim_within_s", claim_within_s, 1, SECONDS_MAX)?;
    }
    if sale.closes_at <= sale.opens_at {
        return Err(Problem::bad_request(
            "sale.closes_at: is not after sale.opens_at; close later, or open earlier.",
        ));
    }
    if sale
        .lobby_opens_at
        .is_some_and(|lobby| lobby > sale.opens_at)
    {
        return Err(Problem::bad_request(
            "sale.lobby_opens_at: is after sale.opens_at; give an earlier time, or leave it out.",
        ));
    }
    Ok(())
}

/// What is to be different; what is not named stays as it is.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PerformanceChange {
    #[serde(default, deserialize_with = "given_object")]
    sale: Option<SaleChange>,
    /// null turns the waiting room off. To turn it on all four keys are needed.
    #[serde(default, deserialize_with = "given_object_or_null")]
    #[schema(value_type = Option<AdmissionChange>)]
    admission: Option<Option<AdmissionChange>>,
    #[serde(default, deserialize_with = "given_object")]
    hold: Option<HoldChange>,
}

/// New times of a sale.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SaleChange {
    #[serde(default, deserialize_with = "given")]
    opens_at: Option<Time>,
    /// null: no lobby.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<Time>)]
    lobby_opens_at: Option<Option<Time>>,
    #[serde(default, deserialize_with = "given")]
    closes_at: Option<Time>,
}

/// New ways of letting in.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct AdmissionChange {
    #[serde(default, deserialize_with = "given")]
    #[schema(minimum = 0, maximum = 100_000)]
    per_s: Option<f64>,
    #[serde(default, deserialize_with = "given")]
    #[schema(minimum = 0, maximum = 1_000_000)]
    active_max: Option<u32>,
    #[serde(default, deserialize_with = "given")]
    #[schema(minimum = 1, maximum = 86_400)]
    pass_ttl_s: Option<u32>,
    #[serde(default, deserialize_with = "given")]
    #[schema(minimum = 1, maximum = 86_400)]
    claim_within_s: Option<u32>,
}

/// New limits of holds; holds that are there keep theirs.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct HoldChange {
    #[serde(default, deserialize_with = "given")]
    #[schema(minimum = 1, maximum = 86_400)]
    ttl_s: Option<u32>,
    #[serde(default, deserialize_with = "given")]
    #[schema(minimum = 1, maximum = 100)]
    seats_max: Option<u32>,
}

impl PerformanceChange {
    /// The rules with these changes, within their bounds.
    fn apply(&self, old: Rules) -> Result<Rules, Problem> {
        let mut rules = old;
        if let Some(SaleChange {
            opens_at,
            lobby_opens_at,
            closes_at,
        }) = &self.sale
        {
            let Sale {
                opens_at: opens,
                lobby_opens_at: lobby,
                closes_at: closes,
                switch: _,
            } = &mut rules.sale;
            *opens = opens_at.map_or(*opens, |at| at.0);
            *lobby = lobby_opens_at.map_or(*lobby, |at| at.map(|at| at.0));
            *closes = closes_at.map_or(*closes, |at| at.0);
        }
        if let Some(change) = &self.admission {
            rules.admission = change
                .as_ref()
                .map(|change| change.apply(old.admission))
                .transpose()?;
        }
        if let Some(HoldChange { ttl_s, seats_max }) = self.hold {
            let HoldPolicy {
                ttl_s: old_ttl_s,
                seats_max: old_seats_max,
            } = old.hold;
            rules.hold = HoldPolicy {
                ttl_s: ttl_s.unwrap_or(old_ttl_s),
                seats_max: seats_max.unwrap_or(old_seats_max),
            };
        }
        check_rules(&rules)?;
        Ok(rules)
    }
}

impl AdmissionChange {
    fn apply(&self, old: Option<AdmissionPolicy>) -> Result<AdmissionPolicy, Problem> {
        let missing = |key: &str| {
            let why = "missing, and there is no waiting room whose value could stay; give all four keys to turn it on";
            Problem::bad_request(format!("admission.{key}: {why}."))
        };
        Ok(AdmissionPolicy {
            per_s: self
                .per_s
                .or(old.map(|old| old.per_s))
                .ok_or_else(|| missing("per_s"))?,
            active_max: self
                .active_max
                .or(old.map(|old| old.active_max))
                .ok_or_else(|| missing("active_max"))?,
            pass_ttl_s: self
                .pass_ttl_s
                .or(old.map(|old| old.pass_ttl_s))
                .ok_or_else(|| missing("pass_ttl_s"))?,
            claim_within_s: self
                .claim_within_s
                .or(old.map(|old| old.claim_within_s))
                .ok_or_else(|| missing("claim_within_s"))?,
        })
    }
}

/// A performance as operators see it.
#[derive(Serialize, ToSchema)]
struct OperatedPerformance {
    #[serde(flatten)]
    public: PerformanceBody,
    /// null: no waiting room.
    admission: Option<AdmissionRules>,
    /// What the operator has said over and above the times.
    #[schema(value_type = Option<String>, pattern = "open|pause|close")]
    said: Option<&'static str>,
    created_at: Time,
}

impl OperatedPerformance {
    fn new(app: &App, performance: &Performance) -> Self {
        let rules = performance.rules();
        let said = match rules.sale.switch {
            Switch::ByTime => None,
            Switch::Opened => Some("open"),
            Switch::Paused => Some("pause"),
            Switch::Closed => Some("close"),
        };
        Self {
            public: PerformanceBody::new(performance, app.now()),
            admission: rules.admission.map(Into::into),
            said,
            created_at: Time(performance.created_at),
        }
    }
}

/// A performance as operators see it.
#[utoipa::path(get, path = "/api/v1/admin/performances/{performance_id}", tag = "operators",
    params(("performance_id" = Uuid, Path)), security(("bearer" = [])),
    responses(
        (status = 200, body = OperatedPerformance),
        (status = 400, description = "`bad-request`: the id is not a UUID"),
        (status = 401, description = "`login-required`"),
        (status = 403, description = "`operator-only`"),
        (status = 404, description = "`not-found`"),
    ))]
async fn get_operated_performance(
    State(app): State<App>,
    _: Operator,
    Id(performance_id): Id<PerformanceId>,
) -> Result<axum::Json<OperatedPerformance>, Problem> {
    let performance = app.performance(performance_id)?;
    Ok(axum::Json(OperatedPerformance::new(&app, &performance)))
}

/// Changes times, admission or limits in mid-sale; only the keys given change. In force at once.
#[utoipa::path(patch, path = "/api/v1/admin/performances/{performance_id}", tag = "operators", request_body = PerformanceChange,
    params(("performance_id" = Uuid, Path)), security(("bearer" = [])),
    responses(
        (status = 200, body = OperatedPerformance, description = "As it is now"),
        (status = 400, description = "`bad-request`: a field is wrong, or the rules would be; nothing has changed"),
        (status = 401, description = "`login-required`"),
        (status = 403, description = "`operator-only`"),
        (status = 404, description = "`not-found`"),
        (status = 408, description = "`request-timeout`: the body took too long"),
        (status = 413, description = "`too-large`"),
        (status = 503, description = "`busy`, with `Retry-After`"),
    ))]
async fn change_performance(
    State(app): State<App>,
    _: Operator,
    Id(performance_id): Id<PerformanceId>,
    Json(change): Json<PerformanceChange>,
) -> Result<axum::Json<OperatedPerformance>, Problem> {
    change_rules(app, performance_id, move |rules| change.apply(rules)).await
}

/// Opens a sale now (before its time too, and after a pause), pauses it, or closes it for good.
#[utoipa::path(post, path = "/api/v1/admin/performances/{performance_id}/sale/{word}", tag = "operators",
    params(("performance_id" = Uuid, Path), ("word" = String, Path, pattern = "open|pause|close")), security(("bearer" = [])),
    responses(
        (status = 200, body = OperatedPerformance, description = "As it is now; saying the same again is the same"),
        (status = 400, description = "`bad-request`: the id is not a UUID, or there is a body that is not `{}`"),
        (status = 401, description = "`login-required`"),
        (status = 403, description = "`operator-only`"),
        (status = 404, description = "`not-found`, also for another word"),
        (status = 409, description = "`not-open-yet`: what has not opened cannot pause"),
        (status = 410, description = "`sale-closed`: what is closed neither opens nor pauses"),
        (status = 413, description = "`too-large`"),
        (status = 503, description = "`busy`, with `Retry-After`"),
    ))]
async fn say(
    State(app): State<App>,
    _: Operator,
    Id(performance_id): Id<PerformanceId>,
    Word(command): Word,
    _: NoBody,
) -> Result<axum::Json<OperatedPerformance>, Problem> {
    let now = app.now();
    change_rules(app, performance_id, move |mut rules| {
        rules.sale.say(command, now)?;
        Ok(rules)
    })
    .await
}

/// Changes the rules: first in the store, then here, then where the line is.
async fn change_rules(
    app: App,
    performance_id: PerformanceId,
    change: impl FnOnce(Rules) -> Result<Rules, Problem> + Send + 'static,
) -> Result<axum::Json<OperatedPerformance>, Problem> {
    let performance: Arc<Performance> = app.performance(performance_id)?;
    let changed = async move {
        let changing = performance.changing().await;
        let rules = change(performance.rules())?;
        app.store.change_rules(performance_id, rules).await?;
        performance.set_rules(rules);
        app.room.rules_changed(&performance);
        drop(changing);
        Ok(axum::Json(OperatedPerformance::new(&app, &performance)))
    };
    to_the_end(changed).await
}

/// The operator's word at the end of the path; there is no route for any other.
struct Word(SaleCommand);

impl<S: Send + Sync> FromRequestParts<S> for Word {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = Path::<(String, String)>::from_request_parts(parts, state).await;
        let Path((_, word)) = path.map_err(|_| Problem::not_found())?;
        match word.as_str() {
            "open" => Ok(Self(SaleCommand::Open)),
            "pause" => Ok(Self(SaleCommand::Pause)),
            "close" => Ok(Self(SaleCommand::Close)),
            _ => Err(Problem::not_found()),
        }
    }
}

#[cfg(test)]
mod tests {
    use boxoffice_core::Timestamp;
    use serde_json::{Value, json};

    use super::*;
    use crate::extract::decode;

    const S: i64 = 1_000_000;

    fn rules() -> Rules {
        let sale = Sale {
            opens_at: Timestamp(20 * S),
            lobby_opens_at: Some(Timestamp(10 * S)),
            closes_at: Timestamp(30 * S),
            switch: Switch::Paused,
        };
        let admission = AdmissionPolicy {
            per_s: 2.5,
            active_max: 7,
            pass_ttl_s: 600,
            claim_within_s: 60,
        };
        Rules {
            sale,
            admission: Some(admission),
            hold: HoldPolicy {
                ttl_s: 600,
                seats_max: 8,
            },
        }
    }

    fn apply(old: Rules, change: &Value) -> Result<Rules, Problem> {
        decode::<PerformanceChange>(change.to_string().as_bytes())?.apply(old)
    }

    /// The rules as text, to be compared.
    fn text(rules: &Rules) -> String {
        format!("{rules:?}")
    }

    #[test]
    fn only_what_is_named_changes() {
        let with = |change: &dyn Fn(&mut Rules)| {
            let mut rules = rules();
            change(&mut rules);
            rules
        };
        let admission = |change: fn(&mut AdmissionPolicy)| {
            with(&|rules| rules.admission.iter_mut().for_each(change))
        };
        for (change, wanted) in [
            (json!({}), rules()),
            (json!({"sale": {}, "admission": {}, "hold": {}}), rules()),
            (
                json!({"hold": {"seats_max": 1}}),
                with(&|rules| rules.hold.seats_max = 1),
            ),
            (
                json!({"hold": {"ttl_s": 86_400}}),
                with(&|rules| rules.hold.ttl_s = 86_400),
            ),
            (
                json!({"sale": {"opens_at": "1970-01-01T00:00:10Z"}}),
                with(&|rules| rules.sale.opens_at = Timestamp(10 * S)),
            ),
            (
                json!({"sale": {"closes_at": "1970-01-01T09:00:21+09:00"}}),
                with(&|rules| rules.sale.closes_at = Timestamp(21 * S)),
            ),
            (
                json!({"sale": {"lobby_opens_at": null}}),
                with(&|rules| rules.sale.lobby_opens_at = None),
            ),
            (
                json!({"sale": {"lobby_opens_at": "1970-01-01T00:00:20Z"}}),
                with(&|rules| rules.sale.lobby_opens_at = Some(Timestamp(20 * S))),
            ),
            (
                json!({"admission": null}),
                with(&|rules| rules.admission = None),
            ),
            (
                json!({"admission": {"per_s": 0}}),
                admission(|policy| policy.per_s = 0.0),
            ),
            (
                json!({"admission": {"active_max": 0}}),
                admission(|policy| policy.active_max = 0),
            ),
            (
                json!({"admission": {"pass_ttl_s": 1}}),
                admission(|policy| policy.pass_ttl_s = 1),
            ),
            (
                json!({"admission": {"claim_within_s": 1}}),
                admission(|policy| policy.claim_within_s = 1),
            ),
        ] {
            let changed = apply(rules(), &change)
                .unwrap_or_else(|problem| panic!("{change}: {}", problem.detail));
            assert_eq!(text(&changed), text(&wanted), "{change}");
        }
    }

    #[test]
    fn a_waiting_room_is_turned_on_with_all_four_keys() {
        let without = Rules {
            admission: None,
            ..rules()
        };
        let whole =
            json!({"per_s": 0.5, "active_max": 1_000_000, "pass_ttl_s": 2, "claim_within_s": 3});
        let on = apply(without, &json!({ "admission": whole }))
            .unwrap()
            .admission
            .unwrap();
        assert_eq!(
            on,
            AdmissionPolicy {
                per_s: 0.5,
                active_max: 1_000_000,
                pass_ttl_s: 2,
                claim_within_s: 3
            }
        );
        for key in ["per_s", "active_max", "pass_ttl_s", "claim_within_s"] {
            let mut part = whole.clone();
            part.as_object_mut().unwrap().remove(key);
            let problem = apply(without, &json!({ "admission": part })).unwrap_err();
            assert!(
                problem.detail.starts_with(&format!("admission.{key}: ")),
                "{}",
                problem.detail
            );
        }
    }

    #[test]
    fn what_is_out_of_bounds_is_refused_by_name() {
        for (section, field, values) in [
            (
                "hold",
                "ttl_s",
                vec![
                    json!(0),
                    json!(86_401),
                    json!(-1),
                    json!(1.5),
                    json!("1"),
                    json!(u64::MAX),
                    json!(null),
                ],
            ),
            ("hold", "seats_max", vec![json!(0), json!(101), json!(true)]),
            (
                "admission",
                "per_s",
                vec![json!(-0.1), json!(100_000.1), json!("1"), json!(null)],
            ),
            (
                "admission",
                "active_max",
                vec![json!(-1), json!(1_000_001), json!(0.5)],
            ),
            ("admission", "pass_ttl_s", vec![json!(0), json!(86_401)]),
            ("admission", "claim_within_s", vec![json!(0), json!(86_401)]),
            (
                "sale",
                "opens_at",
                vec![
                    json!("1970-01-01T00:00:30Z"),
                    json!(7),
                    json!("soon"),
                    json!(null),
                ],
            ),
            (
                "sale",
                "closes_at",
                vec![json!("1970-01-01T00:00:20Z"), json!(null)],
            ),
            (
                "sale",
                "lobby_opens_at",
                vec![json!("1970-01-01T00:00:21Z"), json!(7)],
            ),
            ("sale", "switch", vec![json!(0)]),
        ] {
            for value in values {
                let change = json!({section: {field: value}});
                let problem = apply(rules(), &change)
                    .err()
                    .unwrap_or_else(|| panic!("{change} was taken"));
                assert_eq!(problem.code, "bad-request");
                assert!(
                    problem.detail.contains(field),
                    "{change}: {}",
                    problem.detail
                );
            }
        }
    }

    #[test]
    fn what_is_no_change_is_refused() {
        for change in [
            json!({"price_levels": []}),
            json!({"sale": null}),
            json!({"hold": null}),
            json!(null),
            json!({"hold": 7}),
        ] {
            assert!(apply(rules(), &change).is_err(), "{change}");
        }
    }
}
