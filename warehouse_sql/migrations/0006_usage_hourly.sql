-- Rollups: what each meter counted per customer, hour and group values. Made only from events that the reconcile step
-- has seen, so nothing in here is ever a duplicate. Rows belong to a build; a build is read only where `usage_builds`
-- names it as the current one of its (meter, day), so a rerun or a backfill never shows half a day.
CREATE TABLE IF NOT EXISTS usage_hourly
(
    tenant_id      LowCardinality(String),
    environment_id LowCardinality(String),
    meter_id       LowCardinality(String),
    meter_version  UInt32,
    customer_id    String,
    hour           DateTime('UTC'),
    groups         Array(String) COMMENT 'texts of the meter''s group_by properties, in its order; empty where absent',
    build          UInt64,
    matched        UInt64 COMMENT 'events that fit the meter''s filters',
    usable         UInt64 COMMENT '… and have a value that can be counted',
    total          Decimal(76, 24),
    lowest         Decimal(76, 24) COMMENT 'means nothing where usable is 0, as highest and latest',
    highest        Decimal(76, 24),
    latest         AggregateFunction(argMax, Decimal(76, 24), Tuple(DateTime64(6, 'UTC'), DateTime64(6, 'UTC'), String)),
    distinct_texts AggregateFunction(uniqExact, String),
    fingerprint    UInt128 COMMENT 'sum of a hash over identity and content of the usable events'
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(hour)
ORDER BY (tenant_id, environment_id, meter_id, meter_version, customer_id, hour, build)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

-- The meters of a build, as they were defined then.
CREATE TABLE IF NOT EXISTS build_meters
(
    build          UInt64,
    tenant_id      LowCardinality(String),
    environment_id LowCardinality(String),
    meter_id       String,
    meter_version  UInt32,
    event_name     String,
    aggregation    LowCardinality(String),
    property       String COMMENT 'empty for a count',
    filters        Array(Tuple(String, String, Array(String))),
    group_by       Array(String),
    built_at       DateTime64(6, 'UTC') DEFAULT now64(6)
)
ENGINE = MergeTree
ORDER BY (build, tenant_id, environment_id, event_name)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

-- The switch: inserting rows here makes a build the current one of its meters and days. The current build of a (meter,
-- day) is the one with the highest watermark, then the highest number. It holds every event received up to `watermark`.
CREATE TABLE IF NOT EXISTS usage_builds
(
    tenant_id      LowCardinality(String),
    environment_id LowCardinality(String),
    meter_id       LowCardinality(String),
    meter_version  UInt32,
    event_name     LowCardinality(String),
    day            Date,
    build          UInt64,
    watermark      DateTime64(6, 'UTC'),
    started_at     DateTime64(6, 'UTC') COMMENT 'rows superseded before this are known to be left out',
    hours          UInt64 COMMENT 'rows in usage_hourly',
    matched        UInt64,
    usable         UInt64,
    switched_at    DateTime64(6, 'UTC') DEFAULT now64(6)
)
ENGINE = MergeTree
ORDER BY (tenant_id, environment_id, meter_id, meter_version, day, build)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;
