-- A page of the events that fit a meter but have no value that it can count, with the reason (promise U3), oldest first,
-- and how many there are of each reason in all.
WITH
    unusable AS
    (
        SELECT customer_id, event_id, identity, toUnixTimestamp64Micro(timestamp) AS timestamp_us, text, reason
        FROM
        (
            SELECT
                customer_id,
                event_id,
                identity,
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
    )
SELECT
    customer_id,
    event_id,
    identity,
    timestamp_us,
    text,
    reason,
    (SELECT groupArray((reason, events)) FROM (SELECT reason, count() AS events FROM unusable GROUP BY reason ORDER BY reason)) AS counts
FROM unusable
WHERE (timestamp_us, event_id, identity) > ({after_us:Int64}, {after_event:String}, {after_identity:String})
ORDER BY timestamp_us, event_id, identity
LIMIT {row_limit:UInt64}
