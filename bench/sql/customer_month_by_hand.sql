-- One customer's month from the rolled up days by hand: the bare sum, without a look at which builds are current and what has
-- arrived since.
SELECT toString(sum(total)) AS tokens, sum(matched) AS events
FROM usage_daily
WHERE tenant_id = {tenant_id:String}
  AND environment_id = {environment_id:String}
  AND meter_id = {meter_id:String}
  AND meter_version = 1
  AND customer_id = {customer_id:String}
  AND day BETWEEN {first_day:Date} AND {last_day:Date}
