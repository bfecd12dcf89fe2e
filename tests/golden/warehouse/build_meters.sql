CREATE TABLE build_meters
(
    `build` UInt64,
    `tenant_id` LowCardinality(String),
    `environment_id` LowCardinality(String),
    `meter_id` String,
    `meter_version` UInt32,
    `event_name` String,
    `aggregation` LowCardinality(String),
    `property` String COMMENT 'empty for a count',
    `filters` Array(Tuple(
        String,
        String,
        Array(String))),
    `group_by` Array(String),
    `event_from_us` Int64 DEFAULT 0 COMMENT 'events with a timestamp before this never count',
    `built_at` DateTime64(6, 'UTC') DEFAULT now64(6)
)
ENGINE = MergeTree
ORDER BY (build, tenant_id, environment_id, event_name)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, index_granularity = 8192
