-- Makes a build the current one of its meters and days, those without usage included, in one insert of one block.
INSERT INTO usage_builds
(
    tenant_id, environment_id, meter_id, meter_version, event_name, day, build, watermark, started_at, hours, days, matched,
    usable
)
SELECT
    tenant_id, environment_id, meter_id, meter_version, event_name, day, {build:UInt64},
    fromUnixTimestamp64Micro({watermark_us:Int64}, 'UTC'), built_at, stored.hours, stored.days, stored.matched, stored.usable
FROM
(
    SELECT tenant_id, environment_id, meter_id, meter_version, event_name, built_at, day
    FROM build_meters
    ARRAY JOIN {days:Array(Date)} AS day
    WHERE build = {build:UInt64}
) AS planned
GLOBAL LEFT JOIN
(
    SELECT
        tenant_id, environment_id, meter_id, meter_version, day,
        sum(daily.hours) AS hours, count() AS days, sum(daily.matched) AS matched, sum(daily.usable) AS usable
    FROM usage_daily AS daily
    WHERE build = {build:UInt64} AND day IN {days:Array(Date)}
    GROUP BY tenant_id, environment_id, meter_id, meter_version, day
) AS stored USING (tenant_id, environment_id, meter_id, meter_version, day)
SETTINGS max_threads = 1, max_insert_threads = 1, min_insert_block_size_rows = 100000000, min_insert_block_size_bytes = 0
