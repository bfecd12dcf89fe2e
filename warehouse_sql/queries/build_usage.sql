-- Stores the rollups of one build. Nobody reads them before switch_usage_builds.sql.
-- Written in small blocks: until it is written, a row holds states that take far more room than on disk.
INSERT INTO usage_hourly
(
    tenant_id, environment_id, meter_id, meter_version, customer_id, hour, groups, build,
    matched, usable, total, lowest, highest, latest, distinct_texts, fingerprint
)
SELECT
    tenant_id, environment_id, meter_id, meter_version, customer_id, hour, groups, {build:UInt64},
    matched, usable, total, lowest, highest, latest, distinct_texts, fingerprint
FROM metered_hours(build = {build:UInt64}, days = {days:Array(Date)}, watermark_us = {watermark_us:Int64})
SETTINGS min_insert_block_size_rows = 100000
