//! The black-box suite: runs the real `boxoffice` and holds it to the public contract, over HTTP only.
//!
//! It knows nothing of the product's crates. Each test makes its own venue, performance and fans, so all of them
//! share one server; those about restarts, limits and configuration start their own. Most of the time is spent
//! waiting for rules about time, so `cargo test -p boxoffice --test it -- --test-threads=8` is quickest.
//!
//! Against a running deployment: `BOXOFFICE_TEST_URL=http://host:port` and
//! `BOXOFFICE_TEST_OPERATOR=email:password`; tests that must start a server of their own then say that they were
//! skipped. `BOXOFFICE_TEST_SLACK_MS` (default 1000) is what a slow machine may add to a promised time.

#[cfg(test)]
mod accounts;
#[cfg(test)]
mod bad_input;
#[cfg(test)]
mod bookings;
#[cfg(test)]
mod catalogue;
#[cfg(test)]
mod command_line;
#[cfg(test)]
mod connections;
#[cfg(test)]
mod elsewhere;
#[cfg(test)]
mod entry;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod holds;
#[cfg(test)]
mod http;
#[cfg(test)]
mod mail;
#[cfg(test)]
mod notices;
#[cfg(test)]
mod operations;
#[cfg(test)]
mod operators;
#[cfg(test)]
mod proof;
#[cfg(test)]
mod restart;
#[cfg(test)]
mod room;
#[cfg(test)]
mod rules;
#[cfg(test)]
mod show;
#[cfg(test)]
mod streams;
