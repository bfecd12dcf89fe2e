-- What meters read from one event, by the same rules as usage.sql: the first filter that it does not meet (0 where it
-- meets all), the text of the value, and why that cannot be counted (empty where it can).
SELECT
    meter.1                                                     AS position,
    arrayFirstIndex(f -> NOT tally_fits(properties, [f]), meter.4) AS unmet,
    properties[meter.3]                                         AS text,
    multiIf(meter.2 = 'count', '',
            meter.2 = 'count_unique', if(text IS NULL, 'missing', ''),
            tally_unusable_because(text))                       AS reason
FROM
(
    SELECT
        mapFromArrays({property_names:Array(String)}, {property_texts:Array(Nullable(String))}) AS properties,
        arrayJoin(arrayZip(
            arrayEnumerate({aggregations:Array(String)}),
            {aggregations:Array(String)},
            {meter_properties:Array(String)},
            {filters:Array(Array(Tuple(String, String, Array(String))))})) AS meter
)
ORDER BY position
