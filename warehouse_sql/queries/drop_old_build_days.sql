-- As drop_old_builds.sql, for the days of these builds.
DELETE FROM usage_daily
WHERE build IN {builds:Array(UInt64)}
