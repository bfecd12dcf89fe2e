-- As usage_from_rollups.sql, for a question with filters on the meter's group_by properties. Kept apart because the
-- filters, spelt out, make every other question a quarter dearer.
SELECT
    customer_id,
    window_us,
    selected                                                                       AS groups,
    sum(usage_hourly.matched)                                                      AS matched,
    sum(usage_hourly.usable)                                                       AS usable,
    toString(sum(usage_hourly.total))                                              AS total,
    toString(minIf(usage_hourly.lowest, usage_hourly.usable > 0))                  AS lowest,
    toString(maxIf(usage_hourly.highest, usage_hourly.usable > 0))                 AS highest,
    toString(argMaxMergeIf(usage_hourly.latest, usage_hourly.usable > 0))          AS latest,
    uniqExactMerge(usage_hourly.distinct_texts)                                    AS distinct_texts,
    toString(sum(usage_hourly.fingerprint))                                        AS fingerprint
FROM usage_hourly
WHERE tenant_id = {tenant_id:String}
  AND environment_id = {environment_id:String}
  AND meter_id = {meter_id:String}
  AND meter_version = {meter_version:UInt32}
  AND ({all_customers:Bool} OR customer_id IN {customer_ids:Array(String)})
  AND hour BETWEEN {first_hour:DateTime('UTC')} AND {last_hour:DateTime('UTC')}
  AND (toDate(hour), build) IN {builds:Array(Tuple(Date, UInt64))}
  AND tally_fits(
          mapFromArrays({group_names:Array(String)},
                        arrayResize(arrayMap(text -> toNullable(text), usage_hourly.groups),
                                    length({group_names:Array(String)}))),
          {group_filters:Array(Tuple(String, String, Array(String)))})
GROUP BY
    customer_id,
    roundDown(toInt64(toUnixTimestamp(hour)) * 1000000, {window_starts_us:Array(Int64)})            AS window_us,
    arrayMap(position -> usage_hourly.groups[position], {group_positions:Array(UInt8)})             AS selected
ORDER BY customer_id, window_us, groups
LIMIT {row_limit:UInt64} OFFSET {row_offset:UInt64}
