-- What does not count since first_day: events that met an identity with other content (promise E3), and by meter those
-- that fit it and have no value that it can count (promise U3), as the current rollups say.
SELECT tenant_id, environment_id, '' AS meter_id, 'conflict' AS reason, uniqExact(day, identity, content_hash, hour) AS events
FROM superseded
WHERE day >= {first_day:Date} AND superseded.reason = 'conflict'
GROUP BY tenant_id, environment_id
UNION ALL
SELECT tenant_id, environment_id, meter_id, 'unusable' AS reason, sum(left_out) AS events
FROM
(
    SELECT
        tenant_id, environment_id, meter_id, day,
        argMax(matched - usable, (meter_version, watermark, started_at, build)) AS left_out
    FROM usage_builds
    WHERE day >= {first_day:Date}
    GROUP BY tenant_id, environment_id, meter_id, day
)
GROUP BY tenant_id, environment_id, meter_id
HAVING events > 0
