//! The HTTP face of Boxoffice: the public contract, live streams, logins, limits, and the OpenAPI document that is
//! generated from all that.

mod account_stream;
mod accounts;
mod admin;
mod app;
pub mod auth;
mod availability;
mod bookings;
mod catalogue;
pub mod config;
mod extract;
mod holds;
mod layer;
pub mod limits;
mod operations;
mod problem;
pub mod proof;
pub mod serve;
mod streams;
mod waiting_room;
mod wire;

use std::sync::Arc;

use utoipa::Modify;
use utoipa::OpenApi;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa_axum::router::OpenApiRouter;

pub use app::{App, Frames, Parts};

/// The document that the routes fill in.
#[derive(OpenApi)]
#[openapi(
    info(title = "Boxoffice", description = "Sells tickets when far more people come than there are seats."),
    modifiers(&Login),
    tags(
        (name = "accounts", description = "Accounts, sessions, devices"),
        (name = "catalogue", description = "What is sold; no login"),
        (name = "waiting room", description = "The line before the sale"),
        (name = "holds and bookings", description = "Seats, and tickets for them"),
        (name = "tickets", description = "The right to attend"),
        (name = "operators", description = "For whoever runs a sale"),
        (name = "operations", description = "For whoever runs the server")
    )
)]
struct Document;

struct Login;

impl Modify for Login {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = SecurityScheme::Http(
            Http::builder()
                .scheme(HttpAuthScheme::Bearer)
                .bearer_format("JWT")
                .build(),
        );
        document
            .components
            .get_or_insert_default()
            .security_schemes
            .insert("bearer".to_owned(), scheme.into());
    }
}

/// All routes, with the layer around them.
///
/// # Errors
/// The OpenAPI document cannot be written: our bug, seen at every start.
pub fn router(app: App) -> Result<axum::Router, serde_json::Error> {
    let (router, document) = routes();
    operations::publish(&document)?;
    let (metrics, clock) = (Arc::clone(&app.metrics), Arc::clone(&app.clock));
    let http = app.http.clone();
    Ok(layer::wrap(router.with_state(app), &http, metrics, clock))
}

fn routes() -> (axum::Router<App>, utoipa::openapi::OpenApi) {
    OpenApiRouter::with_openapi(Document::openapi())
        .merge(accounts::routes())
        .merge(account_stream::routes())
        .merge(catalogue::routes())
        .merge(availability::routes())
        .merge(waiting_room::routes())
        .merge(holds::routes())
        .merge(bookings::routes())
        .merge(admin::routes())
        .merge(operations::routes())
        .split_for_parts()
}
