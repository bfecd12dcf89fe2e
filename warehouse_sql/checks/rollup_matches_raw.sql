-- Rows where the rollups of one build differ from what its events say, for the days on which it is the current build.
-- The events are read as they were for the build: received up to its watermark, superseded rows left out.
WITH
    current AS
    (
        SELECT tenant_id, environment_id, meter_id, meter_version, day
        FROM usage_builds
        WHERE day IN {days:Array(Date)}
        GROUP BY tenant_id, environment_id, meter_id, meter_version, day
        HAVING argMax(build, (watermark, started_at, build)) = {build:UInt64}
    )
SELECT
    tenant_id,
    environment_id,
    meter_id,
    meter_version,
    customer_id,
    hour,
    groups,
    anyIf(values.1, side = 'rollup') AS rollup_matched,
    anyIf(values.1, side = 'raw')    AS raw_matched,
    anyIf(values.3, side = 'rollup') AS rollup_total,
    anyIf(values.3, side = 'raw')    AS raw_total
FROM
(
    SELECT
        'rollup' AS side, tenant_id, environment_id, meter_id, meter_version, customer_id, hour, groups,
        (matched, usable, toString(total), toString(lowest), toString(highest), toString(finalizeAggregation(latest)),
         finalizeAggregation(distinct_texts), toString(fingerprint)) AS values
    FROM usage_hourly
    WHERE build = {build:UInt64}
      AND toDate(hour) IN {days:Array(Date)}
      AND (tenant_id, environment_id, meter_id, meter_version, toDate(hour)) GLOBAL IN current

    UNION ALL

    SELECT
        'raw' AS side, tenant_id, environment_id, meter_id, meter_version, customer_id, hour, groups,
        (matched, usable, toString(total), toString(lowest), toString(highest), toString(finalizeAggregation(latest)),
         finalizeAggregation(distinct_texts), toString(fingerprint)) AS values
    FROM metered_hours(build = {build:UInt64}, days = {days:Array(Date)}, watermark_us = {watermark_us:Int64})
    WHERE (tenant_id, environment_id, meter_id, meter_version, toDate(hour)) GLOBAL IN current
)
GROUP BY tenant_id, environment_id, meter_id, meter_version, customer_id, hour, groups
HAVING countIf(side = 'rollup') != 1 OR countIf(side = 'raw') != 1 OR uniqExact(values) != 1
ORDER BY tenant_id, environment_id, meter_id, hour, customer_id
LIMIT 100
