-- Removes rollups of builds that have not been current for longer than readers may still use them, and of builds that
-- never were finished. A lightweight delete: the rows are gone from reads at once and from disk with the next merge.
DELETE FROM usage_hourly
WHERE build IN {builds:Array(UInt64)}
