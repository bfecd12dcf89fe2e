CREATE TABLE events
(
    `tenant_id` LowCardinality(String),
    `environment_id` LowCardinality(String),
    `event_name` LowCardinality(String),
    `customer_id` String,
    `timestamp` DateTime64(6, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    `timed` Bool DEFAULT true COMMENT 'false where the sender gave no timestamp and the time of arrival was taken',
    `identity` String DEFAULT ifNull(idempotency_key, event_id) COMMENT 'the idempotency key, or the event id where there is none',
    `event_id` String,
    `idempotency_key` Nullable(String),
    `properties` Map(String, Nullable(String)) COMMENT 'key, or dotted path to a leaf, to its text',
    `source` LowCardinality(String) DEFAULT 'api',
    `ingested_at` DateTime64(6, 'UTC') DEFAULT now64(6),
    `day` Date MATERIALIZED toDate(timestamp),
    `hour` DateTime('UTC') MATERIALIZED toStartOfHour(timestamp) CODEC(DoubleDelta, LZ4),
    `identity_hash` UInt64 MATERIALIZED cityHash64(tenant_id, environment_id, identity),
    `content_hash` UInt64 MATERIALIZED cityHash64(event_name, customer_id, if(timed, toUnixTimestamp64Micro(timestamp), 0), properties),
    `seniority` UInt64 MATERIALIZED bitNot(toUInt64(toUnixTimestamp64Micro(ingested_at))),
    INDEX ingested_at_range ingested_at TYPE minmax GRANULARITY 1,
    INDEX event_id_filter event_id TYPE bloom_filter(0.01) GRANULARITY 4,
    INDEX identity_filter identity TYPE bloom_filter(0.01) GRANULARITY 4
)
ENGINE = ReplacingMergeTree(seniority)
PARTITION BY toYYYYMM(day)
ORDER BY (tenant_id, environment_id, event_name, day, customer_id, hour, identity, content_hash)
SETTINGS index_granularity = 2048, fsync_after_insert = 1, fsync_part_directory = 1
