-- The event that set the level with which a customer's weighted sum begins: the last one with a value before `start_us`.
SELECT
    toUnixTimestamp64Micro(timestamp) AS timestamp_us,
    identity
FROM counted_events(
    tenant_id = {tenant_id:String}, environment_id = {environment_id:String}, event_name = {event_name:String},
    all_customers = {all_customers:Bool}, customer_ids = {customer_ids:Array(String)},
    first_day = {first_day:Date}, last_day = {last_day:Date},
    first_hour = {first_hour:DateTime('UTC')}, last_hour = {last_hour:DateTime('UTC')},
    until_us = {until_us:Int64}, unreconciled = true, reconciled_us = {reconciled_us:Int64})
WHERE timestamp < fromUnixTimestamp64Micro({start_us:Int64}, 'UTC')
  AND timestamp >= fromUnixTimestamp64Micro({event_from_us:Int64}, 'UTC')
  AND tally_fits(properties, {filters:Array(Tuple(String, String, Array(String)))})
  AND tally_number(properties[{property:String}]) IS NOT NULL
ORDER BY timestamp DESC, ingested_at DESC, identity DESC
LIMIT 1
