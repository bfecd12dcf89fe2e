-- The sandbox's whole state, one file. Objects are Stripe's JSON with private fields that start with an underscore.
CREATE TABLE IF NOT EXISTS accounts (
    id TEXT PRIMARY KEY,
    livemode INTEGER NOT NULL,
    created REAL NOT NULL,
    frozen_at REAL,
    clock_offset REAL NOT NULL DEFAULT 0,
    settings TEXT NOT NULL DEFAULT '{}'
);
-- Keys themselves are never stored.
CREATE TABLE IF NOT EXISTS restricted_keys (
    hash TEXT PRIMARY KEY,
    account TEXT NOT NULL,
    rights TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS objects (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    account TEXT NOT NULL,
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    created INTEGER NOT NULL,
    changed REAL NOT NULL,
    deleted INTEGER NOT NULL DEFAULT 0,
    doc TEXT NOT NULL,
    UNIQUE (account, id)
);
CREATE INDEX IF NOT EXISTS objects_by_kind ON objects (account, kind, seq);
CREATE INDEX IF NOT EXISTS objects_by_id ON objects (id);
CREATE INDEX IF NOT EXISTS objects_by_customer ON objects (account, kind, json_extract(doc, '$.customer'));
CREATE INDEX IF NOT EXISTS objects_by_invoice ON objects (account, kind, json_extract(doc, '$.invoice'));
CREATE INDEX IF NOT EXISTS objects_by_intent ON objects (account, kind, json_extract(doc, '$.payment.payment_intent'));
CREATE TABLE IF NOT EXISTS idempotency (
    account TEXT NOT NULL,
    key TEXT NOT NULL,
    call TEXT NOT NULL,
    status INTEGER NOT NULL,
    body TEXT NOT NULL,
    created REAL NOT NULL,
    PRIMARY KEY (account, key)
);
CREATE TABLE IF NOT EXISTS jobs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    account TEXT NOT NULL,
    due REAL NOT NULL,
    kind TEXT NOT NULL,
    target TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS jobs_by_due ON jobs (account, due);
-- Work on objects that a test clock holds: due by that clock.
CREATE TABLE IF NOT EXISTS clock_jobs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    account TEXT NOT NULL,
    clock TEXT NOT NULL,
    due REAL NOT NULL,
    kind TEXT NOT NULL,
    target TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS clock_jobs_by_clock ON clock_jobs (account, clock, due);
-- Times of deliveries are wall-clock times: receivers check the signature's age against their own clock.
CREATE TABLE IF NOT EXISTS deliveries (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    account TEXT NOT NULL,
    event TEXT NOT NULL,
    type TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    due REAL NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    state TEXT NOT NULL DEFAULT 'pending'
);
CREATE INDEX IF NOT EXISTS deliveries_by_state ON deliveries (state, due);
CREATE INDEX IF NOT EXISTS deliveries_by_event ON deliveries (account, event);
CREATE TABLE IF NOT EXISTS delivery_log (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    account TEXT NOT NULL,
    delivery INTEGER NOT NULL,
    event TEXT NOT NULL,
    type TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    at REAL NOT NULL,
    attempt INTEGER NOT NULL,
    status INTEGER,
    outcome TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS faults (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    account TEXT NOT NULL,
    rule TEXT NOT NULL,
    seen INTEGER NOT NULL DEFAULT 0,
    fired INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS fault_log (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    account TEXT NOT NULL,
    fault INTEGER NOT NULL,
    at REAL NOT NULL,
    action TEXT NOT NULL,
    detail TEXT NOT NULL
);
