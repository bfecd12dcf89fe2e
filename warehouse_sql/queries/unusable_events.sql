-- Events that fit a meter but have no value that it can count, with the reason (promise U3), oldest first.
SELECT
    customer_id,
    event_id,
    toUnixTimestamp64Micro(timestamp) AS timestamp_us,
    text,
    reason
FROM
(
    SELECT
        customer_id,
        event_id,
        timestamp,
        properties[{property:String}] AS text,
        multiIf({aggregation:String} = 'count', '',
                {aggregation:String} = 'count_unique', if(text IS NULL, 'missing', ''),
                tally_unusable_because(text)) AS reason
    FROM counted_events(
        tenant_id = {tenant_id:String}, environment_id = {environment_id:String}, event_name = {event_name:String},
        all_customers = {all_customers:Bool}, customer_ids = {customer_ids:Array(String)},
        first_day = {first_day:Date}, last_day = {last_day:Date},
        first_hour = {first_hour:DateTime('UTC')}, last_hour = {last_hour:DateTime('UTC')},
        until_us = {until_us:Int64}, unreconciled = true, reconciled_us = {reconciled_us:Int64})
    WHERE timestamp >= fromUnixTimestamp64Micro({start_us:Int64}, 'UTC')
      AND timestamp < fromUnixTimestamp64Micro({end_us:Int64}, 'UTC')
      AND timestamp >= fromUnixTimestamp64Micro({event_from_us:Int64}, 'UTC')
      AND tally_fits(properties, {filters:Array(Tuple(String, String, Array(String)))})
)
WHERE reason != ''
ORDER BY timestamp, event_id
LIMIT {row_limit:UInt64}
