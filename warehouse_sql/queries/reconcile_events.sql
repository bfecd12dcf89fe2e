-- Finds identities that came more than once and lists every row but the first received one in `superseded`. Looks at
-- identities of which a row arrived in (from_us, to_us], in one slice of them by hash, and compares with everything
-- received since lookback_us. Running it again lists the same rows again, which collapse into one.
--
-- A sender that gives no timestamps sends the same content at another hour: a `duplicate`. Anything else is a
-- `conflict`.
INSERT INTO superseded
(
    tenant_id, environment_id, event_name, day, identity, content_hash, hour, customer_id, timestamp, event_id, ingested_at,
    reason, winner_event_name, winner_customer_id, winner_timestamp, winner_event_id, superseded_at
)
WITH
    fromUnixTimestamp64Micro({from_us:Int64}, 'UTC') AS from_at,
    fromUnixTimestamp64Micro({to_us:Int64}, 'UTC') AS to_at,
    -- 8 bytes an identity, so that a slice of millions stays small; what remains after this is nearly nothing.
    suspects AS
    (
        SELECT identity_hash
        FROM events
        WHERE ingested_at > fromUnixTimestamp64Micro({lookback_us:Int64}, 'UTC')
          AND ingested_at <= to_at
          AND identity_hash % {slices:UInt64} = {slice:UInt64}
          AND identity_hash GLOBAL IN
          (
              SELECT identity_hash FROM events
              WHERE ingested_at > from_at AND ingested_at <= to_at AND identity_hash % {slices:UInt64} = {slice:UInt64}
          )
        GROUP BY identity_hash
        HAVING count() > 1
    )
SELECT
    tenant_id,
    environment_id,
    row.event_name,
    toDate(row.hour),
    identity,
    row.content_hash,
    row.hour,
    row.customer_id,
    row.timestamp,
    row.event_id,
    row.ingested_at,
    if(row.content_hash = winner.content_hash, 'duplicate', 'conflict'),
    winner.event_name,
    winner.customer_id,
    winner.timestamp,
    winner.event_id,
    now64(6, 'UTC')
FROM
(
    SELECT tenant_id, environment_id, identity, arrayReverseSort(groupArray(received)) AS ordered, ordered[1] AS winner
    FROM
    (
        SELECT
            tenant_id,
            environment_id,
            identity,
            event_name,
            customer_id,
            hour,
            content_hash,
            -- The first received of equal rows, first in the order that decides between rows.
            max(CAST(
                (seniority, content_hash, hour, event_name, customer_id, timestamp, event_id, ingested_at),
                'Tuple(seniority UInt64, content_hash UInt64, hour DateTime(\'UTC\'), event_name String, customer_id String,
                       timestamp DateTime64(6, \'UTC\'), event_id String, ingested_at DateTime64(6, \'UTC\'))')) AS received
        FROM events
        WHERE ingested_at > fromUnixTimestamp64Micro({lookback_us:Int64}, 'UTC')
          AND ingested_at <= to_at
          AND identity_hash GLOBAL IN (SELECT identity_hash FROM suspects)
        GROUP BY tenant_id, environment_id, identity, event_name, customer_id, hour, content_hash
    )
    GROUP BY tenant_id, environment_id, identity
    HAVING count() > 1
)
ARRAY JOIN arraySlice(ordered, 2) AS row
WHERE row.ingested_at > from_at
SETTINGS max_insert_threads = 1
