-- What is known of each day in [first_day, last_day] for one meter: when its last event arrived, and which rollup is
-- current. 0 stands for never. `now_us` is taken before anything else is read: what was stored by then is in the
-- answer.
WITH
    arrived AS
    (
        SELECT day, max(last_ingested_at) AS last_at
        FROM arrivals
        WHERE tenant_id = {tenant_id:String}
          AND environment_id = {environment_id:String}
          AND event_name = {event_name:String}
          AND day BETWEEN {first_day:Date} AND {last_day:Date}
        GROUP BY day
    ),
    built AS
    (
        SELECT day, argMax((build, watermark, started_at), (watermark, started_at, build)) AS current
        FROM usage_builds
        WHERE tenant_id = {tenant_id:String}
          AND environment_id = {environment_id:String}
          AND meter_id = {meter_id:String}
          AND meter_version = {meter_version:UInt32}
          AND day BETWEEN {first_day:Date} AND {last_day:Date}
        GROUP BY day
    ),
    corrected AS
    (
        SELECT day, max(superseded_at) AS last_at
        FROM superseded
        WHERE tenant_id = {tenant_id:String}
          AND environment_id = {environment_id:String}
          AND event_name = {event_name:String}
          AND day BETWEEN {first_day:Date} AND {last_day:Date}
        GROUP BY day
    )
SELECT
    asked.day                                                             AS day,
    toUnixTimestamp64Micro(arrived.last_at)                               AS arrived_us,
    toUnixTimestamp64Micro(corrected.last_at)                             AS corrected_us,
    built.current.1                                                       AS build,
    toUnixTimestamp64Micro(built.current.2)                               AS watermark_us,
    toUnixTimestamp64Micro(built.current.3)                               AS started_us,
    toUnixTimestamp64Micro((SELECT max(watermark) FROM reconciliations))  AS reconciled_us,
    toUnixTimestamp64Micro(now64(6, 'UTC'))                               AS now_us
FROM
(
    SELECT {first_day:Date} + number AS day
    FROM numbers(toUInt64({last_day:Date} - {first_day:Date} + 1))
) AS asked
LEFT JOIN arrived ON arrived.day = asked.day
LEFT JOIN built ON built.day = asked.day
LEFT JOIN corrected ON corrected.day = asked.day
ORDER BY day
