CREATE TABLE usage_daily
(
    `tenant_id` LowCardinality(String),
    `environment_id` LowCardinality(String),
    `meter_id` LowCardinality(String),
    `meter_version` UInt32,
    `customer_id` String,
    `day` Date,
    `hour` DateTime('UTC') ALIAS toDateTime(day, 'UTC') COMMENT 'when the day begins: both rollups are read in one way',
    `groups` Array(String),
    `build` UInt64,
    `matched` UInt64,
    `usable` UInt64,
    `total` Decimal(76, 24),
    `lowest` Decimal(76, 24) COMMENT 'means nothing where usable is 0, as highest and latest',
    `highest` Decimal(76, 24),
    `latest` AggregateFunction(argMax, Decimal(76, 24), Tuple(
        DateTime64(6, 'UTC'),
        DateTime64(6, 'UTC'),
        String)),
    `distinct_texts` AggregateFunction(uniqExact, String),
    `fingerprint` UInt128,
    `hours` UInt64 COMMENT 'rows of usage_hourly in it'
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(day)
ORDER BY (tenant_id, environment_id, meter_id, meter_version, customer_id, day, build)
SETTINGS index_granularity = 1024, fsync_after_insert = 1, fsync_part_directory = 1
