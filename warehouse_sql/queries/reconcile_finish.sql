-- Says that everything received up to the watermark has been compared. Only after every slice is done.
INSERT INTO reconciliations (watermark, finished_at, superseded)
SELECT
    fromUnixTimestamp64Micro({to_us:Int64}, 'UTC'),
    now64(6, 'UTC'),
    (
        SELECT count()
        FROM superseded FINAL
        WHERE reason IN ('duplicate', 'conflict')
          AND ingested_at > fromUnixTimestamp64Micro({from_us:Int64}, 'UTC')
          AND ingested_at <= fromUnixTimestamp64Micro({to_us:Int64}, 'UTC')
    )
