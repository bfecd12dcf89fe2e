CREATE TABLE arrivals
(
    `tenant_id` LowCardinality(String),
    `environment_id` LowCardinality(String),
    `event_name` LowCardinality(String),
    `day` Date COMMENT 'UTC day of the event\'s own timestamp',
    `minute` DateTime('UTC') COMMENT 'when it was received',
    `events` SimpleAggregateFunction(sum, UInt64),
    `last_ingested_at` SimpleAggregateFunction(max, DateTime64(6, 'UTC'))
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(day)
ORDER BY (tenant_id, environment_id, event_name, day, minute)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, index_granularity = 8192
