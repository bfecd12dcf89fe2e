-- As usage_from_rollups.sql, for a question with filters on the meter's group_by properties. Kept apart because the
-- filters, spelt out, make every other question a quarter dearer.
SELECT
    customer_id,
    window_us,
    selected                                                                            AS groups,
    sum(rollup.matched)                                                           AS matched,
    sum(rollup.usable)                                                            AS usable,
    if({aggregation:String} IN ('sum', 'avg'), toString(sum(rollup.total)),
    if({aggregation:String} = 'count', '0',
    if({aggregation:String} = 'count_unique', toString(uniqExactMerge(rollup.distinct_texts)),
    if({aggregation:String} = 'min', toString(minIf(rollup.lowest, rollup.usable > 0)),
    if({aggregation:String} = 'max', toString(maxIf(rollup.highest, rollup.usable > 0)),
       toString(argMaxMergeIf(rollup.latest, rollup.usable > 0)))))))       AS number,
    if({fingerprinted:Bool}, toString(sum(rollup.fingerprint)), '0')              AS fingerprint
FROM {rollup:Identifier} AS rollup
WHERE tenant_id = {tenant_id:String}
  AND environment_id = {environment_id:String}
  AND meter_id = {meter_id:String}
  AND meter_version = {meter_version:UInt32}
  AND ({all_customers:Bool} OR customer_id IN {customer_ids:Array(String)})
  AND hour BETWEEN {first_hour:DateTime('UTC')} AND {last_hour:DateTime('UTC')}
  AND build = {builds:Array(UInt64)}[toDate(hour) - {first_day:Date} + 1]
  AND tally_fits(
          mapFromArrays({group_names:Array(String)},
                        arrayResize(arrayMap(text -> toNullable(text), rollup.groups),
                                    length({group_names:Array(String)}))),
          {group_filters:Array(Tuple(String, String, Array(String)))})
GROUP BY
    customer_id,
    roundDown(toInt64(toUnixTimestamp(hour)) * 1000000, {window_starts_us:Array(Int64)})  AS window_us,
    if(empty({group_positions:Array(UInt8)}), emptyArrayString(),
       arrayMap(position -> rollup.groups[position], {group_positions:Array(UInt8)})) AS selected
ORDER BY customer_id, window_us, groups
LIMIT {row_limit:UInt64} OFFSET {row_offset:UInt64}
