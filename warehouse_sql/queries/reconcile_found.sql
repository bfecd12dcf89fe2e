-- What one run of the reconcile step found, by reason.
SELECT reason, count() AS events, arraySort(groupUniqArray(day)) AS days
FROM superseded FINAL
WHERE reason IN ('duplicate', 'conflict')
  AND ingested_at > fromUnixTimestamp64Micro({from_us:Int64}, 'UTC')
  AND ingested_at <= fromUnixTimestamp64Micro({to_us:Int64}, 'UTC')
GROUP BY reason
