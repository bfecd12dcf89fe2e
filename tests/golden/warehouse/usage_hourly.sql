CREATE TABLE usage_hourly
(
    `tenant_id` LowCardinality(String),
    `environment_id` LowCardinality(String),
    `meter_id` LowCardinality(String),
    `meter_version` UInt32,
    `customer_id` String,
    `hour` DateTime('UTC'),
    `groups` Array(String) COMMENT 'texts of the meter\'s group_by properties, in its order; empty where absent',
    `build` UInt64,
    `matched` UInt64 COMMENT 'events that fit the meter\'s filters',
    `usable` UInt64 COMMENT '… and have a value that can be counted',
    `total` Decimal(76, 24),
    `lowest` Decimal(76, 24) COMMENT 'means nothing where usable is 0, as highest and latest',
    `highest` Decimal(76, 24),
    `latest` AggregateFunction(argMax, Decimal(76, 24), Tuple(
        DateTime64(6, 'UTC'),
        DateTime64(6, 'UTC'),
        String)),
    `distinct_texts` AggregateFunction(uniqExact, String),
    `fingerprint` UInt128 COMMENT 'sum of a hash over identity and content of the usable events'
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(hour)
ORDER BY (tenant_id, environment_id, meter_id, meter_version, customer_id, hour, build)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, index_granularity = 8192
