-- Makes events as ingestion stores them: every `step`-th of the numbers in [first, first + count * step), `per_day` numbers
-- to a day from `first_day` on, spread over customers and the day by a hash. The same number makes the same event, so the
-- same range with another `step` is a resend.
INSERT INTO events
(
    tenant_id, environment_id, source, event_name, customer_id, event_id, timestamp, properties, timed
)
SELECT
    {tenant_id:String},
    {environment_id:String},
    'api',
    {event_name:String},
    concat('customer_', leftPad(toString(cityHash64(n, 1) % {customers:UInt64}), 5, '0')),
    concat('evt_', leftPad(toString(n), 16, '0')),
    addMilliseconds(
        toDateTime64({first_day:Date}, 6, 'UTC'),
        intDiv(n, {per_day:UInt64}) * 86400000 + cityHash64(n, 2) % 86400000),
    CAST(
        map(
            'cached', if(n % 2 = 1, 'true', 'false'),
            'latency_ms', concat(toString(n % 997), '.', leftPad(toString(n % 100), 2, '0')),
            'model', ['small-1', 'large-2', 'vision-3', 'audio-4'][n % 4 + 1],
            'region', ['eu-west-1', 'us-east-2', 'ap-south-1'][n % 3 + 1],
            'status', 'ok',
            'tokens', toString(n % 9973)),
        'Map(String, Nullable(String))'),
    true
FROM
(
    SELECT {first:UInt64} + number * {step:UInt64} AS n
    FROM numbers({count:UInt64})
)
