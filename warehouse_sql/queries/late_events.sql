-- Events that a meter counts in [start, end) and that were received after a watermark: what an invoice with that
-- watermark has not seen (promise M5), in the order in which they were received.
SELECT
    customer_id,
    event_id,
    toUnixTimestamp64Micro(timestamp)                AS timestamp_us,
    toUnixTimestamp64Micro(ingested_at)              AS ingested_us,
    properties[{property:String}]                    AS text
FROM counted_events(
    tenant_id = {tenant_id:String}, environment_id = {environment_id:String}, event_name = {event_name:String},
    all_customers = {all_customers:Bool}, customer_ids = {customer_ids:Array(String)},
    first_day = {first_day:Date}, last_day = {last_day:Date},
    first_hour = {first_hour:DateTime('UTC')}, last_hour = {last_hour:DateTime('UTC')},
    until_us = {until_us:Int64}, unreconciled = true, reconciled_us = {reconciled_us:Int64})
WHERE timestamp >= fromUnixTimestamp64Micro({start_us:Int64}, 'UTC')
  AND timestamp < fromUnixTimestamp64Micro({end_us:Int64}, 'UTC')
  AND ingested_at > fromUnixTimestamp64Micro({after_us:Int64}, 'UTC')
  AND timestamp >= fromUnixTimestamp64Micro({event_from_us:Int64}, 'UTC')
  AND tally_fits(properties, {filters:Array(Tuple(String, String, Array(String)))})
ORDER BY ingested_at, event_id
LIMIT {row_limit:UInt64}
