CREATE TABLE superseded
(
    `tenant_id` LowCardinality(String),
    `environment_id` LowCardinality(String),
    `event_name` LowCardinality(String),
    `day` Date COMMENT 'UTC day of the row that is left out',
    `identity` String,
    `content_hash` UInt64,
    `hour` DateTime('UTC'),
    `customer_id` String,
    `timestamp` DateTime64(6, 'UTC'),
    `event_id` String,
    `ingested_at` DateTime64(6, 'UTC'),
    `reason` LowCardinality(String) COMMENT 'duplicate, conflict, voided or amended',
    `winner_event_name` LowCardinality(String),
    `winner_customer_id` String,
    `winner_timestamp` DateTime64(6, 'UTC'),
    `winner_event_id` String,
    `superseded_at` DateTime64(6, 'UTC')
)
ENGINE = ReplacingMergeTree(superseded_at)
ORDER BY (tenant_id, environment_id, event_name, day, identity, content_hash, hour)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, index_granularity = 8192
