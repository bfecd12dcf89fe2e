-- How fresh one meter's usage is: what was received last, how far its rollups have come, and which of its days have
-- something that their current rollup has not seen. 0 stands for never.
WITH
    arrived AS
    (
        SELECT day, minute, max(last_ingested_at) AS last_at
        FROM arrivals
        WHERE tenant_id = {tenant_id:String} AND environment_id = {environment_id:String} AND event_name = {event_name:String}
        GROUP BY day, minute
    ),
    built AS
    (
        SELECT
            day,
            max(watermark)                                             AS seen_until,
            argMax(started_at, (watermark, started_at, build))         AS began_at
        FROM usage_builds
        WHERE tenant_id = {tenant_id:String}
          AND environment_id = {environment_id:String}
          AND meter_id = {meter_id:String}
          AND meter_version = {meter_version:UInt32}
        GROUP BY day
    ),
    corrected AS
    (
        SELECT day, max(superseded_at) AS last_at
        FROM superseded
        WHERE tenant_id = {tenant_id:String} AND environment_id = {environment_id:String} AND event_name = {event_name:String}
        GROUP BY day
    )
SELECT
    toUnixTimestamp64Micro(max(arrived.last_at))                        AS received_us,
    (
        SELECT toUnixTimestamp64Micro(max(timestamp))
        FROM events
        WHERE tenant_id = {tenant_id:String}
          AND environment_id = {environment_id:String}
          AND event_name = {event_name:String}
          AND day = (SELECT max(day) FROM arrived)
    )                                                                   AS timestamp_us,
    toUnixTimestamp64Micro((SELECT max(seen_until) FROM built))         AS watermark_us,
    arraySort(groupUniqArrayIf(
        arrived.day, arrived.last_at > built.seen_until OR corrected.last_at > built.began_at))        AS dirty_days,
    toInt64(toUnixTimestamp(minIf(arrived.minute, arrived.last_at > built.seen_until))) * 1000000      AS waiting_us
FROM arrived
LEFT JOIN built ON built.day = arrived.day
LEFT JOIN corrected ON corrected.day = arrived.day
