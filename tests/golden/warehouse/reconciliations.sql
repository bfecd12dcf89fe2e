CREATE TABLE reconciliations
(
    `watermark` DateTime64(6, 'UTC'),
    `finished_at` DateTime64(6, 'UTC'),
    `superseded` UInt64
)
ENGINE = MergeTree
ORDER BY watermark
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, index_granularity = 8192
