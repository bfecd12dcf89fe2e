CREATE VIEW running_inserts
(
    `started_at` DateTime64(6, 'UTC')
)
AS SELECT now64(6, 'UTC') - toIntervalMicrosecond(toUInt64(elapsed * 1000000)) AS started_at
FROM system.processes
WHERE query_kind IN ('Insert', 'AsyncInsertFlush')
