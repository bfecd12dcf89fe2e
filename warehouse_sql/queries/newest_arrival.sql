-- When the last event was received and when the last one was superseded, whatever it is for; 1970 for never.
SELECT
    toUnixTimestamp64Micro((SELECT max(last_ingested_at) FROM arrivals))  AS received_us,
    toUnixTimestamp64Micro((SELECT max(superseded_at) FROM superseded))   AS corrected_us
