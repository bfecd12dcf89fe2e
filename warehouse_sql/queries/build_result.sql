-- What a build holds, by day, over all meters.
SELECT day, sum(usage_builds.hours) AS hours, sum(usage_builds.matched) AS matched
FROM usage_builds
WHERE build = {build:UInt64}
GROUP BY day
ORDER BY day
