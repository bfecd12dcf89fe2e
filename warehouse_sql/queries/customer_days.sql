-- The days of some customers in all builds: which of them are current is asked beside it. `number` is what the aggregation
-- makes of a day. Nothing is added up here: the engine spends more time on planning that than on reading the rows.
SELECT
    customer_id,
    day,
    build,
    groups,
    matched,
    usable,
    if({aggregation:String} = 'min', lowest,
    if({aggregation:String} = 'max', highest,
    if({aggregation:String} = 'latest', finalizeAggregation(latest), total))) AS number,
    fingerprint
FROM usage_daily
WHERE tenant_id = {tenant_id:String}
  AND environment_id = {environment_id:String}
  AND meter_id = {meter_id:String}
  AND meter_version = {meter_version:UInt32}
  AND customer_id IN {customer_ids:Array(String)}
  AND day BETWEEN {first_day:Date} AND {last_day:Date}
LIMIT {row_limit:UInt64}
