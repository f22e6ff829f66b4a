"""The codes that an error may bear in a metric: a bounded set, so that no error makes series without end (O-3).

The log has every code as it is. A code that is not here counts as `other`: one of a user's own function, say.
"""

from __future__ import annotations

import re

OTHER = "other"

OF_A_RUN = """
    all_rows defect disk disk_full empty_source fenced finished foreign_rows held known live_setting newer_loaded
    not_newest not_proven other_table over_max_percent over_max_rows over_shrink quarantined_rows receipt
    retention_column rows_read secret snapshot_age snapshot_closed snapshot_lost spool spool_in_use superseded
    swap_counts tiling unfinished unknown_run unknown_runs user_function
"""
OF_THE_PROOF = """
    copied_quarantined copied_rows footer_rows merged_quarantined merged_rows outcomes quarantine_rows
    source_count_live stage_quarantined stage_rows staged_quarantined staged_rows target_rows
"""
OF_SETTINGS = """
    ca_file column_type columns cursor cursor_missing cursor_range cursor_type exists invalid_config key
    key_missing missing_column name name_collision no_column no_configuration not_writable null_cursor null_key
    reserved_name table_name type_change type_conflict unknown_column unknown_kind unusable where_missing
"""
OF_STAGE_AND_ARCHIVE = """
    archive_bucket archive_credentials archive_denied archive_differs archive_endpoint archive_missing
    archive_place archive_store archive_throttled archive_unreachable archive_vanished batch_schema put_status
    stage stage_file_changed stage_file_columns stage_file_missing stage_file_other stage_file_rows
    stage_table_missing user_stage user_stage_type
"""
OF_SEARCH = """
    bad_document bad_response bad_value circuit_breaker_permanent circuit_breaking_exception connection
    cursor_resolution date_format endpoint es_rejected_execution_exception field_without_value
    illegal_argument_exception index_closed_exception index_gone index_not_found_exception mapping_conflict
    media_type_header_exception nesting no_shard_available_action_exception no_source paging parse_exception
    parsing_exception paused probe product query_shard_exception refresh_interval rejected_execution_exception
    search_context_missing_exception security_exception shard_failed source_mode task_cancelled_exception
    timeout tls too_large too_long_frame_exception too_long_http_line_exception x_content_parse_exception
"""
OF_MYSQL_SOURCES = """
    altered engine full_scan no_process no_replica no_table protocol replica_stopped session source_url stalled
"""
OF_FILES = "bad_text damaged_file file_changed files_differ no_files permission"
OF_DUCKDB = """
    conflict constraint conversion corrupt duckdb duplicate_key interrupted invalidated locked out_of_memory
    target_kind time_range
"""
OF_SNOWFLAKE = """
    cancelled clock commit credential data deadlock duplicate_row equal_versions fence_missing garbled invalid_json
    local_file lock_timeout lock_waiters lost merge_counts network_policy no_warehouse oauth_expired oauth_invalid
    object privilege queued_timeout resource_monitor result_gone role session_gone session_parameters settings sql
    statement_timeout target_gone target_replaced transaction_ended transform transform_rows unreachable upload
    user_locked value value_size
"""
OF_DRIVE_TABLES = """
    duplicate foreign_table memory_drive network_file_system newer_schema no_drive_table old_schema recreated
    two_ids
"""
OF_MYSQL = """
    1021 1030 1034 1037 1038 1040 1041 1044 1045 1046 1047 1048 1049 1050 1051 1053 1054 1062 1064 1102 1103
    1109 1114 1115 1129 1130 1142 1143 1146 1152 1153 1158 1159 1160 1161 1180 1193 1194 1195 1203 1205 1213
    1226 1227 1231 1251 1264 1273 1286 1290 1292 1317 1366 1370 1406 1412 1637 1665 1698 1792 1820 1836 1862
    1927 1932 1969 2002 2003 2005 2006 2013 2020 2026 2055 2059 3015 3024 3032 3101 3118 3159 3819 3955 4025
    4031 4151
"""

CODES = frozenset(
    " ".join(
        (
            OF_A_RUN,
            OF_THE_PROOF,
            OF_SETTINGS,
            OF_STAGE_AND_ARCHIVE,
            OF_SEARCH,
            OF_MYSQL_SOURCES,
            OF_FILES,
            OF_DUCKDB,
            OF_SNOWFLAKE,
            OF_DRIVE_TABLES,
            OF_MYSQL,
        )
    ).split()
)

HTTP = re.compile(r"(http_)?[45]\d\d")
"""Answers of servers, by their status."""


def bounded(code: str) -> str:
    """`code` if it is known, else `other`."""
    return code if code in CODES or HTTP.fullmatch(code) else OTHER
