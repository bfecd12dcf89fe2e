-- Events that came again under their identity with other content, newest first by the time they were received, from a
-- cursor on; known from the reconcile step. `place` tells rows of one instant apart.
SELECT
    event_name,
    customer_id,
    identity,
    toString(content_hash)                      AS content,
    toUnixTimestamp(hour)                       AS hour_s,
    toUnixTimestamp64Micro(ingested_at)         AS ingested_us,
    winner_event_name,
    winner_customer_id,
    toUnixTimestamp64Micro(winner_timestamp)    AS winner_timestamp_us,
    toString(place)                             AS position
FROM
(
    SELECT *, sipHash64(event_name, customer_id, identity, content_hash, hour) AS place
    FROM superseded FINAL
    WHERE tenant_id = {tenant_id:String}
      AND environment_id = {environment_id:String}
      AND reason = 'conflict'
)
WHERE ({all_customers:Bool} OR customer_id IN {customer_ids:Array(String)} OR winner_customer_id IN {customer_ids:Array(String)})
  AND timestamp >= fromUnixTimestamp64Micro({start_us:Int64}, 'UTC')
  AND timestamp < fromUnixTimestamp64Micro({end_us:Int64}, 'UTC')
  AND (ingested_at, place) < (fromUnixTimestamp64Micro({before_us:Int64}, 'UTC'), {before_place:UInt64})
ORDER BY ingested_at DESC, place DESC
LIMIT {row_limit:UInt64}
