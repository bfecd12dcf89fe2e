-- As usage_by_hand.sql for somebody who does not mind that an event sent twice, or changed later, counts twice.
SELECT
    customer_id,
    day,
    toString(sum(toDecimal256OrNull(properties['tokens'], 24))) AS tokens,
    count()                                                     AS events
FROM events
WHERE tenant_id = {tenant_id:String}
  AND environment_id = {environment_id:String}
  AND event_name = {event_name:String}
  AND day BETWEEN {first_day:Date} AND {last_day:Date}
GROUP BY customer_id, day
ORDER BY customer_id, day
