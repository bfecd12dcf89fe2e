CREATE VIEW metered_hours
AS SELECT
    tenant_id,
    environment_id,
    meter_id,
    meter_version,
    customer_id,
    hour,
    groups,
    count() AS matched,
    countIf(is_usable) AS usable,
    sumIf(amount, is_usable) AS total,
    minIf(amount, is_usable) AS lowest,
    maxIf(amount, is_usable) AS highest,
    argMaxStateIf(amount, (timestamp, ingested_at, identity), is_usable AND (aggregation = 'latest')) AS latest,
    uniqExactStateIf(assumeNotNull(text), is_usable AND (aggregation = 'count_unique')) AS distinct_texts,
    sumIf(reinterpretAsUInt128(sipHash128(identity, content_hash)), is_usable) AS fingerprint
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
        if(empty(group_by), emptyArrayString(), arrayMap(name -> ifNull(properties[name], ''), group_by)) AS groups,
        properties[property] AS text,
        if((aggregation IN ('count', 'count_unique')), NULL, if((length(text) <= 24) AND match(text, '^[+-]?[0-9]+([.][0-9]*)?$'), toDecimal256OrNull(text, 24), if(match(text, '^[+-]?([0-9]+\\.?[0-9]*|\\.[0-9]+)([eE][+-]?[0-9]{1,3})?$') AND (if((length(text) <= 24) AND (position(text, 'e') = 0) AND (position(text, 'E') = 0), 0, toInt32(length(extract(text, '\\.([0-9]*?)0*(?:[eE]|$)'))) - toInt32OrZero(extract(text, '[eE]([+-]?[0-9]+)$'))) <= 24), if((toDecimal256OrNull(text, 24) > toDecimal256('-1e38', 24)) AND (toDecimal256OrNull(text, 24) < toDecimal256('1e38', 24)), toDecimal256OrNull(text, 24), NULL), NULL))) AS number,
        assumeNotNull(number) AS amount,
        multiIf(aggregation = 'count', true, aggregation = 'count_unique', text IS NOT NULL, number IS NOT NULL) AS is_usable
    FROM
    (
        SELECT
            tenant_id,
            environment_id,
            event_name,
            customer_id,
            hour,
            timestamp,
            ingested_at,
            identity,
            content_hash,
            properties
        FROM events
        FINAL
        WHERE (day IN ({days:Array(Date)})) AND (ingested_at <= fromUnixTimestamp64Micro({watermark_us:Int64}, 'UTC')) AND ((tenant_id, environment_id, event_name) GLOBAL IN (
            SELECT
                tenant_id,
                environment_id,
                event_name
            FROM build_meters
            WHERE build = {build:UInt64}
        )) AND ((tenant_id, environment_id, event_name, identity, content_hash, hour) GLOBAL NOT IN (
            SELECT
                tenant_id,
                environment_id,
                event_name,
                identity,
                content_hash,
                hour
            FROM superseded
            WHERE day IN ({days:Array(Date)})
        ))
    ) AS e
    GLOBAL INNER JOIN
    (
        SELECT
            tenant_id,
            environment_id,
            event_name,
            meter_id,
            meter_version,
            aggregation,
            property,
            filters,
            group_by,
            event_from_us
        FROM build_meters
        WHERE build = {build:UInt64}
    ) AS m USING (tenant_id, environment_id, event_name)
    WHERE (empty(filters) OR arrayAll((f, sent) -> multiIf((f.2) = 'exists', sent IS NOT NULL, (f.2) = 'not_exists', sent IS NULL, (f.2) = 'in', (sent IS NOT NULL) AND has(f.3, assumeNotNull(sent)), (f.2) = 'not_in', (sent IS NULL) OR (NOT has(f.3, assumeNotNull(sent))), arrayExists((a, b) -> ifNull(multiIf((f.2) = 'gt', a > b, (f.2) = 'gte', a >= b, (f.2) = 'lt', a < b, (f.2) = 'lte', a <= b, false), false), [if((length(sent) <= 24) AND match(sent, '^[+-]?[0-9]+([.][0-9]*)?$'), toDecimal256OrNull(sent, 24), if(match(sent, '^[+-]?([0-9]+\\.?[0-9]*|\\.[0-9]+)([eE][+-]?[0-9]{1,3})?$') AND (if((length(sent) <= 24) AND (position(sent, 'e') = 0) AND (position(sent, 'E') = 0), 0, toInt32(length(extract(sent, '\\.([0-9]*?)0*(?:[eE]|$)'))) - toInt32OrZero(extract(sent, '[eE]([+-]?[0-9]+)$'))) <= 24), if((toDecimal256OrNull(sent, 24) > toDecimal256('-1e38', 24)) AND (toDecimal256OrNull(sent, 24) < toDecimal256('1e38', 24)), toDecimal256OrNull(sent, 24), NULL), NULL))], [if((length((f.3)[1]) <= 24) AND match((f.3)[1], '^[+-]?[0-9]+([.][0-9]*)?$'), toDecimal256OrNull((f.3)[1], 24), if(match((f.3)[1], '^[+-]?([0-9]+\\.?[0-9]*|\\.[0-9]+)([eE][+-]?[0-9]{1,3})?$') AND (if((length((f.3)[1]) <= 24) AND (position((f.3)[1], 'e') = 0) AND (position((f.3)[1], 'E') = 0), 0, toInt32(length(extract((f.3)[1], '\\.([0-9]*?)0*(?:[eE]|$)'))) - toInt32OrZero(extract((f.3)[1], '[eE]([+-]?[0-9]+)$'))) <= 24), if((toDecimal256OrNull((f.3)[1], 24) > toDecimal256('-1e38', 24)) AND (toDecimal256OrNull((f.3)[1], 24) < toDecimal256('1e38', 24)), toDecimal256OrNull((f.3)[1], 24), NULL), NULL))])), filters, arrayMap(f -> (properties[f.1]), filters))) AND (timestamp >= fromUnixTimestamp64Micro(event_from_us, 'UTC'))
)
GROUP BY
    tenant_id,
    environment_id,
    meter_id,
    meter_version,
    customer_id,
    hour,
    groups
