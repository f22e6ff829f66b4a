"""The drive table in MySQL or MariaDB: the backend of many replicas."""

from state.mysql.drive import MysqlDrive
from state.mysql.settings import MysqlDriveSettings

__all__ = ["MysqlDrive", "MysqlDriveSettings"]
