-- The identities under which events of one id were received.
SELECT DISTINCT identity
FROM events
WHERE tenant_id = {tenant_id:String} AND environment_id = {environment_id:String} AND event_id = {event_id:String}
ORDER BY identity
LIMIT {row_limit:UInt64}
