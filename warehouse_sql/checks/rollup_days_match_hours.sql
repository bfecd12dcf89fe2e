-- Rows where the days of one build differ from its hours, told as rollup_matches_raw.sql tells them: `rollup` is the day,
-- `raw` what its hours add up to, `hour` when the day begins. Builds that have no days are read by the hour.
WITH
    current AS
    (
        SELECT tenant_id, environment_id, meter_id, meter_version, day
        FROM usage_builds
        WHERE day IN {days:Array(Date)}
        GROUP BY tenant_id, environment_id, meter_id, meter_version, day
        HAVING (max((watermark, started_at, build, days > 0 OR hours = 0)) AS newest).3 = {build:UInt64} AND newest.4
    )
SELECT
    tenant_id,
    environment_id,
    meter_id,
    meter_version,
    customer_id,
    toDateTime(day, 'UTC')           AS hour,
    groups,
    anyIf(values.1, side = 'rollup') AS rollup_matched,
    anyIf(values.1, side = 'raw')    AS raw_matched,
    anyIf(values.3, side = 'rollup') AS rollup_total,
    anyIf(values.3, side = 'raw')    AS raw_total
FROM
(
    SELECT
        'rollup' AS side, tenant_id, environment_id, meter_id, meter_version, customer_id, day, groups,
        (matched, usable, toString(total), toString(lowest), toString(highest), toString(finalizeAggregation(latest)),
         finalizeAggregation(distinct_texts), toString(fingerprint), hours) AS values
    FROM usage_daily
    WHERE build = {build:UInt64}
      AND day IN {days:Array(Date)}
      AND (tenant_id, environment_id, meter_id, meter_version, day) GLOBAL IN current

    UNION ALL

    SELECT
        'raw' AS side, tenant_id, environment_id, meter_id, meter_version, customer_id, toDate(hour) AS day, groups,
        (sum(hourly.matched), sum(hourly.usable), toString(sum(hourly.total)),
         toString(minIf(hourly.lowest, hourly.usable > 0)), toString(maxIf(hourly.highest, hourly.usable > 0)),
         toString(argMaxMergeIf(hourly.latest, hourly.usable > 0)), uniqExactMerge(hourly.distinct_texts),
         toString(sum(hourly.fingerprint)), count()) AS values
    FROM usage_hourly AS hourly
    WHERE build = {build:UInt64}
      AND toDate(hour) IN {days:Array(Date)}
      AND (tenant_id, environment_id, meter_id, meter_version, toDate(hour)) GLOBAL IN current
    GROUP BY tenant_id, environment_id, meter_id, meter_version, customer_id, day, groups
)
GROUP BY tenant_id, environment_id, meter_id, meter_version, customer_id, day, groups
HAVING countIf(side = 'rollup') != 1 OR countIf(side = 'raw') != 1 OR uniqExact(values) != 1
ORDER BY tenant_id, environment_id, meter_id, hour, customer_id
LIMIT 100
