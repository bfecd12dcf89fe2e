-- The builds that are current for some meter on the given days.
SELECT current_build AS build, toUnixTimestamp64Micro(any(seen_until)) AS watermark_us, arraySort(groupUniqArray(day)) AS days
FROM
(
    SELECT
        tenant_id, environment_id, meter_id, meter_version, day,
        argMax(build, (watermark, started_at, build)) AS current_build,
        max(watermark)                                AS seen_until
    FROM usage_builds
    WHERE day IN {days:Array(Date)}
    GROUP BY tenant_id, environment_id, meter_id, meter_version, day
)
GROUP BY build
ORDER BY build
