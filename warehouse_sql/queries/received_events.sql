-- Everything that was received under some identities, in the order received, with the reason for which a row is left out
-- of every meter. Rows of equal content and hour are one row: the engine keeps the first received of them.
WITH
    left_out AS
    (
        SELECT event_name, identity, content_hash, hour, reason, superseded_at
        FROM superseded FINAL
        WHERE tenant_id = {tenant_id:String}
          AND environment_id = {environment_id:String}
          AND identity IN {identities:Array(String)}
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
    toUnixTimestamp64Micro(left_out.superseded_at)       AS superseded_us
FROM
(
    SELECT
        event_id, identity, event_name, customer_id, timestamp, timed, properties, idempotency_key, source, ingested_at,
        content_hash, hour
    FROM events
    WHERE tenant_id = {tenant_id:String}
      AND environment_id = {environment_id:String}
      AND identity IN {identities:Array(String)}
    -- As the reconcile step orders them: the first received, then the larger content hash and hour.
    ORDER BY ingested_at, content_hash DESC, hour DESC
    LIMIT 1 BY event_name, customer_id, identity, content_hash, hour
    LIMIT {row_limit:UInt64}
) AS received
GLOBAL LEFT JOIN left_out USING (event_name, identity, content_hash, hour)
ORDER BY ingested_at, content_hash DESC, hour DESC
