-- How many events the current rollups of each day hold, over all meters.
SELECT day, sum(held) AS events
FROM
(
    SELECT day, argMax(matched, (watermark, started_at, build)) AS held
    FROM usage_builds
    WHERE day >= {first_day:Date} AND day <= {last_day:Date}
    GROUP BY tenant_id, environment_id, meter_id, meter_version, day
)
GROUP BY day
ORDER BY day
