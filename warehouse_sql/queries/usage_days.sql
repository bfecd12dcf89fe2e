-- What is known of the days in [first_day, last_day] for one meter, one row for each fact:
--   asked       at_us: the time of this statement
--   arrived     at_us: when the day's last event arrived
--   superseded  at_us: when an event of the day was last superseded
--   built       at_us: the watermark of the day's current rollup, its number and its start; `switched_us`: since when its
--               days can be read, 0 where it has none
-- The time is taken first: what was stored by then is in the answer. Facts side by side and not joined, because the
-- engine spends more time on the plan of a join than on reading all of this.
SELECT
    'asked'                                       AS fact,
    toDate(0)                                     AS day,
    toUnixTimestamp64Micro(now64(6, 'UTC'))       AS at_us,
    toUInt64(0)                                   AS build,
    toInt64(0)                                    AS started_us,
    toInt64(0)                                    AS switched_us

UNION ALL

SELECT 'arrived', day, toUnixTimestamp64Micro(max(last_ingested_at)), 0, 0, 0
FROM arrivals
WHERE tenant_id = {tenant_id:String}
  AND environment_id = {environment_id:String}
  AND event_name = {event_name:String}
  AND day BETWEEN {first_day:Date} AND {last_day:Date}
GROUP BY day

UNION ALL

SELECT 'superseded', day, toUnixTimestamp64Micro(max(superseded_at)), 0, 0, 0
FROM superseded
WHERE tenant_id = {tenant_id:String}
  AND environment_id = {environment_id:String}
  AND event_name = {event_name:String}
  AND day BETWEEN {first_day:Date} AND {last_day:Date}
GROUP BY day

UNION ALL

SELECT
    'built',
    day,
    toUnixTimestamp64Micro((max((watermark, started_at, build, days > 0 OR hours = 0, switched_at)) AS current).1),
    current.3,
    toUnixTimestamp64Micro(current.2),
    if(current.4, toUnixTimestamp64Micro(current.5), 0)
FROM usage_builds
WHERE tenant_id = {tenant_id:String}
  AND environment_id = {environment_id:String}
  AND meter_id = {meter_id:String}
  AND meter_version = {meter_version:UInt32}
  AND day BETWEEN {first_day:Date} AND {last_day:Date}
GROUP BY day
