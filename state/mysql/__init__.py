"""The drive table in MySQL or MariaDB: the backend of many replicas."""
