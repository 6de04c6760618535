//! The parts of the configuration that concern HTTP and logins; the binary fills them in.

use std::fmt;
use std::net::IpAddr;

/// How the server is reached, and its limits.
#[derive(Clone, Debug)]
pub struct HttpConfig {
    /// What deep links begin with, without a slash at the end.
    pub public_url: String,
    /// Origins that a browser may call from, beside the own one.
    pub allowed_origins: Vec<String>,
    /// Open connections at once, 16 to 1,000,000.
    pub connections_max: usize,
    /// Open live streams at once, 1 to 1,000,000.
    pub streams_max: usize,
    /// Networks that limits do not apply to: address and prefix length.
    pub trusted: Vec<(IpAddr, u8)>,
    /// Requests a second of one address, outside `trusted`.
    pub per_address_per_s: u32,
    /// Requests a second of one account, outside `trusted`.
    pub per_account_per_s: u32,
    /// Zero bits of a proof of work while few join, outside `trusted`; 0: none is asked for then.
    pub proof_bits_min: u32,
    /// Zero bits at most, `proof_bits_min` to 28; 0: no proof of work, whatever `proof_bits_min` is.
    pub proof_bits_max: u32,
}

/// Logins.
#[derive(Clone)]
pub struct AuthConfig {
    /// Signs access and refresh tokens, passes and places; at least 32 bytes.
    pub secret: String,
    /// Life of an access token, seconds, 2 to 86,400.
    pub access_ttl_s: u32,
    /// Life of a session that is not refreshed, seconds.
    pub refresh_ttl_s: u32,
    /// Memory of one password hash, KiB.
    pub password_memory_kib: u32,
    /// Passes over that memory.
    pub password_passes: u32,
    /// Password hashes worked on at once.
    pub password_workers: usize,
}

impl fmt::Debug for AuthConfig {
    /// Without the secret: this may end up in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthConfig")
            .field("access_ttl_s", &self.access_ttl_s)
            .finish_non_exhaustive()
    }
}
