-- The events that a meter counts of one customer in [start, end) and that were received up to a watermark, newest first,
-- from a cursor on: what a quantity was made from (promise M4). Duplicates and events without a usable value are not
-- in it. A weighted sum also counts the level that it begins with: the event at `level_us`, named by its identity.
SELECT
    customer_id,
    event_id,
    identity,
    idempotency_key,
    toUnixTimestamp64Micro(timestamp)   AS timestamp_us,
    toUnixTimestamp64Micro(ingested_at) AS ingested_us,
    text
FROM
(
    SELECT
        customer_id,
        event_id,
        identity,
        idempotency_key,
        timestamp,
        ingested_at,
        properties[{property:String}]                              AS text,
        multiIf({aggregation:String} = 'count', true,
                {aggregation:String} = 'count_unique', text IS NOT NULL,
                tally_number(text) IS NOT NULL)                     AS is_usable
    FROM counted_events(
        tenant_id = {tenant_id:String}, environment_id = {environment_id:String}, event_name = {event_name:String},
        all_customers = {all_customers:Bool}, customer_ids = {customer_ids:Array(String)},
        first_day = {first_day:Date}, last_day = {last_day:Date},
        first_hour = {first_hour:DateTime('UTC')}, last_hour = {last_hour:DateTime('UTC')},
        until_us = {until_us:Int64}, unreconciled = true, reconciled_us = {reconciled_us:Int64})
    WHERE (timestamp >= fromUnixTimestamp64Micro({start_us:Int64}, 'UTC')
           OR (timestamp = fromUnixTimestamp64Micro({level_us:Int64}, 'UTC') AND identity = {level_identity:String}))
      AND timestamp < fromUnixTimestamp64Micro({end_us:Int64}, 'UTC')
      AND (timestamp, identity) < (fromUnixTimestamp64Micro({before_us:Int64}, 'UTC'), {before_identity:String})
      AND timestamp >= fromUnixTimestamp64Micro({event_from_us:Int64}, 'UTC')
      AND tally_fits(properties, {filters:Array(Tuple(String, String, Array(String)))})
)
WHERE is_usable
ORDER BY timestamp DESC, identity DESC
LIMIT {row_limit:UInt64}
