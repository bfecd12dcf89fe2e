-- How many rows the table holds of one tenant.
SELECT count() AS events
FROM events
WHERE tenant_id = {tenant_id:String} AND environment_id = {environment_id:String}
