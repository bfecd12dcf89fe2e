CREATE TABLE schema_migrations
(
    `number` UInt32,
    `name` String,
    `form` LowCardinality(String),
    `checksum` String,
    `applied_at` DateTime64(6, 'UTC') DEFAULT now64(6, 'UTC')
)
ENGINE = ReplacingMergeTree
ORDER BY number
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, index_granularity = 8192
