-- `recent_steps`: names of the last writes of the pipeline, newest first. Each is written with what it names, so that
-- whoever got no answer to COMMIT can ask whether it happened.
ALTER TABLE pipeline_tokens ADD COLUMN recent_steps VARCHAR(1600) CHARACTER SET ascii COLLATE ascii_bin NOT NULL
    DEFAULT '';
