-- The last microsecond of which it is certain that nothing received then can still appear: before any insert that runs
-- now has started, and before now. Rows take their `ingested_at` after their insert has started, never before.
-- `now_us` is where it will be once the inserts that run now have ended.
SELECT
    toUnixTimestamp64Micro(if(count() = 0, now64(6, 'UTC'), least(now64(6, 'UTC'), min(started_at)))) - 1 AS watermark_us,
    toUnixTimestamp64Micro(now64(6, 'UTC')) - 1                                                           AS now_us
FROM running_inserts
