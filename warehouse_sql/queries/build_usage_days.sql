-- Adds a build's hours up by day. Nobody reads them before switch_usage_builds.sql.
-- Written in small blocks: until it is written, a row holds states that take far more room than on disk.
INSERT INTO usage_daily
(
    tenant_id, environment_id, meter_id, meter_version, customer_id, day, groups, build,
    matched, usable, total, lowest, highest, latest, distinct_texts, fingerprint, hours
)
SELECT
    tenant_id, environment_id, meter_id, meter_version, customer_id, toDate(hour) AS day, groups, build,
    sum(hourly.matched),
    sum(hourly.usable),
    sum(hourly.total),
    minIf(hourly.lowest, hourly.usable > 0),
    maxIf(hourly.highest, hourly.usable > 0),
    argMaxMergeStateIf(hourly.latest, hourly.usable > 0),
    uniqExactMergeState(hourly.distinct_texts),
    sum(hourly.fingerprint),
    count()
FROM usage_hourly AS hourly
WHERE build = {build:UInt64} AND toDate(hour) IN {days:Array(Date)}
GROUP BY tenant_id, environment_id, meter_id, meter_version, customer_id, day, groups, build
SETTINGS min_insert_block_size_rows = 100000
