-- What somebody would write who wants the same right numbers: tokens by customer and day, exact, duplicates left out by FINAL,
-- and the rows left out that lost against another one.
SELECT
    customer_id,
    day,
    toString(sum(toDecimal256OrNull(properties['tokens'], 24))) AS tokens,
    count()                                                     AS events
FROM events FINAL
WHERE tenant_id = {tenant_id:String}
  AND environment_id = {environment_id:String}
  AND event_name = {event_name:String}
  AND day BETWEEN {first_day:Date} AND {last_day:Date}
  AND (identity, content_hash, hour) NOT IN
      (
          SELECT identity, content_hash, hour
          FROM superseded
          WHERE tenant_id = {tenant_id:String}
            AND environment_id = {environment_id:String}
            AND event_name = {event_name:String}
            AND day BETWEEN {first_day:Date} AND {last_day:Date}
      )
GROUP BY customer_id, day
ORDER BY customer_id, day
