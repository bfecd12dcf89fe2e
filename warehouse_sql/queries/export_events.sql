-- One UTC day's events of one name, in the order of the key and from a place in it on: a page of an export. Those that are
-- left out of every meter are among them, with the reason.
WITH
    left_out AS
    (
        SELECT identity, content_hash, hour, reason
        FROM superseded
        WHERE tenant_id = {tenant_id:String}
          AND environment_id = {environment_id:String}
          AND event_name = {event_name:String}
          AND day = {day:Date}
          AND customer_id >= {after_customer:String}
        LIMIT 1 BY identity, content_hash, hour
    )
SELECT
    event_id,
    toString(event_name)                             AS event_name,
    customer_id,
    timestamp,
    timed,
    CAST(properties, 'Map(String, Nullable(String))') AS properties,
    idempotency_key,
    identity,
    toString(source)                                 AS source,
    ingested_at,
    toString(left_out.reason)                        AS superseded_because,
    toUnixTimestamp(hour)                            AS after_hour,
    content_hash                                     AS after_hash
FROM
(
    SELECT
        event_id, event_name, customer_id, timestamp, timed, properties, idempotency_key, identity, source, ingested_at,
        content_hash, hour
    FROM events FINAL
    WHERE tenant_id = {tenant_id:String}
      AND environment_id = {environment_id:String}
      AND event_name = {event_name:String}
      AND day = {day:Date}
      AND ({all_customers:Bool} OR customer_id IN {customer_ids:Array(String)})
      AND customer_id >= {after_customer:String}
      AND (customer_id, toUnixTimestamp(hour), identity, content_hash)
        > ({after_customer:String}, {after_hour:UInt32}, {after_identity:String}, {after_hash:UInt64})
    ORDER BY customer_id, hour, identity, content_hash
    LIMIT {row_limit:UInt64}
) AS page
GLOBAL LEFT JOIN left_out USING (identity, content_hash, hour)
ORDER BY customer_id, hour, identity, content_hash
