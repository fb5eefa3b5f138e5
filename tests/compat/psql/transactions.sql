-- Transactions, savepoints, settings that follow them, statements that may not be in one.
\set AUTOCOMMIT on
CREATE TABLE ledger (id int PRIMARY KEY, amount int);
BEGIN;
INSERT INTO ledger VALUES (1, 10);
SAVEPOINT a;
INSERT INTO ledger VALUES (1, 20);
SELECT 'ignored';
ROLLBACK TO a;
INSERT INTO ledger VALUES (2, 20);
COMMIT;
TABLE ledger;
BEGIN; SELECT 1/0; COMMIT;
ROLLBACK;
BEGIN;
BEGIN;
COMMIT;
COMMIT;
\set ON_ERROR_ROLLBACK on
BEGIN;
INSERT INTO ledger VALUES (1, 1);
INSERT INTO ledger VALUES (3, 30);
COMMIT;
\unset ON_ERROR_ROLLBACK
\set AUTOCOMMIT off
INSERT INTO ledger VALUES (4, 40);
ROLLBACK;
INSERT INTO ledger VALUES (5, 50);
COMMIT;
\set AUTOCOMMIT on
TABLE ledger;
SET timezone = 'Asia/Tokyo';
SHOW timezone;
BEGIN; SET timezone = 'UTC'; SHOW timezone; ROLLBACK;
SHOW timezone;
BEGIN; SET LOCAL timezone = 'UTC'; SHOW timezone; COMMIT;
SHOW timezone;
SET DateStyle = 'German';
SELECT date '2024-02-29', timestamptz '2024-02-29 12:00+00';
RESET ALL;
SHOW DateStyle;
BEGIN TRANSACTION ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE;
SHOW transaction_isolation;
INSERT INTO ledger VALUES (9, 9);
ROLLBACK;
BEGIN; DECLARE c CURSOR FOR SELECT i FROM generate_series(1, 10) i; FETCH 3 FROM c; MOVE 2 IN c; FETCH ALL FROM c; CLOSE c; COMMIT;
BEGIN; VACUUM ledger; ROLLBACK;
VACUUM ANALYZE ledger;
BEGIN;
PREPARE get(int) AS SELECT amount FROM ledger WHERE id = $1;
EXECUTE get(2);
EXECUTE get(5);
DEALLOCATE get;
EXECUTE get(2);
ROLLBACK;
BEGIN; PREPARE TRANSACTION 'two phases';
COMMIT PREPARED 'two phases';
INSERT INTO ledger VALUES (6, 60) RETURNING *;
UPDATE ledger SET amount = amount + 1 WHERE id > 2;
DELETE FROM ledger WHERE id = 6;
DROP TABLE ledger;
