-- Events of one environment that came again with other content, for days in [first_day, last_day]. The first received
-- one counts; these are never billed, and somebody should know.
SELECT
    event_name, customer_id, identity, event_id, timestamp, ingested_at,
    winner_event_name, winner_customer_id, winner_event_id, winner_timestamp
FROM superseded FINAL
WHERE tenant_id = {tenant_id:String}
  AND environment_id = {environment_id:String}
  AND day BETWEEN {first_day:Date} AND {last_day:Date}
  AND reason = 'conflict'
ORDER BY ingested_at, identity
LIMIT {row_limit:UInt64}
