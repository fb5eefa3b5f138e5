-- Every backslash command that asks the catalogs, on objects of many kinds.
CREATE SCHEMA shop;
SET search_path = shop, public;
CREATE TYPE colour AS ENUM ('red', 'green');
CREATE DOMAIN positive AS int CHECK (value > 0);
CREATE TABLE item (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL UNIQUE, price positive DEFAULT 1, hue colour);
CREATE TABLE part (id int, item int REFERENCES item ON DELETE CASCADE, twice int GENERATED ALWAYS AS (id * 2) STORED) PARTITION BY RANGE (id);
CREATE TABLE part_low PARTITION OF part FOR VALUES FROM (0) TO (100);
CREATE INDEX part_item ON part (item) INCLUDE (id);
CREATE VIEW cheap AS SELECT id, name FROM item WHERE price < 10;
CREATE MATERIALIZED VIEW names AS SELECT name FROM item;
CREATE SEQUENCE tickets START 5;
CREATE FUNCTION plus(a int, b int DEFAULT 1) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT a + b';
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.name := NEW.name; RETURN NEW; END $$;
CREATE TRIGGER touched BEFORE UPDATE ON item FOR EACH ROW EXECUTE FUNCTION touch();
CREATE POLICY all_of_it ON item USING (true);
COMMENT ON TABLE item IS 'what we sell';
GRANT SELECT ON item TO bench;
\d
\d item
\d+ item
\d+ part
\d part_low
\d part_item
\d+ cheap
\d names
\d tickets
\dt shop.*
\dv
\di+ part_item
\ds
\df plus
\sf plus
\dT+ colour
\dD
\dn shop
\dp item
\du bench
\ddp
\l bench
\dd
\dconfig search_path
\d missing
DROP SCHEMA shop CASCADE;
