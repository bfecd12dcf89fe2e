-- The event names of one UTC day, and how many events of each arrived, repeated ones included.
SELECT event_name, sum(arrivals.events) AS events
FROM arrivals
WHERE tenant_id = {tenant_id:String}
  AND environment_id = {environment_id:String}
  AND ({all_names:Bool} OR event_name = {event_name:String})
  AND day = {day:Date}
GROUP BY event_name
ORDER BY event_name
