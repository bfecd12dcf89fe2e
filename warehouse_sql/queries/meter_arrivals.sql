-- How many events of a name were received in each window, by the time of their arrival; a resend counts again.
SELECT
    roundDown(toInt64(toUnixTimestamp(minute)) * 1000000, {window_starts_us:Array(Int64)}) AS window_us,
    sum(arrivals.events)                                                                   AS events,
    toUnixTimestamp64Micro(max(last_ingested_at))                                          AS last_us
FROM arrivals
WHERE tenant_id = {tenant_id:String}
  AND environment_id = {environment_id:String}
  AND event_name = {event_name:String}
  AND minute >= toDateTime(intDiv({start_us:Int64}, 1000000), 'UTC')
  AND minute < toDateTime(intDiv({end_us:Int64}, 1000000), 'UTC')
GROUP BY window_us
ORDER BY window_us
