-- The first received event of an id, and why it is left out of every meter, where it is.
WITH
    found AS
    (
        SELECT
            event_id, event_name, customer_id, timestamp, properties, idempotency_key, source, ingested_at,
            identity, content_hash, hour
        FROM events
        WHERE tenant_id = {tenant_id:String} AND environment_id = {environment_id:String} AND event_id = {event_id:String}
        ORDER BY ingested_at, content_hash
        LIMIT 1
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
    (
        SELECT max(reason) FROM superseded
        WHERE tenant_id = {tenant_id:String}
          AND environment_id = {environment_id:String}
          AND (event_name, identity, content_hash, hour) IN (SELECT event_name, identity, content_hash, hour FROM found)
    )                                   AS superseded_because
FROM found
