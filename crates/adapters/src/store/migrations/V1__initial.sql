-- Times are microseconds since 1970 UTC. Ids are 16 bytes. Amounts are minor units of the performance's currency.
-- Tables of one performance start their primary key with it; holds and bookings are named by their clients, without it.

CREATE TABLE settings (
    name  TEXT NOT NULL PRIMARY KEY, -- such as the secret that signs passes, made at the first start
    value TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE accounts (
    account_id    BLOB NOT NULL PRIMARY KEY,
    email_key     TEXT NOT NULL UNIQUE, -- the address in lower case
    email         TEXT NOT NULL,        -- the address as it was given
    name          TEXT NOT NULL,
    locale        TEXT NOT NULL,        -- ko or en
    phone         TEXT,
    operator      INTEGER NOT NULL,     -- 1: runs sales
    password_hash TEXT NOT NULL,        -- argon2id, in the PHC format
    wish_push     INTEGER NOT NULL,     -- 1: notices by push are wanted
    wish_email    INTEGER NOT NULL,
    wish_sms      INTEGER NOT NULL,
    created_at    INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE sessions (
    session_id BLOB NOT NULL PRIMARY KEY,
    account_id BLOB NOT NULL,
    generation INTEGER NOT NULL, -- of the refresh token that is good now; older ones are spent
    rotated_at INTEGER NOT NULL, -- when this generation was given out
    expires_at INTEGER NOT NULL,
    ended_at   INTEGER           -- logged out, or ended because a spent token was shown
) WITHOUT ROWID;

CREATE TABLE devices (
    account_id   BLOB NOT NULL,
    device_id    BLOB NOT NULL,
    channel      TEXT NOT NULL, -- fcm, apns or web_push
    token        TEXT,
    subscription TEXT,          -- JSON, web push only
    changed_at   INTEGER NOT NULL,
    PRIMARY KEY (account_id, device_id)
) WITHOUT ROWID;

CREATE TABLE venues (
    venue_id BLOB NOT NULL PRIMARY KEY,
    name     TEXT NOT NULL,
    plan     TEXT NOT NULL, -- pretix seating-plan JSON as it was given
    areas    TEXT NOT NULL  -- standing areas, JSON: [{area, section, capacity}]
) WITHOUT ROWID;

CREATE TABLE events (
    event_id    BLOB NOT NULL PRIMARY KEY,
    title       TEXT NOT NULL,
    description TEXT,
    organizer   TEXT,
    created_at  INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE performances (
    performance_id BLOB NOT NULL PRIMARY KEY,
    event_id       BLOB NOT NULL,
    venue_id       BLOB NOT NULL,
    starts_at      INTEGER NOT NULL,
    opens_at       INTEGER NOT NULL,
    lobby_opens_at INTEGER,
    closes_at      INTEGER NOT NULL,
    switch         INTEGER NOT NULL, -- the operator's word: 0 none, 1 opened, 2 paused, 3 closed
    price_levels   TEXT NOT NULL,    -- JSON: [{price_level_id, name, amount_minor, sections}]
    currency       TEXT NOT NULL,
    per_s          REAL,             -- the four admission columns are null together: no waiting room
    active_max     INTEGER,
    pass_ttl_s     INTEGER,
    claim_within_s INTEGER,
    hold_ttl_s     INTEGER NOT NULL,
    seats_max      INTEGER NOT NULL,
    epoch          INTEGER NOT NULL, -- of the waiting room; numbers are unique within it
    created_at     INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE places (
    performance_id BLOB NOT NULL,
    epoch          INTEGER NOT NULL,
    number         INTEGER NOT NULL, -- from 1, without a gap
    account_id     BLOB NOT NULL,
    joined_at      INTEGER NOT NULL,
    entered_until  INTEGER,          -- when the pass runs out, once one was taken
    left_at        INTEGER,          -- given up
    used_by        BLOB,             -- the booking whose confirmation used the pass up
    PRIMARY KEY (performance_id, epoch, number)
) WITHOUT ROWID;

CREATE TABLE admissions (
    performance_id BLOB NOT NULL,
    epoch          INTEGER NOT NULL,
    last           INTEGER NOT NULL, -- the serving counter after it
    first          INTEGER NOT NULL,
    called         INTEGER NOT NULL, -- how many of first..=last were called; the others had been given up
    at             INTEGER NOT NULL,
    expires_at     INTEGER NOT NULL, -- until when their slots are kept
    PRIMARY KEY (performance_id, epoch, last)
) WITHOUT ROWID;

CREATE TABLE seats (
    performance_id BLOB NOT NULL,
    seat_no        INTEGER NOT NULL, -- of the performance's plan; spots of a standing area are seats too
    hold_id        BLOB,             -- the last hold that had it; whether it is still kept follows from that hold
    PRIMARY KEY (performance_id, seat_no)
) WITHOUT ROWID;

CREATE TABLE holds (
    hold_id        BLOB NOT NULL PRIMARY KEY,
    performance_id BLOB NOT NULL,
    account_id     BLOB NOT NULL,
    place          INTEGER,          -- number of the pass it was made with
    seats          BLOB NOT NULL,    -- seat numbers, 4 bytes each, little-endian
    total_minor    INTEGER NOT NULL,
    content        BLOB NOT NULL,    -- fingerprint of the request
    created_at     INTEGER NOT NULL,
    expires_at     INTEGER NOT NULL,
    state          INTEGER NOT NULL, -- 0 active, 1 paying, 2 confirmed, 3 released, 4 returned; expiry follows from the time
    booking_id     BLOB              -- of paying, confirmed and returned
) WITHOUT ROWID;

CREATE TABLE fans (
    performance_id BLOB NOT NULL,
    account_id     BLOB NOT NULL,
    holds          BLOB NOT NULL,    -- ids of the holds that may still be live, 16 bytes each
    since          INTEGER NOT NULL, -- when the first hold of the unbroken spell was made
    until          INTEGER NOT NULL, -- when the time of its last hold ends
    PRIMARY KEY (performance_id, account_id)
) WITHOUT ROWID;

CREATE TABLE bookings (
    booking_id     BLOB NOT NULL PRIMARY KEY,
    hold_id        BLOB NOT NULL,
    performance_id BLOB NOT NULL,
    account_id     BLOB NOT NULL,
    place          INTEGER,
    seats          BLOB NOT NULL,    -- as in holds
    total_minor    INTEGER NOT NULL,
    method         INTEGER NOT NULL, -- 0 to 3: sandbox ok, declined, timeout_then_ok, never
    content        BLOB NOT NULL,
    state          INTEGER NOT NULL, -- 0 pending, 1 confirmed, 2 cancelled, 10 and more refused, by reason
    payment        INTEGER NOT NULL, -- 0 pending, 1 authorised, 2 captured, 3 refunded, 4 failed
    captured_minor INTEGER NOT NULL,
    refunded_minor INTEGER NOT NULL,
    tickets        BLOB NOT NULL,    -- ids, 16 bytes each, in the order of seats
    accepted_at    INTEGER NOT NULL,
    give_up_at     INTEGER NOT NULL,
    changed_at     INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX bookings_of_account ON bookings (account_id, booking_id);

CREATE TABLE tickets (
    ticket_id      BLOB NOT NULL PRIMARY KEY,
    booking_id     BLOB NOT NULL, -- the ticket is valid while this is confirmed
    performance_id BLOB NOT NULL,
    seat_no        INTEGER NOT NULL,
    code           BLOB NOT NULL  -- 16 bytes of chance
) WITHOUT ROWID;

CREATE TABLE outbox (
    topic   INTEGER NOT NULL, -- 0 pay, 1 refund, 2 tell of a booking, 3 call an admission
    subject BLOB NOT NULL,    -- booking id; for 3: performance id and serving counter (4 bytes, big-endian)
    due_at  INTEGER NOT NULL, -- from when it is taken up again if it is still there
    tries   INTEGER NOT NULL,
    PRIMARY KEY (topic, subject)
) WITHOUT ROWID;

CREATE TABLE sandbox_payments (
    booking_id     BLOB NOT NULL PRIMARY KEY,
    amount_minor   INTEGER NOT NULL,
    status         INTEGER NOT NULL, -- 1 processing, 2 captured, 3 declined, 4 called off
    refunded_minor INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE notices (
    notice_id      BLOB NOT NULL PRIMARY KEY,
    account_id     BLOB NOT NULL,
    performance_id BLOB NOT NULL,
    reason         INTEGER NOT NULL, -- 0 your turn, 1 booking confirmed, 2 refused, 3 cancelled
    booking_id     BLOB,
    channel        INTEGER NOT NULL, -- 0 log, 1 e-mail
    state          INTEGER NOT NULL, -- 0 to send, 1 sent, 2 dead letter
    tries          INTEGER NOT NULL, -- attempts begun
    unclear        INTEGER NOT NULL, -- of those, how many may have arrived; one that is under way counts until it is known
    due_at         INTEGER NOT NULL, -- when it is (next) to be sent
    useful_until   INTEGER NOT NULL,
    created_at     INTEGER NOT NULL  -- when what it tells was recorded
) WITHOUT ROWID;
CREATE INDEX notices_open ON notices (state, due_at) WHERE state <> 1; -- to send and dead; the sent ones cost it nothing
