-- As the form for one server.
CREATE OR REPLACE FUNCTION tally_is_plain_number ON CLUSTER '{cluster}' AS (t) ->
    length(t) <= 24 AND match(t, '^[+-]?[0-9]+([.][0-9]*)?$');

CREATE OR REPLACE FUNCTION tally_number ON CLUSTER '{cluster}' AS (t) ->
    if(tally_is_plain_number(t),
       toDecimal256OrNull(t, 24),
       if(tally_looks_like_number(t) AND tally_decimals(t) <= 24, tally_in_range(toDecimal256OrNull(t, 24)), NULL));

CREATE OR REPLACE FUNCTION tally_unusable_because ON CLUSTER '{cluster}' AS (t) ->
    multiIf(t IS NULL, 'missing',
            NOT tally_looks_like_number(t), 'not_a_number',
            tally_decimals(t) > 24, 'too_many_decimals',
            tally_number(t) IS NULL, 'too_large',
            '');

CREATE OR REPLACE FUNCTION tally_fits ON CLUSTER '{cluster}' AS (properties, filters) ->
    empty(filters) OR arrayAll(
        (f, sent) -> multiIf(
            f.2 = 'exists', sent IS NOT NULL,
            f.2 = 'not_exists', sent IS NULL,
            f.2 = 'in', sent IS NOT NULL AND has(f.3, assumeNotNull(sent)),
            f.2 = 'not_in', sent IS NULL OR NOT has(f.3, assumeNotNull(sent)),
            arrayExists(
                (a, b) -> ifNull(
                    multiIf(f.2 = 'gt', a > b, f.2 = 'gte', a >= b, f.2 = 'lt', a < b, f.2 = 'lte', a <= b, false),
                    false),
                [tally_number(sent)],
                [tally_number(f.3[1])])),
        filters,
        arrayMap(f -> properties[f.1], filters));

CREATE OR REPLACE FUNCTION tally_texts ON CLUSTER '{cluster}' AS (properties, names) ->
    if(empty(names), emptyArrayString(), arrayMap(name -> ifNull(properties[name], ''), names));

CREATE OR REPLACE VIEW counted_events ON CLUSTER '{cluster}' AS
WITH
    -- All rows of these hours, before duplicates are left out.
    received AS
    (
        SELECT identity, identity_hash, content_hash, hour, seniority, ingested_at
        FROM events
        WHERE {unreconciled:Bool}
          AND tenant_id = {tenant_id:String}
          AND environment_id = {environment_id:String}
          AND event_name = {event_name:String}
          AND day BETWEEN {first_day:Date} AND {last_day:Date}
          AND hour BETWEEN {first_hour:DateTime('UTC')} AND {last_hour:DateTime('UTC')}
          AND ({all_customers:Bool} OR customer_id IN {customer_ids:Array(String)})
    ),
    -- By hash first: most identities came once, and a set of 8-byte numbers is all that this takes.
    seen_twice AS
    (
        SELECT identity_hash
        FROM received
        WHERE identity_hash GLOBAL IN
        (
            SELECT identity_hash FROM received
            WHERE ingested_at > fromUnixTimestamp64Micro({reconciled_us:Int64}, 'UTC')
        )
        GROUP BY identity_hash
        HAVING count() > 1
    ),
    -- Per identity all rows but the most senior one. Content and hour settle a tie, as they do in the reconcile step.
    fresh_losers AS
    (
        SELECT
            identity,
            argMax((content_hash, hour), (seniority, content_hash, hour)) AS winner,
            arrayJoin(arrayFilter(row -> row != winner, groupUniqArray((content_hash, hour)))) AS loser
        FROM received
        WHERE identity_hash GLOBAL IN (SELECT identity_hash FROM seen_twice)
        GROUP BY identity
    )
SELECT customer_id, day, hour, timestamp, ingested_at, identity, content_hash, event_id, idempotency_key, properties, source
FROM events FINAL
WHERE tenant_id = {tenant_id:String}
  AND environment_id = {environment_id:String}
  AND event_name = {event_name:String}
  AND day BETWEEN {first_day:Date} AND {last_day:Date}
  AND hour BETWEEN {first_hour:DateTime('UTC')} AND {last_hour:DateTime('UTC')}
  AND ({all_customers:Bool} OR customer_id IN {customer_ids:Array(String)})
  AND ({until_us:Int64} = toInt64(4102444800000000) OR ingested_at <= fromUnixTimestamp64Micro({until_us:Int64}, 'UTC'))
  AND (identity, (content_hash, hour)) GLOBAL NOT IN
      (
          SELECT identity, (content_hash, hour)
          FROM superseded
          WHERE tenant_id = {tenant_id:String}
            AND environment_id = {environment_id:String}
            AND event_name = {event_name:String}
            AND day BETWEEN {first_day:Date} AND {last_day:Date}
          UNION ALL
          SELECT identity, loser FROM fresh_losers
      );

CREATE OR REPLACE VIEW metered_hours ON CLUSTER '{cluster}' AS
SELECT
    tenant_id,
    environment_id,
    meter_id,
    meter_version,
    customer_id,
    hour,
    groups,
    count()                                                                            AS matched,
    countIf(is_usable)                                                                 AS usable,
    sumIf(amount, is_usable)                                                           AS total,
    minIf(amount, is_usable)                                                           AS lowest,
    maxIf(amount, is_usable)                                                           AS highest,
    argMaxStateIf(amount, (timestamp, ingested_at, identity), is_usable AND aggregation = 'latest') AS latest,
    uniqExactStateIf(assumeNotNull(text), is_usable AND aggregation = 'count_unique')  AS distinct_texts,
    sumIf(reinterpretAsUInt128(sipHash128(identity, content_hash)), is_usable)         AS fingerprint
FROM
(
    SELECT
        tenant_id,
        environment_id,
        meter_id,
        meter_version,
        aggregation,
        customer_id,
        hour,
        timestamp,
        ingested_at,
        identity,
        content_hash,
        tally_texts(properties, group_by)                                              AS groups,
        properties[property]                                                           AS text,
        if(aggregation IN ('count', 'count_unique'), NULL, tally_number(text))         AS number,
        assumeNotNull(number)                                                          AS amount,
        multiIf(aggregation = 'count', true,
                aggregation = 'count_unique', text IS NOT NULL,
                number IS NOT NULL)                                                    AS is_usable
    FROM
    (
        SELECT tenant_id, environment_id, event_name, customer_id, hour, timestamp, ingested_at, identity, content_hash,
               properties
        FROM events FINAL
        WHERE day IN {days:Array(Date)}
          AND ingested_at <= fromUnixTimestamp64Micro({watermark_us:Int64}, 'UTC')
          AND (tenant_id, environment_id, event_name) GLOBAL IN
              (SELECT tenant_id, environment_id, event_name FROM build_meters WHERE build = {build:UInt64})
          AND (tenant_id, environment_id, event_name, identity, content_hash, hour) GLOBAL NOT IN
              (SELECT tenant_id, environment_id, event_name, identity, content_hash, hour
               FROM superseded WHERE day IN {days:Array(Date)})
    ) AS e
    GLOBAL INNER JOIN
    (
        SELECT tenant_id, environment_id, event_name, meter_id, meter_version, aggregation, property, filters, group_by,
               event_from_us
        FROM build_meters
        WHERE build = {build:UInt64}
    ) AS m USING (tenant_id, environment_id, event_name)
    WHERE tally_fits(properties, filters)
      AND timestamp >= fromUnixTimestamp64Micro(event_from_us, 'UTC')
)
GROUP BY tenant_id, environment_id, meter_id, meter_version, customer_id, hour, groups;
