-- Every meter's current build of each day since first_day.
SELECT
    tenant_id, environment_id, meter_id, meter_version, day,
    toUnixTimestamp64Micro(argMax(watermark, (watermark, started_at, build)))  AS watermark_us,
    toUnixTimestamp64Micro(argMax(started_at, (watermark, started_at, build))) AS started_us
FROM usage_builds
WHERE day >= {first_day:Date}
GROUP BY tenant_id, environment_id, meter_id, meter_version, day
