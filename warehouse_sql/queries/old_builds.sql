-- Builds without any day on which they are current, started before the given moment.
SELECT build
FROM build_meters
WHERE built_at < fromUnixTimestamp64Micro({before_us:Int64}, 'UTC')
  AND build NOT IN
  (
      SELECT argMax(build, (watermark, started_at, build))
      FROM usage_builds
      GROUP BY tenant_id, environment_id, meter_id, meter_version, day
  )
  AND build IN (SELECT build FROM usage_hourly)
GROUP BY build
ORDER BY build
LIMIT 1000
