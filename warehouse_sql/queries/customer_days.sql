-- The days of some customers in all builds: which of them are current is told by what is known of the tables. `number` is
-- what the aggregation makes of a day. Nothing is added up here: the engine spends more time on planning that than on
-- reading the rows.
--
-- One row more, of build 0: the time in `matched`, and in `groups` the parts that the tables consist of from which usage_days.sql
-- tells which builds hold. The time is taken first. A part is known by its name, and by when it was written, as a table
-- that is made anew counts from 1 again. Of `arrivals` only the months asked for, as others get events all the time.
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

UNION ALL

SELECT
    '',
    toDate(0),
    0,
    arraySort(groupArray(concat(table, ' ', name, ' ', toString(modification_time)))),
    toUInt64(toUnixTimestamp64Micro(now64(6, 'UTC'))),
    0,
    toDecimal256(0, 24),
    toUInt128(0)
FROM system.parts
WHERE active
  AND database = currentDatabase()
  AND table IN ('arrivals', 'superseded', 'usage_builds')
  AND (table != 'arrivals' OR partition BETWEEN {first_month:String} AND {last_month:String})
