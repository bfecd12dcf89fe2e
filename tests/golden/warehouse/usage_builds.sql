CREATE TABLE usage_builds
(
    `tenant_id` LowCardinality(String),
    `environment_id` LowCardinality(String),
    `meter_id` LowCardinality(String),
    `meter_version` UInt32,
    `event_name` LowCardinality(String),
    `day` Date,
    `build` UInt64,
    `watermark` DateTime64(6, 'UTC'),
    `started_at` DateTime64(6, 'UTC') COMMENT 'rows superseded before this are known to be left out',
    `hours` UInt64 COMMENT 'rows in usage_hourly',
    `days` UInt64 DEFAULT 0 COMMENT 'rows in usage_daily: 0 beside hours where a build is read by the hour',
    `matched` UInt64,
    `usable` UInt64,
    `switched_at` DateTime64(6, 'UTC') DEFAULT now64(6)
)
ENGINE = MergeTree
ORDER BY (tenant_id, environment_id, meter_id, meter_version, day, build)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, index_granularity = 8192
