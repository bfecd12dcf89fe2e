-- The grouping of a rollup, by hand: tokens by customer and hour of one day, each event once. Summed up, so that nothing
-- but the grouping is measured.
SELECT sum(hourly.events) AS events, toString(sum(hourly.tokens)) AS tokens, count() AS rows
FROM
(
    SELECT customer_id, hour, sum(toDecimal256OrNull(properties['tokens'], 24)) AS tokens, count() AS events
    FROM events FINAL
    WHERE tenant_id = {tenant_id:String}
      AND environment_id = {environment_id:String}
      AND event_name = {event_name:String}
      AND day = {day:Date}
    GROUP BY customer_id, hour
) AS hourly
