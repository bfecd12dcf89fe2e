-- Notes that a migration has run to its end. Written after its last statement, so a crash before leads to a second run.
INSERT INTO schema_migrations (number, name, form, checksum)
SELECT {number:UInt32}, {name:String}, {form:String}, {checksum:String}
