-- The events, one row per event received. Everything else in the warehouse can be rebuilt from this table.
--
-- Identity (tenant, environment, identity) counts once, the first received row wins. `seniority` is the receive time
-- upside down, so that ReplacingMergeTree keeps the row that was received first. The content is part of the key: a
-- resend of the same content collapses by itself, one with other content stays until the reconcile step has listed it.
--
-- Days come before customers in the key: rollups answer for the days that are done, so what is read from here are whole
-- days of all customers, and a build of one day reads that day only. (2M events in one month, 30 days: one day of all
-- customers 0.13 s of CPU, against 1.0 s with customers first; one customer's whole month 0.25 s against 0.02 s.) Small
-- granules, because a customer's rows of a day are few.
--
-- `ingested_at` is set by this server and never sent by a writer: "seen by a rollup" and "late" are decided by it.
-- `properties` holds the texts that were sent, in the order of their keys; numbers are read from the text (see 0004),
-- never through a double. Keys are plain strings: with a dictionary of them an insert costs 8.2 µs of CPU per event
-- instead of 4.7, for the same size on disk and the same speed of a sum.
-- An insert is on disk before it is acknowledged, hence the two fsync settings.
CREATE TABLE IF NOT EXISTS events
(
    tenant_id       LowCardinality(String),
    environment_id  LowCardinality(String),
    event_name      LowCardinality(String),
    customer_id     String,
    timestamp       DateTime64(6, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    timed           Bool DEFAULT true COMMENT 'false where the sender gave no timestamp and the time of arrival was taken',
    identity        String DEFAULT ifNull(idempotency_key, event_id) COMMENT 'the idempotency key, or the event id where there is none',
    event_id        String,
    idempotency_key Nullable(String),
    properties      Map(String, Nullable(String)) COMMENT 'key, or dotted path to a leaf, to its text',
    source          LowCardinality(String) DEFAULT 'api',
    ingested_at     DateTime64(6, 'UTC') DEFAULT now64(6),
    day             Date MATERIALIZED toDate(timestamp),
    hour            DateTime('UTC') MATERIALIZED toStartOfHour(timestamp) CODEC(DoubleDelta, LZ4),
    identity_hash   UInt64 MATERIALIZED cityHash64(tenant_id, environment_id, identity),
    content_hash    UInt64 MATERIALIZED cityHash64(
                        event_name, customer_id, if(timed, toUnixTimestamp64Micro(timestamp), 0), properties),
    seniority       UInt64 MATERIALIZED bitNot(toUInt64(toUnixTimestamp64Micro(ingested_at))),
    INDEX ingested_at_range ingested_at TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree(seniority)
PARTITION BY toYYYYMM(day)
ORDER BY (tenant_id, environment_id, event_name, day, customer_id, hour, identity, content_hash)
SETTINGS index_granularity = 2048, fsync_after_insert = 1, fsync_part_directory = 1;
