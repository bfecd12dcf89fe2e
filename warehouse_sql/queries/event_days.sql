-- Days that have events, newest first, and how many arrived for each.
SELECT day, sum(arrivals.events) AS events
FROM arrivals
WHERE tenant_id = {tenant_id:String}
  AND environment_id = {environment_id:String}
  AND ({all_names:Bool} OR event_name = {event_name:String})
  AND day BETWEEN {first_day:Date} AND {last_day:Date}
GROUP BY day
ORDER BY day DESC
LIMIT 200
