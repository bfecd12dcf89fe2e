-- How many events that fit a meter were received of one customer after one watermark and up to another, for [start, end):
-- whether they count or not.
SELECT count() AS events
FROM events FINAL
WHERE tenant_id = {tenant_id:String}
  AND environment_id = {environment_id:String}
  AND event_name = {event_name:String}
  AND day BETWEEN {first_day:Date} AND {last_day:Date}
  AND hour BETWEEN {first_hour:DateTime('UTC')} AND {last_hour:DateTime('UTC')}
  AND customer_id IN {customer_ids:Array(String)}
  AND timestamp >= fromUnixTimestamp64Micro({start_us:Int64}, 'UTC')
  AND timestamp < fromUnixTimestamp64Micro({end_us:Int64}, 'UTC')
  AND ingested_at > fromUnixTimestamp64Micro({after_us:Int64}, 'UTC')
  AND ingested_at <= fromUnixTimestamp64Micro({until_us:Int64}, 'UTC')
  AND timestamp >= fromUnixTimestamp64Micro({event_from_us:Int64}, 'UTC')
  AND tally_fits(properties, {filters:Array(Tuple(String, String, Array(String)))})
