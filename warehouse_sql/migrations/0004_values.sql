-- How a text becomes a number, and whether an event fits a meter's filters. Defined once, used by every query.
--
-- A number is what matches the pattern, has at most 24 decimals as written (zeros at the end of the fraction do not
-- count) and at most 38 digits before the point. toDecimal256OrNull alone would cut the 25th decimal off, and read '-'
-- or '.' as zero. 38 digits leave room for 10^14 values in one exact sum of Decimal(76, 24).

CREATE OR REPLACE FUNCTION tally_looks_like_number AS (t) ->
    match(t, '^[+-]?([0-9]+\\.?[0-9]*|\\.[0-9]+)([eE][+-]?[0-9]{1,3})?$');

-- 1.250e-3 is written with 5 decimals: two of the fraction, three of the exponent.
CREATE OR REPLACE FUNCTION tally_decimals AS (t) ->
    if(length(t) <= 24 AND position(t, 'e') = 0 AND position(t, 'E') = 0,
       0,
       toInt32(length(extract(t, '\\.([0-9]*?)0*(?:[eE]|$)'))) - toInt32OrZero(extract(t, '[eE]([+-]?[0-9]+)$')));

CREATE OR REPLACE FUNCTION tally_in_range AS (d) ->
    if(d > toDecimal256('-1e38', 24) AND d < toDecimal256('1e38', 24), d, NULL);

CREATE OR REPLACE FUNCTION tally_number AS (t) ->
    if(tally_looks_like_number(t) AND tally_decimals(t) <= 24, tally_in_range(toDecimal256OrNull(t, 24)), NULL);

-- Why a text is no number; the empty text where it is one.
CREATE OR REPLACE FUNCTION tally_unusable_because AS (t) ->
    multiIf(t IS NULL, 'missing',
            NOT tally_looks_like_number(t), 'not_a_number',
            tally_decimals(t) > 24, 'too_many_decimals',
            tally_number(t) IS NULL, 'too_large',
            '');

-- A filter is (property, op, values). Texts are compared as they were sent; gt, gte, lt, lte compare numbers, and a
-- value that is no number fits none of them. not_in is the opposite of in, so an absent property fits it. (eq and ne
-- are in and not_in of one value.)
CREATE OR REPLACE FUNCTION tally_fits AS (properties, filters) ->
    arrayAll(
        (f, sent) -> multiIf(
            f.2 = 'exists', sent IS NOT NULL,
            f.2 = 'not_exists', sent IS NULL,
            f.2 = 'in', ifNull(has(f.3, sent), false),
            f.2 = 'not_in', NOT ifNull(has(f.3, sent), false),
            arrayExists(
                (a, b) -> ifNull(
                    multiIf(f.2 = 'gt', a > b, f.2 = 'gte', a >= b, f.2 = 'lt', a < b, f.2 = 'lte', a <= b, false),
                    false),
                [tally_number(sent)],
                [tally_number(f.3[1])])),
        filters,
        arrayMap(f -> properties[f.1], filters));
