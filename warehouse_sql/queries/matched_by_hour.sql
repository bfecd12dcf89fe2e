-- How many events the current rollups of a day hold in each hour, over all meters. `builds` are those that are current
-- for some meter on that day.
SELECT toInt64(toUnixTimestamp(hour)) * 1000000 AS hour_us, sum(matched) AS events
FROM usage_hourly
WHERE hour >= toDateTime({day:Date}, 'UTC') AND hour < toDateTime({day:Date} + 1, 'UTC') AND build IN {builds:Array(UInt64)}
GROUP BY hour
ORDER BY hour
