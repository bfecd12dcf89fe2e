-- The events of one event name that count, each identity once: the one place where duplicates are left out of a read.
--
-- Takes whole hours, from first_hour to last_hour, of all customers or of those named, received up to until_us.
--   * rows of equal content collapse (FINAL), the one received first stays;
--   * rows that the reconcile step has superseded are left out, whatever they lost against;
--   * among rows received after that step's watermark (reconciled_us), the losers are found here, within what is read.
--     `unreconciled` = false says that there are no such rows, which saves looking.
-- first_day and last_day are the days of these hours; asking for them apart keeps the key's range plain.
CREATE OR REPLACE VIEW counted_events AS
WITH
    -- All rows of these hours, before duplicates are left out.
    received AS
    (
        SELECT identity, identity_hash, content_hash, hour, seniority, ingested_at
        FROM events
        WHERE {unreconciled:Bool}
          AND tenant_id = {tenant_id:String}
          AND environment_id = {environment_id:String}
          AND event_name = {event_name:String}
          AND day BETWEEN {first_day:Date} AND {last_day:Date}
          AND hour BETWEEN {first_hour:DateTime('UTC')} AND {last_hour:DateTime('UTC')}
          AND ({all_customers:Bool} OR customer_id IN {customer_ids:Array(String)})
    ),
    -- By hash first: most identities came once, and a set of 8-byte numbers is all that this takes.
    seen_twice AS
    (
        SELECT identity_hash
        FROM received
        WHERE identity_hash GLOBAL IN
        (
            SELECT identity_hash FROM received
            WHERE ingested_at > fromUnixTimestamp64Micro({reconciled_us:Int64}, 'UTC')
        )
        GROUP BY identity_hash
        HAVING count() > 1
    ),
    -- Per identity all rows but the most senior one. Content and hour settle a tie, as they do in the reconcile step.
    fresh_losers AS
    (
        SELECT
            identity,
            argMax((content_hash, hour), (seniority, content_hash, hour)) AS winner,
            arrayJoin(arrayFilter(row -> row != winner, groupUniqArray((content_hash, hour)))) AS loser
        FROM received
        WHERE identity_hash GLOBAL IN (SELECT identity_hash FROM seen_twice)
        GROUP BY identity
    )
SELECT customer_id, day, hour, timestamp, ingested_at, identity, content_hash, event_id, idempotency_key, properties, source
FROM events FINAL
WHERE tenant_id = {tenant_id:String}
  AND environment_id = {environment_id:String}
  AND event_name = {event_name:String}
  AND day BETWEEN {first_day:Date} AND {last_day:Date}
  AND hour BETWEEN {first_hour:DateTime('UTC')} AND {last_hour:DateTime('UTC')}
  AND ({all_customers:Bool} OR customer_id IN {customer_ids:Array(String)})
  AND ingested_at <= fromUnixTimestamp64Micro({until_us:Int64}, 'UTC')
  AND (identity, (content_hash, hour)) GLOBAL NOT IN
      (
          SELECT identity, (content_hash, hour)
          FROM superseded
          WHERE tenant_id = {tenant_id:String}
            AND environment_id = {environment_id:String}
            AND event_name = {event_name:String}
            AND day BETWEEN {first_day:Date} AND {last_day:Date}
          UNION ALL
          SELECT identity, loser FROM fresh_losers
      );
