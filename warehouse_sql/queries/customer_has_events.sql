-- Whether a customer has sent any event of this name: one row if so, none if not.
SELECT 1 AS found
FROM events
WHERE tenant_id = {tenant_id:String}
  AND environment_id = {environment_id:String}
  AND event_name = {event_name:String}
  AND customer_id = {customer_id:String}
LIMIT 1
