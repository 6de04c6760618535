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
mod document;
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

use utoipa_axum::router::OpenApiRouter;

pub use app::{App, Frames, Parts};

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
    let (router, mut document) = OpenApiRouter::with_openapi(document::empty())
        .merge(accounts::routes())
        .merge(account_stream::routes())
        .merge(catalogue::routes())
        .merge(availability::routes())
        .merge(waiting_room::routes())
        .merge(holds::routes())
        .merge(bookings::routes())
        .merge(admin::routes())
        .merge(operations::routes())
        .split_for_parts();
    document::complete(&mut document);
    (router, document)
}
