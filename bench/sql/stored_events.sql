-- How many events the table holds of one tenant. One whose insert took so long that it went by way of the journal as well is
-- there twice until its rows are merged, and counts once.
SELECT count() AS events
FROM events FINAL
WHERE tenant_id = {tenant_id:String} AND environment_id = {environment_id:String}
