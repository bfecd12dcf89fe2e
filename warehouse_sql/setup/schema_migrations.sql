-- Which migrations this database has. One row per migration; a second row of the same number changes nothing (two
-- processes that migrate at the same moment both write it).
CREATE TABLE IF NOT EXISTS schema_migrations
(
    number UInt32,
    name String,
    form LowCardinality(String),
    checksum String,
    applied_at DateTime64(6, 'UTC') DEFAULT now64(6, 'UTC')
)
ENGINE = ReplacingMergeTree
ORDER BY number
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
