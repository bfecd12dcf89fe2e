-- One environment's events of some days, newest first, from a cursor on. Those that are left out of every meter are in
-- the list as well, with the reason.
WITH
    left_out AS
    (
        SELECT event_name, identity, content_hash, hour, reason
        FROM superseded
        WHERE tenant_id = {tenant_id:String}
          AND environment_id = {environment_id:String}
          AND ({all_names:Bool} OR event_name = {event_name:String})
          AND day BETWEEN {first_day:Date} AND {last_day:Date}
        LIMIT 1 BY event_name, identity, content_hash, hour
    )
SELECT
    event_id,
    event_name,
    customer_id,
    toUnixTimestamp64Micro(timestamp)   AS timestamp_us,
    properties,
    idempotency_key,
    source,
    toUnixTimestamp64Micro(ingested_at) AS ingested_us,
    left_out.reason                     AS superseded_because
FROM
(
    SELECT
        event_id, event_name, customer_id, timestamp, properties, idempotency_key, source, ingested_at,
        identity, content_hash, hour
    FROM events FINAL
    WHERE tenant_id = {tenant_id:String}
      AND environment_id = {environment_id:String}
      AND ({all_names:Bool} OR event_name = {event_name:String})
      AND ({all_customers:Bool} OR customer_id IN {customer_ids:Array(String)})
      AND day BETWEEN {first_day:Date} AND {last_day:Date}
      AND timestamp >= fromUnixTimestamp64Micro({start_us:Int64}, 'UTC')
      AND (timestamp, event_id) < (fromUnixTimestamp64Micro({before_us:Int64}, 'UTC'), {before_id:String})
    ORDER BY timestamp DESC, event_id DESC
    LIMIT {row_limit:UInt64}
) AS page
GLOBAL LEFT JOIN left_out USING (event_name, identity, content_hash, hour)
ORDER BY timestamp DESC, event_id DESC
