-- One environment's events of some days, newest first, from a cursor on. Those that are left out of every meter are in
-- the list as well, with the reason, unless the list is asked for one kind only.
WITH
    left_out AS
    (
        SELECT event_name, identity, content_hash, hour, reason, superseded_at
        FROM superseded FINAL
        WHERE tenant_id = {tenant_id:String}
          AND environment_id = {environment_id:String}
          AND ({all_names:Bool} OR event_name = {event_name:String})
          AND day BETWEEN {first_day:Date} AND {last_day:Date}
    )
SELECT
    event_id,
    identity,
    event_name,
    customer_id,
    toUnixTimestamp64Micro(timestamp)                    AS timestamp_us,
    timed,
    properties,
    idempotency_key,
    source,
    toUnixTimestamp64Micro(ingested_at)                  AS ingested_us,
    toString(content_hash)                               AS content,
    left_out.reason                                      AS superseded_because,
    toUnixTimestamp64Micro(left_out.superseded_at)       AS superseded_us,
    toString(place)                                      AS position
FROM
(
    SELECT
        event_id, identity, event_name, customer_id, timestamp, timed, properties, idempotency_key, source, ingested_at,
        content_hash, hour,
        -- Tells events of one moment apart.
        sipHash64(event_name, customer_id, identity, content_hash) AS place
    FROM events FINAL
    WHERE tenant_id = {tenant_id:String}
      AND environment_id = {environment_id:String}
      AND ({all_names:Bool} OR event_name = {event_name:String})
      AND ({all_customers:Bool} OR customer_id IN {customer_ids:Array(String)})
      AND ({all_ids:Bool} OR event_id = {event_id:String})
      AND ({all_sources:Bool} OR source = {source:String})
      AND ({all_properties:Bool} OR properties[{property:String}] = {property_value:String})
      AND day BETWEEN {first_day:Date} AND {last_day:Date}
      AND timestamp >= fromUnixTimestamp64Micro({start_us:Int64}, 'UTC')
      AND (timestamp, place) < (fromUnixTimestamp64Micro({before_us:Int64}, 'UTC'), {before_place:UInt64})
      AND ({superseded_or_not:Bool}
           OR ((event_name, identity, content_hash, hour) GLOBAL IN
               (SELECT event_name, identity, content_hash, hour FROM left_out)) = {superseded:Bool})
    ORDER BY timestamp DESC, place DESC
    LIMIT {row_limit:UInt64}
) AS page
GLOBAL LEFT JOIN left_out USING (event_name, identity, content_hash, hour)
ORDER BY timestamp DESC, place DESC
