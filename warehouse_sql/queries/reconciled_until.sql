-- Up to when all events have been compared with each other; 1970 before the first reconcile run.
SELECT toUnixTimestamp64Micro(max(watermark)) AS reconciled_us
FROM reconciliations
