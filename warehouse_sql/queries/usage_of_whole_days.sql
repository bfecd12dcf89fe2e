-- The same answer as usage_from_rollups.sql where each window is one day and the groups asked for are the meter's own: the
-- rows are there as they are asked for, and nothing has to be added up.
SELECT
    customer_id,
    toInt64(toUInt16(day)) * 86400000000                                           AS window_us,
    groups,
    matched,
    usable,
    if({aggregation:String} IN ('sum', 'avg'), toString(total),
    if({aggregation:String} = 'count', '0',
    if({aggregation:String} = 'count_unique', toString(finalizeAggregation(distinct_texts)),
    if({aggregation:String} = 'min', toString(lowest),
    if({aggregation:String} = 'max', toString(highest),
       toString(finalizeAggregation(latest)))))))                                   AS number,
    if({fingerprinted:Bool}, toString(daily.fingerprint), '0')                      AS fingerprint
FROM usage_daily AS daily
WHERE tenant_id = {tenant_id:String}
  AND environment_id = {environment_id:String}
  AND meter_id = {meter_id:String}
  AND meter_version = {meter_version:UInt32}
  AND ({all_customers:Bool} OR customer_id IN {customer_ids:Array(String)})
  AND day BETWEEN {first_day:Date} AND {last_day:Date}
  AND build = {builds:Array(UInt64)}[day - {first_day:Date} + 1]
ORDER BY customer_id, day, groups
LIMIT {row_limit:UInt64} OFFSET {row_offset:UInt64}
