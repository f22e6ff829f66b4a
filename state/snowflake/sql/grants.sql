-- What the workers of Sluiceway need in Snowflake, and no more. Change the names, then run it as a role that may
-- create users and roles and grant on these objects (ACCOUNTADMIN may), after deploy/sql/drive_table.sql:
--     snow sql -f deploy/sql/grants.sql
--     snowsql -o exit_on_error=true -f deploy/sql/grants.sql
-- It may be run again. sluiceway doctor names what is missing, each privilege with its GRANT.

SET sluiceway_role = 'SLUICEWAY_ROLE';
SET sluiceway_user = 'SLUICEWAY';
-- Paste the public key of snowflake_connection.private_key here, the text of snowflake.pub: its lines without the
-- first and the last, joined to one.
SET sluiceway_public_key = '<public key>';
SET sluiceway_warehouse = 'LOADING';
-- drive_table.database_schema, and its database. With drive_table.type sqlite or mysql leave these two lines out, and
-- the part between BEGIN and END OF THE DRIVE TABLE below.
SET sluiceway_drive_database = 'INGEST';
SET sluiceway_drive_schema = 'INGEST.SLUICEWAY';
-- The database and schema of target_system.table, stage_system.stage and stage_system.table.
SET sluiceway_load_database = 'INGEST';
SET sluiceway_load_schema = 'INGEST.RAW';
SET sluiceway_stage = 'INGEST.RAW.SLUICEWAY';

-- A role, and a user that logs in with a key only. ALTER USER ... SET RSA_PUBLIC_KEY_2
-- gives it a second key while one is replaced.
CREATE ROLE IF NOT EXISTS IDENTIFIER($sluiceway_role);
CREATE USER IF NOT EXISTS IDENTIFIER($sluiceway_user)
    TYPE = SERVICE
    DEFAULT_ROLE = $sluiceway_role
    DEFAULT_WAREHOUSE = $sluiceway_warehouse
    RSA_PUBLIC_KEY = $sluiceway_public_key
    COMMENT = 'Sluiceway workers';
GRANT ROLE IDENTIFIER($sluiceway_role) TO USER IDENTIFIER($sluiceway_user);
GRANT USAGE ON WAREHOUSE IDENTIFIER($sluiceway_warehouse) TO ROLE IDENTIFIER($sluiceway_role);

-- BEGIN OF THE DRIVE TABLE. Rows are read, added and changed, never deleted.
GRANT USAGE ON DATABASE IDENTIFIER($sluiceway_drive_database) TO ROLE IDENTIFIER($sluiceway_role);
GRANT USAGE ON SCHEMA IDENTIFIER($sluiceway_drive_schema) TO ROLE IDENTIFIER($sluiceway_role);
USE SCHEMA IDENTIFIER($sluiceway_drive_schema);
GRANT SELECT, UPDATE ON TABLE sluiceway_drive TO ROLE IDENTIFIER($sluiceway_role);
GRANT SELECT, INSERT, UPDATE ON TABLE pipeline_execution_drive TO ROLE IDENTIFIER($sluiceway_role);
GRANT SELECT, INSERT, UPDATE ON TABLE pipeline_tokens TO ROLE IDENTIFIER($sluiceway_role);
GRANT SELECT, INSERT ON TABLE pipeline_events TO ROLE IDENTIFIER($sluiceway_role);
-- END OF THE DRIVE TABLE.

-- Stage and target. What Sluiceway makes here (the stage tables of an attempt, receipts, fences, a target that is not
-- there yet) its role owns. Two more grants, once for each, where they apply:
--     a target that somebody else made, whose new columns are added by hand unless the role gets OWNERSHIP:
--         GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE INGEST.RAW.FLIGHTS TO ROLE SLUICEWAY_ROLE
--     an archive that is a stage, an internal or an external one, with USAGE on its database and schema:
--         GRANT READ, WRITE ON STAGE INGEST.KEPT.FILES TO ROLE SLUICEWAY_ROLE
--         GRANT USAGE ON STAGE INGEST.KEPT.BUCKET TO ROLE SLUICEWAY_ROLE
GRANT USAGE ON DATABASE IDENTIFIER($sluiceway_load_database) TO ROLE IDENTIFIER($sluiceway_role);
GRANT USAGE, CREATE TABLE ON SCHEMA IDENTIFIER($sluiceway_load_schema) TO ROLE IDENTIFIER($sluiceway_role);
CREATE STAGE IF NOT EXISTS IDENTIFIER($sluiceway_stage) ENCRYPTION = (TYPE = 'SNOWFLAKE_SSE');
GRANT READ ON STAGE IDENTIFIER($sluiceway_stage) TO ROLE IDENTIFIER($sluiceway_role);
GRANT WRITE ON STAGE IDENTIFIER($sluiceway_stage) TO ROLE IDENTIFIER($sluiceway_role);
