-- Where the reconcile step stands, and how much there is to do up to the given watermark.
SELECT
    toUnixTimestamp64Micro((SELECT max(watermark) FROM reconciliations)) AS reconciled_us,
    (
        SELECT count()
        FROM events
        WHERE ingested_at > (SELECT max(watermark) FROM reconciliations)
          AND ingested_at <= fromUnixTimestamp64Micro({to_us:Int64}, 'UTC')
    ) AS received
