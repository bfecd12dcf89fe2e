-- As the form for one server: beside the hours that the days are made of.
CREATE TABLE IF NOT EXISTS usage_daily_local ON CLUSTER '{cluster}'
(
    tenant_id      LowCardinality(String),
    environment_id LowCardinality(String),
    meter_id       LowCardinality(String),
    meter_version  UInt32,
    customer_id    String,
    day            Date,
    hour           DateTime('UTC') ALIAS toDateTime(day, 'UTC') COMMENT 'when the day begins: both rollups are read in one way',
    groups         Array(String),
    build          UInt64,
    matched        UInt64,
    usable         UInt64,
    total          Decimal(76, 24),
    lowest         Decimal(76, 24) COMMENT 'means nothing where usable is 0, as highest and latest',
    highest        Decimal(76, 24),
    latest         AggregateFunction(argMax, Decimal(76, 24), Tuple(DateTime64(6, 'UTC'), DateTime64(6, 'UTC'), String)),
    distinct_texts AggregateFunction(uniqExact, String),
    fingerprint    UInt128,
    hours          UInt64 COMMENT 'rows of usage_hourly in it'
)
ENGINE = ReplicatedMergeTree('/clickhouse/tables/{uuid}/{shard}', '{replica}')
PARTITION BY toYYYYMM(day)
ORDER BY (tenant_id, environment_id, meter_id, meter_version, customer_id, day, build)
SETTINGS index_granularity = 1024, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS usage_daily ON CLUSTER '{cluster}' AS usage_daily_local
ENGINE = Distributed('{cluster}', currentDatabase(), 'usage_daily_local', sipHash64(tenant_id, customer_id));

ALTER TABLE usage_builds ON CLUSTER '{cluster}' ADD COLUMN IF NOT EXISTS days UInt64 DEFAULT 0 COMMENT 'rows in usage_daily: 0 beside hours where a build is read by the hour' AFTER hours;
