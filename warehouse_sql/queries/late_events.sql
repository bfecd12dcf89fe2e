-- A page of the events that fit a meter and were received of one customer after one watermark and up to another, for
-- [start, end): what an invoice with the first watermark has not seen (promise M5). The last received come first, from a
-- cursor on; those that do not count are in it, with the reason.
WITH
    left_out AS
    (
        SELECT identity, content_hash, hour, reason
        FROM superseded FINAL
        WHERE tenant_id = {tenant_id:String}
          AND environment_id = {environment_id:String}
          AND event_name = {event_name:String}
          AND day BETWEEN {first_day:Date} AND {last_day:Date}
    )
SELECT
    event_id,
    identity,
    idempotency_key,
    toUnixTimestamp64Micro(timestamp)    AS timestamp_us,
    toUnixTimestamp64Micro(ingested_at)  AS ingested_us,
    text,
    left_out.reason                      AS superseded_because,
    multiIf({aggregation:String} = 'count', '',
            {aggregation:String} = 'count_unique', if(text IS NULL, 'missing', ''),
            tally_unusable_because(text)) AS unusable_because,
    toString(place)                      AS position
FROM
(
    SELECT
        event_id, identity, idempotency_key, timestamp, ingested_at, content_hash, hour,
        properties[{property:String}] AS text,
        -- Tells events of one moment apart.
        sipHash64(identity, content_hash, hour) AS place
    FROM events FINAL
    WHERE tenant_id = {tenant_id:String}
      AND environment_id = {environment_id:String}
      AND event_name = {event_name:String}
      AND day BETWEEN {first_day:Date} AND {last_day:Date}
      AND hour BETWEEN {first_hour:DateTime('UTC')} AND {last_hour:DateTime('UTC')}
      AND customer_id IN {customer_ids:Array(String)}
      AND timestamp >= fromUnixTimestamp64Micro({start_us:Int64}, 'UTC')
      AND timestamp < fromUnixTimestamp64Micro({end_us:Int64}, 'UTC')
      AND ingested_at > fromUnixTimestamp64Micro({after_us:Int64}, 'UTC')
      AND ingested_at <= fromUnixTimestamp64Micro({until_us:Int64}, 'UTC')
      AND (ingested_at, place) < (fromUnixTimestamp64Micro({before_us:Int64}, 'UTC'), {before_place:UInt64})
      AND timestamp >= fromUnixTimestamp64Micro({event_from_us:Int64}, 'UTC')
      AND tally_fits(properties, {filters:Array(Tuple(String, String, Array(String)))})
    ORDER BY ingested_at DESC, place DESC
    LIMIT {row_limit:UInt64}
) AS page
GLOBAL LEFT JOIN left_out USING (identity, content_hash, hour)
ORDER BY ingested_at DESC, place DESC
